"""Exponents of the learning curves of a table: every form that can be fitted, one of them recommended.

Forms are fitted in log space, because run-to-run noise is multiplicative:

    power         ε = a·P^(−β)          β = mean of the seeds' slopes
    power_floor   ε = a·P^(−β) + c      c ≥ 0; the seeds share β and c, each has its own prefactor
    binomial, binomial_floor            the same two by the likelihood of counts, for error rates (module `binomial`)
    power_huber, bnsl_1, m4             for diagnosis only (modules `forms`, `further_forms`)

Intervals come from the scatter over seeds, shrunk towards that of the other curves of the metric (`moderation`), and
allow for nested subsets, a pool that seeds share and the noise of the shared test set (`noise`). The recommended
interval covers both forms unless one of them is excluded (`profile`); the form with a floor gives the estimate where
the plain power law is excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import FloatArray
from analysis.columns import ERROR_RATES
from analysis.curve import Curve
from analysis.fits.binomial import measure_counts
from analysis.fits.breaks import Breaks, Hinges, conclude_breaks, measure_hinges
from analysis.fits.floor import FloorBatch, Polish, fit_floor
from analysis.fits.further_forms import CURVED, fit_curved, fit_huber
from analysis.fits.intervals import (
    Conclusion,
    Floored,
    Measured,
    Priors,
    conclude,
    interval,
    local_window,
    measure,
    priors_of,
)
from analysis.fits.moderation import NO_PRIOR, Prior, margin
from analysis.fits.outliers import find_outlier
from analysis.fits.results import (
    BOTH_FORMS,
    MODERATED,
    TEST_SET,
    Break,
    CurveFit,
    Fit,
    FitStatus,
    Form,
    Local,
    OutlyingRun,
    aicc,
    by_seeds,
    unfitted,
)
from analysis.fits.sample import Used, sample_of
from analysis.fits.uncertainty import Interval, line, two_sided

SIGNIFICANCE = 0.01
"""Level of the tests behind flags: one false alarm in a hundred curves each."""
COUNTED = (Form.BINOMIAL, Form.BINOMIAL_FLOOR)
"""The same two by counts, from seeds with every P alone."""
BOTH = (Form.POWER, Form.POWER_FLOOR)
"""The two forms that every comparison rests on."""


@dataclass(frozen=True)
class _Measured:
    """What one curve says by itself."""

    curve: Curve
    used: Used
    logs: Measured
    """By the logarithms of its errors."""
    counts: Measured | None
    """By the counts behind its error rates; None for other metrics."""
    hinges: Hinges
    """What it says of changes of slope."""


def fit_curve(curve: Curve, forms: tuple[Form, ...] = tuple(Form)) -> CurveFit:
    """Fit one curve that stands alone; arguments and result as for `fit_curves`."""
    return fit_curves([curve], forms)[0]


def fit_curves(curves: Sequence[Curve], forms: tuple[Form, ...] = tuple(Form)) -> list[CurveFit]:
    """Fit the curves of a table and recommend a form for each.

    Power law and floor are always fitted, those of error rates also by counts; of the forms for diagnosis those asked
    for. A curve needs two values of P, which the check of the table ensures. Anything else that prevents a fit becomes
    its status, never an exception.
    """
    measured = [_measure(curve) for curve in curves]
    curved = [fit_curved(form, [(one.curve, one.used.seeds) for one in measured]) for form in CURVED if form in forms]
    metrics = [curve.text("metric") for curve in curves]
    result: dict[int, CurveFit] = {}
    for metric in dict.fromkeys(metrics):
        places = [i for i, name in enumerate(metrics) if name == metric]
        alike = [measured[i] for i in places]
        logs = priors_of([one.logs for one in alike])
        counts = priors_of([one.counts for one in alike if one.counts is not None])
        changes = conclude_breaks([one.hinges for one in alike])
        for i, one, change in zip(places, alike, changes, strict=True):
            result[i] = _fit(one, logs, counts, forms, [fits[i] for fits in curved], change)
    return [result[i] for i in range(len(curves))]


def _measure(curve: Curve) -> _Measured:
    used = sample_of(curve)
    if len(used.sample.log_p) < 2:  # hardly an error rate above zero
        blank = np.zeros((1, 1, 2))
        used = replace(used, sample=replace(used.sample, log_p=curve.log_sizes[:2], rows=np.full_like(blank, np.nan)))
    counts = None
    if curve.text("metric") in ERROR_RATES and bool(np.isfinite(curve.n_test).any()):
        rows = used.seeds if by_seeds(curve, used.seeds) else np.ones_like(used.seeds)
        known = np.isfinite(curve.n_test[rows]) & np.isfinite(curve.error[rows])
        total = np.where(known, curve.n_test[rows], 0.0)
        there = total.sum(axis=0) > 0
        wrong = np.where(known, curve.error[rows], 0.0) * total
        if wrong.any() and there.sum() >= 2:
            if not by_seeds(curve, used.seeds):
                wrong, total = wrong.sum(axis=0, keepdims=True), total.sum(axis=0, keepdims=True)
            counts = measure_counts(curve.log_sizes[there], wrong[None][..., there], total[None][..., there])
    sample = used.sample
    runs = sample.rows if sample.sd is None else np.full_like(sample.rows, np.nan)  # means ± sd are not tested
    return _Measured(curve, used, measure(sample), counts, measure_hinges(sample.log_p, runs, sample.sem))


def _fit(
    one: _Measured,
    logs: Priors,
    counts: Priors,
    forms: tuple[Form, ...],
    curved: Sequence[Fit],
    change: Breaks,
) -> CurveFit:
    curve, used = one.curve, one.used
    found = conclude(one.logs, logs)
    x, mean = used.sample.log_p, used.sample.mean[0]
    power = _power(Form.POWER, one.logs, found, used, logs)
    slope, level = line(x, mean)
    power = replace(power, aicc=aicc(mean - level - slope * x, 2), extrapolation_error=_held_out_power(x, mean))
    floored = _with_floor(Form.POWER_FLOOR, one.logs, found, used, logs)
    if one.logs.floored is not None:
        floored = replace(
            floored,
            aicc=aicc(mean - one.logs.floored.fits.log_error(x)[0], 3),
            extrapolation_error=_held_out_floor(x, mean),
        )
    fits = [power, floored]
    best, shown, prior = _recommended(power, floored, found), found, logs
    measured = one.logs
    if one.counts is not None:
        found = conclude(one.counts, counts)
        power = _power(Form.BINOMIAL, one.counts, found, used, counts)
        floored = _with_floor(Form.BINOMIAL_FLOOR, one.counts, found, used, counts)
        fits += [power, floored]
        if np.isfinite(power.beta.value):
            best, shown, prior, measured = _recommended(power, floored, found), found, counts, one.counts
    if Form.POWER_HUBER in forms:
        fits.append(fit_huber(curve, used.seeds))
    fits += curved
    window = local_window(measured.sample.log_p)
    bend, bend_p = _curvature(used)
    last = (_size(curve, measured.sample.log_p[window]), _size(curve, measured.sample.log_p[-1]))
    return CurveFit(
        curve=curve,
        fits=tuple(best if fit.form is best.form else fit for fit in fits),
        recommended=best.form,
        seeds_used=used.seeds,
        seeds=_seeds(curve, used, best.form),
        local=Local(*last, interval(float(measured.local.value[0]), shown.local)),
        prior_dof=float(prior.power.dof[0]),
        prior_curves=prior.power.curves,
        curvature=bend,
        curvature_p=bend_p,
        power_excluded=shown.ends is not None and not bool(shown.ends.power[0]),
        floor_excluded=shown.ends is not None and not bool(shown.ends.floor[0]),
        slope_change=_break(curve, change),
        outlier=_outlier(one),
    )


def _recommended(power: Fit, floored: Fit, found: Conclusion) -> Fit:
    """Return the form to quote, with the interval that covers both forms unless one is excluded."""
    best = floored if found.floor[0] else power
    if found.ends is None or not found.identified[0] or (best is power and found.high[0] == power.beta.high):
        return best  # too few sizes for a floor, or a floor is excluded
    beta = replace(best.beta, low=float(found.low[0]), high=float(found.high[0]))
    if found.ends.power[0] and found.ends.floor[0]:
        return replace(best, beta=beta, alone=best.beta, method=best.method + BOTH_FORMS)
    return replace(best, beta=beta)


def _power(form: Form, measured: Measured, found: Conclusion, used: Used, priors: Priors) -> Fit:
    x, rows = measured.sample.log_p, measured.sample.rows[0]
    slopes = -measured.power.per_seed[0]
    levels = rows.mean(axis=1) - slopes * x.mean() if len(rows) == len(slopes) else rows.mean() - slopes * x.mean()
    beta = interval(float(measured.power.value[0]), found.power)
    return Fit(
        form=form,
        beta=beta,
        prefactor=float(np.exp(np.mean(levels))),
        floor=0.0,
        status=FitStatus.CONVERGED if np.isfinite(beta.value) else FitStatus.DEGENERATE,
        method=_method(used, beta, priors.power, measured.power.spread.known),
        beta_per_seed=-slopes if used.source == "seeds_t" else np.empty(0),
        predict=lambda sizes: levels[:, None] + slopes[:, None] * np.log(sizes),
    )


def _with_floor(form: Form, measured: Measured, found: Conclusion, used: Used, priors: Priors) -> Fit:
    floored = measured.floored
    if floored is None:
        return unfitted(form)
    fits, value = floored.fits, float(floored.fits.beta[0])
    beta = Interval(value, np.nan, np.nan, np.nan, 0)
    ends = found.ends
    if found.identified[0] and ends is not None:
        error = np.sqrt(floored.spread.variance * floored.spread.factor)
        beta = Interval(value, float(ends.low[0]), float(ends.high[0]), float(error[0]), int(floored.dof[0]))
    return Fit(
        form=form,
        beta=beta,
        prefactor=float(fits.prefactor[0]),
        floor=float(fits.floor[0]),
        status=_status(fits),
        method=_method(used, beta, priors.floored, floored.spread.known),
        beta_per_seed=floored.per_seed[0] if used.source == "seeds_t" else np.empty(0),
        predict=lambda sizes: _seed_curves(floored, measured, np.log(sizes)),
    )


def _seed_curves(floored: Floored, measured: Measured, log_p: FloatArray) -> FloatArray:
    """Return ln of the fitted error at ln P [M] for each seed [S, M]: common floor, own exponent and prefactor."""
    fits, rows = floored.fits, measured.sample.rows[0]
    betas = np.maximum(floored.per_seed[0], 0.0)
    shifted = log_p - fits.log_p_max[0]
    level = rows.mean(axis=1) - rows.mean() if len(rows) == len(betas) else np.zeros(len(betas))
    phi = fits.phi[0]
    shape = np.log((1 - phi) * np.exp(-betas[:, None] * shifted) + phi)
    return np.asarray(fits.alpha[0] + level[:, None] + shape)


def _method(used: Used, beta: Interval, prior: Prior, known: FloatArray) -> str:
    if not np.isfinite(beta.low):
        return "none"
    return used.source + (MODERATED if prior.dof[0] > 0 else "") + (TEST_SET if np.isfinite(known[0]) else "")


def _status(fits: FloorBatch) -> FitStatus:
    return {
        Polish.CONVERGED: FitStatus.CONVERGED,
        Polish.NO_FLOOR: FitStatus.NO_FLOOR,
        Polish.DEGENERATE: FitStatus.DEGENERATE,
        Polish.MAX_ITER: FitStatus.MAX_ITER,
    }[Polish(int(fits.status[0]))]


def _seeds(curve: Curve, used: Used, form: Form) -> tuple[int, int]:
    """Return the fewest and the most seeds at a P from which the exponent of this form comes."""
    if not curve.has_seeds:
        return (curve.n_averaged,) * 2
    if used.source != "seeds_t" or form in COUNTED:
        return (int(used.seeds.sum()),) * 2
    count = np.isfinite(curve.log_error[used.entered][:, used.sizes]).sum(axis=0)
    return int(count.min()), int(count.max())


def _size(curve: Curve, log_p: float) -> float:
    """Return the P of a curve whose logarithm this is."""
    return float(curve.sizes[np.argmin(np.abs(curve.log_sizes - log_p))])


def _break(curve: Curve, found: Breaks) -> Break | None:
    if not np.isfinite(found.p[0]):
        return None
    return Break(_size(curve, float(found.place[0])), float(found.change[0]), float(found.p[0]))


def _outlier(one: _Measured) -> OutlyingRun | None:
    curve, used = one.curve, one.used
    if used.sample.sd is not None or (used.source != "seeds_t" and len(curve.seeds) > 1):
        return None
    rows = np.where(np.isfinite(curve.log_error), curve.log_error, np.nan)[used.entered][:, used.sizes]
    found = find_outlier(used.sample.log_p, rows) if len(rows) else None
    if found is None:
        return None
    seed = int(np.flatnonzero(used.entered)[found.seed])
    size = int(np.flatnonzero(used.sizes)[found.size])
    error = curve.error.copy()
    error[seed, size] = np.nan
    without = sample_of(replace(curve, error=error))
    measured = measure(without.sample)
    return OutlyingRun(
        size=float(curve.sizes[size]),
        seed=curve.seeds[seed] if curve.has_seeds else "",
        run=curve.runs[seed][size] if curve.runs else "",
        factor=found.factor,
        p=found.p,
        beta_without=interval(float(measured.power.value[0]), measured.power.margin(NO_PRIOR)),
    )


def _held_out_power(x: FloatArray, mean: FloatArray) -> float:
    if len(x) < 3:
        return np.nan
    slope, intercept = line(x[:-1], mean[:-1])
    return float(abs(intercept + slope * x[-1] - mean[-1]))


def _held_out_floor(x: FloatArray, mean: FloatArray) -> float:
    if len(x) < 5:
        return np.nan
    return float(abs(fit_floor(x[:-1], mean[None, :-1]).log_error(x[-1:])[0, 0] - mean[-1]))


def _curvature(used: Used) -> tuple[float, float]:
    """Return the quadratic coefficient of ln ε in ln P and the two-sided p value of zero (NaN if untestable)."""
    x = used.sample.log_p
    if len(x) < 3 or not np.isfinite(used.sample.rows).all():
        return np.nan, np.nan
    design = np.vander(x - x.mean(), 3)
    weights = np.linalg.pinv(design)[0]
    value = float(used.sample.mean[0] @ weights)
    noise = used.sample.noise(design[None])
    one = interval(value, margin(noise.spread(weights[None]), noise.dof, NO_PRIOR))
    return value, two_sided(value, one.error, one.dof)
