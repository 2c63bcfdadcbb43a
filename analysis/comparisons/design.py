"""Sample sizes for the next experiment: seeds, or further values of P, with which a test would show the estimate.

Slopes of single seeds scatter with the noise of ln ε, whose covariance over sizes is a²R + b²I: training subsets nest
within a seed, so that the errors correlate as Rᵢⱼ = √(Pᵢ/Pⱼ), Pᵢ ≤ Pⱼ, and initial weights add independent noise. Since
neighbouring errors move together, further P sharpen a slope less than independent points would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import optimize, stats

from analysis.arrays import FloatArray
from analysis.fits.intervals import slope_weights
from analysis.fits.uncertainty import LEVEL as INTERVAL
from analysis.fits.uncertainty import Interval, t_quantile
from analysis.fits.uneven import best_weights, of_runs, working

POWER = 0.8
"""Power that the sample size must reach."""
MAX_SEEDS = 1000
"""Largest number of seeds considered."""
MAX_SIZES = 12
"""Largest number of further values of P considered: a factor 4096 on a grid of doublings."""


@dataclass(frozen=True)
class NoiseLevel:
    """Noise of ln ε within a seed, as standard deviations at every P."""

    subset: float
    """From the choice of nested training subsets."""
    init: float
    """From initial weights, independent at every P."""

    def covariance(self, log_p: FloatArray) -> FloatArray:
        """Return the covariance of ln ε of one seed over sizes: ln P [K] → [K, K]."""
        correlation = np.exp(-np.abs(log_p[:, None] - log_p) / 2)
        return np.asarray(self.subset**2 * correlation + self.init**2 * np.eye(len(log_p)))

    def slope_error(self, log_p: FloatArray) -> float:
        """Return the standard deviation of the slope of one seed, for ln P [K]."""
        shifted = log_p - log_p.mean()
        weights = shifted / (shifted @ shifted)
        return float(np.sqrt(weights @ self.covariance(log_p) @ weights))


NESTED = NoiseLevel(1.0, 0.0)
"""All noise from nested subsets, from which further P gain the least: the careful choice where shares are not known."""


def fit_noise(parts: Sequence[tuple[FloatArray, FloatArray]]) -> NoiseLevel:
    """Return the noise level that fits the scatter over seeds of several curves, by non-negative least squares.

    Args:
        parts: ln P [K] and ln ε [S, K] without gaps of every curve, S ≥ 2.
    """
    columns, values = [], []
    for log_p, rows in parts:
        weight = np.sqrt(len(rows) - 1)
        off = rows - rows.mean(axis=0)
        columns.append(weight * np.stack([NoiseLevel(*unit).covariance(log_p).ravel() for unit in ((1, 0), (0, 1))]))
        values.append(weight * (off.T @ off / (len(rows) - 1)).ravel())
    squares, _ = optimize.nnls(np.concatenate(columns, axis=1).T, np.concatenate(values))
    return NoiseLevel(*(float(np.sqrt(square)) for square in squares))


@dataclass(frozen=True)
class SampleSize:
    """Sample size that shows a condition with 80 % power if estimate and spread over seeds are the true ones."""

    seeds: int | None
    """Seeds (or datasets); None if no number suffices."""
    sizes: tuple[float, ...] | None
    """Further values of P that continue the grid, with the present seeds; None if none suffice."""


def required_sample_size(
    delta: Interval, distances: tuple[float, float], log_p: FloatArray, level: float, noise: NoiseLevel = NESTED
) -> SampleSize:
    """Return the sample size with which one-sided t tests show a condition.

    Args:
        delta: the estimate with its standard error over seeds.
        distances: distances of the estimate from the lower and the upper limit of the condition, positive inside it;
            infinite where there is none.
        log_p: ln P of the grid; empty if further P cannot help. [K]
        level: level of each test.
        noise: shares of the noise, which say what further P bring.
    """
    if delta.dof < 1 or not min(distances) > 0:
        return SampleSize(None, None)
    n_seeds = delta.dof + 1
    spread = delta.error * np.sqrt(n_seeds)
    seeds = fewest(lambda n: condition_power(distances, spread, n, level) >= POWER, 2, MAX_SEEDS)
    if len(log_p) < 2:
        return SampleSize(seeds, None)
    step = (log_p[-1] - log_p[0]) / (len(log_p) - 1)
    for more in range(1, MAX_SIZES + 1):
        longer = np.concatenate([log_p, log_p[-1] + step * np.arange(1, more + 1)])
        gain = noise.slope_error(longer) / noise.slope_error(log_p)
        if condition_power(distances, spread * gain, n_seeds, level) >= POWER:
            return SampleSize(seeds, tuple(float(round(p)) for p in np.exp(longer[len(log_p) :])))
    return SampleSize(seeds, None)


def slope_half_width(log_p: FloatArray, n_seeds: int, noise: NoiseLevel, further: int = 0, at: int = 0) -> float:
    """Return half the 95 % interval of β of a curve, power law, as the root of its mean square; NaN for one run each P.

    Arguments as for `slope_scatter`.
    """
    error, dof = slope_scatter(log_p, n_seeds, noise, further, at)
    return t_quantile(dof, INTERVAL) * error if dof > 0 else np.nan


def slope_scatter(
    log_p: FloatArray, n_seeds: int, noise: NoiseLevel, further: int = 0, at: int = 0
) -> tuple[float, float]:
    """Return the standard deviation of β of a curve, power law, and the degrees of freedom that tell it.

    Args:
        log_p: ln P. [K]
        n_seeds: seeds with every P.
        noise: of ln ε.
        further: further seeds.
        at: number of the smallest P at which these have their runs.
    """
    present = np.arange(len(log_p)) < np.where(np.arange(n_seeds + further) < n_seeds, len(log_p), at)[:, None]
    terms = slope_weights(log_p) @ best_weights(working(log_p), present)  # [S, K]
    variance = float(np.einsum("sk,kl,sl->", terms, noise.covariance(log_p), terms))
    known = of_runs(log_p, np.where(present, 0.0, np.nan)[None]).dof
    return float(np.sqrt(variance)), float(known[0])


def fewest(suffices: Callable[[int], bool], low: int, high: int) -> int | None:
    """Return the smallest number from `low` to `high` that suffices, as every larger one does; None if none does."""
    if not suffices(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle + 1, high)
    return high


def condition_power(distances: tuple[float, float], spread: float, n_seeds: float, level: float) -> float:
    """Return the probability that one-sided t tests over seeds exclude both limits of a condition.

    Args:
        distances: true distances from the lower and the upper limit.
        spread: true standard deviation over seeds.
        n_seeds: seeds, at least two.
        level: level of each test.
    """
    return power(distances, spread / np.sqrt(n_seeds), n_seeds - 1, level)


def power(distances: tuple[float, float], error: float, dof: float, level: float) -> float:
    """Return the same for an estimate with the true standard error `error`, which `dof` degrees of freedom tell.

    An equivalence needs both: P(−m + t·s < d̂ < m − t·s), averaged over the estimate s of the standard error (as for
    the two one-sided tests of Schuirmann 1987); a limit that is infinite leaves the power of a single t test.
    """
    if error <= 0:
        return 1.0
    scaled = np.array(distances) / error
    threshold = stats.t.isf(level, dof) * _chi(dof)
    inside = stats.norm.cdf(scaled[1] - threshold) - stats.norm.cdf(threshold - scaled[0])
    return float(np.maximum(inside, 0.0).mean())


def fewest_with_further(
    log_p: FloatArray,
    noise: NoiseLevel,
    further: tuple[int, int],
    distances: tuple[float, float],
    level: float,
    most: int,
) -> int:
    """Return the seeds with every P that show a condition on Δβ if further seeds help.

    Args:
        log_p: ln P. [K]
        noise: of ln ε of one curve; two have independent noise of this size.
        further: further seeds, and the number of the smallest P at which they have their runs.
        distances: as for `power`.
        level: level of each test.
        most: seeds that show it without the further ones.
    """

    def suffices(n_seeds: int) -> bool:
        error, dof = slope_scatter(log_p, n_seeds, noise, *further)
        return power(distances, np.sqrt(2) * error, dof, level) >= POWER

    return fewest(suffices, 2, most) or most


@lru_cache(maxsize=4096)
def _chi(dof: float, n_nodes: int = 500) -> FloatArray:
    """Return equally likely values of s/σ, √(χ²(dof)/dof) at the middles of `n_nodes` equal shares."""
    return np.asarray(np.sqrt(stats.chi2.ppf((np.arange(n_nodes) + 0.5) / n_nodes, dof) / dof))
