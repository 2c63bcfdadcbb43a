"""Error rates by their counts: k ~ Binomial(n, p), p = a·P^(−β) or p = a·P^(−β) + c, the answers of all seeds together.

The seeds share exponent and floor. What scatters between them, more than the binomial noise, gives the interval, as
for other errors: each seed's own deviations from the fitted rates move β by their projection on its score. A rate of
zero has a likelihood, though no logarithm.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.arrays import FloatArray
from analysis.fits.floor import FloorBatch, Polish
from analysis.fits.intervals import FEWEST_SIZES, Floored, Linear, Measured, Sample, local_window
from analysis.fits.noise import Noise, of_residuals, of_seeds
from analysis.fits.profile import STEEPEST_RATE, Profile, crossing, profile

_STEPS = 40  # of Fisher scoring for two parameters
_LONGEST = 1.0  # step in α and in β


def measure_counts(log_p: FloatArray, wrong: FloatArray, total: FloatArray) -> Measured:
    """Return what N curves of error rates say by themselves; `sample.rows` of the result are ln of the pooled rates.

    Args:
        log_p: ln P, ascending. [K]
        wrong: number of wrong answers; anything where a run is missing. [N, S, K]
        total: number of answers; zero where a run is missing. [N, S, K]
    """
    wrong = np.where(total > 0, wrong, 0.0)
    counts = total.sum(axis=1)
    rate = wrong.sum(axis=1) / np.maximum(counts, 1)
    own = np.where(total > 0, wrong / np.maximum(total, 1), rate[:, None])
    start = local_window(log_p)
    power = _line(log_p, own, rate, counts, 0)
    floored = _floored(log_p, own, rate, counts, power) if len(log_p) >= FEWEST_SIZES else None
    with np.errstate(divide="ignore"):
        sample = Sample(log_p, np.log(rate)[:, None])
    return Measured(sample, power, _line(log_p, own, rate, counts, start), floored)


def rate_line(log_p: FloatArray, rate: FloatArray, counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ln a [N] and β [N] of the likeliest p = a·P^(−β), by Fisher scoring: rates and counts [N, K]."""
    x = log_p - log_p.mean()
    logs = np.log((rate * counts + 0.5) / (counts + 1))
    weight = counts * rate + 0.5
    alpha, slope = np.zeros(len(rate)), np.zeros(len(rate))
    for step in range(_STEPS):
        if step:
            fitted = np.exp(np.minimum(alpha[:, None] + slope[:, None] * x, STEEPEST_RATE))
            weight, residual = counts * fitted / (1 - fitted), rate / fitted - 1
        else:
            residual = logs
        total = weight.sum(axis=1)
        middle = (weight * x).sum(axis=1) / total
        shifted = x - middle[:, None]
        turn = (weight * shifted * residual).sum(axis=1) / (weight * shifted**2).sum(axis=1)
        lift = (weight * residual).sum(axis=1) / total - turn * middle
        limit = _LONGEST if step else np.inf
        alpha, slope = alpha + np.clip(lift, -limit, limit), slope + np.clip(turn, -limit, limit)
        if step and max(np.abs(lift).max(), np.abs(turn).max()) < 1e-12:
            break
    return alpha - slope * log_p.mean(), -slope


def _line(log_p: FloatArray, own: FloatArray, rate: FloatArray, counts: FloatArray, start: int) -> Linear:
    """Return the exponent of a power law through the rates from size `start` on: own [N, S, K], the others [N, K]."""
    x = log_p[start:]
    log_a, beta = rate_line(x, rate[:, start:], counts[:, start:])
    fitted = np.exp(np.minimum(log_a[:, None] - beta[:, None] * x, STEEPEST_RATE))
    weight = counts[:, start:] * fitted / (1 - fitted)
    shifted = x - (weight * x).sum(axis=1, keepdims=True) / weight.sum(axis=1, keepdims=True)
    weights = np.zeros_like(rate)
    weights[:, start:] = -weight * shifted / (weight * shifted**2).sum(axis=1, keepdims=True)
    whole = np.exp(np.minimum(log_a[:, None] - beta[:, None] * log_p, STEEPEST_RATE)) if start else fitted
    design = np.stack([np.ones_like(rate), np.broadcast_to(log_p, rate.shape)], axis=2)
    noise = _noise(log_p, own, rate, counts, whole, design)
    moved = np.einsum("nsk,nk->ns", _deviations(own, rate, whole), weights)
    return Linear(beta[:, None] + moved, noise.spread(weights), noise.dof)


def _floored(log_p: FloatArray, own: FloatArray, rate: FloatArray, counts: FloatArray, power: Linear) -> Floored:
    slope = power.value
    log_a, beta = rate_line(log_p, rate, counts)
    plain = np.exp(np.minimum(log_a[:, None] - beta[:, None] * log_p, STEEPEST_RATE))
    design = np.stack([np.ones_like(rate), np.broadcast_to(log_p, rate.shape)], axis=2)
    first = profile(log_p, rate, slope, _noise(log_p, own, rate, counts, plain, design), counts)
    best = _best(first, log_p)
    fitted = np.exp(np.minimum(best.log_error(log_p), STEEPEST_RATE))
    growth = np.exp(-best.beta[:, None] * (log_p - log_p[-1]))
    share = best.phi[:, None]
    bent = np.stack([np.ones_like(rate), -(log_p - log_p[-1]) * (1 - share) * growth, 1 - growth], axis=2)
    noise = _noise(log_p, own, rate, counts, fitted, bent)
    tests = profile(log_p, rate, slope, noise, counts)
    deviations = _deviations(own, rate, fitted)
    weights = best.weights(log_p, np.ones(rate.shape, dtype=bool))
    per_seed = best.beta[:, None] + np.einsum("nsk,nk->ns", deviations, weights)
    at_slope = tests.spread.at(np.zeros(len(rate), dtype=int))
    return Floored(best, per_seed, tests, at_slope, noise.dof)


def _best(tests: Profile, log_p: FloatArray) -> FloorBatch:
    """Return the likeliest exponents with floors: where the score crosses zero, or the plain slope."""
    beta = crossing(tests.betas, tests.scores)
    flat = tests.scores[:, 0] <= 0
    beta = np.where(flat, tests.betas[:, 0], beta)
    found = np.isfinite(beta)
    phi, alpha = (
        np.array([np.interp(*one) for one in zip(beta, tests.betas[:, 1:], values[:, 1:], strict=True)])
        for values in (_above(tests, tests.phis), _above(tests, tests.alphas))
    )
    phi, alpha = np.where(flat, 0.0, phi), np.where(flat, tests.alphas[:, 0], alpha)
    status = np.where(found, np.where(flat, Polish.NO_FLOOR, Polish.CONVERGED), Polish.DEGENERATE)
    beta = np.where(found, beta, tests.betas[:, 0])
    nothing = np.full(len(beta), np.nan)
    return FloorBatch(alpha, beta, phi, nothing, status.astype(np.int8), np.full(len(beta), log_p[-1]))


def _above(tests: Profile, values: FloatArray) -> FloatArray:
    """Return values [N, G + 1], those at exponents below the plain slope replaced by that at the slope itself."""
    return np.where(np.isnan(tests.scores), values[:, :1], values)


def _deviations(own: FloatArray, rate: FloatArray, fitted: FloatArray) -> FloatArray:
    """Return the seeds' deviations from the rates of all seeds, relative to the fitted rates: [N, S, K]."""
    return (own - rate[:, None]) / fitted[:, None]


def _noise(
    log_p: FloatArray,
    own: FloatArray,
    rate: FloatArray,
    counts: FloatArray,
    fitted: FloatArray,
    design: FloatArray,
) -> Noise:
    """Return the noise of relative deviations of rates, for one seed no less than the binomial."""
    if own.shape[1] > 1:
        return of_seeds(log_p, _deviations(own, rate, fitted))
    noise = of_residuals(log_p, rate / fitted - 1, design)
    binomial = np.eye(len(log_p)) * ((1 - fitted) / np.maximum(counts * fitted, 1e-9))[:, None]
    return replace(noise, covariances=(*noise.covariances, binomial))
