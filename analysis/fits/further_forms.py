"""Fits besides the power law and the one with a floor: Huber's loss, one break, M4 and the binomial likelihood."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.forms import BNSL, M4, CurvedForm, Solution, SolverStatus, huber_line, solve
from analysis.fits.results import Fit, FitStatus, Form, aicc, by_seeds, unfitted
from analysis.fits.uncertainty import Interval, jackknife_interval, t_interval

_STATUS = {
    SolverStatus.CONVERGED: FitStatus.CONVERGED,
    SolverStatus.BOUND_HIT: FitStatus.BOUND_HIT,
    SolverStatus.MAX_ITER: FitStatus.MAX_ITER,
}


def fit_huber(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    """Fit the power law under Huber's loss within each seed; β and its interval over seeds as for least squares.

    Args:
        curve: the learning curve.
        used: seeds that enter. [S]
    """
    x, y = curve.log_sizes, _finite(curve.log_error)
    if len(x) < 3:
        return unfitted(Form.POWER_HUBER)
    rows = y[used] if by_seeds(curve, used) else nanmean(y)[None]
    pairs = np.array([huber_line(x, row) for row in rows])
    slopes, levels = pairs[:, 0], pairs[:, 1]
    seeds = by_seeds(curve, used)
    return Fit(
        form=Form.POWER_HUBER,
        beta=t_interval(-slopes),
        prefactor=float(np.exp(np.nanmean(levels))),
        floor=0.0,
        status=FitStatus.CONVERGED,
        method="seeds_t" if seeds else "none",
        beta_per_seed=-slopes if seeds else np.empty(0),
        predict=lambda sizes: levels[:, None] + slopes[:, None] * np.log(sizes),
    )


def fit_bnsl(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    """Fit a power law with one break (BNSL) to the per-P means of the seeds `used` [S]; β is that after the break."""
    return _fit_curved(Form.BNSL_1, BNSL, curve, used)


def fit_m4(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    """Fit M4 (plateau, power law, floor) to the per-P means of the seeds `used` [S]; β is that between them."""
    return _fit_curved(Form.M4, M4, curve, used)


def _fit_curved(name: Form, form: CurvedForm, curve: Curve, used: NDArray[np.bool_]) -> Fit:
    """Fit a form to the per-P means, with an interval from leaving out one seed at a time (three seeds or more)."""
    y = _finite(curve.log_error)
    rows = y[used] if used.any() else y
    mean = nanmean(rows)
    good = np.isfinite(mean)
    if good.sum() < form.n_parameters + 2:  # AICc with the variance needs one more than that
        return unfitted(name)
    centre = float(curve.log_sizes[good].mean())
    x = curve.log_sizes[good] - centre
    best = solve(form, x, mean[good])
    beta, method = Interval(form.beta(best.theta), np.nan, np.nan, np.nan, 0), "none"
    usable = best.status is SolverStatus.CONVERGED  # β of a form at its bounds is not worth an interval
    if usable and by_seeds(curve, used) and len(rows) >= 3:
        left_out = np.array([_beta_without(form, x, rows[:, good], s, best) for s in range(len(rows))])
        beta, method = jackknife_interval(form.beta(best.theta), left_out), "seeds_jackknife"
    held_out = solve(form, x[:-1], mean[good][:-1])
    predicted = float(form.predict(held_out.theta, x[-1:])[0])
    return Fit(
        form=name,
        beta=beta,
        prefactor=np.nan,
        floor=_floor(name, best.theta),
        status=_STATUS[best.status],
        method=method,
        beta_per_seed=np.empty(0),
        aicc=aicc(mean[good] - form.predict(best.theta, x), form.n_parameters),
        extrapolation_error=abs(predicted - float(mean[good][-1])),
        predict=lambda sizes: form.predict(best.theta, np.log(sizes) - centre)[None],
    )


def _beta_without(form: CurvedForm, x: FloatArray, rows: FloatArray, seed: int, best: Solution) -> float:
    mean = nanmean(np.delete(rows, seed, axis=0))
    good = np.isfinite(mean)
    return form.beta(solve(form, x[good], mean[good], starts=[best.theta]).theta)


def _floor(name: Form, theta: FloatArray) -> float:
    """Return the floor c = ε₀·σ(logit) of M4; 0 for the broken power law."""
    return float(np.exp(theta[0]) / (1 + np.exp(-theta[1]))) if name is Form.M4 else 0.0


def _finite(log_error: FloatArray) -> FloatArray:
    """Replace the −∞ of zero error rates by NaN: these forms work on logarithms."""
    return np.where(np.isfinite(log_error), log_error, np.nan)


def fit_binomial(curve: Curve, used: NDArray[np.bool_]) -> Fit:
    """Fit error rates by maximum likelihood: counts k ~ Binomial(n_test, a_s·P^(−β_s)) within each seed s.

    A rate of zero has a likelihood, though no logarithm. β and its interval come from the seeds if there are two, else
    from the curvature of the likelihood.

    Args:
        curve: a curve of error rates with `n_test`.
        used: seeds that enter. [S]
    """
    x = curve.log_sizes
    seeds = by_seeds(curve, used)
    wrong, total = curve.error * curve.n_test, curve.n_test
    if seeds:
        pairs = np.array([binomial_line(x, w, n) for w, n in zip(wrong[used], total[used], strict=True)])
        beta = t_interval(-pairs[:, 1])
    else:
        pairs = np.array([binomial_line(x, np.nansum(wrong, axis=0), np.nansum(total, axis=0))])
        half = 1.959964 * float(pairs[0, 2])  # normal quantile: a likelihood interval
        value = -float(pairs[0, 1])
        beta = Interval(value, value - half, value + half, float(pairs[0, 2]), 0)
    levels, slopes = pairs[:, 0], pairs[:, 1]
    return Fit(
        form=Form.BINOMIAL,
        beta=beta,
        prefactor=float(np.exp(levels.mean())),
        floor=0.0,
        status=FitStatus.CONVERGED if np.isfinite(pairs).all() else FitStatus.DEGENERATE,
        method="seeds_t" if seeds else "likelihood",
        beta_per_seed=-slopes if seeds else np.empty(0),
        predict=lambda sizes: levels[:, None] + slopes[:, None] * np.log(sizes),
    )


def binomial_line(x: FloatArray, wrong: FloatArray, total: FloatArray) -> tuple[float, float, float]:
    """Return intercept, slope and the slope's standard error of ln rate over ln P; NaN if every count is zero.

    Args:
        x: ln P. [K]
        wrong: number of wrong answers. [K]
        total: number of test examples. [K]
    """
    good = (total > 0) & np.isfinite(wrong)
    if good.sum() < 2 or not wrong[good].sum() > 0:
        return np.nan, np.nan, np.nan
    centre = x[good].mean()
    shifted, k, n = x[good] - centre, wrong[good], total[good]

    def loss(theta: FloatArray) -> tuple[float, FloatArray]:
        log_rate = np.minimum(theta[0] + theta[1] * shifted, -1e-9)
        rate = np.exp(log_rate)
        value = -float(k @ log_rate + (n - k) @ np.log1p(-rate))
        slope = -(k - (n - k) * rate / (1 - rate))
        return value, np.array([slope.sum(), slope @ shifted])

    start = np.array([np.log(k.sum() / n.sum()), 0.0])
    result = minimize(loss, start, jac=True, method="BFGS")
    rate = np.exp(np.minimum(result.x[0] + result.x[1] * shifted, -1e-9))
    weight = n * rate / (1 - rate)  # Fisher information of ln rate
    design = np.stack([np.ones_like(shifted), shifted], axis=1)
    covariance = np.linalg.pinv(design.T @ (weight[:, None] * design))
    slope = float(result.x[1])
    return float(result.x[0] - slope * centre), slope, float(np.sqrt(covariance[1, 1]))
