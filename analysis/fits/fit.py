"""Exponents of one learning curve: every form that can be fitted, one of them recommended.

Forms are fitted in log space, because run-to-run noise is multiplicative:

    power         ε = a·P^(−β)          β = mean of the seeds' slopes, interval t(S − 1) over seeds
    power_floor   ε = a·P^(−β) + c      c ≥ 0, fitted within each seed; β and its interval likewise over seeds
    power_huber, bnsl_1, m4             for diagnosis (module `forms`), the latter two from seven values of P on
    binomial                            for error rates (module `curved`)

If the table has `error_test_sem`, the intervals of the first two include the noise of the shared test set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.floor import FloorBatch, Polish, fit_floor
from analysis.fits.further_forms import fit_binomial, fit_bnsl, fit_huber, fit_m4
from analysis.fits.recommend import recommend
from analysis.fits.results import TEST_SET, CurveFit, Fit, FitStatus, Form, aicc, by_seeds, unfitted, usable_seeds
from analysis.fits.uncertainty import (
    Interval,
    line,
    lines,
    ols_interval,
    shared_variance,
    slope_weights,
    t_interval,
    t_quantile,
    two_sided,
    with_test,
)
from analysis.table import ERROR_RATES

SIGNIFICANCE = 0.01
"""Level of the tests behind flags: one false alarm in a hundred curves each."""
BOTH = (Form.POWER, Form.POWER_FLOOR)
"""The two forms that every comparison rests on."""


def fit_curve(curve: Curve, forms: tuple[Form, ...] = tuple(Form)) -> CurveFit:
    """Fit the requested forms to one curve (`power` and `power_floor` always) and recommend one of them.

    Needs two values of P, which the check of the table ensures. Anything else that prevents a fit becomes its status,
    never an exception.
    """
    finite = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)
    used = usable_seeds(finite)
    power, floored = _fit_power(curve, finite, used), _fit_power_floor(curve, finite, used)
    fits = [power, floored]
    for form, fitter in ((Form.POWER_HUBER, fit_huber), (Form.BNSL_1, fit_bnsl), (Form.M4, fit_m4)):
        if form in forms:
            fits.append(fitter(curve, used))
    counts = curve.text("metric") in ERROR_RATES and bool(np.isfinite(curve.n_test).any())
    if counts and Form.BINOMIAL in forms:
        fits.append(fit_binomial(curve, used if used.sum() >= 2 else np.ones_like(used)))
    fits, recommended = recommend(fits, len(curve.sizes), *curvature(curve, used))
    return CurveFit(curve, tuple(fits), recommended, used)


def _fit_power(curve: Curve, y: FloatArray, used: NDArray[np.bool_]) -> Fit:
    x = curve.log_sizes
    mean = nanmean(y[used] if used.any() else y)
    if by_seeds(curve, used):
        slopes, intercepts = lines(x, y[used])
        weights = slope_weights(x, np.isfinite(y[used]))
        (beta, method), per_seed = _over_seeds(curve, used, -slopes, weights), -slopes
    else:
        slope, intercept = line(x, mean)
        slopes, intercepts = np.array([slope]), np.array([intercept])
        beta, method, per_seed = negate(ols_interval(x, mean)), "ols_means", np.empty(0)
    log_a = float(np.nanmean(intercepts))
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
        aicc=aicc(residual, 2),
        extrapolation_error=_held_out_power(x, mean),
        predict=lambda sizes: intercepts[:, None] + slopes[:, None] * np.log(sizes),
    )


def _fit_power_floor(curve: Curve, y: FloatArray, used: NDArray[np.bool_]) -> Fit:
    x = curve.log_sizes
    mean = nanmean(y[used] if used.any() else y)
    good = np.isfinite(mean)
    if good.sum() < 4:
        return unfitted(Form.POWER_FLOOR)
    joint = fit_floor(x[good], mean[good][None])
    residual = mean[good] - joint.log_error(x[good])[0]
    if by_seeds(curve, used) and (np.isfinite(y[used]).sum(axis=1) >= 4).sum() >= 2:
        rows = y[used]
        rows = rows[np.isfinite(rows).sum(axis=1) >= 4]
        batch = fit_floor(x, rows)
        weights = batch.weights(x, np.isfinite(rows))
        (beta, method), per_seed = _over_seeds(curve, used, batch.beta, weights), batch.beta
    else:
        batch = joint
        beta, method, per_seed = _floor_ols(x[good], joint, residual), "ols_means", np.empty(0)
    return Fit(
        form=Form.POWER_FLOOR,
        beta=beta,
        prefactor=float(np.exp(np.log(batch.prefactor).mean())),
        floor=float(batch.floor.mean()),
        status=_status(batch),
        method=method,
        beta_per_seed=per_seed,
        aicc=aicc(residual, 3),
        extrapolation_error=_held_out_floor(x[good], mean[good]),
        predict=lambda sizes: batch.log_error(np.log(sizes)),
    )


def _over_seeds(curve: Curve, used: NDArray[np.bool_], values: FloatArray, weights: FloatArray) -> tuple[Interval, str]:
    """Return the interval of the mean of the seeds' values, including the test set's noise if known, and its method.

    Args:
        curve: the learning curve.
        used: seeds that entered. [S]
        values: one estimate per seed; NaN is left out. [S]
        weights: derivatives of each estimate by the seed's ln ε. [S, K]
    """
    interval = t_interval(values)
    variance = _test_variance(curve, used, weights[np.isfinite(values)])
    known = interval.dof >= 1 and np.isfinite(variance)
    return with_test(interval, variance), "seeds_t" + (TEST_SET if known else "")


def _test_variance(curve: Curve, used: NDArray[np.bool_], weights: FloatArray) -> float:
    """Return the variance from the shared test set of a mean of estimates with weights [S, K]; NaN if unknown."""
    return float(shared_variance(curve.log_sizes, weights.mean(axis=0), curve.relative_sem(used)))


def _status(batch: FloorBatch) -> FitStatus:
    """Return the worst of the seeds' statuses."""
    worst = Polish(int(batch.status.max()))
    return {
        Polish.CONVERGED: FitStatus.CONVERGED,
        Polish.NO_FLOOR: FitStatus.NO_FLOOR,
        Polish.DEGENERATE: FitStatus.DEGENERATE,
        Polish.MAX_ITER: FitStatus.MAX_ITER,
    }[worst]


def _floor_ols(x: FloatArray, fit: FloorBatch, residual: FloatArray) -> Interval:
    """Return the interval of β from linearised least squares (K − 3 degrees of freedom), for curves without seeds."""
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


def curvature(curve: Curve, used: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the quadratic coefficient of ln ε in ln P and the two-sided p value of its being zero (NaN if untestable).

    With two seeds or more, a t test over one coefficient per seed that includes the shared test set's noise; else least
    squares on the per-P means (K − 3 degrees of freedom).
    """
    x = curve.log_sizes
    y = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)
    y = y[used] if used.any() else y
    if by_seeds(curve, used) and len(x) >= 3:
        complete = y[np.isfinite(y).all(axis=1)]
        if len(complete) >= 2:
            weights = np.linalg.pinv(np.vander(x - x.mean(), 3))[0]
            bend = with_test(t_interval(complete @ weights), _test_variance(curve, used, weights[None]))
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
    """Return the interval of −x from that of x."""
    return Interval(-interval.value, -interval.high, -interval.low, interval.error, interval.dof)
