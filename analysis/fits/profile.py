"""The interval of β where a floor may or may not be: inverted score tests of ε = a·P^(−β) + c with c ≥ 0.

A given β is tested with the floor that fits best beside it, φ(β) (a share of ε(P_max)). Let h be the fitted ln ε and w
its derivative by β, the direction of the floor projected out, scaled so that Σₖ wₖ·(ln εₖ − hₖ) is the change in β that
the data ask for. Each seed gives one such number; a t test asks whether their mean is zero. At the true β it consists
of noise alone, to first order in the error of φ, so that the interval, all β that are not refused, covers what it
claims even where a fit ends at φ = 0 or the estimate is far from normal; a linearised interval does not.

A floor only ever flattens a curve, so that β is at least the plain slope b. If b itself is refused because the curve is
convex, there is a floor, and the interval starts where β is no longer refused. Else the power law is one of the forms
that the data allow, and the interval starts where that of the plain slope does. If b is refused because the curve is
concave, a floor is excluded, and the interval is that of the plain slope. The interval thus covers both forms unless
one of them is excluded.

For error rates the same holds with the binomial likelihood: ln ε − h becomes (q − p)/p, q the rate that was counted and
p = eʰ, and sums over sizes have the weights n·p/(1 − p) of Fisher's information.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.floor import BETA_MAX, PHI_MAX
from analysis.fits.moderation import Prior, margin
from analysis.fits.noise import Noise, Spread
from analysis.fits.uncertainty import LEVEL, TINY

STEEPEST_RATE = -1e-6
"""Largest ln of a fitted error rate: a rate of one has no binomial information."""
_STEPS = 8  # of Fisher scoring, from a grid of spacing 0.04 in φ
_STRIDE = 0.05  # longest step in φ: no longer than the grid's spacing


@dataclass(frozen=True)
class Profile:
    """Score tests of N curves."""

    betas: FloatArray
    """Exponents that are tested; the first of each curve is its plain slope b, with no floor. [N, G + 1]"""
    alphas: FloatArray
    """ln ε(P_max) that fits best beside each. [N, G + 1]"""
    phis: FloatArray
    """Floor that fits best beside each, as a share of ε(P_max). [N, G + 1]"""
    scores: FloatArray
    """Change of β that the data ask for; NaN below b. [N, G + 1]"""
    spread: Spread
    """Variances of the scores. [N, G + 1]"""


def profile(
    log_p: FloatArray, mean: FloatArray, slope: FloatArray, noise: Noise, counts: FloatArray | None = None
) -> Profile:
    """Return the scores of N curves on a grid of exponents, and their variances.

    Args:
        log_p: ln P, K ≥ 3. [K]
        mean: mean of ln ε over seeds; with `counts` the error rate of all seeds' answers. [N, K]
        slope: exponent b of the plain power law. [N]
        noise: of ln ε; with `counts` of the relative deviations of error rates.
        counts: number of answers behind each error rate. [N, K]
    """
    shifted = log_p - log_p[-1]
    grid, floors, table = _grid(tuple(shifted.tolist()))
    if counts is None:
        logs, weights = mean, np.ones_like(mean)
    else:
        logs = np.log((mean * counts + 0.5) / (counts + 1))
        weights = counts * mean / np.maximum(1 - mean, 0.5) + 0.5
    weights = weights / weights.sum(axis=1, keepdims=True)
    level = (weights * logs).sum(axis=1, keepdims=True)
    flat = table.reshape(-1, len(log_p)).T
    spread = weights @ flat**2 - (weights @ flat) ** 2
    match = ((weights * (logs - level)) @ flat - 0.5 * spread).reshape(-1, *table.shape[:2])
    phi = np.concatenate([np.zeros((len(mean), 1)), floors[np.argmax(match, axis=2)]], axis=1)  # [N, G + 1]
    beta = np.concatenate([np.maximum(slope, 1e-3)[:, None], np.broadcast_to(grid, (len(mean), len(grid)))], axis=1)
    growth = np.exp(-beta[:, :, None] * shifted)
    total = (1 - phi[:, :, None]) * growth + phi[:, :, None]
    alpha = (weights[:, None] * (logs[:, None] - np.log(total))).sum(axis=2)
    free = np.arange(beta.shape[1]) > 0  # the first has no floor
    for _ in range(_STEPS):
        residual, weight, _, by_phi = _derivatives(shifted, growth, alpha, phi, mean, counts)
        middle, centred = _centred(weight, by_phi)
        step = (weight * centred * residual).sum(axis=2) / np.maximum((weight * centred**2).sum(axis=2), TINY)
        moved = np.where(free, np.clip(phi + np.clip(step, -_STRIDE, _STRIDE), 0.0, PHI_MAX), 0.0)
        lift = (weight * residual).sum(axis=2) / weight.sum(axis=2) - (moved - phi) * middle
        alpha = alpha + lift if counts is None else np.minimum(alpha + np.clip(lift, -1.0, 1.0), STEEPEST_RATE)
        phi = moved
    residual, weight, by_beta, by_phi = _derivatives(shifted, growth, alpha, phi, mean, counts)
    along_beta, along_phi = _centred(weight, by_beta)[1], _centred(weight, by_phi)[1]
    share = (weight * along_beta * along_phi).sum(axis=2) / np.maximum((weight * along_phi**2).sum(axis=2), TINY)
    left = along_beta - share[:, :, None] * along_phi
    score_weights = weight * left / np.maximum((weight * left**2).sum(axis=2), TINY)[:, :, None]
    scores = (score_weights * residual).sum(axis=2)
    scores[:, 1:][grid <= slope[:, None]] = np.nan
    return Profile(beta, alpha, phi, scores, noise.spread(score_weights))


@lru_cache(maxsize=64)
def _grid(shifted: tuple[float, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return exponents [G], floors [F] and the shapes ln ε(P)/ε(P_max) of both [G, F, K]."""
    beta = np.geomspace(0.01, BETA_MAX, 96)
    phi = np.concatenate([np.linspace(0.0, 0.96, 25), [0.98, 0.99, PHI_MAX]])
    growth = np.exp(-beta[:, None, None] * np.array(shifted))
    return beta, phi, np.log((1 - phi[:, None]) * growth + phi[:, None])


def _derivatives(
    shifted: FloatArray,
    growth: FloatArray,
    alpha: FloatArray,
    phi: FloatArray,
    mean: FloatArray,
    counts: FloatArray | None,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return residuals, weights and the derivatives of ln ε by β and φ, [N, G, K] each (weights may broadcast)."""
    share = phi[:, :, None]
    total = (1 - share) * growth + share
    fitted = alpha[:, :, None] + np.log(total)
    by_beta, by_phi = -shifted * (1 - share) * growth / total, (1 - growth) / total
    if counts is None:
        return mean[:, None] - fitted, np.ones((1, 1, len(shifted))), by_beta, by_phi
    rate = np.exp(np.minimum(fitted, STEEPEST_RATE))
    return mean[:, None] / rate - 1, counts[:, None] * rate / (1 - rate), by_beta, by_phi


def _centred(weight: FloatArray, column: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the weighted mean over sizes [N, G] and the deviations from it [N, G, K]."""
    middle = (weight * column).sum(axis=2) / weight.sum(axis=2)
    return middle, column - middle[:, :, None]


@dataclass(frozen=True)
class Ends:
    """The intervals of N curves, and which forms they allow."""

    low: FloatArray
    """Lower end. [N]"""
    high: FloatArray
    """Upper end; infinite if no exponent is too steep to be told from a floor. [N]"""
    power: NDArray[np.bool_]
    """Whether the power law without a floor is not excluded. [N]"""
    floor: NDArray[np.bool_]
    """Whether a floor is not excluded. [N]"""


def ends(one: Profile, dof: FloatArray, prior: Prior, low: FloatArray, high: FloatArray, level: float = LEVEL) -> Ends:
    """Return the intervals from score tests.

    Args:
        one: the tests.
        dof: degrees of freedom of the curves' own variances. [N]
        prior: of the tables' variances of scores.
        low: lower end of the interval of the plain slope. [N]
        high: its upper end. [N]
        level: coverage.
    """
    half = margin(one.spread, dof, prior, level).half
    half = half + 1e-9  # round-off of the scores of curves without noise
    convex, concave = one.scores[:, 0] > half[:, 0], one.scores[:, 0] < -half[:, 0]
    over = crossing(one.betas, one.scores + half)
    under = crossing(one.betas, one.scores - half)
    return Ends(
        np.where(convex, under, low),
        np.where(concave, high, np.maximum(over, high)),
        ~convex,
        ~concave,
    )


def crossing(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return where y [N, G] first falls below zero, by linear interpolation; infinite if nowhere; NaN is skipped."""
    below = y < 0  # False for NaN
    index = np.argmax(below, axis=1)
    rows, places = np.arange(len(y)), np.arange(y.shape[1])
    valid = np.isfinite(y) & (places < index[:, None])
    before = np.where(valid.any(axis=1), y.shape[1] - 1 - np.argmax(valid[:, ::-1], axis=1), index)
    y0, y1, x0, x1 = y[rows, before], y[rows, index], x[rows, before], x[rows, index]
    share = np.divide(y0, y0 - y1, out=np.zeros_like(y0), where=before < index)
    return np.where(below.any(axis=1), x0 + share * (x1 - x0), np.inf)
