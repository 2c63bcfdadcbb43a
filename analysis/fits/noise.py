"""The noise of a curve: how far an estimate that is linear in ln ε scatters, from seeds, residuals or published sd.

An estimate Σₖ wₖ·ln εₖ has the variance wᵀCw, C the covariance of ln ε over the sizes P. With two seeds or more, C is
their sample covariance. With one seed it is σ²R: training subsets nest within a seed, so that errors correlate as
Rᵢⱼ = √(Pᵢ/Pⱼ) for Pᵢ ≤ Pⱼ, and σ² comes from the residuals of the fit. With means ± sd (n), it comes from the sd, and
the larger of the variances without correlation and with R is taken. All arrays have a leading axis of N curves that
share their sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import TINY, shared_variance


@dataclass(frozen=True)
class Spread:
    """Variances of linear estimates; arrays [N, ...] as the weights without their last axis."""

    variance: FloatArray
    """Variance of the estimate of a single seed, as the data show it; zero if they cannot."""
    scale: FloatArray
    """wᵀRw, the same for relative noise of one: variances over scales can be compared between curves."""
    factor: FloatArray
    """Variance of the mean over seeds divided by that of a single seed: 1/S, and more if the seeds share a pool."""
    known: FloatArray
    """Variance from the shared test set; NaN if unknown."""
    dof: FloatArray | None = None
    """Degrees of freedom of each, where they differ between estimates; None if those of the noise hold for all."""

    def at(self, index: NDArray[np.int_]) -> Spread:
        """Return those at one index [N] of the second axis."""
        rows = np.arange(len(index))
        whole = (self.variance, self.scale, self.factor, self.known)
        variance, scale, factor, known = (values[rows, index] for values in whole)
        return Spread(variance, scale, factor, known, None if self.dof is None else self.dof[rows, index])


@dataclass(frozen=True)
class Noise:
    """Noise of N curves that share their sizes."""

    log_p: FloatArray
    """ln P. [K]"""
    covariances: tuple[FloatArray, ...]
    """Covariance of ln ε of one seed; the largest variance that one of them gives is taken. [N, K, K] each"""
    dof: FloatArray
    """Degrees of freedom behind it; zero if there is no estimate. [N]"""
    n_seeds: float
    """Number of seeds that are averaged."""
    pool: float = np.inf
    """Frames of the pool from which every seed draws its subsets independently, so that they overlap."""
    sem: FloatArray | None = None
    """Relative standard errors of the test errors; None or NaN if unknown. [N, K]"""

    def spread(self, weights: FloatArray) -> Spread:
        """Return the variance of Σₖ wₖ·ln εₖ: weights [N, ..., K].

        Two seeds that draw P and P′ frames from a pool of N have PP′/N in common on average, which correlates their
        errors by √(PP′)/N: at P = N they have the same frames, and their scatter says nothing of the choice of the
        pool. What they share has the covariance Q = √(PP′)/N, and what scatters R − Q; if all scatter comes from the
        choice of frames, the mean over seeds has the variance s²·(1/S + wᵀQw / wᵀ(R − Q)w).
        """
        scale = form(weights, nested(self.log_p))
        variance = np.maximum.reduce([form_each(weights, one) for one in self.covariances])
        factor = np.full(scale.shape, 1 / self.n_seeds)
        if self.n_seeds > 1:
            factor = factor + pool_share(self.log_p, weights, self.pool)
        known = np.full(scale.shape, np.nan)
        if self.sem is not None:
            sem = self.sem.reshape(len(self.sem), *(1,) * (weights.ndim - 2), -1)
            known = shared_variance(self.log_p, weights, sem)
        return Spread(variance, scale, factor, known)


def pool_share(log_p: FloatArray, weights: FloatArray, pool: float) -> FloatArray:
    """Return wᵀQw / wᵀ(R − Q)w of `Noise.spread`, zero without a pool: weights [..., K] → [...]."""
    if not np.isfinite(pool):
        return np.zeros(weights.shape[:-1])
    common = (weights @ np.exp(log_p / 2)) ** 2 / pool
    return np.asarray(common / np.maximum(form(weights, nested(log_p)) - common, TINY))


def nested(log_p: FloatArray) -> FloatArray:
    """Return the correlation √(Pᵢ/Pⱼ), Pᵢ ≤ Pⱼ, of errors on nested subsets: ln P [K] → [K, K]."""
    return np.asarray(np.exp(-np.abs(log_p[:, None] - log_p) / 2))


def of_seeds(log_p: FloatArray, rows: FloatArray, pool: float = np.inf, sem: FloatArray | None = None) -> Noise:
    """Return the noise of curves with two seeds or more: ln ε [N, S, K] without gaps; the rest as in `Noise`."""
    n_seeds = rows.shape[1]
    deviation = rows - rows.mean(axis=1, keepdims=True)
    covariance = np.einsum("nsi,nsj->nij", deviation, deviation) / (n_seeds - 1)
    return Noise(log_p, (covariance,), np.full(len(rows), n_seeds - 1.0), n_seeds, pool, sem)


def within(log_p: FloatArray, rows: FloatArray, sem: FloatArray | None = None) -> Noise:
    """Return the noise of single runs from what lines for each seed leave of their deviations from the mean.

    Two seeds have K − 2 degrees of freedom of it instead of one, fewer for the correlation of nested subsets; it does
    not hold that seeds differ in slope by more than such noise.

    Args:
        log_p: ln P. [K]
        rows: ln ε without gaps, two seeds or more. [N, S, K]
        sem: as in `Noise`.
    """
    n, n_seeds, n_sizes = rows.shape
    correlation = nested(log_p)
    basis, _ = np.linalg.qr(np.stack([np.ones_like(log_p), log_p], axis=1))
    projector = np.eye(n_sizes) - basis @ basis.T
    left = (rows - rows.mean(axis=1, keepdims=True)) @ projector
    mixed = projector @ correlation
    trace = float(np.trace(mixed))
    variance = (left**2).sum(axis=(1, 2)) / ((n_seeds - 1) * trace)
    dof = np.full(n, (n_seeds - 1) * trace**2 / float(np.einsum("ij,ji->", mixed, mixed)))
    return Noise(log_p, (variance[:, None, None] * correlation,), dof, n_seeds, sem=sem)


def of_residuals(log_p: FloatArray, y: FloatArray, design: FloatArray, sem: FloatArray | None = None) -> Noise:
    """Return the noise of curves of one seed from the residuals of a fit.

    Under the correlation R, the sum of squared residuals of a fit with projector M has the mean σ²·tr(MR) and, after
    Satterthwaite (1946), tr(MR)²/tr(MRMR) degrees of freedom. Errors that correlate less than R give a wider interval
    than needed.

    Args:
        log_p: ln P. [K]
        y: ln ε. [N, K]
        design: derivatives of the fitted ln ε by its parameters. [N, K, p]
        sem: relative standard errors of the test errors; None if unknown. [N, K]
    """
    correlation = nested(log_p)
    basis, _ = np.linalg.qr(design)
    projector = np.eye(len(log_p)) - basis @ basis.transpose(0, 2, 1)
    if design.shape[2] >= len(log_p):
        return Noise(log_p, (np.zeros((len(y), *correlation.shape)),), np.zeros(len(y)), 1, sem=sem)
    mixed = projector @ correlation
    trace = np.trace(mixed, axis1=1, axis2=2)
    dof = trace**2 / np.einsum("nij,nji->n", mixed, mixed)
    residual = np.einsum("nij,nj->ni", projector, y)
    variance = (residual**2).sum(axis=1) / trace
    return Noise(log_p, (variance[:, None, None] * correlation,), dof, 1, sem=sem)


def of_summaries(log_p: FloatArray, sd: FloatArray, n_runs: FloatArray, sem: FloatArray | None = None) -> Noise:
    """Return the noise of curves given by means ± sd of n runs: relative sd [N, K], n [N, K], at least two each.

    Whether the runs at different P share subsets is not known: the larger of both variances is taken. The squared sd
    have n − 1 degrees of freedom each and correlate as R², which is taken into account after Satterthwaite (1946).
    """
    correlation = nested(log_p)
    n_mean = 1 / (1 / n_runs).mean()
    scaled = sd * np.sqrt(n_mean / n_runs)
    outer = scaled[:, :, None] * scaled[:, None, :]
    shifted = log_p - log_p.mean()
    share = (shifted * scaled) ** 2
    freedom = np.sqrt((n_runs - 1)[:, :, None] * (n_runs - 1)[:, None, :])
    square = np.einsum("ni,nij,nj->n", share, correlation**2 / freedom, share)
    dof = share.sum(axis=1) ** 2 / np.maximum(square, TINY)
    return Noise(log_p, (outer * correlation, outer * np.eye(len(log_p))), dof, float(n_mean), sem=sem)


def form(weights: FloatArray, matrix: FloatArray) -> FloatArray:
    """Return wᵀAw for weights [..., K] and one matrix [K, K]."""
    return np.asarray(((weights @ matrix) * weights).sum(axis=-1))


def form_each(weights: FloatArray, matrices: FloatArray) -> FloatArray:
    """Return wᵀAw for weights [N, ..., K] and a matrix for each curve [N, K, K]."""
    flat = weights.reshape(len(weights), -1, weights.shape[-1])
    return np.asarray(((flat @ matrices) * flat).sum(axis=-1).reshape(weights.shape[:-1]))
