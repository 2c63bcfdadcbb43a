"""The part of a curve that is a power law: slopes between neighbouring P, and Hestness's three regions.

Hestness et al. 2017 (§5): a small-data region near the best guess, the power-law region, and the irreducible-error
region. A step between neighbouring P counts as flat if its slope is below half the curve's steepest sustained
slope, beyond noise; flat steps at the small end are the small-data region, at the large end the floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.curve import Curve, nanmean
from analysis.fits.intervals import interval, slope_weights
from analysis.fits.moderation import NO_PRIOR, margin
from analysis.fits.noise import within
from analysis.fits.results import by_seeds
from analysis.fits.sample import fill
from analysis.fits.uncertainty import Interval, line, t_interval

FLAT_SHARE = 0.5
"""Share of the steepest sustained slope below which a step is flat."""
LEVEL = 0.05
"""Level of the one-sided test that a step is flat, Bonferroni over the steps."""


@dataclass(frozen=True)
class LocalSlope:
    """The exponent between two neighbouring training-set sizes."""

    low: float
    """Smaller P, frames."""
    high: float
    """Larger P, frames."""
    beta: Interval
    """−Δ ln ε / Δ ln P, interval over seeds."""


@dataclass(frozen=True)
class Regions:
    """Hestness's regions as ranges of P (frames); None if the curve does not show the region."""

    small_data: tuple[float, float] | None
    """Region of small data, near the best guess: the error does not fall yet."""
    power_law: tuple[float, float] | None
    """The error falls as a power of P; None for a curve that is flat throughout."""
    floor: tuple[float, float] | None
    """The error no longer falls."""


def local_slopes(curve: Curve, used: NDArray[np.bool_]) -> list[LocalSlope]:
    """Return the exponents between neighbouring P, one for each of the K − 1 steps.

    Args:
        curve: the learning curve.
        used: seeds that enter. [S]
    """
    x = curve.log_sizes
    y = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)
    rows = y[used] if by_seeds(curve, used) else nanmean(y)[None]
    steps = -np.diff(rows, axis=1) / np.diff(x)  # [S, K-1]
    return [
        LocalSlope(float(low), float(high), t_interval(column))
        for low, high, column in zip(curve.sizes[:-1], curve.sizes[1:], steps.T, strict=True)
    ]


def regions(curve: Curve, used: NDArray[np.bool_]) -> Regions:
    """Detect the three regions; a curve with fewer than four P, or without seeds, is taken as power law throughout."""
    whole = (float(curve.sizes[0]), float(curve.sizes[-1]))
    steps = local_slopes(curve, used)
    if len(steps) < 3 or not by_seeds(curve, used):
        return Regions(None, whole, None)
    steepest = _steepest(curve)
    if steepest <= 0 or (_falls_nowhere(steps) and not _falls(curve, used)):
        return Regions(None, None, whole)
    flat = [_is_flat(step.beta, FLAT_SHARE * steepest, LEVEL / len(steps)) for step in steps]
    start = next((i for i, is_flat in enumerate(flat) if not is_flat), len(flat))
    if start == len(flat):
        return Regions(None, None, whole)
    stop = len(flat) - next(i for i, is_flat in enumerate(reversed(flat)) if not is_flat)
    sizes = curve.sizes
    return Regions(
        small_data=(whole[0], float(sizes[start])) if start > 0 else None,
        power_law=(float(sizes[start]), float(sizes[stop])),
        floor=(float(sizes[stop]), whole[1]) if stop < len(flat) else None,
    )


def _steepest(curve: Curve) -> float:
    """Return the largest exponent over three neighbouring P of the mean: one noisy step cannot set the scale."""
    x, y = curve.log_sizes, nanmean(np.where(np.isfinite(curve.log_error), curve.log_error, np.nan))
    return max(-line(x[i : i + 3], y[i : i + 3])[0] for i in range(len(x) - 2))


def _falls_nowhere(steps: list[LocalSlope]) -> bool:
    """Return whether no step between neighbouring P falls significantly (one-sided t tests, Bonferroni)."""
    level = LEVEL / len(steps)
    return not any(_p_below(step.beta, 0.0, upper=True) < level for step in steps)


def _falls(curve: Curve, used: NDArray[np.bool_]) -> bool:
    """Return whether the curve as a whole falls: steps of few seeds are too noisy to show it one by one."""
    rows = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)[used]
    good = np.isfinite(rows).any(axis=0)
    whole, _ = fill(rows[:, good])
    weights = slope_weights(curve.log_sizes[good])
    noise = within(curve.log_sizes[good], whole[None])
    one = interval(float(whole.mean(axis=0) @ weights), margin(noise.spread(weights[None]), noise.dof, NO_PRIOR))
    return _p_below(one, 0.0, upper=True) < LEVEL


def _is_flat(slope: Interval, threshold: float, level: float) -> bool:
    return _p_below(slope, threshold, upper=False) < level


def _p_below(slope: Interval, threshold: float, *, upper: bool) -> float:
    """Return the p value of the one-sided t test that the slope exceeds (`upper`) or lies below the threshold."""
    if slope.dof < 1:
        return 1.0
    gap = slope.value - threshold if upper else threshold - slope.value
    if slope.error <= 1e-12:
        return 0.0 if gap > 1e-9 else 1.0
    return float(special.stdtr(slope.dof, -gap / slope.error))
