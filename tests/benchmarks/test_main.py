"""`python -m benchmarks`: measured rows stay in the file, whatever happens to the next one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as bench
from benchmarks import steps


def test_an_interrupted_benchmark_keeps_its_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def measure(case: str, *_: Any) -> list[dict[str, Any]]:
        if case == "second":
            raise KeyboardInterrupt
        return [{"name": case}]

    monkeypatch.setattr(steps, "cases", lambda *_: [("first", ()), ("second", ())])
    monkeypatch.setattr(steps, "measure", measure)
    out = tmp_path / "deep" / "bench.json"
    monkeypatch.setattr(sys, "argv", ["bench", "--out", str(out), "--kinds", "step"])
    assert bench.main() == 130
    assert [row["name"] for row in json.loads(out.read_text())] == ["first"]
