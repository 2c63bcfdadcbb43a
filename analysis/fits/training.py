"""What further training may still do to an exponent: the law of the remainder, its verdict, and the hull of β.

A run has the errors of complete schedules of T, T/2 and T/4 updates. If the excess of ln ε over its limit falls as
T^(−κ) at every P, so does what β still lacks: with d = β(T) − β(T/2),

    r = d / (2^κ − 1),        2^κ = (change from T/4 to T/2) / (change from T/2 to T),

and β tends to β + r. κ is pooled over the seeds and curves of a dataset and metric; where they do not tell it, it is at
least ½ (and at most 1 when a change is to be shown). The verdict rests on the 90 % interval of r over seeds:
*converged* if it lies within ±.02, *not converged* if it lies outside and the change itself is shown at 5 %, else
*cannot tell*. Whatever the verdict, the hull of the interval of β and of that of β + r is quoted beside it.

The law has no place for errors that rise with training: a curve that does so anywhere is overfitting, never converged.
All functions of arrays take any leading axes, so that the calibration runs the program's own rule on many tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.results import CurveFit, by_seeds
from analysis.fits.uncertainty import LEVEL, Interval, lines

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
LONGEST = 1e4
"""Factor on the updates beyond which none is named."""
PLACE = ("dataset", "test_set", "metric")
"""Columns of the curves that share κ."""

Bools = NDArray[np.bool_]


class Verdict(StrEnum):
    """Verdict on whether further training may affect the exponent."""

    CONVERGED = "converged"
    """It may change β by less than `MARGIN`."""
    NOT_CONVERGED = "not_converged"
    """It will change β by more: an undertrained large P looks like a smaller exponent; or errors rise with training."""
    CANNOT_TELL = "cannot_tell"
    """The data are too noisy, or have too few seeds or updates, to say either."""
    NONE = "none"
    """A closed form, or a table without errors of shorter schedules."""


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


@dataclass(frozen=True)
class Training:
    """What further training may do to one curve."""

    verdict: Verdict
    """The verdict."""
    beta_half: float
    """β after half the updates, from the runs that have both; NaN if there are none."""
    remainder: Remainder
    """r under the power form; NaN if unknown."""
    kappa: Kappa
    """κ, pooled with the curves of the same dataset and metric."""
    slopes: FloatArray
    """β of every seed that has both schedules. [≤ S]"""
    change: FloatArray
    """Change of each with the last doubling. [≤ S]"""
    overfitting: tuple[float, ...] = ()
    """P at which more training raises the error."""
    updates: float = np.nan
    """Updates of the longest schedule; NaN if the table does not say, or runs differ."""
    seconds: float = np.nan
    """Time of all runs of the curve, s; NaN if unknown."""

    def hull(self, beta: Interval) -> tuple[float, float]:
        """Return the hull of an interval of β and of the same after further training; the interval if that is unknown.

        It is NaN for an interval without ends.
        """
        if not len(self.change):
            return beta.low, beta.high
        value, low, high = (np.array(end) for end in (beta.value, beta.low, beta.high))
        low, high = hull(value, low, high, self.slopes, self.change, self.kappa)
        return float(low), float(high)

    @property
    def factor(self) -> float:
        """How many times the updates would bring the interval of r within the margin; NaN if unknown or too many."""
        widest = max(abs(float(self.remainder.low)), abs(float(self.remainder.high)))
        if self.overfitting or not np.isfinite(widest):
            return np.nan
        exact = (widest / MARGIN) ** (1 / float(self.kappa.value))
        return float(2 ** np.ceil(np.log2(exact))) if 1 < exact < LONGEST else np.nan

    @property
    def seeds_needed(self) -> float:
        """Seeds whose interval of r would fit into the margin if r is as estimated; NaN if none would or unknown."""
        room = MARGIN - abs(float(self.remainder.value))
        half = (float(self.remainder.high) - float(self.remainder.low)) / 2
        if not (room > 0 and np.isfinite(half)):
            return np.nan
        return float(np.ceil(len(self.change) * max(1.0, half / room) ** 2))

    def words(self) -> str:
        """Describe what training leaves open, by how much, and what would settle it; empty if nothing is open."""
        if self.overfitting:
            sizes = ", ".join(f"{P:g}" for P in self.overfitting)
            return f"overfitting: more training raises the error at P = {sizes}; training.stop=validation"
        if self.verdict not in (Verdict.NOT_CONVERGED, Verdict.CANNOT_TELL) or not len(self.change):
            return ""
        left = f"more training may change β by {float(self.remainder.value):+.3f}"
        if np.isfinite(self.remainder.low):
            left += f", 90 % [{float(self.remainder.low):+.3f}, {float(self.remainder.high):+.3f}]"
        wanted = []
        if np.isfinite(self.factor):
            wanted.append(self._updates())
        if self.verdict is Verdict.CANNOT_TELL and np.isfinite(self.seeds_needed):
            wanted.append(f"{self.seeds_needed:.0f} seeds")
        settled = f"; {' or '.join(wanted)} would settle it" if wanted else ""
        return (left + settled).replace("-0.", "−0.").replace("+0.000", "0.000")

    def _updates(self) -> str:
        times = f"{self.factor:g} times the updates"
        if np.isfinite(self.updates):
            times = f"{self.factor * self.updates:,.0f} updates a run"
        hours = self.factor * self.seconds / 3600
        return f"{times} ({hours:.2g} h in all)" if np.isfinite(hours) else times

    def record(self) -> dict[str, object] | None:
        """Return the JSON record of what training leaves open, with r, κ and what would settle it; None if unknown."""
        if not len(self.change) and not self.overfitting:
            return None
        numbers = {
            "remainder": float(self.remainder.value),
            "remainder_low_90": float(self.remainder.low),
            "remainder_high_90": float(self.remainder.high),
            "kappa": float(self.kappa.value),
            "kappa_low": float(self.kappa.low),
            "kappa_high": float(self.kappa.high),
            "updates_needed": self.factor * self.updates,
            "hours_needed": self.factor * self.seconds / 3600,
            "seeds_needed": self.seeds_needed if self.verdict is Verdict.CANNOT_TELL else np.nan,
        }
        finite = {name: value if np.isfinite(value) else None for name, value in numbers.items()}
        told = {"kappa_told": bool(self.kappa.told), "overfitting_P": list(self.overfitting)}
        return {**finite, **told, "words": self.words()}


def pooled_kappas(curves: Iterable[Curve]) -> dict[tuple[object, ...], Kappa]:
    """Return κ by dataset, test set and metric, from all their curves with three schedules and two seeds or more."""
    groups: dict[tuple[object, ...], list[tuple[FloatArray, FloatArray]]] = {}
    for curve in curves:
        earlier, later = _gains(curve)
        rows = np.isfinite(earlier).any(axis=1)
        good = np.isfinite(earlier[rows]).all(axis=0)
        if rows.sum() >= 2 and good.any():
            pair = gain_pairs(earlier[rows][:, good], later[rows][:, good])
            groups.setdefault(place(curve), []).append(pair)
    return {
        key: estimate_kappa(np.concatenate([one for one, _ in pairs]), np.concatenate([two for _, two in pairs]))
        for key, pairs in groups.items()
    }


def place(curve: Curve) -> tuple[object, ...]:
    """Return the values of the columns in `PLACE`, by which κ is pooled."""
    return tuple(curve.key.get(name) for name in PLACE)


def logs(values: FloatArray) -> FloatArray:
    """Return natural logarithms, NaN where they do not exist."""
    with np.errstate(divide="ignore", invalid="ignore"):
        result = np.log(values)
    return np.asarray(np.where(np.isfinite(result), result, np.nan))


def _gains(curve: Curve) -> tuple[FloatArray, FloatArray]:
    """Return the gains in ln ε from T/4 to T/2 and from T/2 to T, [S, K] each; NaN where one of the two is missing."""
    full, half, quarter = (logs(one) for one in (curve.error, curve.half_budget, curve.quarter_budget))
    earlier, later = quarter - half, half - full
    known = np.isfinite(earlier) & np.isfinite(later)
    return np.where(known, earlier, np.nan), np.where(known, later, np.nan)


def assess(fit: CurveFit, kappas: Mapping[tuple[object, ...], Kappa]) -> Training:
    """Assess the training of a fitted curve; `kappas` as `pooled_kappas` returns them."""
    curve = fit.curve
    kappa = kappas.get(place(curve), UNTOLD)
    full, half, quarter = (logs(one) for one in (curve.error, curve.half_budget, curve.quarter_budget))
    rises = rising(half - full) | rising(quarter - full)
    overfitting = tuple(float(P) for P in curve.sizes[rises])
    slopes, change, beta_half = _changes(fit, full, half)
    left = remainder(change, kappa) if len(change) else Remainder(*(np.array(np.nan),) * 3, np.array(False))
    steps = curve.settings.get("training.max_steps")
    return Training(
        verdict=_verdict(curve, left, bool(len(change)), bool(overfitting)),
        beta_half=beta_half,
        remainder=left,
        kappa=kappa,
        slopes=slopes,
        change=change,
        overfitting=overfitting,
        updates=float(steps) if isinstance(steps, int | float) else np.nan,
        seconds=float(np.nansum(curve.seconds)) if np.isfinite(curve.seconds).any() else np.nan,
    )


def _verdict(curve: Curve, left: Remainder, known: bool, overfitting: bool) -> Verdict:
    if curve.too_short or overfitting:
        return Verdict.NOT_CONVERGED
    if not known:
        converged: Sequence[bool] = [value for row in curve.converged for value in row if value is not None]
        return Verdict.NOT_CONVERGED if converged and not all(converged) else Verdict.NONE
    if left.within:
        return Verdict.CONVERGED
    return Verdict.NOT_CONVERGED if left.outside else Verdict.CANNOT_TELL


def _changes(fit: CurveFit, full: FloatArray, half: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the seeds' slopes, their changes with the last doubling, and β after half the updates.

    The same runs on both sides, so that a missing one cannot move β by itself; without seeds, the slope of the means.
    """
    curve, x = fit.curve, fit.curve.log_sizes
    both = np.isfinite(full) & np.isfinite(half)
    if both.any(axis=0).sum() < 2:
        return np.empty(0), np.empty(0), np.nan
    after, before = np.where(both, full, np.nan), np.where(both, half, np.nan)
    if by_seeds(curve, fit.seeds_used):
        after, before = after[fit.seeds_used], before[fit.seeds_used]
    else:
        after, before = nanmean(after)[None], nanmean(before)[None]
    slopes, earlier = -lines(x, after)[0], -lines(x, before)[0]
    good = np.isfinite(slopes)
    if not good.any():
        return np.empty(0), np.empty(0), np.nan
    return slopes[good], (slopes - earlier)[good], float(earlier[good].mean())
