"""Sample sizes for the next experiment: seeds, or further values of P, with which a test would show the estimate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import Interval

POWER = 0.8
"""Power that the sample size must reach."""
MAX_SEEDS = 1000
"""Largest number of seeds considered."""
MAX_SIZES = 12
"""Largest number of further values of P considered: a factor 4096 on a grid of doublings."""


@dataclass(frozen=True)
class SampleSize:
    """Sample size that shows a condition with 80 % power if estimate and spread over seeds are the true ones."""

    seeds: int | None
    """Seeds (or datasets); None if no number suffices."""
    sizes: tuple[float, ...] | None
    """Further values of P that continue the grid, with the present seeds; None if none suffice."""


def required_sample_size(delta: Interval, distance: float, log_p: FloatArray, level: float) -> SampleSize:
    """Return the sample size with which a one-sided t test shows a condition.

    The spread of per-seed slopes falls as 1/√Sxx, Sxx = Σ(ln P − mean)².

    Args:
        delta: the estimate with its standard error over seeds.
        distance: distance of the estimate from the limit of the condition, positive inside it.
        log_p: ln P of the grid; empty if further P cannot help. [K]
        level: level of the test.
    """
    if delta.dof < 1 or not np.isfinite(distance) or distance <= 0:
        return SampleSize(None, None)
    n_seeds = delta.dof + 1
    spread = delta.error * np.sqrt(n_seeds)
    seeds = next((n for n in range(2, MAX_SEEDS + 1) if _power(distance, spread, n, level) >= POWER), None)
    if len(log_p) < 2:
        return SampleSize(seeds, None)
    step = (log_p[-1] - log_p[0]) / (len(log_p) - 1)
    for more in range(1, MAX_SIZES + 1):
        further = log_p[-1] + step * np.arange(1, more + 1)
        gain = np.sqrt(_spread(log_p) / _spread(np.concatenate([log_p, further])))
        if _power(distance, spread * gain, n_seeds, level) >= POWER:
            return SampleSize(seeds, tuple(float(round(p)) for p in np.exp(further)))
    return SampleSize(seeds, None)


def _power(distance: float, spread: float, n_seeds: int, level: float) -> float:
    if spread <= 0:
        return 1.0
    threshold = stats.t.isf(level, n_seeds - 1)
    return float(stats.nct.sf(threshold, n_seeds - 1, min(distance / spread * np.sqrt(n_seeds), 30.0)))


def _spread(log_p: FloatArray) -> float:
    return float(((log_p - log_p.mean()) ** 2).sum())
