"""The benchmark of starting: its rows, and the CPU time of a process (no speed is asserted)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from benchmarks import start


def test_rows_are_the_slowest_help_and_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    def pretended(words: Sequence[str], repeats: int) -> float:
        if words == start.TORCH:
            return 1000.0
        return {"table": 30.0, "fit": 40.0}[words[2]] if words[-1] == "--help" else 500.0

    monkeypatch.setattr(start, "cpu_ms", pretended)
    slowest, plan = start.benchmarks(["table", "fit"])
    assert slowest["name"] == "start, CPU: equilaw fit --help, the slowest help"
    assert (slowest["ours_ms"], slowest["ratio"]) == (40.0, 25.0)
    assert slowest["cpu_ms"] == {"table": 30.0, "fit": 40.0}
    assert (plan["ours_ms"], plan["ratio"]) == (500.0, 2.0)


def test_time_is_of_the_process_that_runs() -> None:
    """A busy loop of 0.2 CPU seconds has used at least these, however busy the machine is."""
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    assert start.cpu_ms(("-c", busy), 1) >= 190  # ms; a kernel may count in ticks of 10


def test_a_command_that_fails_is_told() -> None:
    with pytest.raises(RuntimeError, match="KeyError"):
        start.cpu_ms(("-c", "raise KeyError(1)"), 1)
