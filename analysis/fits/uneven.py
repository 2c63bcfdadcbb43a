"""Curves whose sizes have different seeds: means of ln ε for each P from all runs, and their noise.

Seeds may be many at small P, where noise is large and runs are cheap, and few at large P. The mean for each P is the
best linear unbiased one (Aitken 1936) if the runs of a seed correlate as `working` says: a seed that lacks some P then
tells of the level of the others' subsets where both have runs, and further runs never make an estimate worse. With all
runs these are plain means. What is fitted to them weighs all P alike, so that β means the same slope as of a curve with
all runs.

An estimate Σₖ wₖ·μₖ is a sum over independent seeds, Σₛ wᵀLₛyₛ. Its variance comes from the scatter of the terms about
what the means predict, Σₛ (wᵀLₛ(yₛ − μ))² (a sandwich: Liang & Zeger 1986), divided by the share of the variance that
this has on average under the working correlation (Bell & McCaffrey 2002). This pools the scatter of all P in
proportion to what they contribute. Its degrees of freedom are those of the quadratic form (Satterthwaite 1946), for
each estimate its own: few where it rests on P with few runs. For complete seeds this is their sample covariance with
S − 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.noise import Noise, Spread, form, form_each, nested
from analysis.fits.uncertainty import TINY

NESTED_SHARE = 2 / 3
"""Share of the variance of ln ε from nested subsets in the working correlation; initial weights have the rest. On pools
of DFT ethanol it was 0.57 and 0.68 (docs/linearised.md). It decides efficiency, and how scatter at one P stands for
that at another; the scatter itself is measured."""
_NOTHING = 1e-9
"""Share of its variance below which scatter says nothing of an estimate: round-off of the projections."""


def working(log_p: FloatArray) -> FloatArray:
    """Return the assumed correlation of the runs of a seed: ln P [K] → [K, K]."""
    return np.asarray(NESTED_SHARE * nested(log_p) + (1 - NESTED_SHARE) * np.eye(len(log_p)))


def best_weights(correlation: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
    """Return L with the best means μ = Σₛ Lₛyₛ; its columns are zero where a run is missing.

    Args:
        correlation: assumed correlation of the runs of a seed. [D, D]
        present: which runs there are, one at least in each column. [S, D]

    Returns:
        [S, D, D]
    """
    precision = np.zeros((*present.shape, present.shape[1]))
    for s, there in enumerate(present):
        precision[s][np.ix_(there, there)] = np.linalg.inv(correlation[np.ix_(there, there)])
    return np.asarray(np.linalg.solve(precision.sum(axis=0), precision))


def best_means(correlation: FloatArray, runs: FloatArray) -> FloatArray:
    """Return the best means of curves that lack the same runs: ln ε [N, S, D], NaN where one is missing → [N, D]."""
    present = np.isfinite(runs[0])
    return np.asarray(np.einsum("skl,nsl->nk", best_weights(correlation, present), np.where(present, runs, 0.0)))


@dataclass(frozen=True)
class Moments:
    """Variances of estimates Σₖ wₖ·μₖ; arrays [N, ...] as the weights without their last axis, or [...]."""

    single: FloatArray
    """Variance with the runs of a single complete seed, as the scatter shows it; zero if it cannot."""
    unit: FloatArray
    """The same under the working correlation."""
    mean: FloatArray
    """Variance of the estimate from all seeds under the working correlation."""
    dof: FloatArray
    """Degrees of freedom; zero if the scatter says nothing."""


@dataclass(frozen=True)
class Uneven:
    """The scatter of N sets of runs that lack the same runs, about their best means."""

    scatter: FloatArray
    """Sum over seeds of the squared terms of the best means. [N, D, D]"""
    correlation: FloatArray
    """Working correlation. [D, D]"""
    mean: FloatArray
    """Covariance of the best means under it. [D, D]"""
    terms: FloatArray
    """Covariances of pairs of seeds' terms, one for each kind of pair. [C, D, D]"""
    count: NDArray[np.int_]
    """Number of pairs of each kind. [C]"""
    same: NDArray[np.bool_]
    """Whether the pair is a seed and itself. [C]"""

    def moments(self, weights: FloatArray) -> Moments:
        """Return the variances of estimates: weights [N, ..., D]."""
        shape = (-1,) + (1,) * (weights.ndim - 1)
        terms = np.stack([form(weights, pair) for pair in self.terms])  # [C, N, ...]
        count = self.count.reshape(shape)
        expected = (count * terms * self.same.reshape(shape)).sum(axis=0)
        square = (count * terms**2).sum(axis=0)
        unit, mean = form(weights, self.correlation), form(weights, self.mean)
        told = expected > _NOTHING * mean
        shown = form_each(weights, self.scatter)
        single = np.where(told, shown * unit / np.where(told, expected, 1.0), 0.0)
        return Moments(single, unit, mean, np.where(told, expected**2 / np.maximum(square, TINY), 0.0))


def scatter_of(correlation: FloatArray, runs: FloatArray) -> tuple[FloatArray, Uneven]:
    """Return the best means [N, D] of runs [N, S, D], NaN where one is missing, and the scatter about them.

    The N sets lack the same runs; each column has one at least.
    """
    present = np.isfinite(runs[0])
    n_seeds = len(present)
    weights = best_weights(correlation, present)
    means = np.einsum("skl,nsl->nk", weights, np.where(present, runs, 0.0))
    moved = np.einsum("skl,nsl->nsk", weights, np.where(present, runs - means[:, None], 0.0))

    # term s, as a sum over the runs of all seeds t: (δ − L at the runs that s has) times theirs
    def part(s: int) -> FloatArray:  # [S, D, D]
        return np.asarray((np.arange(n_seeds) == s)[:, None, None] * weights[s] - weights[s] @ weights)

    _, pattern = np.unique(present, axis=0, return_inverse=True)
    pattern = pattern.ravel()
    kinds = 2 * (pattern[:, None] * n_seeds + pattern) + np.eye(n_seeds, dtype=int)
    _, first, count = np.unique(kinds.ravel(), return_index=True, return_counts=True)
    pairs = [divmod(int(index), n_seeds) for index in first]
    return means, Uneven(
        scatter=np.einsum("nsk,nsl->nkl", moved, moved),
        correlation=correlation,
        mean=np.einsum("skl,lm,sjm->kj", weights, correlation, weights),
        terms=np.stack([np.einsum("tkl,tjl->kj", part(s) @ correlation, part(t)) for s, t in pairs]),
        count=count,
        same=np.array([s == t for s, t in pairs]),
    )


@dataclass(frozen=True, kw_only=True)
class UnevenNoise(Noise):
    """Noise of N curves that lack the same runs."""

    uneven: Uneven
    """Their scatter."""

    def spread(self, weights: FloatArray) -> Spread:
        """Return the variance of Σₖ wₖ·ln εₖ, with its own degrees of freedom: weights [N, ..., K]."""
        one, found = super().spread(weights), self.uneven.moments(weights)
        shared = one.factor - 1 / self.n_seeds  # of a pool, whose choice no number of runs averages out
        factor = found.mean / np.maximum(found.unit, TINY) + shared
        return replace(one, variance=found.single, factor=factor, dof=found.dof)


def of_runs(log_p: FloatArray, runs: FloatArray, pool: float = np.inf, sem: FloatArray | None = None) -> Noise:
    """Return the noise of curves that lack the same runs.

    Args:
        log_p: ln P. [K]
        runs: ln ε, NaN where a run is missing; one run at least for each P. [N, S, K]
        pool: as in `Noise`.
        sem: as in `Noise`. [N, K]
    """
    _, uneven = scatter_of(working(log_p), runs)
    line = np.broadcast_to(log_p - log_p.mean(), (len(runs), len(log_p)))
    n_seeds = float(np.isfinite(runs[0]).sum(axis=0).mean())
    return UnevenNoise(log_p, (uneven.scatter,), uneven.moments(line).dof, n_seeds, pool, sem, uneven=uneven)
