"""Two curves as one vector: means of ln ε over seeds with their covariance, for statements that involve both.

What is said of two curves is a contrast Σ wᵢ·yᵢ of both curves' means, stacked. Its variance comes from the scatter
over seeds, paired where they match; from the residuals of a line for a single run, whose errors correlate by nested
subsets; and from what the other curves of the table lend (module `analysis.fits.moderation`). Arrays over pairs have
the shape [n], K sizes are common to both curves.

If runs are missing, the means are the best ones of all runs of both curves (module `analysis.fits.uneven`), whose runs
of one seed and P correlate by ρ: a further seed of one curve tells of the other's subsets as far as they share noise.
With ρ = 0 each curve would have its own means, with ρ near 1 the seeds of both alone would count. ρ is estimated where
the curves lack different runs, to the nearest of `CORRELATIONS`; it decides efficiency, for the scatter is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.comparisons.paired import Pair, Published
from analysis.fits.intervals import Sample, slope_weights
from analysis.fits.moderation import NO_PRIOR, Prior
from analysis.fits.noise import Noise, nested, pool_share
from analysis.fits.uncertainty import TINY
from analysis.fits.uneven import Uneven, of_runs, scatter_of, working

CORRELATIONS = np.array([0.0, 0.25, 0.5, 0.75, 0.9])
"""Values that ρ may take: finer ones could not be told from few seeds."""
USUAL_CORRELATION = 0.5
"""ρ where both curves lack the same runs: the means do not depend on it then."""


@dataclass(frozen=True)
class Part:
    """An independent contribution to the covariance of the means, with equal degrees of freedom for all contrasts."""

    covariance: FloatArray
    """Covariance. [n, 2K, 2K]"""
    dof: FloatArray
    """Degrees of freedom. [n]"""

    def contrast(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return covariance [n, J, J] and degrees of freedom [n, J] of contrasts: weights [n, J, 2K]."""
        covariance = weights @ self.covariance @ np.swapaxes(weights, -1, -2)
        return covariance, np.broadcast_to(self.dof[:, None], covariance.shape[:2])


@dataclass(frozen=True)
class UnevenPart:
    """The contribution of runs with gaps; degrees of freedom differ between contrasts."""

    uneven: Uneven
    """Scatter about the best means of these columns."""
    columns: slice
    """Columns of the stacked means."""
    block: FloatArray
    """Covariance of a seed's runs in these columns for nested noise of one. [D, D]"""
    shared: float
    """Share of a single seed's variance that a pool gives to all seeds."""
    prior: Prior
    """Of the variance of a curve."""

    def contrast(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return covariance [n, J, J] and degrees of freedom [n, J] of contrasts: weights [n, J, 2K]."""
        mine = np.broadcast_to(
            weights[..., self.columns], (len(self.uneven.scatter), *weights.shape[-2:-1], len(self.block))
        )
        found = self.uneven.moments(mine)
        d0, s0, most = (one[:, None] for one in (self.prior.dof, self.prior.variance, self.prior.pooled))
        total = found.dof + d0
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(found.unit > TINY, found.mean / found.unit + self.shared, 0.0)
            share = np.where(total >= 1, factor / total, np.where(found.unit > TINY, np.nan, 0.0))
        # Variances are corrected for every contrast by itself; correlations between contrasts are those of the scatter.
        scatter = mine @ self.uneven.scatter @ np.swapaxes(mine, -1, -2)
        shown = np.maximum(np.diagonal(scatter, axis1=1, axis2=2), TINY)
        scatter = scatter * _outer(found.dof * found.single / shown)
        lent = (d0 * s0)[..., None] * (mine @ self.block @ np.swapaxes(mine, -1, -2))
        covariance = (scatter + lent) * _outer(share)
        return covariance, np.minimum(total, np.maximum(most, found.dof))


def _outer(squares: FloatArray) -> FloatArray:
    """Return √(aⱼ·aₖ): [n, J] → [n, J, J]."""
    root = np.sqrt(squares)
    return np.asarray(root[:, :, None] * root[:, None])


@dataclass(frozen=True)
class Stacked:
    """Means over seeds of n pairs of curves, [first, second], with their covariance."""

    mean: FloatArray
    """Mean of ln ε. [n, 2K]"""
    parts: tuple[Part | UnevenPart, ...]
    """Independent contributions to the covariance of the means: one over paired seeds, else one for each curve; none
    if the scatter of one is not known."""
    most: FloatArray
    """Degrees of freedom of all curves of the table together, which no contrast exceeds: what is lent to both curves is
    the same. [n]"""
    dof: FloatArray
    """Degrees of freedom of all parts together. [n]"""

    def contrast(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return values [n, J], covariance [n, J, J] and degrees of freedom [n, J] of contrasts.

        Weights are [J, 2K], or [n, J, 2K] if every pair has its own. The degrees of freedom are Welch's and
        Satterthwaite's. Covariance and degrees are NaN where the scatter is not known.
        """
        weights = np.broadcast_to(weights, (len(self.mean), *weights.shape[-2:]))
        value = np.asarray((weights @ self.mean[..., None])[..., 0])
        if not self.parts:
            nothing = np.full((*value.shape, value.shape[1]), np.nan)
            return value, nothing, nothing[..., 0]
        parts = [part.contrast(weights) for part in self.parts]
        variances = [np.diagonal(covariance, axis1=1, axis2=2) for covariance, _ in parts]
        with np.errstate(divide="ignore", invalid="ignore"):
            each = [np.where(v > 0, v**2 / dof, 0.0) for v, (_, dof) in zip(variances, parts, strict=True)]
        total = np.sum(variances, axis=0)
        every = np.sum([dof for _, dof in parts], axis=0)
        dof = np.where(total > 0, total**2 / np.maximum(np.sum(each, axis=0), TINY), every)
        return value, np.sum([covariance for covariance, _ in parts], axis=0), np.minimum(dof, self.most[:, None])


def stack(
    log_p: FloatArray,
    first: FloatArray,
    second: FloatArray,
    *,
    paired: bool,
    prior: Prior = NO_PRIOR,
    pool: float = np.inf,
    published: Sequence[Published | None] = (None, None),
) -> Stacked:
    """Return the means of n pairs of curves with their covariance.

    Args:
        log_p: ln P. [K]
        first: ln ε of the first curves, NaN where a run is missing, the same in all. [n, S₁, K]
        second: ln ε of the second. [n, S₂, K]
        paired: whether rows are matched by seed.
        prior: of the variance of a curve, from the table of each pair or one for all.
        pool: frames of the pool from which seeds draw overlapping subsets; infinite if they are disjoint.
        published: scatter of curves that are means of several runs.
    """
    n, n_sizes, slope = len(first), len(log_p), slope_weights(log_p)
    blocks = np.zeros((2, 2 * n_sizes, 2 * n_sizes))
    blocks[0, :n_sizes, :n_sizes] = blocks[1, n_sizes:, n_sizes:] = nested(log_p)
    d0, s0, pooled = (np.broadcast_to(one, n) for one in (prior.dof, prior.variance, prior.pooled))
    prior = Prior(d0, s0, pooled)
    shared = float(pool_share(log_p, slope, pool))
    columns = (slice(0, n_sizes), slice(n_sizes, 2 * n_sizes))
    parts: list[Part | UnevenPart] = []
    dofs: list[FloatArray] = []
    if paired and (np.isnan(first).any() or np.isnan(second).any()):
        mean, uneven = both_uneven(log_p, first, second)
        parts.append(UnevenPart(uneven, slice(0, 2 * n_sizes), blocks.sum(axis=0), shared, prior))
        dofs.append(uneven.moments(np.broadcast_to(np.concatenate([-slope, slope]), mean.shape)).dof)
        means = [mean]
    elif paired and first.shape[1] > 1:
        dofs.append(np.full(n, first.shape[1] - 1.0))
        covariance = _covariance(np.concatenate([first, second], axis=2))
        parts.append(_moderated(covariance, dofs[0], 1 / first.shape[1] + shared, blocks.sum(axis=0), prior))
        means = [first.mean(axis=1), second.mean(axis=1)]
    else:
        means = []
        for rows, block, known, own in zip((first, second), blocks, published, columns, strict=True):
            if np.isnan(rows).any():
                mean, uneven = scatter_of(working(log_p), rows)
                parts.append(UnevenPart(uneven, own, nested(log_p), shared, prior))
                dofs.append(uneven.moments(np.broadcast_to(slope, mean.shape)).dof)
                means.append(mean)
                continue
            noise = noise_of(log_p, rows, pool, known)
            covariance = np.zeros((n, 2 * n_sizes, 2 * n_sizes))
            covariance[:, own, own] = noise.covariances[0]
            parts.append(_moderated(covariance, noise.dof, _of_mean(noise), block, prior))
            dofs.append(noise.dof)
            means.append(rows.mean(axis=1))
    mean, total = np.concatenate(means, axis=1), np.sum(dofs, axis=0)
    if any((dof + prior.dof < 1).any() for dof in dofs):
        return Stacked(mean, (), total, total)
    most = np.maximum(prior.pooled, total)
    each = [np.minimum(dof + prior.dof, np.maximum(prior.pooled, dof)) for dof in dofs]
    return Stacked(mean, tuple(parts), most, np.minimum(np.sum(each, axis=0), most))


def _moderated(own: FloatArray, dof: FloatArray, share: float, block: FloatArray, prior: Prior) -> Part:
    """Return the covariance of means with what other curves lend: own [n, 2K, 2K], block [2K, 2K]."""
    total = np.maximum(dof + prior.dof, TINY)
    lent = (prior.dof * prior.variance)[:, None, None] * block
    covariance = (dof[:, None, None] * own + lent) / total[:, None, None] * share
    return Part(covariance, np.minimum(dof + prior.dof, np.maximum(prior.pooled, dof)))


def both_uneven(log_p: FloatArray, first: FloatArray, second: FloatArray) -> tuple[FloatArray, Uneven]:
    """Return the best means [n, 2K] of two curves with matched seeds [n, S, K] each, and the scatter about them.

    The n pairs lack the same runs and have one ρ, the middle of theirs.
    """
    rho = float(np.median(correlations(first, second)))
    correlation = np.kron(np.array([[1.0, rho], [rho, 1.0]]), working(log_p))
    return scatter_of(correlation, np.concatenate([first, second], axis=2))


def correlations(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return ρ of n pairs of curves with matched seeds, one of `CORRELATIONS`: [n, S, K] each → [n]."""
    there = np.isfinite(first[0]) & np.isfinite(second[0])
    if (np.isfinite(first[0]) == np.isfinite(second[0])).all():
        return np.full(len(first), USUAL_CORRELATION)
    known = there & (there.sum(axis=0) >= 2)
    if not known.any():
        return np.zeros(len(first))
    count = np.maximum(known.sum(axis=0), 1)
    one, two = (np.where(known, rows, 0.0) for rows in (first, second))
    one, two = (np.where(known, rows - (rows.sum(axis=1) / count)[:, None], 0.0) for rows in (one, two))
    size = np.sqrt((one**2).sum(axis=(1, 2)) * (two**2).sum(axis=(1, 2)))
    rho = (one * two).sum(axis=(1, 2)) / np.maximum(size, TINY)
    return np.asarray(CORRELATIONS[np.argmin(np.abs(rho[:, None] - CORRELATIONS), axis=1)])


def stack_of(pair: Pair, prior: Prior = NO_PRIOR) -> Stacked:
    """Return one pair of a table, stacked."""
    first, second = (rows[None] for rows in pair.rows)
    return stack(pair.log_p, first, second, paired=pair.paired, prior=prior, pool=pair.pool, published=pair.published)


def _covariance(rows: FloatArray) -> FloatArray:
    """Return the covariance over seeds: [n, S, K] → [n, K, K]."""
    off = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(np.einsum("nsk,nsl->nkl", off, off) / (rows.shape[1] - 1))


def noise_of(log_p: FloatArray, rows: FloatArray, pool: float = np.inf, published: Published | None = None) -> Noise:
    """Return the noise of n curves or differences of curves, [n, S, K], NaN where a run is missing.

    It is that of their seeds, of runs whose scatter is published with their mean, or of single runs about a line.
    """
    if np.isnan(rows).any():
        return of_runs(log_p, rows, pool)
    line = np.stack([np.ones_like(log_p), log_p], axis=1)
    sd, n_runs = (None, None) if published is None else (published.sd[None], published.n_runs[None])
    return Sample(log_p, rows, pool, sd=sd, n_runs=n_runs).noise(np.broadcast_to(line, (len(rows), *line.shape)))


def _of_mean(noise: Noise) -> float:
    """Return the variance of a mean's slope over that of a single seed: 1/S, and more if the seeds share a pool."""
    weights = slope_weights(noise.log_p)
    return float(noise.spread(np.broadcast_to(weights, (len(noise.dof), len(weights)))).factor[0])
