"""`python -m benchmarks.gpu_check`: its rows on a CPU, and what becomes of checks that crash, hang or come too late."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.on_gpu.checker import Lane
from benchmarks.on_gpu.plan import Check
from benchmarks.on_gpu.small_networks import CASES

pytestmark = pytest.mark.slow  # they start processes that import torch


def test_on_a_cpu_packs_and_resumed_runs_are_checked_for_every_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "rows.json"
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--device", "cpu", "--minutes", "10", "--out", str(out)])
    assert gpu_check.main() == 0
    rows = json.loads(out.read_text())
    done = {(row["check"], row["architecture"]) for row in rows if row["state"] == "ok"}
    for name in CASES:
        assert ("pack = singles", name) in done
        assert ("resumed = whole", name) in done
    assert {row["state"] for row in rows} == {"ok", "skipped", "not_measured"}
    assert {row["state"] for row in rows if row["check"] == "speed"} == {"not_measured"}


def lane(folder: Path) -> Lane:
    return Lane("cpu", folder / "log", folder, {}, 0, 1)


def carried_out(folder: Path, seconds: float, *functions: str) -> list[tuple[str, str]]:
    """State and message of checks by the functions of `benchmarks.on_gpu.checker.TRIALS`."""
    table = gpu_check.Table(folder / "rows.json")
    checks = [Check(function, "", function, seconds=2.0) for function in functions]
    gpu_check.carry_out(checks, lane(folder), table, time.monotonic() + seconds, threading.Event())
    return [(row["state"], row.get("message", row.get("reason", ""))) for row in table.rows]


def test_a_check_that_crashes_costs_its_row_alone(tmp_path: Path) -> None:
    crashed, after = carried_out(tmp_path, 60, "crash", "environment")
    assert crashed[0] == "error"
    assert "its process ended" in crashed[1]
    assert after[0] == "ok"


def test_a_check_that_hangs_is_killed_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_check, "START_SECONDS", 15.0)  # torch is imported in it
    hung, after = carried_out(tmp_path, 90, "hang", "environment")
    assert hung == ("error", "no answer within 17 s")
    assert after[0] == "ok"


def test_when_the_time_is_up_the_rest_is_not_measured(tmp_path: Path) -> None:
    began = time.monotonic()
    hung, after = carried_out(tmp_path, 6, "hang", "environment")
    assert hung == ("not_measured", "the time was up")
    assert after == ("not_measured", "the time was up")
    assert time.monotonic() - began < 3 * 6  # it sleeps for an hour
