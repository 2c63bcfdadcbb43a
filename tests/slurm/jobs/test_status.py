"""The truth about every run: each way in which a run can be what it is, and what the scheduler's word changes."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from experiments.core import files
from experiments.core.processes import Process
from experiments.core.states import ArrayState, RunState
from experiments.runs.store import PROGRESS
from slurm.jobs import table
from slurm.jobs.scheduler import Job
from slurm.jobs.status import RunStatus, survey
from tests.slurm.states import Slurm, Store


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


def test_a_fit_in_closed_form_tells_the_share_that_is_done(store: Store, slurm: Slurm) -> None:
    run = store.claimed("a", alive=True)
    files.write_json(run.path / "attempt-1" / PROGRESS, {"share": 0.25, "seconds": 30.0, "seconds_left": 90.0})
    row = one(store)
    assert (row.share, row.seconds_left) == (0.25, 90.0)
    cells = table._cells(row)
    assert (cells[5], cells[7]) == ("25%", "90 s")


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
    run.set_state(RunState.FAILED, attempt=1)
    assert one(store).why == "KeyError: 'x'"
    run.set_state(RunState.FAILED)
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
    sent.with_array(replace(sent.arrays[0], state=ArrayState.REFUSED, message="sbatch: Invalid partition"))
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
