"""Simulated curves whose seeds differ in their sizes, and what is applied to pairs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.comparisons.conditions import Differences
from analysis.comparisons.differences import uneven_spread
from analysis.comparisons.paired import FLOOR_SIZES
from analysis.comparisons.stacked import Stacked, both_uneven, correlations, stack
from analysis.fits.floor import FLAT, Polish, fit_floor
from analysis.fits.intervals import slope_weights
from analysis.fits.moderation import NO_PRIOR, margin


@dataclass(frozen=True)
class Gaps:
    """Seeds that differ in their sizes."""

    seeds: int
    """Seeds with all sizes."""
    further: int
    """Further seeds."""
    at: int
    """Number of the smallest sizes that these have."""
    falling: float = 0.0
    """Exponent with which the noise of ln ε falls with P, unchanged in the geometric middle."""

    @property
    def name(self) -> str:
        """Description."""
        falls = f", noise ∝ P^−{self.falling:g}" if self.falling else ""
        return f"{self.seeds} seed{'s' * (self.seeds > 1)}, {self.further} more at {self.at} P{falls}"

    def cut(self, rows: FloatArray) -> FloatArray:
        """Return runs [..., S, K] with NaN where the further seeds have none."""
        rows = rows.copy()
        rows[..., self.seeds :, self.at :] = np.nan
        return rows


def uneven_differences(log_p: FloatArray, first: FloatArray, second: FloatArray) -> tuple[Differences, Differences]:
    """Return Δβ of n pairs under the power form and with floors, as `compare` does of pairs that stand alone.

    Args:
        log_p: ln P. [K]
        first: ln ε of the first curves, NaN where a run is missing, the same in all. [n, S, K]
        second: ln ε of the second, rows matched by seed. [n, S, K]
    """
    weights, n = slope_weights(log_p), len(first)
    power, floor = (Differences(*np.full((3, n), np.nan)) for _ in range(2))
    rho = correlations(first, second)
    for value in np.unique(rho):
        of = rho == value
        mean, uneven = both_uneven(log_p, first[of], second[of])
        found = margin(*uneven_spread(log_p, uneven), NO_PRIOR)
        power.value[of] = mean @ np.concatenate([-weights, weights])
        power.error[of], power.dof[of] = found.error, found.dof
        if len(log_p) >= FLOOR_SIZES:
            beside = floored(log_p, stack(log_p, first[of], second[of], paired=True))
            floor.value[of], floor.error[of], floor.dof[of] = beside.value, beside.error, beside.dof
    return power, floor


def floored(log_p: FloatArray, stacked: Stacked) -> Differences:
    """Return Δβ beside floors of n pairs, NaN where it is not identified."""
    means = np.split(stacked.mean, 2, axis=1)
    fits = [fit_floor(log_p, mean) for mean in means]
    known = np.logical_and.reduce([(one.status <= Polish.NO_FLOOR) & (one.beta >= FLAT) for one in fits])
    by_first, by_second = (one.weights(log_p, np.isfinite(mean)) for one, mean in zip(fits, means, strict=True))
    _, variance, dof = stacked.contrast(np.concatenate([-by_first, by_second], axis=1)[:, None])
    value = np.where(known, fits[1].beta - fits[0].beta, np.nan)
    return Differences(value, np.sqrt(variance[:, 0, 0]), dof[:, 0])
