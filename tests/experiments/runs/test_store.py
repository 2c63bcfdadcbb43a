"""The run store: nothing is published twice, states are told from what is there, garbage harms nobody."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.processes import Process
from experiments.core.states import RunState
from experiments.runs import store as runs
from experiments.runs.store import Attempt, Run, RunStore, read_history, tail
from tests.experiments.runs.holders import abandon, dead_process, temporary_files

RESULT = {"metrics": {"force_mae": 0.25}, "converged": True}
pytestmark = pytest.mark.usefixtures("no_power_cut")


# --- results


def test_published_once(run: Run) -> None:
    first = run.claim()
    assert first is not None
    (first.path / "alive.json").unlink()  # an orphan whose lease lapsed
    second = run.claim()
    assert second is not None
    assert second.publish({**RESULT, "who": "second"})
    assert not first.publish({**RESULT, "who": "first"})
    result = run.result()
    assert result is not None
    assert result["who"] == "second"
    assert result["attempt"] == 2
    assert run.state() == "done"
    assert run.claim() is None


def test_many_publishers_one_result(run: Run) -> None:
    attempts = []
    for _ in range(8):
        attempt = run.claim()
        assert attempt is not None
        (attempt.path / "alive.json").unlink()
        attempts.append(attempt)
    barrier, won = threading.Barrier(8), []

    def publish(attempt: Attempt) -> None:
        barrier.wait()
        if attempt.publish(RESULT):
            won.append(attempt.number)

    threads = [threading.Thread(target=publish, args=(a,)) for a in attempts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result = run.result()
    assert result is not None
    assert won == [result["attempt"]]


def _finish(run: Run) -> Attempt:
    attempt = run.claim()
    assert attempt is not None
    for name in (*runs.PUBLISHED, runs.WEIGHTS, "step-000000007.safetensors"):
        (attempt.path / name).write_text(name)
    return attempt


def test_settle_after_a_crash_behind_the_link(run: Run) -> None:
    """Killed right after the link: the result is there, its files are not; the next look puts them there."""
    attempt = _finish(run)
    files.write_json(attempt.path / "result.json", {**RESULT, "attempt": attempt.number})
    files.link_once(attempt.path / "result.json", run.path / "result.json")
    (attempt.path / "alive.json").unlink()
    run.set_state(RunState.RUNNING)
    assert run.state() == "done"
    for _ in range(2):  # repeating it is harmless
        assert run.claim() is None
        assert (run.path / "frame_errors.parquet").read_text() == "frame_errors.parquet"
        assert (run.path / "checkpoint" / runs.WEIGHTS).exists()
        assert not list(run.path.rglob("step-*"))
        assert run.recorded_state()["state"] == "done"


def test_loser_keeps_its_files_to_itself(run: Run) -> None:
    loser = _finish(run)
    (loser.path / "alive.json").unlink()
    winner = _finish(run)
    (winner.path / "frame_errors.parquet").write_text("the winner's")
    assert winner.publish(RESULT)
    assert not loser.publish(RESULT)
    assert (run.path / "frame_errors.parquet").read_text() == "the winner's"


def test_damaged_result_is_computed_again(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    attempt = _finish(run)
    attempt.publish(RESULT)
    (attempt.path / "alive.json").unlink()
    whole = (run.path / "result.json").read_text()
    for garbage in ("", whole[: len(whole) // 2], "[]", "\0" * 64, "{}"):
        (run.path / "result.json").write_text(garbage)
        assert run.result() is None
        assert run.state() == "interrupted"
        again = run.claim()
        assert again is not None
        assert "damaged" in caplog.text
        assert again.publish(RESULT)
        assert run.state() == "done"
        (again.path / "alive.json").unlink()


# --- states and garbage

TRUTH = [
    # recorded, process, result → state
    (None, None, False, "queued"),
    ("queued", None, False, "queued"),
    ("queued", "alive", False, "running"),
    ("queued", "dead", False, "queued"),
    ("running", None, False, "interrupted"),
    ("running", "alive", False, "running"),
    ("running", "dead", False, "interrupted"),
    ("failed", None, False, "failed"),
    ("failed", "dead", False, "failed"),
    ("failed", "alive", False, "running"),
    ("cancelled", None, False, "cancelled"),
    ("done", None, False, "interrupted"),
    ("running", "dead", True, "done"),
    ("failed", None, True, "done"),
    ("queued", "alive", True, "done"),
    ("garbage", None, False, "queued"),
    ("garbage", None, True, "done"),
]


@pytest.mark.parametrize(("recorded", "process", "result", "state"), TRUTH)
def test_state(run: Run, recorded: str | None, process: str | None, result: bool, state: str) -> None:
    if recorded is None:
        (run.path / "state.json").unlink()
    elif recorded == "garbage":
        (run.path / "state.json").write_bytes(b'{"state": "done", "ti\xff')
    else:
        run.set_state(RunState(recorded))
    if process:
        abandon(run, Process.this() if process == "alive" else dead_process())
    if result:
        files.write_json(run.path / "result.json", {**RESULT, "attempt": 1})
    assert run.state() == state


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b'{"host": 1}', b'{"pid": "x"}', b"\xff\xfe\0"])
def test_garbage_lease_is_no_lease(run: Run, garbage: bytes) -> None:
    path = abandon(run, Process.this())
    (path / "alive.json").write_bytes(garbage)
    assert run.claim() is not None


def test_create_keeps_what_another_driver_did(run: Run) -> None:
    run.set_state(RunState.FAILED, message="why")
    run.create({"P": 9})
    (run.path / "config.yaml").unlink()  # two drivers at once: both saw none
    run.create({"P": 8, "seed": 0})
    assert run.recorded_state()["message"] == "why"
    assert run.config() == {"P": 8, "seed": 0}


@pytest.mark.parametrize("garbage", [b"", b"P: [1", b"just text", b"\xff\xfe\x00"])
def test_damaged_config_has_a_message(run: Run, garbage: bytes) -> None:
    (run.path / "config.yaml").write_bytes(garbage)
    with pytest.raises(InputError, match=r"config.yaml is damaged; delete the directory"):
        run.config()


def test_store_lists_runs_only(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "absent")
    assert store.runs() == []
    store.run("b" * 12).create({"P": 1})
    store.run("a" * 12).create({"P": 1})
    (store.path / "workers").mkdir()
    (store.path / "notes.txt").write_text("mine")
    assert [r.id for r in store.runs()] == ["a" * 12, "b" * 12]
    assert list(store.results()) == []


# --- what killed writers leave


def test_asides_of_dead_writers_are_deleted_at_once_those_of_living_ones_stay(run: Run) -> None:
    dead = dead_process()
    attempt = abandon(run, dead)
    tag = f"{files.TEMPORARY}{dead.machine}-{dead.pid}-{dead.started}"
    (attempt / f"{tag}-0123-step-000000100.safetensors").write_bytes(b"half")
    (run.path / f"{tag}-0123-state.json").write_bytes(b"{")
    (run.path / f"{tag}-0123-claim").mkdir()
    (run.path / f"{tag}-0123-claim" / f"{tag}-4567-alive.json").write_bytes(b"{")
    mine = files.temporary_for(run.path / "state.json")
    mine.write_bytes(b"being written by another thread")
    theirs = run.path / f"{files.TEMPORARY}ffffffff-1-1-0123-state.json"
    theirs.write_bytes(b"on another machine, just now")
    old = run.path / f"{files.TEMPORARY}ffffffff-1-1-4567-state.json"
    old.write_bytes(b"on another machine, long ago")
    os.utime(old, (1, 1))
    assert run.claim() is not None
    assert temporary_files(run.path) == sorted([mine, theirs])


def test_logs_and_histories_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    assert read_history(path) == []
    assert tail(path) == ""
    path.write_text('{"clock": 1}\n{"clock": 2}\n{"clo')
    assert read_history(path) == [{"clock": 1}, {"clock": 2}]
    assert tail(path, 2) == '{"clock": 2}\n{"clo'


def test_a_state_of_a_later_version_counts_as_none(run: Run) -> None:
    (run.path / "state.json").write_text('{"state": "hibernating"}')
    assert run.state() is RunState.QUEUED
