"""Fits for diagnosis, never recommended: Huber's loss, one break (BNSL) and M4, for all curves of a table at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.forms import BNSL, M4, CurvedForm, Solution, SolverStatus, Task, huber_lines, solve_all
from analysis.fits.results import Fit, FitStatus, Form, aicc, by_seeds, unfitted
from analysis.fits.uncertainty import Interval, jackknife_interval, t_interval

Item = tuple[Curve, NDArray[np.bool_]]
"""A curve and the seeds of it that enter. [S]"""
CURVED = {Form.BNSL_1: BNSL, Form.M4: M4}
"""The forms with five parameters. β of BNSL is that after the break, β of M4 that between plateau and floor."""
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
    seeds = by_seeds(curve, used)
    slopes, levels = huber_lines(x, y[used] if seeds else nanmean(y)[None])
    return Fit(
        form=Form.POWER_HUBER,
        beta=t_interval(-slopes),
        prefactor=float(np.exp(nanmean(levels[:, None])[0])),
        floor=0.0,
        status=FitStatus.CONVERGED,
        method="seeds_t" if seeds else "none",
        beta_per_seed=-slopes if seeds else np.empty(0),
        predict=lambda sizes: levels[:, None] + slopes[:, None] * np.log(sizes),
    )


def fit_curved(name: Form, items: Sequence[Item]) -> list[Fit]:
    """Fit a form of `CURVED` to the per-P means of every curve, with an interval from leaving out one seed at a time.

    The interval takes three seeds, and a fit inside its bounds: β at a bound is not worth one.
    """
    form = CURVED[name]
    means = [_means(*item) for item in items]
    whole = [i for i, (x, _, _) in enumerate(means) if len(x) >= form.n_parameters + 2]  # AICc takes the variance, too
    best = dict(zip(whole, _solve(form, [means[i][:2] for i in whole]), strict=True))
    short = dict(zip(whole, _solve(form, [(means[i][0][:-1], means[i][1][:-1]) for i in whole]), strict=True))
    left_out: dict[int, list[Task]] = {}
    for i in whole:
        curve, used = items[i]
        rows = means[i][2]
        if best[i].status is SolverStatus.CONVERGED and by_seeds(curve, used) and len(rows) >= 3:
            left_out[i] = [_without(means[i][0], rows, s, best[i]) for s in range(len(rows))]
    jackknife = iter(solve_all(form, [task for tasks in left_out.values() for task in tasks]))
    betas = {i: np.array([form.beta(next(jackknife).theta) for _ in tasks]) for i, tasks in left_out.items()}
    return [
        _fit(name, form, means[i], best[i], short[i], betas.get(i)) if i in best else unfitted(name)
        for i in range(len(items))
    ]


def _fit(
    name: Form,
    form: CurvedForm,
    means: tuple[FloatArray, FloatArray, FloatArray],
    best: Solution,
    short: Solution,
    left_out: FloatArray | None,
) -> Fit:
    x, mean, _ = means
    centre = float(x.mean())
    value = form.beta(best.theta)
    beta, method = Interval(value, np.nan, np.nan, np.nan, 0), "none"
    if left_out is not None:
        beta, method = jackknife_interval(value, left_out), "seeds_jackknife"
    predicted = float(form.predict(short.theta, x[-1:] - float(x[:-1].mean()))[0])
    return Fit(
        form=name,
        beta=beta,
        prefactor=np.nan,
        floor=_floor(name, best.theta),
        status=_STATUS[best.status],
        method=method,
        beta_per_seed=np.empty(0),
        aicc=aicc(mean - form.predict(best.theta, x - centre), form.n_parameters),
        extrapolation_error=abs(predicted - float(mean[-1])),
        predict=lambda sizes: form.predict(best.theta, np.log(sizes) - centre)[None],
    )


def _means(curve: Curve, used: NDArray[np.bool_]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return ln P [K], the means of ln ε over seeds [K] and the seeds' own [S, K], of the sizes that have any."""
    y = _finite(curve.log_error)
    rows = y[used] if used.any() else y
    mean = nanmean(rows)
    good = np.isfinite(mean)
    return curve.log_sizes[good], mean[good], rows[:, good]


def _solve(form: CurvedForm, curves: Sequence[tuple[FloatArray, FloatArray]]) -> list[Solution]:
    centred = [(x - x.mean(), y) for x, y in curves]
    return solve_all(form, [(x, y, form.starts(x, y)) for x, y in centred])


def _without(x: FloatArray, rows: FloatArray, seed: int, best: Solution) -> Task:
    mean = nanmean(np.delete(rows, seed, axis=0))
    good = np.isfinite(mean)
    return (x - x.mean())[good], mean[good], [best.theta]


def _floor(name: Form, theta: FloatArray) -> float:
    """Return the floor c = ε₀·σ(logit) of M4; 0 for the broken power law."""
    return float(np.exp(theta[0]) / (1 + np.exp(-theta[1]))) if name is Form.M4 else 0.0


def _finite(log_error: FloatArray) -> FloatArray:
    """Replace the −∞ of zero error rates by NaN: these forms work on logarithms."""
    return np.where(np.isfinite(log_error), log_error, np.nan)
