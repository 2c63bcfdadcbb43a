"""Processes that take steps in turns, and the summary of their times (no speed is asserted)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import compiling, turns
from benchmarks.turns import Turn, Worker, WorkerPair, own_python, peer_python, summarise, time_in_turns
from experiments.core.errors import InputError

FAKE = "tests.benchmarks.fake"


def test_two_processes_in_turns() -> None:
    settings = {"threads": 1, "seconds": 0.001}
    with (
        Worker(own_python(), FAKE, settings) as ours,
        Worker(own_python(), FAKE, {**settings, "seconds": 0.004}) as peer,
    ):
        assert ours.facts["parameters"] == 7
        assert ours.facts["compile_s"] > 0.001
        pairs = time_in_turns(ours, peer, seconds=0.0, turn=0.02)
    assert len(pairs) == 5
    for own, other in pairs:
        assert own.wall >= 0.001  # sleeping takes no less, however busy the machine is
        assert other.wall >= 0.004
        assert own.cpu < own.wall
    assert ours.process.poll() == 0


def test_two_at_once_share_a_step() -> None:
    settings = {"threads": 1, "seconds": 0.05}
    with Worker(own_python(), FAKE, settings) as first, Worker(own_python(), FAKE, settings) as second:
        turn = WorkerPair(first, second).run(4)
    assert turn.wall >= 0.025  # both sleep at the same time


def test_the_ratio_is_the_median_of_the_turns() -> None:
    pairs = [(Turn(1.0, 0.5), Turn(ratio, 1.0)) for ratio in (1.0, 2.0, 3.0, 4.0, 50.0)]
    found = summarise(pairs)
    assert found["ratio"] == 3.0
    assert (found["ratio_low"], found["ratio_high"]) == (2.0, 4.0)
    assert found["ratio_cpu"] == 2.0
    assert found["ours_ms"] == 1000.0
    assert found["peer_cpu_ms"] == 1000.0


def test_a_process_that_ends_says_why() -> None:
    with pytest.raises(InputError, match=f"{FAKE}: ended: no such element"):
        Worker(own_python(), FAKE, {"threads": 1, "error": "no such element"})


def test_starts_of_compiled_and_eager_steps() -> None:
    """Each in a process of its own; what compiling saves is eager steps' processor time less compiled ones'."""
    settings = {"architecture": "fake", "L": 0, "channels": 1, "threads": 1, "device": "cpu", "seconds": 0.01}
    cold, warm = compiling.measure(settings, 0.0, FAKE)
    assert cold["name"].endswith("nothing in the cache")
    assert warm["name"].endswith("the shape in the cache")
    assert cold["peer_ms"] == warm["peer_ms"] > 0
    saved = cold["step"]["peer_cpu_ms"] - cold["step"]["ours_cpu_ms"]
    assert saved > 5  # an eager step works for 10 ms, a compiled one sleeps
    assert cold["repaid_by"] == (cold["ours_ms"] - cold["peer_ms"]) / saved


def test_a_package_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "ROOT", tmp_path)
    assert peer_python("mace") is None
    (tmp_path / ".venv-peers-mace").mkdir()
    assert peer_python("mace") is None  # half of an installation is none
    (tmp_path / ".venv-peers-mace" / ".installed").touch()
    assert peer_python("mace") == tmp_path / ".venv-peers-mace" / "bin" / "python"
