"""Covariances of nested subsets from a shared pool, against draws from one."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.fits.noise import nested, of_residuals, of_seeds

SIZES = np.array([16.0, 32.0, 64.0, 128.0])
X = np.log(SIZES)
SLOPE = -(X - X.mean()) / ((X - X.mean()) ** 2).sum()


def draws(n: int, n_seeds: int, pool: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Deviations √P·(mean of P values), the subsets of each seed being the first P of its own order of the pool."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, 1, pool))
    shuffled = rng.permuted(np.broadcast_to(values, (n, n_seeds, pool)), axis=2)
    ends = np.cumsum(shuffled, axis=2)[:, :, SIZES.astype(int) - 1]
    return np.asarray(ends / np.sqrt(SIZES))


def test_subsets_of_one_seed_correlate_as_nested() -> None:
    rows = draws(20_000, 1, 128)[:, 0]
    # a correlation from 20,000 draws has an error of 0.7 %
    assert np.corrcoef(rows.T) == pytest.approx(nested(X), abs=0.03)


def test_a_shared_pool_is_in_the_interval() -> None:
    """P_max is the pool. Seeds scatter too little by what they share; the factor makes up for it."""
    rows = draws(20_000, 5, 128)
    true = np.var(rows.mean(axis=1) @ SLOPE)
    spread = of_seeds(X, rows, pool=128).spread(np.broadcast_to(SLOPE, (len(rows), 4)))
    plain = of_seeds(X, rows).spread(np.broadcast_to(SLOPE, (len(rows), 4)))
    # a variance from 20,000 draws has an error of 1 %
    assert np.mean(spread.variance) * spread.factor[0] == pytest.approx(true, rel=0.04)
    assert np.mean(plain.variance) * plain.factor[0] < 0.5 * true


def test_the_variance_of_one_seed_is_unbiased() -> None:
    rows = draws(20_000, 1, 4096)[:, 0]  # a pool so large that it leaves no trace
    line = np.broadcast_to(np.stack([np.ones(4), X], axis=1), (len(rows), 4, 2))
    spread = of_residuals(X, rows, line).spread(np.broadcast_to(SLOPE, (len(rows), 4)))
    assert np.mean(spread.variance) == pytest.approx(np.var(rows @ SLOPE), rel=0.05)
