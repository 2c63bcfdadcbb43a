"""Statements about two curves hold as often as they say, in simulated tables."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analysis.calibration.calibrate import Scenario, simulate
from analysis.calibration.comparison_rates import (
    equal_error_coverage,
    flatness,
    floor_coverage,
    held_lines,
    held_records,
    measure_comparisons,
    molecule_coverage,
    slope_coverage,
    table_prior,
)
from analysis.cli import main
from analysis.comparisons.differences import lend
from analysis.comparisons.equal_error import equal_error, ratios
from analysis.comparisons.paired import Pair
from analysis.comparisons.stacked import stack
from tests.analysis.comparisons.test_paired import curve


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


@pytest.mark.parametrize("unequal", [0.0, 0.4])
@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_differences_of_few_seeds_cover(n_seeds: int, unequal: float) -> None:
    for one in slope_coverage(n_seeds, unequal, 1500, np.random.default_rng(n_seeds)):
        assert one.met, one


@pytest.mark.parametrize("n_seeds", [1, 2, 5])
def test_differences_beside_floors_cover(n_seeds: int) -> None:
    one = floor_coverage(n_seeds, 1000, np.random.default_rng(n_seeds))
    assert one.met
    assert one.made > 0.99


def test_what_is_measured_is_what_the_program_does() -> None:
    """Priors, margins and ratios of simulated tables at once, against `compare`'s functions for each table."""
    log_p, tables = simulate(Scenario("", 2, 7, test=0.0), 4 * 5, np.random.default_rng(0))
    curves = tables.reshape(5, 4, 2, 7)
    named = [curve(beta=0.5, prefactor=1.0, L=i) for i in range(4)]
    together = ratios(log_p, stack(log_p, curves[:, 0], curves[:, 1], paired=True, prior=table_prior(log_p, curves)))
    for t, rows in enumerate(curves):
        pairs = [Pair(named[i], named[j], log_p, rows[i], rows[j], True) for i, j in combinations(range(4), 2)]
        alone = equal_error(pairs[0], prior=lend(pairs).curves).ratio
        assert np.log([alone.low, alone.high]) == pytest.approx([together.low[t], together.high[t]])


def test_means_over_molecules_cover() -> None:
    one = molecule_coverage(5, 0.0, 1000, np.random.default_rng(0))
    assert one.measured >= 0.93  # 91 % without max(1, q)
    assert one.error == pytest.approx(np.sqrt(one.measured * (1 - one.measured) / 1000))


def test_command_streams_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.json"
    assert main(["calibrate", "--comparisons", "--tables", "20", "--json", str(out)]) == 0
    expected = list(measure_comparisons(20))
    *lines, last = capsys.readouterr().out.splitlines()
    assert lines == list(held_lines(expected))
    assert last.startswith("missed: ")
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert entries == held_records(expected)
