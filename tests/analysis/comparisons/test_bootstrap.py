"""The vectorised bootstrap against one replicate at a time, and the frame bootstrap against a known variance."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.arrays import FloatArray
from analysis.calibration.synthetic import noise
from analysis.comparisons.bootstrap import bootstrap, resample_frames
from analysis.fits.floor import fit_floor


def errors(n_curves: int = 6, n_seeds: int = 4) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    sizes = np.array([16 * 2.0**k for k in range(7)])
    clean = np.log(sizes**-0.5 + 0.02)
    return np.log(sizes), np.stack([clean + noise(rng, sizes, n_seeds, 0.03, 0.02) for _ in range(n_curves)])


def test_replicates_equal_a_loop() -> None:
    x, y = errors()
    result = bootstrap(x, y, 20, seed=3)
    weights = np.random.default_rng(3).multinomial(4, np.full(4, 0.25), size=(6, 20))
    for c in range(6):
        for r in range(20):
            mean = np.average(y[c], axis=0, weights=weights[c, r])
            assert result.beta[c, r] == pytest.approx(-np.polyfit(x, mean, 1)[0], rel=1e-9)
            assert result.beta_floor[c, r] == pytest.approx(fit_floor(x, mean[None]).beta[0], abs=1e-6)


def test_threads_do_not_change_the_numbers() -> None:
    x, y = errors(n_curves=300)
    one, two = (bootstrap(x, y, 500, threads=threads) for threads in (1, 2))
    assert np.array_equal(one.beta_floor, two.beta_floor)
    assert np.array_equal(one.status, two.status)


def test_spread_over_replicates_is_that_of_the_mean() -> None:
    x, y = errors(n_curves=1, n_seeds=8)
    slopes = -np.polynomial.polynomial.polyfit(x, y[0].T, 1)[1]
    expected = slopes.std() / np.sqrt(8)  # plug-in standard error of the mean of 8
    # the standard deviation of 4,000 replicates is known to 1.1 %; five times that
    assert bootstrap(x, y, 4000).beta.std() == pytest.approx(expected, rel=0.06)


def test_frame_bootstrap_has_the_frames_variance() -> None:
    rng = np.random.default_rng(1)
    frames = rng.gamma(4.0, 0.25, size=(1, 1, 400)).repeat(3, axis=0)  # one seed thrice: only frames vary
    spread = resample_frames(frames, 4000).std()
    expected = frames[0, 0].std() / frames[0, 0].mean() / np.sqrt(400)
    assert spread == pytest.approx(expected, rel=0.06)  # 1.1 % Monte Carlo error, and ln against linear below 1 %
