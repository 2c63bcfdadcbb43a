"""The truth about every run: each way in which a run can be what it is, and what the scheduler's word changes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments import files
from experiments.processes import Process
from experiments.runs import Run, RunStore
from slurm import ledger, scheduler, table
from slurm.cli import main
from slurm.commands import SlurmError
from slurm.ledger import JobArray, Pack, Submission
from slurm.scheduler import Answer, Job, Key
from slurm.status import RunStatus, survey

MakeConfig = Callable[..., dict[str, Any]]
HERE = "this-cluster"


class Store:
    """A store whose runs are made by hand."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config

    def run(self, name: str, state: str = "queued", **details: Any) -> Run:
        """A run with a recorded state."""
        run = RunStore(self.path).run(name)
        run.create(self.config)
        run.set_state(state, **details)
        return run

    def claimed(self, name: str, alive: bool) -> Run:
        """A run that a process took, this one or one that is gone."""
        run = self.run(name)
        attempt = run.claim()
        assert attempt is not None
        run.set_state("running", attempt=attempt.number)
        if not alive:
            files.write_json(attempt.path / "alive.json", vars(replace(Process.this(), started="1")))
        return run

    def sent(self, *packs: tuple[str, ...], **changes: Any) -> Submission:
        """A submission of one array with these packs."""
        cluster = changes.pop("cluster", HERE)
        made = ledger.new(self.path, cluster, {}, ["python"])
        elements = tuple(Pack(i, f"packs/0-{i}.json", runs) for i, runs in enumerate(packs))
        array = JobArray(ledger.job_name(made, 0), "submitted", "array-0.sh", "logs/%A_%a.log", elements, job="7")
        driver = changes.pop("driver", made.driver)
        made = replace(made, arrays=(replace(array, **changes),), driver=driver)
        made.write()
        return made


@pytest.fixture
def store(tmp_path: Path, make_config: MakeConfig) -> Store:
    """An empty one."""
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store", make_config())


class Slurm:
    """What the scheduler will say."""

    def __init__(self) -> None:
        self.jobs: dict[Key, Job] = {}
        self.past: dict[Key, Job] = {}
        self.reachable = True
        self.asked = 0
        self.cancelled: list[tuple[str, str, list[int]]] = []

    def job(self, submission: Submission, index: int, state: str, held: bool = True, **details: Any) -> None:
        name = submission.arrays[0].name
        self.jobs[name, index] = Job(name, "7", index, state, held, **details)

    def look(self, *_: Any) -> Answer:
        self.asked += 1
        return Answer(self.jobs if self.reachable else {}, self.reachable, "" if self.reachable else "squeue: it hangs")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """In place of the scheduler."""
    made = Slurm()
    monkeypatch.setattr(scheduler, "look", made.look)
    monkeypatch.setattr(scheduler, "cluster_name", lambda: HERE)
    monkeypatch.setattr(scheduler, "past", lambda *_: made.past)
    monkeypatch.setattr(scheduler, "cancel", lambda *told: made.cancelled.append(told))
    return made


def one(store: Store) -> RunStatus:
    (row,) = survey([store.path]).runs
    return row


def test_done_is_done_whatever_slurm_says(store: Store, slurm: Slurm) -> None:
    run = store.claimed("a", alive=False)
    files.write_json(run.path / "result.json", {"attempt": 1})
    slurm.job(store.sent(("a",)), 0, "NODE_FAIL", held=False)
    assert one(store).state == "done"


def test_running_is_a_living_process(store: Store, slurm: Slurm) -> None:
    run = store.claimed("a", alive=True)
    records = [{"clock": c, "total": 100, "seconds": c / 2, "holdout_force_mae": 0.01} for c in (10, 20, 30)]
    (run.path / "attempt-1" / "history.jsonl").write_text("\n".join(map(json.dumps, records)) + "\n{torn")
    row = one(store)
    assert (row.state, row.why, row.attempt) == ("running", "", 1)
    assert (row.updates, row.total, row.errors) == (30, 100, {"force_mae": 0.01})
    assert row.seconds_left == pytest.approx(35.0)  # 70 updates at half a second each
    assert (row.architecture, row.L, row.nu, row.P, row.seed) == ("mace", 1, 2, 8, 0)


def test_progress_of_an_earlier_attempt_counts_until_there_is_more(store: Store, slurm: Slurm) -> None:
    run = store.claimed("a", alive=False)
    (run.path / "attempt-1" / "history.jsonl").write_text('{"clock": 9, "total": 100, "seconds": 1}\n')
    assert run.claim() is not None
    assert (one(store).state, one(store).attempt, one(store).updates) == ("running", 2, 9)


def test_orphan_is_told(store: Store, slurm: Slurm) -> None:
    """A process on a node that Slurm gave up."""
    store.claimed("a", alive=True)
    slurm.job(store.sent(("a",)), 0, "NODE_FAIL", held=False)
    assert (one(store).state, one(store).why) == ("running", "job 7_0 is gone, but the process goes on")


def test_failure_with_its_reason_in_one_line(store: Store, slurm: Slurm) -> None:
    run = store.run("a", "failed", attempt=1, message="ValueError: two\nlines")
    assert (one(store).state, one(store).why) == ("failed", "ValueError: two lines")
    (run.path / "attempt-1").mkdir()
    (run.path / "attempt-1" / "error.txt").write_text("Traceback\n  File\nKeyError: 'x'\n")
    run.set_state("failed", attempt=1)
    assert one(store).why == "KeyError: 'x'"
    run.set_state("failed")
    assert one(store).why == "no message"


def test_local_runs(store: Store, slurm: Slurm) -> None:
    """Without a ledger the scheduler is not asked for names; workers' logs tell of a driver."""
    store.run("queued")
    store.run("cancelled", "cancelled")
    store.claimed("lost", alive=False)
    store.run("stopped", message="interrupted by a signal")
    found = {row.run_id: (row.state, row.why) for row in survey([store.path]).runs}
    assert found["queued"] == ("queued", "no driver works on it")
    assert found["cancelled"] == ("cancelled", "")
    assert found["lost"][0] == "lost"
    assert found["lost"][1].endswith(" is gone")
    assert found["stopped"] == ("queued", "interrupted by a signal; no driver works on it")
    assert any("start the sweep again" in line for line in table.advice(survey([store.path]), ["s"]))
    (store.path / "workers").mkdir()
    (store.path / "workers" / "another-host-1-2-1.log").touch()
    assert "unknown here" in {row.run_id: row.why for row in survey([store.path]).runs}["queued"]
    me = Process.this()
    (store.path / "workers" / f"{me.host}-{me.pid}-{me.started}-1.log").touch()
    found = {row.run_id: (row.state, row.why) for row in survey([store.path]).runs}
    assert found["queued"] == found["lost"] == ("queued", "")


@pytest.mark.parametrize(
    ("state", "details", "why"),
    [
        ("PENDING", {"reason": "Resources"}, "job 7_0 waits (Resources)"),
        ("PENDING", {}, "job 7_0 waits"),
        ("RUNNING", {"node": "n1"}, "job 7_0 on n1 begins, or is at other runs of its pack"),
        ("COMPLETING", {}, "job 7_0 is COMPLETING"),
        ("REQUEUED", {}, "job 7_0 is REQUEUED"),
    ],
)
@pytest.mark.parametrize("interrupted", [False, True])
def test_queued_while_slurm_holds_the_job(
    store: Store, slurm: Slurm, state: str, details: dict[str, Any], why: str, interrupted: bool
) -> None:
    """Also after a preemption or the loss of a node: that is no end."""
    if interrupted:
        store.claimed("a", alive=False)
    else:
        store.run("a")
    slurm.job(store.sent(("a",)), 0, state, **details)
    assert (one(store).state, one(store).why, one(store).job) == ("queued", why, "7_0")


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED", "TIMEOUT", "FAILED", "CANCELLED", "COMPLETED"])
def test_lost_when_slurm_will_not_run_it_again(store: Store, slurm: Slurm, state: str) -> None:
    store.claimed("a", alive=False)
    sent = store.sent(("a",))
    slurm.job(sent, 0, state, held=False)
    assert (one(store).state, one(store).why) == ("lost", f"job 7_0 is gone, it ended: {state}")


def test_lost_when_absent_everywhere(store: Store, slurm: Slurm) -> None:
    store.run("a")
    sent = store.sent(("a",))
    (sent.path / "logs" / "7_0.log").write_text("slurmstepd: error\nKilled\nsrun: error: exit code 137\n")
    assert one(store).state == "lost"
    assert one(store).why == "job 7_0 is gone, the scheduler does not know it any more; it last said: Killed"
    name = sent.arrays[0].name
    slurm.past = {(name, 0): Job(name, "7", 0, "OUT_OF_MEMORY", False, exit_code="0:125")}
    assert "it ended: OUT_OF_MEMORY, exit code 0:125; it" in one(store).why


def test_nothing_is_lost_because_nobody_answers(store: Store, slurm: Slurm) -> None:
    store.claimed("a", alive=False)
    store.run("failed", "failed")
    store.sent(("a", "failed"))
    slurm.reachable = False
    rows = {row.run_id: (row.state, row.why) for row in survey([store.path]).runs}
    assert rows["a"] == ("unknown", "the scheduler does not answer")
    assert survey([store.path]).scheduler.message == "squeue: it hangs"
    assert rows["failed"][0] == "failed"


def test_job_of_another_cluster_is_unknown(store: Store, slurm: Slurm) -> None:
    store.run("a")
    slurm.job(store.sent(("a",), cluster="another"), 0, "CANCELLED", held=False)
    assert one(store).state == "unknown"
    assert "cluster another; the one that answers here is this-cluster" in one(store).why


def test_driver_that_died_or_was_refused_while_submitting(store: Store, slurm: Slurm) -> None:
    store.run("a")
    sent = store.sent(("a",), job=None, state="planned")
    assert (one(store).state, one(store).why) == ("queued", "it is being submitted")
    replace(sent, driver=replace(sent.driver, started="1")).write()
    assert (one(store).state, one(store).why) == ("lost", "its driver ended before it was submitted")
    slurm.job(sent, 0, "PENDING")  # sbatch got through all the same
    assert (one(store).state, one(store).job) == ("queued", "7_0")
    slurm.jobs.clear()
    sent.with_array(replace(sent.arrays[0], state="refused", message="sbatch: Invalid partition"))
    assert (one(store).state, one(store).why) == ("lost", "sbatch refused it: sbatch: Invalid partition")


def test_latest_submission_counts_unless_an_earlier_one_is_held(store: Store, slurm: Slurm) -> None:
    store.run("a")
    first = store.sent(("a",))
    time.sleep(0.01)
    second = store.sent(("a",), job="8")
    assert (one(store).state, one(store).submission) == ("lost", second.id)
    slurm.job(first, 0, "PENDING")
    assert (one(store).state, one(store).submission) == ("queued", first.id)


def test_cancelled(store: Store, slurm: Slurm) -> None:
    store.run("a")
    sent = store.sent(("a",))
    sent.cancelled(sent.arrays[0].packs[0]).touch()
    slurm.job(sent, 0, "RUNNING", node="n1")
    assert (one(store).state, one(store).why) == ("cancelled", "its job is being ended")
    slurm.jobs.clear()
    assert (one(store).state, one(store).why) == ("cancelled", "")
    store.run("a", "cancelled")
    again = store.sent(("a",))
    slurm.job(again, 0, "PENDING")
    assert one(store).state == "queued"


def test_dry_submissions_hold_nothing(store: Store, slurm: Slurm) -> None:
    store.run("a")
    store.sent(("a",), state="dry", job=None)
    assert one(store).why == "no driver works on it"


def test_damaged_files_are_shown_not_stumbled_over(store: Store, slurm: Slurm) -> None:
    run = store.claimed("a", alive=False)
    sent = store.sent(("a",))
    slurm.job(sent, 0, "PENDING")
    for damaged in (run.path / "state.json", run.path / "config.yaml", run.path / "attempt-1" / "history.jsonl"):
        damaged.write_bytes(b"\xff\x00garbage")
    assert (one(store).state, one(store).architecture) == ("queued", None)
    (sent.path / "submission.json").write_text("garbage")
    assert one(store).state == "queued"
    table.console().print(table.show(survey([store.path]), [str(store.path)]))


def test_thousands_of_runs_are_few_questions(store: Store, slurm: Slurm) -> None:
    names = [f"{i:012x}" for i in range(200)]
    for name in names:
        store.run(name)
    for start in range(0, 200, 20):
        sent = store.sent(*((name,) for name in names[start : start + 20]))
        for index in range(20):
            slurm.job(sent, index, "PENDING")
    found = survey([store.path])
    assert found.counts() == {"queued": 200}
    assert slurm.asked == 1


# -- the command -------------------------------------------------------------------------------------------------------


def test_command_tells_and_its_exit_code(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(store.path)
    assert main(["status", "--store", path]) == 0
    assert capsys.readouterr().out == "0 runs\n"
    store.run("aaa")
    assert main(["status", "--store", path]) == 0
    store.run("bbb", "failed", message="ValueError: no")
    capsys.readouterr()
    assert main(["status", "--store", path]) == 1
    out = capsys.readouterr().out
    assert out.startswith("2 runs: 1 queued, 1 failed\n")
    assert "ValueError: no" in out
    assert f"python -m slurm logs bbb --store {path}" in out
    assert main(["status", "--store", path, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["counts"] == {"queued": 1, "failed": 1}
    assert [run["run_id"] for run in content["runs"]] == ["aaa", "bbb"]
    assert content["scheduler"] == {"reachable": True, "message": ""}
    assert main(["status", "--store", path + "x"]) == 2
    message = f"--store {path}x: no such directory; accepted: the store= of a sweep"
    assert capsys.readouterr().err == f"python -m slurm: {message}\n"


def test_long_tables_are_cut_and_say_so(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(table.SHOWN + 5):
        store.run(f"{i:04}", "failed", message="no")
    main(["status", "--store", str(store.path)])
    assert "and 5 more failed (--all)" in capsys.readouterr().out
    main(["status", "--all", "--store", str(store.path)])
    assert "more failed" not in capsys.readouterr().out


def test_watch_ends_when_nothing_moves(
    store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = store.run("a")
    slurm.job(store.sent(("a",)), 0, "PENDING")

    def sleep(_: float) -> None:
        files.write_json(run.path / "result.json", {"attempt": 1})

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["status", "--watch", "--store", str(store.path)]) == 0
    assert capsys.readouterr().out.splitlines()[:2] == ["1 run: 1 queued", "1 run: 1 done"]


def test_logs(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    run = store.claimed("abc", alive=False)
    run.set_state("failed", attempt=1, message="KeyError: 'x'")
    (run.path / "attempt-1" / "log.txt").write_text("".join(f"line {i}\n" for i in range(9)))
    (run.path / "attempt-1" / "error.txt").write_text("Traceback\nKeyError: 'x'\n")
    sent = store.sent(("abc",))
    (sent.path / "logs" / "7_0.log").write_text("of the job\n")
    assert main(["logs", "ab", "--lines", "2", "--store", str(store.path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("run abc is failed: KeyError: 'x'\n")
    for part in ("line 7\nline 8\n", "Traceback\nKeyError: 'x'\n", "7_0.log\nof the job\n"):
        assert part in out
    assert "line 6" not in out
    store.run("abd")
    assert main(["logs", "ab", "--store", str(store.path)]) == 2
    assert "2 runs begin so" in capsys.readouterr().err
    assert main(["logs", "x", "--store", str(store.path)]) == 2
    assert main(["logs", "abd", "--store", str(store.path)]) == 0
    assert "it has said nothing yet" in capsys.readouterr().out


def test_cancel_ends_jobs_and_marks_their_runs(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    waiting, running = store.run("waiting"), store.claimed("running", alive=True)
    failed = store.run("failed", "failed")
    sent = store.sent(("waiting",), ("running",), ("failed",))
    for index in range(2):
        slurm.job(sent, index, "RUNNING", node="n1")
    assert main(["cancel", "--store", str(store.path)]) == 0
    assert "1 run cancelled, 2 jobs ended" in capsys.readouterr().out
    assert slurm.cancelled == [(sent.arrays[0].name, "7", [0, 1])]
    assert (waiting.state(), running.state(), failed.state()) == ("cancelled", "running", "failed")
    packs = sent.arrays[0].packs
    assert [sent.cancelled(pack).exists() for pack in packs] == [True, True, False]
    assert main(["cancel", "failed", "--store", str(store.path)]) == 2
    assert "run failed is failed; accepted: runs that are queued | running" in capsys.readouterr().err


def test_cancel_of_a_part_of_a_job_is_refused(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a1", "a2", "a3"):
        store.run(name)
    slurm.job(store.sent(("a1", "a2"), ("a3",)), 0, "PENDING")
    assert main(["cancel", "a1", "--store", str(store.path)]) == 2
    assert "run a1 shares its job with 1 run, which would end too; accepted: name them as well (a2)" in (
        capsys.readouterr().err
    )
    assert slurm.cancelled == []
    assert main(["cancel", "a1", "a2", "--store", str(store.path)]) == 0
    assert {row.run_id: row.state for row in survey([store.path]).runs} == {
        "a1": "cancelled", "a2": "cancelled", "a3": "lost",
    }  # fmt: skip


def test_cancel_of_a_local_sweep_says_how(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    store.claimed("a", alive=True)
    idle = store.run("b")
    assert main(["cancel", "--store", str(store.path)]) == 1
    assert "run a: a sweep on" in capsys.readouterr().err
    assert idle.state() == "cancelled"


def test_scancel_that_fails_is_a_problem(
    store: Store, slurm: Slurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise SlurmError("scancel: no answer in 60 s")

    store.run("a")
    slurm.job(store.sent(("a",)), 0, "PENDING")
    monkeypatch.setattr(scheduler, "cancel", refuse)
    assert main(["cancel", "--store", str(store.path)]) == 1
    assert "job 7: scancel: no answer in 60 s; the same command tries again" in capsys.readouterr().err


def test_retry_of_local_runs(store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]) -> None:
    failed, cancelled = store.run("a", "failed"), store.run("b", "cancelled")
    assert main(["retry", "--store", str(store.path)]) == 0
    assert "2 runs queued again: start the sweep again" in capsys.readouterr().out
    assert failed.state() == cancelled.state() == "queued"
    assert main(["retry", "--store", str(store.path)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["retry", "a", "--store", str(store.path)]) == 2


def test_retry_of_a_run_whose_meaning_changed_is_told(
    store: Store, slurm: Slurm, capsys: pytest.CaptureFixture[str]
) -> None:
    store.run("a", "failed")
    store.sent(("a",))
    assert main(["retry", "--store", str(store.path)]) == 1
    assert "run a: its data or the meaning of its configuration changed" in capsys.readouterr().err
