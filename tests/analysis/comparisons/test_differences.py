"""Differences of exponents with what a table's pairs lend each other, of single runs, and under changes of unit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.comparisons.differences import ALONE, Lent, floor_difference, lend, slope_difference
from analysis.comparisons.paired import Pair, pair
from analysis.curve import Curve, curves
from analysis.fits.uncertainty import Interval, t_interval
from analysis.table import check_table
from tests.analysis.comparisons.test_paired import curve

NAMED = [curve(beta=0.5, prefactor=1.0, L=i) for i in range(8)]


def pairs_of(log_p: FloatArray, rows: Sequence[FloatArray], *, paired: bool = True) -> list[Pair]:
    """All pairs of curves of ln ε [S, K]."""
    curves: list[Curve] = NAMED[: len(rows)]
    return [Pair(curves[i], curves[j], log_p, rows[i], rows[j], paired) for i, j in combinations(range(len(rows)), 2)]


def simulated(n_tables: int, n_curves: int, n_seeds: int, n_sizes: int = 7) -> tuple[FloatArray, FloatArray]:
    """ln P [K] and ln ε [T, M, S, K] of curves with β = 0.5."""
    scenario = Scenario("", n_seeds, n_sizes, test=0.0)
    log_p, rows = simulate(scenario, n_tables * n_curves, np.random.default_rng(n_seeds))
    return log_p, rows.reshape(n_tables, n_curves, n_seeds, n_sizes)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_lent_degrees_of_freedom_keep_the_coverage_and_narrow_the_interval(n_seeds: int, paired: bool) -> None:
    log_p, tables = simulated(150, 4, n_seeds)
    found: list[tuple[Interval, Interval]] = []
    for rows in tables:
        pairs = pairs_of(log_p, list(rows), paired=paired)
        lent = lend(pairs)
        found += [(slope_difference(one, lent=lent), slope_difference(one)) for one in pairs]
    covered = np.mean([one.low <= 0 <= one.high for one, _ in found])
    # pairs of a table hang together: 150 independent tables of three differences, 450, with a binomial error of 1 %
    assert covered >= 0.95 - 0.03
    ratio = np.median([(one.high - one.low) / (alone.high - alone.low) for one, alone in found])
    assert ratio < {1: 0.98, 2: 0.6 if paired else 0.7, 3: 0.85}[n_seeds]


def test_without_a_table_it_is_the_t_interval_over_seeds() -> None:
    log_p, tables = simulated(1, 2, 5)
    (one,) = pairs_of(log_p, list(tables[0]))
    shifted = log_p - log_p.mean()
    reference = t_interval(-((one.second_log - one.first_log) @ shifted) / (shifted @ shifted))
    found = slope_difference(one)
    assert (found.low, found.value, found.high) == pytest.approx((reference.low, reference.value, reference.high))
    assert found.dof == 4


def test_pairs_that_share_curves_lend_no_more_than_curves_have() -> None:
    """Four curves of three seeds have three differences of their own, 3·2 degrees of freedom, in six pairs."""
    log_p, tables = simulated(1, 4, 3)
    pairs = pairs_of(log_p, list(tables[0]))
    assert lend(pairs).pairs.pooled[0] == pytest.approx(6.0)
    assert lend(pairs[:3]).pairs.pooled[0] == pytest.approx(6.0)  # the first with each other
    assert lend(pairs[:2]).dof == 0.0  # two variances say nothing of a third


def test_two_sizes_of_single_runs_have_no_interval() -> None:
    log_p, tables = simulated(1, 2, 1, 2)
    (one,) = pairs_of(log_p, list(tables[0]))
    assert np.isnan(slope_difference(one).low)
    assert np.isfinite(slope_difference(one).value)


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_floors_of_few_seeds_have_an_interval(n_seeds: int) -> None:
    log_p, tables = simulated(60, 4, n_seeds, 8)
    tables = np.log(np.exp(tables) + 0.3 * np.exp(-0.5 * log_p[-1]))
    found = []
    for rows in tables:
        pairs = pairs_of(log_p, list(rows))
        lent = lend(pairs)
        found += [floor_difference(one, lent=lent) for one in pairs]
    known = [one for one in found if np.isfinite(one.low)]
    assert len(known) > 0.9 * len(found)
    # 180 independent differences: binomial error 1.6 %; linearised floors cover some 90 % (docs)
    assert np.mean([one.low <= 0 <= one.high for one in known]) >= 0.85


def test_seeds_that_share_a_whole_pool_say_less() -> None:
    """At P_max all seeds have the same frames: their scatter does not show how another pool would differ."""
    log_p, tables = simulated(1, 2, 5)
    (one,) = pairs_of(log_p, list(tables[0]))
    shared = replace(one, pool=float(np.exp(log_p[-1])))
    here, there = slope_difference(shared), slope_difference(one)
    assert here.value == there.value
    assert here.high - here.low > 1.5 * (there.high - there.low)
    floored = floor_difference(shared), floor_difference(one)
    assert floored[0].high - floored[0].low > 1.5 * (floored[1].high - floored[1].low)


def test_published_standard_deviations_are_the_scatter() -> None:
    """Means ± sd (5) of two curves: the interval is close to that of the ten runs behind them."""
    rng = np.random.default_rng(0)
    sizes = (16, 32, 64, 128, 256, 512)
    rows = [
        {"dataset": "d", "architecture": name, "metric": "m", "P": P, "error": P**-0.5, "error_sd": 0.06 * P**-0.5}
        for name in ("one", "two")
        for P in sizes
    ]
    table = pd.DataFrame(rows).assign(n_runs=5)
    table["error"] *= np.exp(0.06 / np.sqrt(5) * rng.normal(size=len(table)))
    both = pair(*curves(check_table(table, "t")))
    assert both is not None
    found = slope_difference(both)
    x = np.log(sizes)
    independent = 0.06 * np.sqrt(2 / 5 / ((x - x.mean()) ** 2).sum())
    assert not both.paired
    # the runs may share subsets: then neighbouring errors move together, and a slope is less certain
    assert independent < found.error < 1.5 * independent
    assert found.low < 0 < found.high


NOISE = st.tuples(st.integers(0, 10_000), st.sampled_from([1, 2, 4])).map(
    lambda drawn: 0.05 * np.random.default_rng(drawn[0]).normal(size=(4, drawn[1], 7))
)
GRID = np.log(16.0 * 2.0 ** np.arange(7))


def measured(rows: FloatArray, lent_by_all: bool) -> tuple[Pair, Lent]:
    pairs = pairs_of(GRID, [-0.4 * GRID + one for one in rows])
    return pairs[0], lend(pairs) if lent_by_all else ALONE


@given(noise=NOISE, lent_by_all=st.booleans())
def test_swapped_curves_have_the_opposite_difference(noise: FloatArray, lent_by_all: bool) -> None:
    one, lent = measured(noise, lent_by_all)
    other = replace(one, first=one.second, second=one.first, first_log=one.second_log, second_log=one.first_log)
    for difference in (slope_difference, floor_difference):
        here, there = difference(one, lent=lent), difference(other, lent=lent)
        assert (here.value, here.low, here.high) == pytest.approx((-there.value, -there.high, -there.low), nan_ok=True)


@given(noise=NOISE, units=st.lists(st.floats(-7.0, 7.0), min_size=4, max_size=4), lent_by_all=st.booleans())
def test_scaled_errors_change_no_exponent(noise: FloatArray, units: list[float], lent_by_all: bool) -> None:
    """Each curve in a unit of its own."""
    (one, lent), (other, lent_too) = (
        measured(rows, lent_by_all) for rows in (noise, noise + np.array(units)[:, None, None])
    )
    here, there = slope_difference(one, lent=lent), slope_difference(other, lent=lent_too)
    assert (here.value, here.low, here.high) == pytest.approx((there.value, there.low, there.high), abs=1e-9)
    here, there = floor_difference(one, lent=lent), floor_difference(other, lent=lent_too)
    # the search for floors starts from single precision and ends within 1e-4 of the minimum
    assert (here.value, here.low, here.high) == pytest.approx(
        (there.value, there.low, there.high), abs=2e-3, nan_ok=True
    )
