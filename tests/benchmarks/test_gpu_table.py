"""The table of a check of a GPU, and the page that shows one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu_check
from benchmarks.on_gpu.table import markdown

ROOT = Path(__file__).resolve().parents[2]
MEASURED = ROOT / "docs" / "results" / "gpu" / "h200-2026-11-29.json"


def show(monkeypatch: pytest.MonkeyPatch, path: Path) -> int:
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--show", str(path)])
    return gpu_check.main()


def test_the_page_has_the_table_of_its_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(monkeypatch, MEASURED) == 0
    table = capsys.readouterr().out
    assert len(table.splitlines()) > 10
    assert f"\n\n{table}\n" in (ROOT / "docs" / "gpu.md").read_text()


def test_the_worst_of_each_check_and_what_failed() -> None:
    def row(check: str, network: str, state: str = "ok", **facts: Any) -> dict[str, Any]:
        return {"check": check, "architecture": network, "state": state, "at_s": 1.0, **facts}

    rows = [
        row("environment", "", gpu="Card", torch="2.13.0"),
        row("device = CPU", "mace", float64={"loss": 1e-16, "gradient": 2e-15}, float32={"loss": 3e-7}),
        row("device = CPU", "mlp", float64={"loss": 1e-16}, float32={"loss": 4e-6}),
        row("compiled = eager", "mace", "FAIL", gradient=0.3, losses=0.2, compile_s=88.3),
        row("compiled = eager", "mlp", gradient=1e-6, losses=2e-6, compile_s=5.0),
        row("speed", "mace, pack of 16", "error", message="InductorError: a|b\nmore"),
        row("speed", "mace, pack of 1", engine_ms=7.62, step="compiled"),
    ]
    assert markdown(rows).splitlines() == [
        "gpu Card, driver unknown, cuda unknown, torch 2.13.0, triton unknown, python unknown, cores unknown.",
        "",
        "| check | of | ok | found |",
        "|---|---|---|---|",
        "| device = CPU | 2 networks | 2 | float64 2.0e-15, float32 4.0e-06 at most |",
        "| compiled = eager | 2 networks | 1 | gradient 1.0e-06, losses 2.0e-06 at most |",
        "| compiled = eager | mace | FAIL | compiled in 88 s, gradient 3.0e-01, losses 2.0e-01 |",
        r"| speed | mace, pack of 16 | error | InductorError: a\|b |",
        "| speed | mace, pack of 1 | ok | 7.6 ms an update, compiled |",
    ]


@pytest.mark.parametrize("content", [None, "{}", '[{"check": "speed"}]', "["])
def test_what_is_no_such_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "rows.json"
    if content is not None:
        path.write_text(content)
    assert show(monkeypatch, path) == 2
    assert capsys.readouterr().err == f"gpu_check: --show {path}: expected a file that --out wrote\n"
