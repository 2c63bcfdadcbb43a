"""Ratio of training-set sizes at equal error, with an interval after Fieller (1954) that stays within what is measured.

The ratio e^ρ of P(first) and P(second) is sought where the geometric mean of both sizes is the middle m of the measured
range: f₁(m + ρ/2) = f₂(m − ρ/2) with f the mean of ln ε over seeds, interpolated linearly in ln P. No form is assumed
and nothing is extrapolated: ρ lies within ± ln(P_max/P_min), and both curves swapped give −ρ. The interval holds every
ρ for which a t test over seeds does not tell f₁(m + ρ/2) from f₂(m − ρ/2). It is exact where the noise is normal,
however flat the curves, for no slope is divided by; where it reaches the end of the range, only a bound is known.

Arrays over pairs of curves have the shape [n]; both curves of a pair are stacked, [2K].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.arrays import FloatArray
from analysis.comparisons.paired import Pair
from analysis.comparisons.stacked import Stacked, stack_of
from analysis.fits.moderation import NO_PRIOR, Prior
from analysis.fits.uncertainty import LEVEL, Interval

FALL = 3.0
"""Fall of ln ε from P_min to P_max, in standard errors over seeds, below which a curve counts as flat."""
_NOTHING = Interval(np.nan, np.nan, np.nan, np.nan, 0)


@dataclass(frozen=True)
class Ratios:
    """Equal-error ratios of n pairs of curves, as ln(P_first/P_second)."""

    value: FloatArray
    """Where the mean curves have equal errors; NaN if nowhere in the measured range. [n]"""
    low: FloatArray
    """Lower end of the interval; NaN without an interval, or if every ratio in the range is rejected. [n]"""
    high: FloatArray
    """Upper end. [n]"""
    error: FloatArray
    """Standard error of the value, linearised; NaN if there is none. [n]"""
    log_error: FloatArray
    """ln ε at the value. [n]"""
    flat: NDArray[np.bool_]
    """Whether each curve falls by less than `FALL` standard errors. [n, 2]"""
    span: float
    """ln(P_max/P_min), the largest ratio that the data can show."""


def ratios(log_p: FloatArray, stacked: Stacked, level: float = LEVEL) -> Ratios:
    """Return the equal-error ratios of n pairs with their intervals.

    Args:
        log_p: ln P, ascending. [K], K ≥ 2
        stacked: means of both curves with their covariance.
        level: coverage of the interval.
    """
    n_sizes, middle, span = len(log_p), (log_p[0] + log_p[-1]) / 2, float(log_p[-1] - log_p[0])
    corners = 2 * np.concatenate([log_p - middle, middle - log_p])
    knots = np.unique(np.round(np.clip(corners, -span, span), 12))  # between them the difference is linear in ρ
    at_first, at_second = _interpolation(log_p, middle + knots / 2), _interpolation(log_p, middle - knots / 2)
    gap, covariance, dof = stacked.contrast(np.concatenate([at_first, -at_second], axis=1))
    ends = np.zeros((2, 2 * n_sizes))
    for curve in range(2):
        ends[curve, curve * n_sizes], ends[curve, (curve + 1) * n_sizes - 1] = 1.0, -1.0
    fall, fall_covariance, _ = stacked.contrast(ends)
    noise = np.nan_to_num(np.sqrt(np.diagonal(fall_covariance, axis1=1, axis2=2)))  # NaN where the scatter is not known
    low, high = _accepted(knots, gap, covariance, np.asarray(stats.t.ppf(0.5 + level / 2, dof)))
    value, segment, share = _root(knots, gap)
    known = np.isfinite(covariance).all(
        axis=(1, 2)
    )  # where the curves meet the test rejects nothing, but for round-off
    low, high = (np.where(known, pick(end, value), np.nan) for pick, end in ((np.fmin, low), (np.fmax, high)))
    rows = np.arange(len(gap))
    slope = (gap[rows, segment + 1] - gap[rows, segment]) / (knots[segment + 1] - knots[segment])
    variance = _along(covariance, segment, share)
    levels = stacked.mean[:, :n_sizes] @ at_first.T
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(np.maximum(variance, 0.0)) / np.abs(slope)
    return Ratios(
        value=value,
        low=low,
        high=high,
        error=np.where(np.isfinite(value), error, np.nan),
        log_error=np.where(
            np.isfinite(value), levels[rows, segment] * (1 - share) + levels[rows, segment + 1] * share, np.nan
        ),
        flat=(fall <= 1e-12) | (fall < FALL * noise),
        span=span,
    )


def _interpolation(x: FloatArray, places: FloatArray) -> FloatArray:
    """Return the weights of linear interpolation between the points x at some places: [K], [J] → [J, K]."""
    left = np.clip(np.searchsorted(x, places, side="right") - 1, 0, len(x) - 2)
    share = np.clip((places - x[left]) / (x[left + 1] - x[left]), 0.0, 1.0)
    weights = np.zeros((len(places), len(x)))
    rows = np.arange(len(places))
    weights[rows, left], weights[rows, left + 1] = 1 - share, share
    return weights


def _root(knots: FloatArray, gap: FloatArray) -> tuple[FloatArray, NDArray[np.intp], FloatArray]:
    """Return the zero of the differences [n, J], its segment [n] and its place in it [n]; of several the middle one.

    NaN if both ends of the range have one sign: then the number of zeros is even, and no middle one exists.
    """
    positive = gap > 0
    crosses = positive[:, 1:] != positive[:, :-1]
    count = crosses.sum(axis=1)
    segment = np.argmax(crosses & (np.cumsum(crosses, axis=1) == (count[:, None] + 1) // 2), axis=1)
    rows = np.arange(len(gap))
    one, two = gap[rows, segment], gap[rows, segment + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(count % 2 == 1, one / (one - two), 0.0)
    value = knots[segment] + share * (knots[segment + 1] - knots[segment])
    return np.where(count % 2 == 1, value, np.nan), segment, share


def _along(covariance: FloatArray, segment: NDArray[np.intp], share: FloatArray) -> FloatArray:
    """Return the variance within segments, of what is linear between knots: [n, J, J], [n], [n] → [n]."""
    rows, after = np.arange(len(covariance)), segment + 1
    start, end, both = (
        covariance[rows, segment, segment],
        covariance[rows, after, after],
        covariance[rows, segment, after],
    )
    return np.asarray((1 - share) ** 2 * start + 2 * share * (1 - share) * both + share**2 * end)


def _accepted(
    knots: FloatArray, gap: FloatArray, covariance: FloatArray, quantile: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the smallest and the largest ρ that the t test does not reject, [n] each; NaN if there is none.

    Within a segment gap² − t²·variance is a quadratic, whose zeros are ends of accepted stretches.

    Args:
        knots: ρ at the ends of the segments. [J]
        gap: difference of the curves there. [n, J]
        covariance: its covariance. [n, J, J]
        quantile: t there; a segment has the larger of its ends'. [n, J]
    """
    t = np.maximum(quantile[:, :-1], quantile[:, 1:]) ** 2
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    both = np.diagonal(covariance, offset=1, axis1=1, axis2=2)
    step = np.diff(gap, axis=1)
    constant = gap[:, :-1] ** 2 - t * variance[:, :-1]
    linear = 2 * gap[:, :-1] * step - 2 * t * (both - variance[:, :-1])
    square = step**2 - t * (variance[:, :-1] - 2 * both + variance[:, 1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        root = np.sqrt(linear**2 - 4 * square * constant)
        shares = np.stack([(-linear - root) / (2 * square), (-linear + root) / (2 * square)])
        straight = np.abs(square) <= 1e-14 * (np.abs(linear) + np.abs(constant))
        shares = np.where(straight, -constant / linear, shares)
    zeros = np.where((shares >= 0) & (shares <= 1), knots[:-1] + shares * np.diff(knots), np.nan)  # [2, n, J − 1]
    inside = np.zeros(gap.shape, dtype=bool)
    inside[:, :-1] |= constant <= 0
    inside[:, 1:] |= constant + linear + square <= 0
    every = np.concatenate([zeros[0], zeros[1], np.where(inside, knots, np.nan)], axis=1)
    known = np.isfinite(every)
    low = np.where(known, every, np.inf).min(axis=1)
    high = np.where(known, every, -np.inf).max(axis=1)
    none = ~known.any(axis=1)
    return np.where(none, np.nan, low), np.where(none, np.nan, high)


def significant(value: float, digits: int = 2) -> str:
    """Format a ratio to significant digits, none of them left out: `0.97`, `1.0`, `17`, `128`."""
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(value)))}f}"


@dataclass(frozen=True)
class EqualError:
    """How many more training frames the first curve needs for the same error."""

    ratio: Interval
    """P_first(ε)/P_second(ε); above 1 if the second is more data-efficient. The value is NaN if the mean curves have no
    error in common; ends that the data do not limit are the end of the measured range, named in `open_ends`."""
    error: float
    """The error ε at which they are compared, in the curves' unit."""
    leader: str = ""
    """`first` or `second` if that curve has a lower error at its smallest P than the other anywhere."""
    beyond: float = np.nan
    """With a leader: lower limit of the ratio, the other's P_max over the leader's P_min."""
    open_ends: tuple[str, ...] = ()
    """Ends of the interval (`low`, `high`) that are only the end of the measured range: "less than", "more than"."""
    flat: tuple[str, ...] = ()
    """Which of both curves (`first`, `second`) hardly fall; no size belongs to their errors, and there is no ratio."""

    @property
    def interval(self) -> str:
        """The interval in words, `1.3, 2.5` or `1.3, more than 32`; empty if there is none."""
        if not np.isfinite(self.ratio.low):
            return ""
        words = {"low": "less than ", "high": "more than "}
        ends = (("low", self.ratio.low), ("high", self.ratio.high))
        return ", ".join(
            (words[name] if name in self.open_ends else "") + significant(end, self._digits) for name, end in ends
        )

    @property
    def text(self) -> str:
        """The value with its interval, if there is one: `1.7 [1.3, 2.5]`."""
        value = significant(self.ratio.value, self._digits)
        return f"{value} [{self.interval}]" if self.interval else value

    @property
    def cell(self) -> str:
        """The ratio with its interval, a limit where only that is known, `flat`, or a dash: a cell of a table."""
        if np.isfinite(self.ratio.value):
            return self.text
        if self.bound is not None:
            return f"{'>' if self.bound[0] == 'more' else '<'} {self.bound[1]:.3g}"
        return "flat" if self.flat else "–"

    @property
    def _digits(self) -> int:
        """Significant digits: two, and up to four if the value and the ends of its interval would look the same."""
        numbers = [value for value in (self.ratio.value, self.ratio.low, self.ratio.high) if np.isfinite(value)]
        fewest, *more = (2, 3, 4)
        told_apart = (n for n in (fewest, *more) if len({significant(value, n) for value in numbers}) == len(numbers))
        return next(told_apart, fewest)

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1, or one curve never reaches the other's errors."""
        return bool(self.ratio.low > 1 or self.ratio.high < 1 or self.leader)

    @property
    def bound(self) -> tuple[str, float] | None:
        """What alone is known of the ratio if it has no value: that it is `more` or `less` than a number."""
        if self.leader:
            return ("more", self.beyond) if self.leader == "second" else ("less", 1 / self.beyond)
        if np.isfinite(self.ratio.value) or len(self.open_ends) != 1:
            return None
        return ("more", self.ratio.low) if "high" in self.open_ends else ("less", self.ratio.high)

    def words(self, first: str, second: str) -> str:
        """Describe the ratio, or why there is none, with the given names of the curves."""
        if self.leader:
            ahead, behind = (first, second) if self.leader == "first" else (second, first)
            return (
                f"{behind} never reaches the errors of {ahead}: it needs more than {self.beyond:.3g} times the frames"
            )
        if self.flat:
            names = [name for which, name in (("first", first), ("second", second)) if which in self.flat]
            return f"no ratio: the curve{'s are' if len(names) == 2 else f' of {names[0]} is'} flat"
        if np.isfinite(self.ratio.value):
            return f"at equal error {first} needs {self.text} times the frames of {second}"
        if self.bound is None:
            return f"no ratio: {first} and {second} have no error in common"
        kind, limit = self.bound
        return f"at equal error {first} needs {kind} than {significant(limit)} times the frames of {second}"


def equal_error(pair: Pair, level: float = LEVEL, prior: Prior = NO_PRIOR) -> EqualError:
    """Return the ratio of training-set sizes at equal error, or which curve leads, or that they are flat.

    Args:
        pair: two curves.
        level: coverage of the interval.
        prior: of the variance of a curve in the table.
    """
    if pair.empty:
        return EqualError(_NOTHING, np.nan)
    stacked = stack_of(pair, prior)
    if leader := _leader(pair.log_p, stacked, level):
        return EqualError(_NOTHING, np.nan, leader, float(np.exp(pair.log_p[-1] - pair.log_p[0])))
    found = ratios(pair.log_p, stacked, level)
    if found.flat.any():
        flat = tuple(name for name, is_flat in zip(("first", "second"), found.flat[0], strict=True) if is_flat)
        return EqualError(_NOTHING, np.nan, flat=flat)
    value, low, high = (float(np.exp(x[0])) for x in (found.value, found.low, found.high))
    at_end = 1e-9  # round-off of ln P
    open_ends = {"low": found.low[0] <= -found.span + at_end, "high": found.high[0] >= found.span - at_end}
    return EqualError(
        ratio=Interval(value, low, high, float(found.error[0]), int(stacked.dof[0])),
        error=float(np.exp(found.log_error[0])),
        open_ends=tuple(name for name, is_open in open_ends.items() if is_open),
    )


def _leader(log_p: FloatArray, stacked: Stacked, level: float) -> str:
    """Return the curve with a lower error at its smallest P than the other has anywhere.

    The difference to the other's lowest mean must be shown by the t test of the interval; where the scatter is not
    known, the means decide.
    """
    n_sizes = len(log_p)
    for leader, ahead, behind in (("first", 0, n_sizes), ("second", n_sizes, 0)):
        best = behind + int(np.argmin(stacked.mean[0, behind : behind + n_sizes]))
        weights = np.zeros((1, 2 * n_sizes))
        weights[0, best], weights[0, ahead] = 1.0, -1.0
        value, covariance, dof = (part.item() for part in stacked.contrast(weights))
        lead = value - stats.t.ppf(0.5 + level / 2, dof) * np.sqrt(max(covariance, 0.0))
        if value > 0 and not lead <= 0:  # NaN where the scatter is not known
            return leader
    return ""
