"""Two curves as one vector: means of ln ε over seeds with their covariance, for statements that involve both.

What is said of two curves is a contrast Σ wᵢ·yᵢ of both curves' means, stacked. Its variance comes from the scatter
over seeds, paired where they match; from the residuals of a line for a single run, whose errors correlate by nested
subsets; and from what the other curves of the table lend (module `analysis.fits.moderation`). Arrays over pairs have
the shape [n], K sizes are common to both curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.comparisons.paired import Pair, Published
from analysis.fits.intervals import Sample, slope_weights
from analysis.fits.moderation import NO_PRIOR, Prior
from analysis.fits.noise import Noise, nested
from analysis.fits.uncertainty import TINY


@dataclass(frozen=True)
class Stacked:
    """Means over seeds of n pairs of curves, [first, second], with their covariance."""

    mean: FloatArray
    """Mean of ln ε. [n, 2K]"""
    parts: tuple[FloatArray, ...]
    """Independent contributions to the covariance of the means: one over paired seeds, else one for each curve; none
    if the scatter of one is not known. [n, 2K, 2K]"""
    dofs: tuple[FloatArray, ...]
    """Degrees of freedom behind each part. [n]"""
    most: FloatArray
    """Degrees of freedom of all curves of the table together, which no contrast exceeds: what is lent to both curves is
    the same. [n]"""

    def contrast(self, weights: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return values [n, J], covariance [n, J, J] and degrees of freedom [n, J] of contrasts.

        Weights are [J, 2K], or [n, J, 2K] if every pair has its own. The degrees of freedom are Welch's and
        Satterthwaite's. Covariance and degrees are NaN where the scatter is not known.
        """
        value = np.asarray((weights @ self.mean[..., None])[..., 0])
        if not self.parts:
            nothing = np.full((*value.shape, value.shape[1]), np.nan)
            return value, nothing, nothing[..., 0]
        parts = [weights @ part @ np.swapaxes(weights, -1, -2) for part in self.parts]
        variances = [np.diagonal(part, axis1=1, axis2=2) for part in parts]
        squares = np.sum([v**2 / dof[:, None] for v, dof in zip(variances, self.dofs, strict=True)], axis=0)
        total = np.sum(variances, axis=0)
        dof = np.where(total > 0, total**2 / np.maximum(squares, TINY), np.sum(self.dofs, axis=0)[:, None])
        return value, np.sum(parts, axis=0), np.minimum(dof, self.most[:, None])


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
        first: ln ε of the first curves. [n, S₁, K]
        second: ln ε of the second. [n, S₂, K]
        paired: whether rows are matched by seed.
        prior: of the variance of a curve, from the table of each pair or one for all.
        pool: frames of the pool from which seeds draw overlapping subsets; infinite if they are disjoint.
        published: scatter of curves that are means of several runs.
    """
    mean = np.concatenate([first.mean(axis=1), second.mean(axis=1)], axis=1)
    correlation, n_sizes = nested(log_p), len(log_p)
    blocks = np.zeros((2, 2 * n_sizes, 2 * n_sizes))
    blocks[0, :n_sizes, :n_sizes] = blocks[1, n_sizes:, n_sizes:] = correlation
    if paired and first.shape[1] > 1:
        own = _covariance(np.concatenate([first, second], axis=2))
        share = _of_mean(noise_of(log_p, first, pool))
        found = [(own, np.full(len(mean), first.shape[1] - 1.0), share, blocks.sum(axis=0))]
    else:
        found = []
        for rows, block, known in zip((first, second), blocks, published, strict=True):
            noise = noise_of(log_p, rows, pool, known)
            own = np.zeros((len(mean), 2 * n_sizes, 2 * n_sizes))
            own[:, block != 0] = noise.covariances[0].reshape(len(mean), -1)
            found.append((own, noise.dof, _of_mean(noise), block))
    d0, s0, most = prior.dof, prior.variance, prior.pooled
    own_dofs = np.sum([dof for _, dof, _, _ in found], axis=0)
    if any((dof + d0 < 1).any() for _, dof, _, _ in found):
        return Stacked(mean, (), (), own_dofs)
    parts, dofs = [], []
    for own, dof, share, block in found:
        lent = (d0 * s0)[:, None, None] * block
        parts.append((dof[:, None, None] * own + lent) / (dof + d0)[:, None, None] * share)
        dofs.append(np.minimum(dof + d0, np.maximum(most, dof)))
    return Stacked(mean, tuple(parts), tuple(dofs), np.maximum(most, own_dofs))


def stack_of(pair: Pair, prior: Prior = NO_PRIOR) -> Stacked:
    """Return one pair of a table, stacked."""
    first, second = pair.first_log[None], pair.second_log[None]
    return stack(pair.log_p, first, second, paired=pair.paired, prior=prior, pool=pair.pool, published=pair.published)


def _covariance(rows: FloatArray) -> FloatArray:
    """Return the covariance over seeds: [n, S, K] → [n, K, K]."""
    off = rows - rows.mean(axis=1, keepdims=True)
    return np.asarray(np.einsum("nsk,nsl->nkl", off, off) / (rows.shape[1] - 1))


def noise_of(log_p: FloatArray, rows: FloatArray, pool: float = np.inf, published: Published | None = None) -> Noise:
    """Return the noise of n curves or differences of curves, [n, S, K].

    It is that of their seeds, of runs whose scatter is published with their mean, or of single runs about a line.
    """
    line = np.stack([np.ones_like(log_p), log_p], axis=1)
    sd, n_runs = (None, None) if published is None else (published.sd[None], published.n_runs[None])
    return Sample(log_p, rows, pool, sd=sd, n_runs=n_runs).noise(np.broadcast_to(line, (len(rows), *line.shape)))


def _of_mean(noise: Noise) -> float:
    """Return the variance of a mean's slope over that of a single seed: 1/S, and more if the seeds share a pool."""
    weights = slope_weights(noise.log_p)
    return float(noise.spread(np.broadcast_to(weights, (len(noise.dof), len(weights)))).factor[0])
