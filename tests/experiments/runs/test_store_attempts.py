"""Files of attempts: checkpoints are pruned, diverged ones are not used again, leases are renewed by one thread."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from experiments.core import files, leases
from experiments.core.errors import InputError
from experiments.core.leases import LEASES
from experiments.runs.store import Attempt, Run, RunStore, read_history

RESULT = {"metrics": {"force_mae": 0.25}, "converged": True}
pytestmark = pytest.mark.usefixtures("no_power_cut")


def attempt(run: Run, *counts: int) -> Attempt:
    """An attempt that wrote checkpoints and then lost its lease."""
    taken = run.claim()
    assert taken is not None
    for count in counts:
        (taken.path / f"step-{count:09d}.safetensors").write_text("")
    (taken.path / "alive.json").unlink()
    return taken


def steps(run: Run) -> list[str]:
    return sorted(str(path.relative_to(run.path)) for path in run.path.rglob("step-*"))


def test_a_finished_run_keeps_no_checkpoint_of_any_attempt(run: Run) -> None:
    attempt(run, 100, 200)
    orphan = attempt(run, 300)
    last = run.claim()
    assert last is not None
    (last.path / "step-000000400.safetensors").write_text("")
    (orphan.path / "step-000000350.safetensors").write_text("")
    assert last.publish(RESULT)
    assert steps(run) == []


def test_an_orphan_takes_its_checkpoints_with_it(run: Run) -> None:
    """It went on after another attempt had taken the run and published: what it wrote since goes when it ends."""
    orphan = run.claim()
    assert orphan is not None
    with orphan:
        (orphan.path / "alive.json").unlink()  # its lease lapsed
        winner = run.claim()
        assert winner is not None
        with winner:
            assert winner.publish(RESULT)
        (orphan.path / "step-000000500.safetensors").write_text("")
    assert steps(run) == []


def test_two_checkpoints_are_kept_however_many_attempts(run: Run) -> None:
    for first in range(100, 600, 100):
        attempt(run, first, first + 50)
    attempt(run, 120)  # it went back to an older one, for the later ones were damaged
    assert run.claim() is not None
    assert steps(run) == ["attempt-5/step-000000500.safetensors", "attempt-5/step-000000550.safetensors"]


def test_nobody_goes_on_from_a_diverged_attempt_or_those_before_it(run: Run) -> None:
    attempt(run, 100)
    attempt(run, 200).diverged("the loss is not finite at update 250")
    third = attempt(run, 10)
    assert [p.name for p in third.earlier()] == ["attempt-3"]
    fourth = run.claim()
    assert fourth is not None
    assert [p.name for p in fourth.earlier()] == ["attempt-4", "attempt-3"]
    assert steps(run) == ["attempt-3/step-000000010.safetensors"]


def test_leases_of_a_pack_are_renewed_by_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    threads = threading.active_count()
    store = RunStore(tmp_path)
    attempts = []
    for number in range(50):
        run = store.run(f"{number:012x}")
        run.create({})
        taken = run.claim()
        assert taken is not None
        attempts.append(taken)
    for taken in attempts:
        os.utime(taken.path / "alive.json", (0, 0))
        taken.__enter__()
    assert threading.active_count() == threads + 1
    deadline = time.monotonic() + 30
    while any((taken.path / "alive.json").stat().st_mtime == 0 for taken in attempts):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for taken in attempts[1:]:
        taken.__exit__()
    os.utime(attempts[0].path / "alive.json", (0, 0))
    while (attempts[0].path / "alive.json").stat().st_mtime == 0:  # the others' end is not its end
        assert time.monotonic() < deadline
        time.sleep(0.01)
    attempts[0].__exit__()
    assert not list(tmp_path.rglob("alive.json"))
    while threading.active_count() > threads:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert LEASES._held == set()


def test_a_claim_that_meets_a_full_disk_leaves_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        run.claim()
    assert sorted(p.name for p in run.path.iterdir()) == ["config.yaml", "state.json"]


def test_a_sound_configuration_is_left_alone(run: Run) -> None:
    before = (run.path / "config.yaml").stat().st_mtime_ns
    run.repair({"P": 8, "seed": 0})
    assert (run.path / "config.yaml").stat().st_mtime_ns == before
    (run.path / "config.yaml").write_text("")
    with pytest.raises(InputError):
        run.config()
    run.repair({"P": 8, "seed": 0})
    assert run.config() == {"P": 8, "seed": 0}


def test_lines_of_a_history_that_are_no_records_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"clock": 1}\n7\n"x"\n{"clock": 2}\n')
    assert read_history(tmp_path / "history.jsonl") == [{"clock": 1}, {"clock": 2}]
