"""Sample sizes against simulation: equivalences count both sides, and further P bring what nested noise allows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.comparisons.design import (
    NESTED,
    NoiseLevel,
    condition_power,
    fewest,
    fit_noise,
    required_sample_size,
)
from analysis.fits.uncertainty import Interval

MARGIN = 0.05


def equivalent(slopes: FloatArray) -> FloatArray:
    """Whether two one-sided t tests at 5 % show |mean| < 0.05: [n, S] → [n]."""
    n_seeds = slopes.shape[1]
    error = slopes.std(axis=1, ddof=1) / np.sqrt(n_seeds)
    return np.asarray(np.abs(slopes.mean(axis=1)) + stats.t.isf(0.05, n_seeds - 1) * error < MARGIN)


@pytest.mark.parametrize(("spread", "seeds"), [(0.02, 4), (0.03, 5), (0.05, 11)])
def test_an_equivalence_counts_both_sides(spread: float, seeds: int) -> None:
    """One side alone says 3, 4 and 8."""
    interval = Interval(0.0, np.nan, np.nan, spread / np.sqrt(5), 4)
    assert required_sample_size(interval, (MARGIN, MARGIN), np.empty(0), 0.05).seeds == seeds
    draws = np.random.default_rng(0)
    shares = [equivalent(spread * draws.normal(size=(20_000, n))).mean() for n in (seeds - 1, seeds)]
    assert shares[0] < 0.8 + 0.008  # three binomial errors
    assert shares[1] >= 0.8 - 0.008


@pytest.mark.parametrize("n_seeds", [2, 3, 6, 20])
@pytest.mark.parametrize("distance", [0.3, 1.0, 3.0])
def test_one_limit_alone_is_a_t_test(n_seeds: int, distance: float) -> None:
    expected = stats.nct.sf(stats.t.isf(0.05, n_seeds - 1), n_seeds - 1, distance * np.sqrt(n_seeds))
    # 500 nodes for the standard deviation
    assert condition_power((distance, np.inf), 1.0, n_seeds, 0.05) == pytest.approx(expected, abs=2e-4)


def test_power_of_an_equivalence_off_its_middle() -> None:
    draws = 0.02 + 0.03 * np.random.default_rng(0).normal(size=(40_000, 7))
    power = condition_power((MARGIN + 0.02, MARGIN - 0.02), 0.03, 7, 0.05)
    assert power == pytest.approx(equivalent(draws).mean(), abs=0.0075)  # three binomial errors


@pytest.mark.parametrize(
    ("level", "gain"), [(NESTED, 0.607), (NoiseLevel(0.05, 0.03), 0.577), (NoiseLevel(0, 1), 0.461)]
)
def test_four_doublings_bring_what_nested_noise_gives(level: NoiseLevel, gain: float) -> None:
    """Six sizes and four more; independent noise would give the last, which was credited to all."""
    grid = np.log(16 * 2.0 ** np.arange(10))
    assert level.slope_error(grid) / level.slope_error(grid[:6]) == pytest.approx(gain, abs=1e-3)


@pytest.mark.parametrize("nested", [True, False])
def test_slopes_scatter_as_said(nested: bool) -> None:
    scenario = Scenario("", 1, 7, subset=0.05 if nested else 0.0, init=0.03, test=0.0)
    x, y = simulate(scenario, 20_000, np.random.default_rng(0))
    shifted = x - x.mean()
    slopes = (y[:, 0] @ shifted) / (shifted @ shifted)
    level = NoiseLevel(scenario.subset, scenario.init)
    assert slopes.std() == pytest.approx(level.slope_error(x), rel=0.015)  # three errors of a deviation of 20,000


def test_the_noise_of_a_table_is_found() -> None:
    x, y = simulate(Scenario("", 5, 7, subset=0.05, init=0.03, test=0.0), 200, np.random.default_rng(0))
    found = fit_noise([(x, rows) for rows in y])
    # 800 degrees of freedom; sd of each found over 20 other tables: 0.0006 and 0.0008
    assert (found.subset, found.init) == pytest.approx((0.05, 0.03), abs=0.0025)
    assert fit_noise([(x[:4], y[0][:, :4]), (x, y[1])]).slope_error(x) > 0  # curves on different grids


def test_further_sizes_continue_the_grid_and_would_show_it() -> None:
    """Simulated with nested noise on the longer grid; one size fewer would not do."""
    level, n_seeds, gain = NoiseLevel(0.12, 0.0), 5, 0.05
    grid = np.log(16 * 2.0 ** np.arange(6))
    interval = Interval(gain, np.nan, np.nan, level.slope_error(grid) / np.sqrt(n_seeds), n_seeds - 1)
    further = required_sample_size(interval, (gain, np.inf), grid, 0.05, level).sizes
    assert further is not None
    assert further[0] == 1024
    powers = []
    for more in (further[:-1], further):
        scenario = Scenario("", n_seeds, 6 + len(more), beta=0.0, subset=level.subset, init=0.0, test=0.0)
        x, y = simulate(scenario, 8000, np.random.default_rng(1))
        shifted = x - x.mean()
        slopes = gain + (y @ shifted) / (shifted @ shifted)
        t = slopes.mean(axis=1) / (slopes.std(axis=1, ddof=1) / np.sqrt(n_seeds))
        powers.append((t > stats.t.isf(0.05, n_seeds - 1)).mean())
    assert powers[0] < 0.8 + 0.0134  # three binomial errors
    assert powers[1] >= 0.8 - 0.0134


def test_what_no_number_shows() -> None:
    interval = Interval(0.1, np.nan, np.nan, 0.01, 4)
    assert required_sample_size(interval, (0.15, -0.05), np.log([16, 32, 64]), 0.05).seeds is None
    assert fewest(lambda n: n >= 7, 2, 1000) == 7
    assert fewest(lambda n: False, 2, 1000) is None
