"""Errors at larger training-set sizes, and the sizes that an error needs, with intervals.

    outlook(curve).at([400, 800])        the error there, with 80 and 95 % intervals
    outlook(curve).reach(20.0)           the frames to an error of 20 in the curve's unit

How often the intervals hold, up to three octaves beyond the largest measured P, is measured by
`python -m analysis calibrate --forecast`; beyond, they are marked as not calibrated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.flags import TRAIN_MEETS_TEST
from analysis.forecasts.factors import MEAN, OCTAVES, RATE, RUN, Band, band, kind_of, quantile_levels, shipped
from analysis.forecasts.mixture import Mixture, Noise, predict

FEWEST = 3
"""Sizes below which nothing is forecast: two points have a slope, but nothing says how good a line is."""
CALIBRATED_SPAN = 2.0
"""Octaves from the smallest to the largest size that curves of the calibration span at least."""
FARTHEST = 6.0
"""Octaves beyond the largest P after which nothing is forecast, calibrated or not."""
STEPS = 8
"""Steps an octave in which sizes are searched."""
FLAT = 0.9
"""Share of the last error above which the median at eight times the data counts as flat."""
LIKELY, SURE = 0.5, 0.95
"""Probabilities that the floor lies above a target from which on it is called probably and surely out of reach."""


@dataclass(frozen=True)
class Forecast:
    """Errors at M sizes, in the curve's unit; NaN where nothing can be forecast."""

    sizes: FloatArray
    """P. [M]"""
    median: FloatArray
    """Median. [M]"""
    low_80: FloatArray
    """Ends of the intervals of the mean over the curve's seeds. [M]"""
    high_80: FloatArray
    low_95: FloatArray
    high_95: FloatArray
    run_low_95: FloatArray
    """Ends of the interval of a single new run. [M]"""
    run_high_95: FloatArray
    calibrated: tuple[bool, ...]
    """Whether curves like this one and horizons like this have been calibrated. [M]"""
    reasons: tuple[str, ...]
    """Why nothing is forecast or it is not calibrated, or what limits the curve; empty if there is nothing to say."""


@dataclass(frozen=True)
class Reach:
    """The sizes at which a curve reaches an error; NaN where it is not within reach."""

    target: float
    """The error, in the curve's unit."""
    median: float
    """P at which the median reaches it."""
    low_95: float
    """P at which the lower end of the 95 % interval does: fewer frames would surprise. NaN if `measured`."""
    high_95: float
    """P at which the upper end does: more frames would surprise."""
    calibrated: bool
    """Whether `median` lies where forecasts are calibrated."""
    reason: str
    """As in `Forecast`."""
    measured: bool = False
    """Whether the measured errors reach it: no forecast, and so no interval."""


@dataclass(frozen=True)
class Outlook:
    """A curve that can be forecast, or the reason why not."""

    curve: Curve
    """The curve."""
    log_p: FloatArray
    """ln P of the sizes that enter. [K]"""
    log_error: FloatArray
    """ln of the mean error at each. [K]"""
    noise: Noise
    """Noise of these means."""
    refused: str
    """Why nothing can be forecast; empty if it can."""
    caution: str
    """Why this curve is unlike those of the calibration; empty if it is not."""

    def octaves(self, sizes: FloatArray) -> FloatArray:
        """Return the octaves of P beyond the largest measured: [M] → [M]."""
        return np.asarray(np.log2(sizes / self.curve.sizes[-1]))

    def at(self, sizes: Sequence[float] | FloatArray) -> Forecast:
        """Return the errors at larger sizes, frames."""
        sizes = np.asarray(sizes, dtype=float)
        octaves = self.octaves(sizes)
        reasons = [self.refused or _place(float(p), float(o), self.curve) for p, o in zip(sizes, octaves, strict=True)]
        possible = np.array([not reason for reason in reasons], dtype=bool)
        ends = np.full((7, len(sizes)), np.nan)
        calibrated = [False] * len(sizes)
        if possible.any():
            mixture = self._mixture(sizes[possible])
            mean, run = (self._band(mixture, sizes[possible], target) for target in (MEAN, RUN))
            limit = self.limit()
            rows = (mean.median, mean.low[80], mean.high[80], mean.low[95], mean.high[95], run.low[95], run.high[95])
            ends[:, possible] = np.exp(rows)
            for i in np.flatnonzero(possible):
                reasons[i] = self._caution(float(octaves[i])) or limit
                calibrated[i] = not self._caution(float(octaves[i]))
        median, low_80, high_80, low_95, high_95, run_low_95, run_high_95 = ends
        return Forecast(
            sizes, median, low_80, high_80, low_95, high_95, run_low_95, run_high_95, tuple(calibrated), tuple(reasons)
        )

    def reach(self, target: float) -> Reach:
        """Return the sizes at which an error in the curve's unit is reached, up to `FARTHEST` octaves beyond P_max."""
        if self.refused:
            return Reach(target, np.nan, np.nan, np.nan, False, self.refused)
        last, wanted = self.log_error[-1], np.log(target)
        if wanted >= last:
            p = float(np.exp(np.interp(-wanted, np.maximum.accumulate(-self.log_error), self.log_p)))
            place = f"the smallest P, {p:.0f}," if wanted >= self.log_error[0] else f"P = {p:.0f}"
            return Reach(target, p, np.nan, np.nan, True, f"reached at {place} already", measured=True)
        sizes = self.curve.sizes[-1] * 2 ** (np.arange(int(FARTHEST * STEPS) + 1) / STEPS)
        mixture = self._mixture(sizes)
        mean = self._band(mixture, sizes, MEAN)
        median, low, high = (_first(sizes, ends, wanted) for ends in (mean.median, mean.low[95], mean.high[95]))
        if np.isfinite(median):
            caution = self._caution(float(self.octaves(np.array([median]))[0]))
            return Reach(target, median, low, high, not caution, caution)
        above = float(mixture.weight[mixture.asymptote > wanted].sum())
        far = f"not within {2**FARTHEST:g} times the largest P"
        if above > LIKELY or self.limit():
            surely = "will" if above > SURE else "will probably"
            far = f"more data {surely} not get there: {100 * above:.0f} % probability that the floor lies above"
            far += f"; {self._what_would()}"
        return Reach(target, median, low, high, False, far)

    def limit(self) -> str:
        """Say that and why more data hardly help, if eight times the data leave the median above `FLAT` of the error.

        Empty if they help.
        """
        median = self._mixture(self.curve.sizes[-1:] * 8).quantiles(np.array([0.5]))[0, 0]
        share = float(np.exp(median - self.log_error[-1]))
        if share <= FLAT:
            return ""
        fall = f"by {100 * (1 - share):.0f} %" if share < 0.995 else "by less than 1 %"
        return f"flat: eight times the data lower the error {fall}; {self._what_would()}"

    def _what_would(self) -> str:
        """Say what may lower the error of a curve that has stopped falling."""
        train = float(nanmean(self.curve.train_error)[-1] / np.exp(self.log_error[-1]))
        if not np.isfinite(train):
            return "the training error would tell what would (not in the table)"
        if train > 1 / TRAIN_MEETS_TEST:
            return "the training error lies above the test error: noisy training labels, or another measure"
        if train > TRAIN_MEETS_TEST:
            return "the training error meets the test error: a larger model would"
        return (
            f"the training error is {100 * train:.0f} % of the test error, so the model fits what it has seen: other "
            "frames, another model or less noise in the labels would"
        )

    def _mixture(self, sizes: FloatArray) -> Mixture:
        return predict(self.log_p, self.log_error, self.noise, np.log(sizes))

    def _band(self, mixture: Mixture, sizes: FloatArray, target: str) -> Band:
        quantiles = mixture.quantiles(quantile_levels(), run=target == RUN)
        noise = mixture.run_noise if target == RUN else mixture.noise
        sides = shipped()[kind_of(self.curve.text("metric")), target]
        return band(quantiles, self.octaves(sizes), float(self.log_error[-1]), noise, sides)

    def _caution(self, octaves: float) -> str:
        if octaves > OCTAVES[-1] + 1e-9:  # round-off of a logarithm
            return f"uncalibrated: {octaves:.1f} octaves beyond the largest P; calibrated up to {OCTAVES[-1]}"
        return self.caution


def outlook(curve: Curve) -> Outlook:
    """Return what can be said about a curve beyond its largest P."""
    log_p, log_error, noise = summary_of(curve)
    refused = _refused(curve, log_p)
    return Outlook(curve, log_p, log_error, noise, refused, "" if refused else _unlike(curve, log_p))


def summary_of(curve: Curve) -> tuple[FloatArray, FloatArray, Noise]:
    """Return ln P [K], ln of the mean error [K] and its noise; sizes without a run or with an error of zero left out.

    Means are geometric, for error rates arithmetic, as counts add.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if kind_of(curve.text("metric")) == RATE:
            y = np.log(nanmean(curve.error))
        else:
            y = nanmean(np.where(np.isfinite(curve.log_error), curve.log_error, np.nan))
        good = np.isfinite(y)
        relative = (curve.error / np.exp(y))[:, good]
        if curve.n_runs is not None and curve.error_sd is not None:
            runs, sd = nanmean(curve.n_runs)[good], nanmean(curve.error_sd / curve.error)[good]
            squares = (runs - 1) * sd**2
        else:
            runs = np.isfinite(relative).sum(axis=0).astype(float)
            squares = runs * nanmean((relative - nanmean(relative)) ** 2)
    freedom = float((runs - 1).sum())
    middle = int(np.median(runs)) if len(runs) else 1
    if freedom <= 0 or not squares.sum() > 0:
        return curve.log_sizes[good], y[good], Noise(max(middle, 1), np.nan, 0.0)
    # Errors on nested subsets correlate over P: K sizes count as K/2 independent ones.
    return curve.log_sizes[good], y[good], Noise(middle, float(np.sqrt(squares.sum() / freedom)), freedom / 2)


def _refused(curve: Curve, log_p: FloatArray) -> str:
    if len(log_p) < FEWEST:
        return f"{len(log_p)} sizes with an error above zero; a forecast needs {FEWEST}"
    if log_p[-1] < curve.log_sizes[-1]:
        return "the error at the largest P is zero, or missing"
    if curve.learned_nothing:
        return "at the largest P no run beats the mean of the labels: this is no learning curve"
    return ""


def _unlike(curve: Curve, log_p: FloatArray) -> str:
    span = float(log_p[-1] - log_p[0]) / np.log(2)
    if span < CALIBRATED_SPAN - 0.1:  # sizes are rarely exact powers of two
        return f"uncalibrated: sizes span {span:.1f} octaves; calibrated from {CALIBRATED_SPAN:g}"
    if any(row[-1] is False for row in curve.converged if row):
        return "uncalibrated: a run at the largest P has not converged"
    return ""


def _place(size: float, octaves: float, curve: Curve) -> str:
    if octaves <= 0:
        return f"P = {size:g} does not exceed the largest measured P, {curve.sizes[-1]:g}"
    if octaves > FARTHEST:
        return f"{octaves:.1f} octaves beyond the largest P; nothing is forecast beyond {FARTHEST:g}"
    return ""


def _first(sizes: FloatArray, values: FloatArray, wanted: float) -> float:
    """Return the smallest size at which ln ε, interpolated in ln P, reaches `wanted`; NaN if it does not."""
    below = np.flatnonzero(values <= wanted)
    if not len(below):
        return np.nan
    i = int(below[0])
    if i == 0:
        return float(sizes[0])
    share = (values[i - 1] - wanted) / (values[i - 1] - values[i])
    return float(np.exp(np.log(sizes[i - 1]) + share * np.log(sizes[i] / sizes[i - 1])))
