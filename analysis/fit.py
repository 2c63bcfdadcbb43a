"""Exponents of one learning curve: every form that can be fitted, one of them recommended, with its flags.

Forms (all fitted in log space, because run-to-run noise is multiplicative):

    power         ε = a·P^(−β)          β = mean of the seeds' slopes, interval t(S − 1) over seeds
    power_floor   ε = a·P^(−β) + c      c ≥ 0, fitted within each seed; β and its interval likewise over seeds
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from analysis.curve import Curve, nanmean
from analysis.floor import FloorBatch, Polish, fit_floor
from analysis.uncertainty import Interval, line, lines, ols_interval, t_interval, t_quantile, two_sided

FloatArray = NDArray[np.float64]

MIN_COMPLETE = 3
"""Seeds that must cover every P before seeds with missing runs are left out of the exponent."""
AICC_MARGIN = 2.0
"""How much lower the floor form's AICc must be to count as evidence (Burnham & Anderson 2002, §2.6)."""

SIGNIFICANCE = 0.01
"""Level of the tests behind flags and recommendations: one false alarm in a hundred curves each."""


class Form(StrEnum):
    """Fit forms."""

    POWER = "power"
    """ε = a·P^(−β)."""
    POWER_FLOOR = "power_floor"
    """ε = a·P^(−β) + c with c ≥ 0."""


class FitStatus(StrEnum):
    """How a fit ended, and whether its numbers can be used."""

    CONVERGED = "converged"
    """Regular minimum; usable."""
    NO_FLOOR = "no_floor"
    """The floor went to zero in at least one seed: that seed's fit is a plain power law; usable."""
    DEGENERATE = "degenerate"
    """The minimum lies at a bound where β is not identified (flat curve, or a floor that explains everything)."""
    MAX_ITER = "max_iter"
    """The optimiser ran out of steps; look at it before use."""
    TOO_FEW_POINTS = "too_few_points"
    """Fewer values of P than parameters + 1: not fitted, numbers are NaN."""


@dataclass(frozen=True)
class Fit:
    """One form fitted to one curve."""

    form: Form
    """Which form."""
    beta: Interval
    """Exponent β, positive where the error falls with P."""
    prefactor: float
    """a, in the curve's unit (the error of the power-law part at P = 1)."""
    floor: float
    """c, in the curve's unit; 0 for forms without a floor."""
    status: FitStatus
    """How the fit ended."""
    method: str
    """Where the interval comes from: `seeds_t` or `ols_means`."""
    beta_per_seed: FloatArray
    """β of each seed that was used; empty for `ols_means`. [≤ S]"""
    log_fit: FloatArray
    """ln of the fitted error at the curve's P (mean over seeds). [K]"""
    aicc: float = np.nan
    """Corrected Akaike criterion of the fit to the per-P means of ln ε; NaN where it has no degrees of freedom left."""
    extrapolation_error: float = np.nan
    """|ln(predicted/measured)| at the largest P, fitted without it."""
    seed_parameters: FloatArray = field(default_factory=lambda: np.empty((0, 3)))
    """ln a, β, c of each seed used (one row from the means for `ols_means`). [≤ S, 3]"""

    def band(self, sizes: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Fitted error with its pointwise interval over seeds, in the curve's unit, at the given P. [M] each

        The interval is NaN for fewer than two seeds.
        """
        log_a, beta, floor = (self.seed_parameters[:, [i]] for i in range(3))
        predicted = np.log(np.exp(log_a - beta * np.log(sizes)) + floor)  # [S, M]
        triples = [t_interval(column) for column in predicted.T]
        return tuple(np.exp([getattr(t, name) for t in triples]) for name in ("value", "low", "high"))  # type: ignore[return-value]


@dataclass(frozen=True)
class CurveFit:
    """All fits of one curve."""

    curve: Curve
    """The curve."""
    fits: tuple[Fit, ...]
    """One per form; the first is always the power law."""
    recommended: Form
    """The form to quote."""
    seeds_used: NDArray[np.bool_]
    """Which seeds entered. [S]"""

    @property
    def best(self) -> Fit:
        """The recommended fit."""
        return self.form(self.recommended)

    def form(self, form: Form) -> Fit:
        """The fit of one form."""
        return next(fit for fit in self.fits if fit.form == form)


def fit_curve(curve: Curve) -> CurveFit:
    """Fit every form to one curve.

    Needs two values of P (the table check sees to that); everything else degrades into statuses, never an exception.
    """
    used = usable_seeds(curve.log_error)
    power = _fit_power(curve, used)
    floored = _fit_power_floor(curve, used)
    bend, bend_p = curvature(curve, used)
    convex = bend > 0 and bend_p < SIGNIFICANCE
    return CurveFit(curve, (power, floored), _recommend(power, floored, convex), used)


def usable_seeds(log_error: FloatArray) -> NDArray[np.bool_]:
    """Seeds whose slopes are averaged: those that cover every P if there are `MIN_COMPLETE`, else all with two P. [S]

    A seed that stops early weighs as much as a complete one in the mean, with a far noisier slope.
    """
    present = np.isfinite(log_error)
    complete = np.asarray(present.all(axis=1))
    return complete if complete.sum() >= MIN_COMPLETE else np.asarray(present.sum(axis=1) >= 2)


def by_seeds(curve: Curve, used: NDArray[np.bool_]) -> bool:
    """Whether the interval can come from seeds: they are real, and there are at least two."""
    return curve.has_seeds and bool(used.sum() >= 2)


def _fit_power(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    x, y = curve.log_sizes, curve.log_error
    mean = nanmean(y[used] if used.any() else y)
    if by_seeds(curve, used):
        slopes, intercepts = lines(x, y[used])
        beta, method, per_seed = t_interval(-slopes), "seeds_t", -slopes
    else:
        slope, intercept = line(x, mean)
        slopes, intercepts = np.array([slope]), np.array([intercept])
        beta, method, per_seed = negate(ols_interval(x, mean)), "ols_means", np.empty(0)
    log_a = float(np.nanmean(intercepts))
    log_fit = log_a - beta.value * x
    slope, intercept = line(x, mean)
    residual = mean - intercept - slope * x
    return Fit(
        form=Form.POWER,
        beta=beta,
        prefactor=float(np.exp(log_a)),
        floor=0.0,
        status=FitStatus.CONVERGED,
        method=method,
        beta_per_seed=per_seed,
        log_fit=log_fit,
        aicc=aicc(residual, 2),
        extrapolation_error=_held_out_power(x, mean),
        seed_parameters=np.stack([intercepts, -slopes, np.zeros_like(slopes)], axis=1),
    )


def _fit_power_floor(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    x, y = curve.log_sizes, curve.log_error
    mean = nanmean(y[used] if used.any() else y)
    good = np.isfinite(mean)
    if good.sum() < 4:
        return _unfitted(Form.POWER_FLOOR, len(x))
    joint = fit_floor(x[good], mean[good][None])
    residual = mean[good] - joint.log_error(x[good])[0]
    if by_seeds(curve, used) and (np.isfinite(y[used]).sum(axis=1) >= 4).sum() >= 2:
        rows = y[used]
        batch = fit_floor(x, rows[np.isfinite(rows).sum(axis=1) >= 4])
        beta, method, per_seed = t_interval(batch.beta), "seeds_t", batch.beta
    else:
        batch = joint
        beta, method, per_seed = _floor_ols(x[good], joint, residual), "ols_means", np.empty(0)
    parameters = np.stack([np.log(batch.prefactor), batch.beta, batch.floor], axis=1)
    return Fit(
        form=Form.POWER_FLOOR,
        beta=beta,
        prefactor=float(np.exp(parameters[:, 0].mean())),
        floor=float(parameters[:, 2].mean()),
        status=_status(batch),
        method=method,
        beta_per_seed=per_seed,
        log_fit=batch.log_error(x).mean(axis=0),
        aicc=aicc(residual, 3),
        extrapolation_error=_held_out_floor(x[good], mean[good]),
        seed_parameters=parameters,
    )


def _status(batch: FloorBatch) -> FitStatus:
    """The worst of the seeds' statuses."""
    worst = Polish(int(batch.status.max()))
    return {
        Polish.CONVERGED: FitStatus.CONVERGED,
        Polish.NO_FLOOR: FitStatus.NO_FLOOR,
        Polish.DEGENERATE: FitStatus.DEGENERATE,
        Polish.MAX_ITER: FitStatus.MAX_ITER,
    }[worst]


def _floor_ols(x: FloatArray, fit: FloorBatch, residual: FloatArray) -> Interval:
    """Interval of β from the linearised least squares (K − 3 degrees of freedom), for curves without seeds."""
    beta, phi = float(fit.beta[0]), float(fit.phi[0])
    dof = len(x) - 3
    shifted = x - x[-1]
    growth = np.exp(-beta * shifted)
    total = (1 - phi) * growth + phi
    jacobian = np.stack([np.ones_like(x), -shifted * (1 - phi) * growth / total, (1 - growth) / total], axis=1)
    normal = jacobian.T @ jacobian
    if dof < 1 or np.linalg.cond(normal) > 1e12:
        return Interval(beta, np.nan, np.nan, np.nan, 0)
    error = float(np.sqrt(np.linalg.inv(normal)[1, 1] * (residual @ residual) / dof))
    half = t_quantile(dof) * error
    return Interval(beta, beta - half, beta + half, error, dof)


def _unfitted(form: Form, n_sizes: int) -> Fit:
    nothing = Interval(np.nan, np.nan, np.nan, np.nan, 0)
    return Fit(
        form=form,
        beta=nothing,
        prefactor=np.nan,
        floor=np.nan,
        status=FitStatus.TOO_FEW_POINTS,
        method="none",
        beta_per_seed=np.empty(0),
        log_fit=np.full(n_sizes, np.nan),
    )


def aicc(residual: FloatArray, n_parameters: int) -> float:
    """Corrected Akaike criterion n·ln(RSS/n) + 2k + 2k(k+1)/(n−k−1), k counting the variance (Hurvich & Tsai 1989).

    The residual variance is bounded below by round-off, so that noiseless curves compare by parameter count.
    """
    good = residual[np.isfinite(residual)]
    n, k = len(good), n_parameters + 1
    if n - k - 1 <= 0:
        return np.nan
    variance = max(float(good @ good) / n, 1e-20)  # (1e-10)²: relative round-off of a fitted ln ε
    return n * float(np.log(variance)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)


def _held_out_power(x: FloatArray, mean: FloatArray) -> float:
    good = np.isfinite(mean)
    if good.sum() < 3:
        return np.nan
    slope, intercept = line(x[good][:-1], mean[good][:-1])
    return float(abs(intercept + slope * x[good][-1] - mean[good][-1]))


def _held_out_floor(x: FloatArray, mean: FloatArray) -> float:
    if len(x) < 5:
        return np.nan
    return float(abs(fit_floor(x[:-1], mean[None, :-1]).log_error(x[-1:])[0, 0] - mean[-1]))


def _recommend(power: Fit, floored: Fit, convex: bool) -> Form:
    """The floor is recommended where there is evidence for it and it predicts the largest P better.

    Evidence is AICc on the per-P means or a convex curvature that is significant over seeds: with six points AICc
    finds a floor of 30 % in 1 % of trials, because it does not know how small the seeds' noise is.
    """
    usable = floored.status in (FitStatus.CONVERGED, FitStatus.NO_FLOOR)
    likelier = floored.aicc <= power.aicc - AICC_MARGIN  # False where either is NaN
    predicts = floored.extrapolation_error <= power.extrapolation_error
    return Form.POWER_FLOOR if usable and (likelier or convex) and predicts else Form.POWER


def curvature(curve: Curve, used: NDArray[np.bool_]) -> tuple[float, float]:
    """Quadratic coefficient of ln ε in ln P, and the two-sided p value of its being zero (NaN where untestable).

    Over seeds where there are two (one coefficient each, t test), else by least squares on the per-P means (K − 3
    degrees of freedom).
    """
    x, y = curve.log_sizes, curve.log_error[used] if used.any() else curve.log_error
    if by_seeds(curve, used) and len(x) >= 3:
        complete = y[np.isfinite(y).all(axis=1)]
        if len(complete) >= 2:
            bend = t_interval(np.polynomial.polynomial.polyfit(x - x.mean(), complete.T, 2)[2])
            return bend.value, two_sided(bend.value, bend.error, bend.dof)
    mean = nanmean(y)
    good = np.isfinite(mean)
    n = int(good.sum())
    if n < 3:
        return np.nan, np.nan
    design = np.vander(x[good] - x[good].mean(), 3)
    solution, *_ = np.linalg.lstsq(design, mean[good], rcond=None)
    residual = mean[good] - design @ solution
    if n == 3:
        return float(solution[0]), np.nan
    error = float(np.sqrt(np.linalg.inv(design.T @ design)[0, 0] * (residual @ residual) / (n - 3)))
    return float(solution[0]), two_sided(float(solution[0]), error, n - 3)


def negate(interval: Interval) -> Interval:
    """The interval of −x."""
    return Interval(-interval.value, -interval.high, -interval.low, interval.error, interval.dof)


def by_curve(fits: list[CurveFit]) -> Mapping[str, CurveFit]:
    """Fits by the curve's name."""
    return {fit.curve.name: fit for fit in fits}
