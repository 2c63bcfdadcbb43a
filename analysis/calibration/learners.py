"""Two real learners with known exponents, on training subsets that nest within a seed, for calibration.

The nearest neighbour on the 2-torus, whose mean distance falls as P^(−1/2) exactly, and a kernel interpolator (Laplace
teacher and student on the circle, β = 1/2 for the RMSE; Spigler et al. 2019). Subsets are disjoint across seeds.
"""

from __future__ import annotations

import numpy as np

from analysis.arrays import FloatArray
from analysis.bounds.dimension import neighbours


def nearest_neighbour(
    n: int, rng: np.random.Generator, n_seeds: int = 5, dimension: int = 2
) -> tuple[FloatArray, FloatArray]:
    """Return ln P [K] and ln of the mean nearest distance [n, S, K] on the unit torus, P = 64 … 2048; β = 1/d."""
    sizes = 64 * 2 ** np.arange(6)
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        test = rng.random((400, dimension))
        for s in range(n_seeds):
            points = rng.random((sizes[-1], dimension))
            for k, size in enumerate(sizes):
                result[i, s, k] = np.log(neighbours(points[:size], test, box=1.0).mean())
    return np.log(sizes.astype(float)), result


def kernel_interpolator(n: int, rng: np.random.Generator, n_seeds: int = 5) -> tuple[FloatArray, FloatArray]:
    """Return ln P [K] and ln RMSE [n, S, K] of kernel interpolation of a Laplace field on the circle; β = 1/2.

    The kernel is Laplace, too. The field is Markov, so that the interpolator between two training points depends on
    these two only, and its squared error, averaged over teachers, is the bridge's variance u·v/(u + v), u and v the
    distances to the two (correlation length ≫ gap). It is averaged because β belongs to the ensemble: with one teacher
    shared by all seeds, no interval over seeds includes how that teacher differs from the next (`one_teacher`).
    """
    sizes = 256 * 2 ** np.arange(5)
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        test = rng.random(2000)
        for s in range(n_seeds):
            points = rng.random(sizes[-1])
            for k, size in enumerate(sizes):
                below, above = _neighbours(points[:size], test)
                result[i, s, k] = 0.5 * np.log(np.mean(below * above / (below + above)))
    return np.log(sizes.astype(float)), result


def one_teacher(n: int, rng: np.random.Generator, n_seeds: int = 5) -> tuple[FloatArray, FloatArray]:
    """Return the results of `kernel_interpolator` with one drawn field for all seeds of a table.

    The slope of this one field differs from that of the ensemble.
    """
    sizes = 256 * 2 ** np.arange(5)
    n_test = 2000
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        where = rng.random(n_seeds * sizes[-1] + n_test)
        field = _laplace_field(where, rng)
        test, truth = where[-n_test:], field[-n_test:]
        for s in range(n_seeds):
            mine = slice(s * sizes[-1], (s + 1) * sizes[-1])
            for k, size in enumerate(sizes):
                predicted = np.interp(test, *_unrolled(where[mine][:size], field[mine][:size]))
                result[i, s, k] = 0.5 * np.log(np.mean((predicted - truth) ** 2))
    return np.log(sizes.astype(float)), result


def _neighbours(points: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the distances to the training points below [T] and above [T], on the circle of length 1."""
    x, _ = _unrolled(points, points)
    index = np.searchsorted(x, test)
    return np.maximum(test - x[index - 1], 0.0), np.maximum(x[index] - test, 0.0)


def _unrolled(points: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sorted points and their values, the last and first repeated one turn away: [P + 2] each."""
    order = np.argsort(points)
    x, y = points[order], values[order]
    return np.r_[x[-1] - 1, x, x[0] + 1], np.r_[y[-1], y, y[0]]


def _laplace_field(where: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draw a Brownian bridge on the circle at given points [n]: the Laplace field for a long correlation length."""
    order = np.argsort(where)
    gaps = np.diff(where[order], prepend=0.0)
    walk = np.cumsum(np.sqrt(gaps) * rng.normal(size=len(where)))
    end = walk[-1] + np.sqrt(1 - where[order][-1]) * rng.normal()
    field = np.empty(len(where))
    field[order] = walk - where[order] * end
    return field
