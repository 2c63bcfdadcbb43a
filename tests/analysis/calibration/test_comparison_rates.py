"""Statements about two curves hold as often as they say, in simulated tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis.calibration.comparison_rates import (
    equal_error_coverage,
    flatness,
    held_lines,
    held_records,
    measure_comparisons,
    molecule_coverage,
)
from analysis.cli import main


@pytest.mark.long
def test_every_statement_is_met() -> None:
    """The whole command with fewer tables; `calibrate --comparisons` has 4,000 for each case."""
    missed = [(one.statement, one.case, one.measured) for one in measure_comparisons(1000, seed=3) if not one.met]
    assert missed == []


@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_ratios_of_steep_curves_cover_and_flat_ones_have_none(n_seeds: int) -> None:
    rng = np.random.default_rng(n_seeds)
    steep, flat = equal_error_coverage(n_seeds, 0.6, 1500, rng), flatness(n_seeds, 1500, rng)
    assert steep.made == 1.0
    assert steep.met
    assert flat.measured > 0.98


def test_means_over_molecules_cover() -> None:
    one = molecule_coverage(5, 0.0, 1000, np.random.default_rng(0))
    assert one.measured >= 0.93  # 91 % without max(1, q)
    assert one.error == pytest.approx(np.sqrt(one.measured * (1 - one.measured) / 1000))


def test_command_streams_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    assert main(["calibrate", "--comparisons", "--tables", "20", "--json", str(out)]) == 0
    expected = list(measure_comparisons(20))
    assert capsys.readouterr().out.splitlines() == list(held_lines(expected))
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert entries == held_records(expected)
