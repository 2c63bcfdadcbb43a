"""Equal-error ratios against known answers: shifts, flat and rising curves, leaders, and coverage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.arrays import FloatArray
from analysis.comparisons.equal_error import EqualError, equal_error, ratios
from analysis.comparisons.paired import Pair
from analysis.comparisons.stacked import stack
from analysis.curve import Curve
from analysis.fits.uncertainty import Interval
from tests.analysis.comparisons.test_paired import curve, matched

NOTHING = Interval(np.nan, np.nan, np.nan, np.nan, 0)
GRID = np.log(16.0 * 2.0 ** np.arange(7))


def made(first: FloatArray, second: FloatArray, x: FloatArray = GRID, *, paired: bool = True) -> Pair:
    """A pair of ln ε, [S, K] each."""
    same: Curve = curve(beta=0.5, prefactor=1.0)
    return Pair(same, same, x, first, second, paired)


def lines(beta: float, shift: float, noise: float, n_seeds: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return np.asarray(-beta * (GRID + shift) + noise * rng.normal(size=(n_seeds, len(GRID))))


def test_the_ratio_of_a_shift_is_the_shift() -> None:
    """The second curve needs a third of the frames at every error, and the noise is the same."""
    ratio = equal_error(matched(curve(beta=0.5, prefactor=1.0), curve(beta=0.5, prefactor=3.0**-0.5)))
    assert ratio.ratio.value == pytest.approx(3.0, rel=0.1)  # interpolation crosses segments with their own noise
    assert ratio.ratio.low < 3.0 < ratio.ratio.high
    assert ratio.open_ends == ()


@pytest.mark.parametrize("n_seeds", [1, 4])
def test_without_noise_the_ratio_is_exact(n_seeds: int) -> None:
    """β = 0.4 and a second curve that is e^0.7 frames ahead; equal sizes about the middle give the error there."""
    first, second = (lines(0.4, shift, 0.0, n_seeds, 0) for shift in (0.0, 0.7))
    found = equal_error(made(first, second))
    assert found.ratio.value == pytest.approx(np.exp(0.7), rel=1e-12)
    middle = (GRID[0] + GRID[-1]) / 2
    assert found.error == pytest.approx(np.exp(-0.4 * (middle + 0.35)), rel=1e-12)
    if n_seeds > 1:
        assert (found.ratio.low, found.ratio.high) == pytest.approx(
            (np.exp(0.7), np.exp(0.7)), rel=1e-7
        )  # √ of round-off


def test_the_interval_holds_what_the_t_test_does_not_reject() -> None:
    """Against a search over ρ with scipy's paired t test at every place."""
    first, second = lines(0.15, 0.0, 0.15, 4, 1), lines(0.15, 0.8, 0.15, 4, 2)
    found = equal_error(made(first, second))
    middle, span = (GRID[0] + GRID[-1]) / 2, GRID[-1] - GRID[0]

    def p_value(rho: float) -> float:
        one = [np.interp(middle + rho / 2, GRID, row) for row in first]
        two = [np.interp(middle - rho / 2, GRID, row) for row in second]
        return float(stats.ttest_rel(one, two).pvalue)

    accepted = [rho for rho in np.linspace(-span, span, 2001) if p_value(rho) >= 0.05]
    step = 2 * span / 2000  # of the search
    assert np.log([found.ratio.low, found.ratio.high]) == pytest.approx([accepted[0], accepted[-1]], abs=step)


def test_unmatched_seeds_are_welch() -> None:
    first, second = lines(0.5, 0.0, 0.1, 3, 1), lines(0.5, 0.5, 0.03, 7, 2)
    found = equal_error(made(first, second, paired=False))
    low = np.log(found.ratio.low)
    middle = (GRID[0] + GRID[-1]) / 2
    one = [np.interp(middle + low / 2, GRID, row) for row in first]
    two = [np.interp(middle - low / 2, GRID, row) for row in second]
    # degrees of freedom in whole numbers, of the less certain end of a segment: a little less than Welch's
    assert 0.02 < stats.ttest_ind(one, two, equal_var=False).pvalue <= 0.0501


def test_curves_that_hardly_fall_have_no_ratio() -> None:
    """A ratio of 9.5e+27 was printed for such a pair; the interval of any pair stays within P_max/P_min = 64."""
    flat, flat_too = lines(0.0, 0.0, 0.05, 3, 1), lines(0.0, 0.0, 0.05, 3, 2)
    found = equal_error(made(flat, flat_too))
    assert found.words("A", "B") == "no ratio: the curves are flat"
    steep = lines(0.2, -12.0, 0.05, 3, 3)
    steep = steep - steep.mean() + flat.mean()
    assert equal_error(made(flat, steep)).words("A", "B") == "no ratio: the curve of A is flat"
    assert equal_error(made(steep, flat)).words("A", "B") == "no ratio: the curve of B is flat"


def test_a_seed_that_rises_counts() -> None:
    """One of three seeds rises by chance between two sizes; left out, the interval would be that of two."""
    first, second = lines(0.5, 0.0, 0.02, 3, 1), lines(0.5, 0.3, 0.02, 3, 2)
    first[0, 3] -= 0.5  # a lucky run in the middle: ln ε rises after it
    found = equal_error(made(first, second))
    assert found.ratio.dof == 2
    without = equal_error(made(first[1:], second[1:]))
    assert found.ratio.value < without.ratio.value  # the lucky run makes the first curve better


def test_ends_that_nothing_limits_are_said_to_be_open() -> None:
    first, second = lines(0.1, 0.0, 0.05, 3, 2), lines(0.1, 2.5, 0.05, 3, 10)
    found = equal_error(made(first, second))
    assert "high" in found.open_ends
    assert found.ratio.high == pytest.approx(64.0)
    assert "more than 64] times the frames of B" in found.words("A", "B")


@pytest.mark.parametrize(
    ("ratio", "cell"),
    [
        (EqualError(Interval(1.7, 1.3, 2.5, 0.1, 4), 0.1), "1.7 [1.3, 2.5]"),
        (EqualError(NOTHING, 0.1, "second", 32.0), "> 32"),
        (EqualError(NOTHING, 0.1, "first", 32.0), "< 0.0312"),
        (EqualError(NOTHING, 0.1, flat=("second",)), "flat"),
        (EqualError(NOTHING, 0.1), "–"),
    ],
)
def test_a_cell_of_a_table_has_the_ratio_or_what_is_known_of_it(ratio: EqualError, cell: str) -> None:
    assert ratio.cell == cell


def test_a_bound_is_given_where_the_means_do_not_meet() -> None:
    """The first ends a little above the other's beginning, within noise: no value, but a lower bound."""
    first, second = lines(0.3, 0.0, 0.1, 3, 1), lines(0.3, 4.5, 0.1, 3, 3)
    found = equal_error(made(first, second))
    assert np.isnan(found.ratio.value)
    assert found.bound == ("more", found.ratio.low)
    assert found.words("A", "B").startswith("at equal error A needs more than ")


def test_no_common_error_is_said() -> None:
    ratio = equal_error(matched(curve(beta=0.5, prefactor=1.0), curve(beta=0.5, prefactor=0.01)))
    assert np.isnan(ratio.ratio.value)
    assert (ratio.leader, ratio.beyond) == ("second", 32.0)
    assert ratio.words("A", "B") == "A never reaches the errors of B: it needs more than 32 times the frames"


def test_single_runs_of_curves_far_apart_are_compared_by_their_means() -> None:
    pair = made(lines(0.5, 0.0, 0.0, 1, 0), lines(0.5, 6.0, 0.0, 1, 0))
    assert equal_error(pair).leader == "second"


@pytest.mark.parametrize("beta", [0.02, 0.2, 0.6])
@pytest.mark.parametrize("n_seeds", [2, 3, 5])
def test_the_interval_covers(beta: float, n_seeds: int) -> None:
    rng = np.random.default_rng(1)
    shape = (2, 4000, n_seeds, len(GRID))
    first, second = -beta * GRID + 0.05 * rng.normal(size=shape)
    found = ratios(GRID, stack(GRID, first, second - 0.7 * beta, paired=True))
    covered = (found.low <= 0.7) & (found.high >= 0.7)
    # exact at 95 % where one stretch is accepted, more where it is the hull of several: less three binomial errors
    assert covered.mean() >= 0.95 - 0.0104
    if beta == 0.6 and n_seeds > 2:
        assert covered.mean() <= 0.95 + 0.0104


SPREAD = st.tuples(st.integers(0, 10_000), st.sampled_from([0.01, 0.1, 0.5])).map(
    lambda drawn: drawn[1] * np.random.default_rng(drawn[0]).normal(size=(2, 3, 7))
)
"""Noise of two curves; drawn from a normal law: values that hypothesis picks tie, and round-off cuts the ties."""


def same(one: EqualError, other: dict[str, Any]) -> None:
    for name, value in other.items():
        assert getattr(one.ratio, name) == pytest.approx(value, rel=1e-6, nan_ok=True)


@given(noise=SPREAD, shift=st.floats(-2.0, 2.0), betas=st.tuples(st.floats(0.0, 0.8), st.floats(0.0, 0.8)))
def test_swapped_curves_have_the_inverse_ratio(noise: FloatArray, shift: float, betas: tuple[float, float]) -> None:
    first, second = (-beta * GRID + rows for beta, rows in zip(betas, noise, strict=True))
    one, other = equal_error(made(first, second - shift)), equal_error(made(second - shift, first))
    same(one, {"value": 1 / other.ratio.value, "low": 1 / other.ratio.high, "high": 1 / other.ratio.low})
    swapped = {"first": "second", "second": "first", "low": "high", "high": "low", "": ""}
    assert one.leader == swapped[other.leader]
    assert {swapped[name] for name in one.flat} == set(other.flat)
    assert {swapped[name] for name in one.open_ends} == set(other.open_ends)


@given(noise=SPREAD, unit=st.floats(-7.0, 7.0))
def test_units_do_not_change_the_ratio(noise: FloatArray, unit: float) -> None:
    first, second = (-0.3 * GRID + rows for rows in noise)
    one = equal_error(made(first, second - 0.2))
    other = equal_error(made(first + unit, second - 0.2 + unit))
    same(one, {"value": other.ratio.value, "low": other.ratio.low, "high": other.ratio.high})
    assert replace(one, ratio=other.ratio, error=0.0) == replace(other, error=0.0)


@given(noise=SPREAD, betas=st.tuples(st.floats(-0.3, 0.8), st.floats(-0.3, 0.8)))
def test_a_ratio_never_leaves_what_was_measured(noise: FloatArray, betas: tuple[float, float]) -> None:
    found = equal_error(made(*(-beta * GRID + rows for beta, rows in zip(betas, noise, strict=True))))
    for number in (found.ratio.value, found.ratio.low, found.ratio.high):
        assert np.isnan(number) or 1 / 64.001 < number < 64.001
