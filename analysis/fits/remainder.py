"""The law of the remainder: κ from two doublings of training, what is left of β, its hull, and where errors rise.

All functions are of arrays with any leading axes, so that the calibration runs the program's own rule on many tables;
`analysis.fits.training` says what the law is and what the program concludes from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import LEVEL

MARGIN = 0.02
"""Largest |r| of a converged curve: what training may still change of β."""
SHOWN_LEVEL = 0.975
"""Coverage of the interval of the last change that excludes zero where a change is shown: where nothing is left, the
ends of `REMAINDER_LEVEL` would show one in up to 10 %."""
REMAINDER_LEVEL = 0.9
"""Coverage of the interval of r: each of its ends is a one-sided test at 5 %."""
SLOWEST, FASTEST = 0.5, 1.0
"""Range of κ where the schedules do not tell it (gradient noise at a fixed rate, and at one that follows T)."""
BOUNDS = (0.25, 4.0)
"""Range of κ that is told: at ¼ what is left is five times the last change, and slower laws leave no limit to see."""
RISE = 0.02
"""Mean rise of ln ε over seeds above which, if it is significant, a curve is overfitting."""
RISE_ALONE = 0.05
"""The same where there are no seeds to test it by."""
RISE_SIGNIFICANCE = 0.005
"""Level of the test over seeds of a rise, for all P of a curve together."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Kappa:
    """κ with its interval, as numbers or as arrays over tables."""

    low: FloatArray
    """Lower end of the range to reckon with."""
    value: FloatArray
    """Estimate; the lower end of the range where it is not told."""
    high: FloatArray
    """Upper end."""
    told: Bools
    """Whether the data tell it."""


UNTOLD = Kappa(np.array(SLOWEST), np.array(SLOWEST), np.array(FASTEST), np.array(False))
"""κ where no data tell it."""


def gain_pairs(earlier: FloatArray, later: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Project what two doublings of training gained on the profile over P that the other seeds show.

    The profile is independent of the seed's own noise, so both projections of seeds with the same κ have the ratio 2^κ
    on average, for any dependence of the gains on P. [..., S, K] → [..., S] each

    Args:
        earlier: ln ε(T/4) − ln ε(T/2). [..., S, K]
        later: ln ε(T/2) − ln ε(T). [..., S, K]
    """
    both = earlier + later
    profile = both.sum(axis=-2, keepdims=True) - both
    return (profile * earlier).sum(axis=-1), (profile * later).sum(axis=-1)


def estimate_kappa(earlier: FloatArray, later: FloatArray) -> Kappa:
    """Estimate κ from the projected gains of all seeds and curves: log₂ of a ratio of means, with Fieller's interval.

    It is not told if the later gains do not exclude zero, for the interval of the ratio is unbounded then.

    Args:
        earlier: gains from T/4 to T/2. [..., U]
        later: gains from T/2 to T. [..., U]
    """
    n = later.shape[-1]
    if n < 2:
        shape = np.ones(later.shape[:-1])
        return Kappa(SLOWEST * shape, SLOWEST * shape, FASTEST * shape, np.zeros(later.shape[:-1], dtype=bool))
    x, y = later.mean(axis=-1), earlier.mean(axis=-1)
    dx, dy = later - x[..., None], earlier - y[..., None]
    scale = stats.t.ppf(0.5 + LEVEL / 2, n - 1) ** 2 / (n * (n - 1))
    a = x**2 - scale * (dx**2).sum(axis=-1)
    b = x * y - scale * (dx * dy).sum(axis=-1)
    c = y**2 - scale * (dy**2).sum(axis=-1)
    told = (a > 0) & (x > 0) & (y > 0)
    safe = np.where(told, a, 1.0)
    root = np.sqrt(np.maximum(b**2 - a * c, 0.0))
    ratios = (b - root) / safe, np.where(told, y, 1.0) / np.where(told, x, 1.0), (b + root) / safe
    low, value, high = (np.clip(np.log2(np.maximum(one, 1.0)), *BOUNDS) for one in ratios)
    return Kappa(
        np.where(told, low, SLOWEST), np.where(told, value, SLOWEST), np.where(told, high, FASTEST), np.asarray(told)
    )


@dataclass(frozen=True)
class Remainder:
    """What training may still change of an exponent, as numbers or as arrays over tables."""

    value: FloatArray
    """r at the estimate of κ."""
    low: FloatArray
    """Lower end of its 90 % interval, over the range of κ; NaN for one seed."""
    high: FloatArray
    """Upper end."""
    shown: Bools
    """Whether the last change of β differs from zero at 5 %."""

    @property
    def within(self) -> Bools:
        """Whether the interval lies within the margin."""
        return np.asarray((self.low > -MARGIN) & (self.high < MARGIN))

    @property
    def outside(self) -> Bools:
        """Whether the interval lies outside the margin and the change is shown."""
        return np.asarray(((self.low > MARGIN) | (self.high < -MARGIN)) & self.shown)


def remainder(change: FloatArray, kappa: Kappa) -> Remainder:
    """Return r with its interval from the changes d of the seeds' slopes with the last doubling: [..., S] → [...]."""
    n, mean = change.shape[-1], change.mean(axis=-1)
    if n < 2:
        nothing = np.full(mean.shape, np.nan)
        return Remainder(mean / _left(kappa.value), nothing, nothing, np.zeros(mean.shape, dtype=bool))
    error = change.std(axis=-1, ddof=1) / np.sqrt(n)
    half = stats.t.ppf(0.5 + REMAINDER_LEVEL / 2, n - 1) * error
    ends = [end / _left(k) for end in (mean - half, mean + half) for k in (kappa.low, kappa.high)]
    return Remainder(
        value=np.asarray(mean / _left(kappa.value)),
        low=np.minimum.reduce(ends),
        high=np.maximum.reduce(ends),
        shown=np.asarray(np.abs(mean) > stats.t.ppf(0.5 + SHOWN_LEVEL / 2, n - 1) * error),
    )


def _left(kappa: FloatArray) -> FloatArray:
    """Return d/r: the last change over what is left."""
    return np.asarray(2.0**kappa - 1.0)


def hull(
    value: FloatArray, low: FloatArray, high: FloatArray, slopes: FloatArray, change: FloatArray, kappa: Kappa
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of the hull of an interval and of the same after all further training.

    The interval moves by r, and grows by the noise that r adds to the seeds' mean slope: for a power law it becomes the
    t interval of the seeds' β + r.

    Args:
        value: estimate of β under any form. [...]
        low: lower end of its interval. [...]
        high: upper end. [...]
        slopes: every seed's slope (exponent under a power law). [..., S]
        change: change of every seed's slope with the last doubling. [..., S]
        kappa: κ. [...]
    """
    lows, highs = [low], [high]
    for k in (kappa.low, kappa.value, kappa.high):
        left = change / np.expand_dims(_left(k), -1)
        move, added = left.mean(axis=-1), np.maximum(0.0, _half(slopes + left) ** 2 - _half(slopes) ** 2)
        lows.append(value + move - np.sqrt((value - low) ** 2 + added))
        highs.append(value + move + np.sqrt((high - value) ** 2 + added))
    return np.minimum.reduce(lows), np.maximum.reduce(highs)


def _half(values: FloatArray) -> FloatArray:
    """Return half the width of the t interval of the mean over the last axis; 0 for one value."""
    n = values.shape[-1]
    if n < 2:
        return np.zeros(values.shape[:-1])
    return np.asarray(stats.t.ppf(0.5 + LEVEL / 2, n - 1) * values.std(axis=-1, ddof=1) / np.sqrt(n))


def rising(gains: FloatArray) -> Bools:
    """Return at which P the error rises with training: [..., S, K] → [..., K].

    One-sided t tests over seeds, with the scatter of all P together, Bonferroni over them; without two seeds at any P a
    rise must be larger (`RISE_ALONE`).

    Args:
        gains: ln ε of a shorter schedule less that of the longest; NaN where there is none. [..., S, K]
    """
    present = np.isfinite(gains)
    count = present.sum(axis=-2)
    filled = np.where(present, gains, 0.0)
    mean = filled.sum(axis=-2) / np.maximum(count, 1)
    squares = np.where(present, (filled - mean[..., None, :]) ** 2, 0.0).sum(axis=(-2, -1))
    dof = np.maximum(count - 1, 0).sum(axis=-1)
    if not np.any(dof > 0):
        return np.asarray((count > 0) & (mean < -RISE_ALONE))
    limit = stats.t.isf(RISE_SIGNIFICANCE / max(1, gains.shape[-1]), np.maximum(dof, 1))
    noise = limit[..., None] * np.sqrt((squares / np.maximum(dof, 1))[..., None] / np.maximum(count, 1))
    return np.asarray((count > 0) & (mean < -RISE) & (mean < -noise))
