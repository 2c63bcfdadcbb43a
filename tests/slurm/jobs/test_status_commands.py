"""The commands that tell and change the state of runs: status, logs, cancel, retry."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from experiments.core import files
from experiments.core.states import RunState
from slurm.cli import main
from slurm.jobs import scheduler, table
from slurm.jobs.commands import SlurmError
from slurm.jobs.status import survey
from tests.slurm.states import Slurm, Store


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
    run.set_state(RunState.FAILED, attempt=1, message="KeyError: 'x'")
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
    assert "2 run ids begin with this" in capsys.readouterr().err
    assert main(["logs", "x", "--store", str(store.path)]) == 2
    assert main(["logs", "abd", "--store", str(store.path)]) == 0
    assert "its logs are empty so far" in capsys.readouterr().out


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
    assert "run a: it belongs to a sweep on" in capsys.readouterr().err
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
