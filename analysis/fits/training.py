"""What further training may still do to an exponent: the law of the remainder, its verdict, and the hull of β.

A run has the errors of complete schedules of T, T/2 and T/4 updates. If the excess of ln ε over its limit falls as
T^(−κ) at every P, so does what β still lacks: with d = β(T) − β(T/2),

    r = d / (2^κ − 1),        2^κ = (change from T/4 to T/2) / (change from T/2 to T),

and β tends to β + r. κ is pooled over the seeds and curves of a dataset and metric; where they do not tell it, it is at
least ½ (and at most 1 when a change is to be shown). The verdict rests on the 90 % interval of r over seeds:
*converged* if it lies within ±.02, *not converged* if it lies outside and the change itself is shown at 5 %, else
*cannot tell*. Whatever the verdict, the hull of the interval of β and of that of β + r is quoted beside it.

The law has no place for errors that rise with training: a curve that does so anywhere is overfitting, never converged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.remainder import (
    MARGIN,
    UNTOLD,
    Kappa,
    Remainder,
    estimate_kappa,
    gain_pairs,
    hull,
    remainder,
    rising,
)  # fmt: skip
from analysis.fits.results import CurveFit, by_seeds
from analysis.fits.uncertainty import Interval, lines

LONGEST = 1e4
"""Factor on the updates beyond which none is named."""
PLACE = ("dataset", "test_set", "metric")
"""Columns of the curves that share κ."""


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
