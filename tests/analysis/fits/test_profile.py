"""Intervals that cover both forms unless one is excluded."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.fits.binomial import measure_counts
from analysis.fits.intervals import Sample, conclude, measure
from analysis.fits.profile import crossing

X = np.log(16.0 * 2.0 ** np.arange(7))


def seeds(clean: FloatArray, noise: float = 1e-3, n: int = 1) -> FloatArray:
    return np.asarray(clean + noise * np.random.default_rng(0).normal(size=(n, 5, len(X))))


def test_a_clear_floor_excludes_the_power_law() -> None:
    found = conclude(measure(Sample(X, seeds(np.log(np.exp(-0.7 * X) + 0.01)))))
    assert found.ends is not None
    assert not found.ends.power[0]
    assert found.floor[0]
    assert found.low[0] <= 0.7 <= found.high[0]
    assert found.low[0] > 0.6  # far from the plain slope of 0.5


def test_a_concave_curve_excludes_the_floor() -> None:
    found = conclude(measure(Sample(X, seeds(-0.5 * X - 0.02 * (X - X.mean()) ** 2))))
    assert found.ends is not None
    assert not found.ends.floor[0]
    assert not found.floor[0]
    plain = measure(Sample(X, seeds(-0.5 * X - 0.02 * (X - X.mean()) ** 2))).power.value[0]
    assert (found.low[0] + found.high[0]) / 2 == pytest.approx(plain, abs=1e-12)


def test_in_between_the_interval_covers_both() -> None:
    found = conclude(measure(Sample(X, seeds(-0.5 * X, 0.03, n=50))))
    assert found.ends is not None
    open_ = found.ends.power & found.ends.floor
    assert open_.mean() > 0.8  # each end of a 95 % interval excludes a true power law in 2.5 %
    plain = found.power.half
    assert np.all(found.high[open_] - found.value[open_] >= plain[open_] - 1e-12)
    assert np.median(found.high - found.value) > 1.3 * np.median(plain)
    assert found.value[open_] - found.low[open_] == pytest.approx(plain[open_])


def test_a_flat_curve_has_no_exponent_beside_a_floor() -> None:
    found = conclude(measure(Sample(X, seeds(np.zeros(7), 0.02))))
    assert not found.floor[0]
    assert np.isfinite([found.low[0], found.high[0]]).all()


def test_a_fit_held_at_zero_covers_on_both_sides() -> None:
    """A floor of 10 % that half of the fits do not find: the upper end must know that it may be there."""
    x, y = simulate(Scenario("", 5, 6, floor_share=0.1, test=0.0), 800, np.random.default_rng(0))
    one = measure(Sample(x, y))
    assert one.floored is not None
    held = one.floored.fits.phi <= 1e-9
    found = conclude(one)
    assert held.mean() > 0.1
    # one-sided 97.5 %; three binomial errors of at least 80 tables are 5 %. Plain intervals reach the truth in a half.
    assert np.mean(found.high[held] >= 0.5) > 0.925
    assert np.mean(one.power.value[held] + found.power.half[held] >= 0.5) < 0.8


@pytest.mark.parametrize(("bayes", "least"), [(0.0, 0.92), (0.02, 0.92), (0.1, 0.92)])
def test_error_rates_with_a_bayes_error(bayes: float, least: float) -> None:
    """Of 1,000 test examples; the power law alone covers β = 0.5 in 3 % of tables with 2 %, and in none with 10 %."""
    rng = np.random.default_rng(0)
    log_p = np.log(16.0 * 2.0 ** np.arange(9))
    rate = 0.4 * np.exp(-0.5 * (log_p - log_p[0])) + bayes
    one = measure_counts(log_p, rng.binomial(1000, rate, size=(500, 5, 9)).astype(float), np.full((500, 5, 9), 1e3))
    found = conclude(one)
    # nominal 95 %, three binomial errors of 500 tables are 2.9 %
    assert np.mean((found.low <= 0.5) & (found.high >= 0.5)) > least
    alone = np.mean(np.abs(one.power.value - 0.5) <= found.power.half)
    assert alone > 0.92 if bayes == 0 else alone < 0.1


def test_counts_without_noise_give_back_their_floor() -> None:
    rate = 0.4 * np.exp(-0.6 * (X - X[0])) + 0.03
    one = measure_counts(X, np.broadcast_to(rate * 1e6, (1, 2, 7)), np.full((1, 2, 7), 1e6))
    assert one.floored is not None
    # linear interpolation of the score between exponents 7 % apart
    assert one.floored.fits.beta[0] == pytest.approx(0.6, abs=5e-3)
    assert one.floored.fits.floor[0] == pytest.approx(0.03, rel=0.02)


def test_crossing() -> None:
    x = np.array([[0.0, 1.0, 2.0, 3.0]] * 4)
    y = np.array([[1.0, 1.0, -1.0, -2.0], [-1.0, 1.0, 1.0, 1.0], [1.0, np.nan, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    assert crossing(x, y) == pytest.approx([1.5, 0.0, 1.0, np.inf])
