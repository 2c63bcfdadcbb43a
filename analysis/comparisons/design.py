"""What would decide: the seeds, or the further values of P, with which a test would show what the estimate says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import Interval

POWER = 0.8
"""Power at which they are counted."""
MAX_SEEDS = 1000
"""Beyond this a design is not a design."""
MAX_SIZES = 12
"""Further values of P tried: a factor 4096 on a grid of doublings."""


@dataclass(frozen=True)
class Needed:
    """What would show a condition with 80 % power if the estimate and the spread are right."""

    seeds: int | None
    """Seeds (or datasets); None if no number would."""
    sizes: tuple[float, ...] | None
    """Further values of P, continuing the grid, with the seeds there are; None if none would."""


def needed(delta: Interval, distance: float, log_p: FloatArray, level: float) -> Needed:
    """Count what a one-sided t test needs.

    The spread of per-seed slopes falls as 1/√Sxx, Sxx = Σ(ln P − mean)².

    Args:
        delta: the estimate with its standard error over seeds.
        distance: how far inside the condition the estimate lies; not positive where it lies outside.
        log_p: ln P of the grid; empty where more P are no way out. [K]
        level: level of the test.
    """
    if delta.dof < 1 or not np.isfinite(distance) or distance <= 0:
        return Needed(None, None)
    n_seeds = delta.dof + 1
    spread = delta.error * np.sqrt(n_seeds)
    seeds = next((n for n in range(2, MAX_SEEDS + 1) if _power(distance, spread, n, level) >= POWER), None)
    if len(log_p) < 2:
        return Needed(seeds, None)
    step = (log_p[-1] - log_p[0]) / (len(log_p) - 1)
    for more in range(1, MAX_SIZES + 1):
        further = log_p[-1] + step * np.arange(1, more + 1)
        gain = np.sqrt(_spread(log_p) / _spread(np.concatenate([log_p, further])))
        if _power(distance, spread * gain, n_seeds, level) >= POWER:
            return Needed(seeds, tuple(float(round(p)) for p in np.exp(further)))
    return Needed(seeds, None)


def _power(distance: float, spread: float, n_seeds: int, level: float) -> float:
    if spread <= 0:
        return 1.0
    threshold = stats.t.isf(level, n_seeds - 1)
    return float(stats.nct.sf(threshold, n_seeds - 1, min(distance / spread * np.sqrt(n_seeds), 30.0)))


def _spread(log_p: FloatArray) -> float:
    return float(((log_p - log_p.mean()) ** 2).sum())
