"""Whether the slope of a curve changes: at some P, beyond the noise of its runs.

The means over seeds are fitted by a line with a hinge at each inner size in turn, by generalised least squares (Aitken
1936). The noise of a run correlates over P as `working_noise` says and falls as P^(−f). Its variance comes from what
the hinge leaves of the mean and from what lines of their own leave of the seeds' deviations; these have K − 3 and
(S − 1)(K − 2) degrees of freedom. The curves of a table have one f, the likeliest (restricted likelihood: Patterson &
Thompson 1971) about what is usual, and lend each other variance (module `moderation`). Bonferroni's correction over
the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.arrays import FloatArray
from analysis.fits.moderation import Prior, estimate_prior, margin
from analysis.fits.noise import Spread, nested
from analysis.fits.uncertainty import shared_variance

NESTED_SHARE = 0.8
"""Share of the variance from nested subsets in the assumed noise. Measured were 0.57 and 0.68 (`uneven.NESTED_SHARE`).
A larger one takes more of a slow bend for noise: fewer false alarms where all noise is from subsets."""
FALLS = np.linspace(-0.3, 0.6, 10)
"""Exponents f with which noise may fall with P."""
USUAL_FALL, FALL_SPREAD = 0.15, 0.15
"""What f usually is, and how far it spreads: 0.3 on DFT ethanol, 0 on teachers."""
ENOUGH = 6
"""Degrees of freedom of a table below which f is what it usually is."""
FEWEST_SIZES = 4
"""Number of values of P from which on there is a degree of freedom."""
_NOTHING = 1e-9  # round-off of a slope of ln ε


@dataclass(frozen=True)
class Breaks:
    """The most significant change of slope of each of N curves; NaN where none can be tested."""

    place: FloatArray
    """ln P at which the slope changes. [N]"""
    change: FloatArray
    """β above it less β below. [N]"""
    p: FloatArray
    """p value, corrected for the number of places. [N]"""


@dataclass(frozen=True)
class Hinges:
    """What N curves that share sizes and number of seeds say of a hinge at each of J places, for each f of F."""

    places: FloatArray
    """ln P of the places; empty for curves that cannot be tested. [J]"""
    change: FloatArray
    """Change of slope. [N, F, J]"""
    variance: FloatArray
    """Variance of ln ε of a run, about f = 0 in the middle of the sizes. [N, F, J]"""
    scale: FloatArray
    """Variance of the change of slope for a variance of one and one seed. [F, J]"""
    known: FloatArray
    """Variance of the change of slope from the shared test set; NaN if unknown. [N, F, J]"""
    likelihood: FloatArray
    """Log-likelihood of f, at the likeliest place. [N, F]"""
    dof: float
    """Degrees of freedom of the variance."""
    n_seeds: int
    """Seeds S."""


def find_breaks(log_p: FloatArray, rows: FloatArray, sem: FloatArray | None = None, curves: int = 1) -> Breaks:
    """Return the most significant change of slope of each curve of T tables of M curves.

    Args:
        log_p: ln P. [K]
        rows: ln ε without gaps. [T·M, S, K]
        sem: relative standard errors of the test errors, if known. [T·M, K]
        curves: number M of curves of a table.
    """
    return conclude_breaks([measure_hinges(log_p, rows, sem)], curves)[0]


def working_noise(log_p: FloatArray) -> FloatArray:
    """Return the assumed covariance of ln ε of a run for all `FALLS`, but for its size: ln P [K] → [F, K, K]."""
    size = np.exp(-FALLS[:, None] * (log_p - log_p.mean()))
    correlation = NESTED_SHARE * nested(log_p) + (1 - NESTED_SHARE) * np.eye(len(log_p))
    return np.asarray(correlation * size[:, :, None] * size[:, None])


def measure_hinges(log_p: FloatArray, rows: FloatArray, sem: FloatArray | None = None) -> Hinges:
    """Return what curves say by themselves; arguments as for `find_breaks`."""
    n, n_seeds, n_sizes = rows.shape
    if n_sizes < FEWEST_SIZES or not np.isfinite(rows).all():
        nothing = np.empty((n, len(FALLS), 0))
        return Hinges(np.empty(0), nothing, nothing, nothing[0], nothing, nothing[..., 0:0], 0.0, n_seeds)
    dof = n_sizes - 3.0 + (n_seeds - 1) * (n_sizes - 2)
    root = np.linalg.cholesky(working_noise(log_p))
    white = np.linalg.inv(root)  # [F, K, K]
    line = white @ np.stack([np.ones_like(log_p), log_p], axis=1)
    basis, _ = np.linalg.qr(line)
    left = (np.eye(n_sizes) - basis @ basis.transpose(0, 2, 1)) @ white  # whitens, and takes off a line
    hinges = np.maximum(log_p - log_p[1:-1, None], 0.0) @ left.transpose(0, 2, 1)  # [F, J, K]
    square = (hinges**2).sum(axis=2)
    means = rows.mean(axis=1)
    mean = np.einsum("fkl,nl->nfk", left, means)
    slope = np.einsum("nfk,fjk->nfj", mean, hinges) / square  # of ln ε
    off = rows - means[:, None]
    scatter = np.einsum("nkl,fkl->nf", np.einsum("nsk,nsl->nkl", off, off), left.transpose(0, 2, 1) @ left)
    unexplained = n_seeds * np.maximum((mean**2).sum(axis=2)[..., None] - slope**2 * square, 0.0)
    variance = (unexplained + scatter[..., None]) / dof
    place = np.argmin(variance, axis=2)
    smallest = np.maximum(variance.min(axis=2), _NOTHING**2)
    size = np.log(np.diagonal(root, axis1=1, axis2=2)).sum(axis=1)
    restricted = np.linalg.slogdet(line.transpose(0, 2, 1) @ line)[1] / 2
    along = np.log(square)[np.arange(len(FALLS)), place] / 2
    weights = hinges @ left / square[..., None]
    known = np.full(slope.shape, np.nan)
    if sem is not None:
        known = shared_variance(log_p, weights, sem[:, None, None])
    return Hinges(
        places=log_p[1:-1],
        change=-slope,
        variance=variance,
        scale=1 / square,
        known=known,
        likelihood=-dof / 2 * np.log(smallest) - n_seeds * (size + restricted) - along,
        dof=dof,
        n_seeds=n_seeds,
    )


def conclude_breaks(measured: Sequence[Hinges], curves: int = 1) -> list[Breaks]:
    """Return the most significant change of slope of each curve of T tables.

    Args:
        measured: curves of one table (each with N = 1), or one item with N = T·M curves of T tables.
        curves: number M of curves of a table in one item; 1 for a single table given as several items, or tables of
            one curve each.
    """
    tested = [one for one in measured if one.dof]
    if not tested:
        return [_untested(one) for one in measured]
    single = len(measured) == 1  # item: its tables lie along the first axis
    freedom = tested[0].dof * curves if single else sum(one.dof for one in tested)
    parts = [one.likelihood.reshape(-1, curves, len(FALLS)).sum(axis=1) for one in tested]
    likelihood = np.sum(parts, axis=0) - ((FALLS - USUAL_FALL) / FALL_SPREAD) ** 2 / 2  # [T, F]
    if freedom < ENOUGH:
        likelihood = np.broadcast_to(-np.abs(FALLS - USUAL_FALL), likelihood.shape)
    fall = np.repeat(np.argmax(likelihood, axis=1), curves)  # [N]
    price = 0.0 if freedom < ENOUGH else 1 / (curves if single else len(tested))  # of f, in degrees of freedom
    each = np.arange(len(fall))
    shape = (-1, curves) if single else (1, -1)
    variance = np.concatenate([one.variance[each, fall].min(axis=1) * one.dof / max(one.dof - 1, 1) for one in tested])
    dof = np.concatenate([np.full(len(one.variance), one.dof - 1) for one in tested])  # the place is fitted, too
    prior = estimate_prior(variance.reshape(shape), dof.reshape(shape))
    d0, s0, pooled = (np.repeat(part, curves) for part in (prior.dof, prior.variance, prior.pooled))
    prior = Prior(d0, s0, pooled)
    return [_conclude(one, fall, prior, price) if one.dof else _untested(one) for one in measured]


def _conclude(one: Hinges, fall: NDArray[np.intp], prior: Prior, price: float) -> Breaks:
    each = np.arange(len(fall))
    scale, change = one.scale[fall], one.change[each, fall]
    factor = np.full(scale.shape, 1 / one.n_seeds)
    spread = Spread(one.variance[each, fall] * scale, scale, factor, one.known[each, fall])
    errors = margin(spread, np.full(len(fall), one.dof - price), prior)
    with np.errstate(invalid="ignore"):
        p = 2 * special.stdtr(errors.dof, -np.abs(change) / np.maximum(errors.error, _NOTHING))
    p = np.where(np.isfinite(errors.error), np.where(np.abs(change) < 10 * _NOTHING, 1.0, p), np.nan)
    best = np.argmin(np.where(np.isnan(p), np.inf, p), axis=1)
    return Breaks(one.places[best], change[each, best], np.minimum(1.0, p[each, best] * len(one.places)))


def _untested(one: Hinges) -> Breaks:
    return Breaks(*(np.full(len(one.change), np.nan) for _ in range(3)))
