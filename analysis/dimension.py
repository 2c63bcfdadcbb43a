"""The dimension of the data: nearest-neighbour distances δ(P) and two estimators, in metrics that know the symmetry.

Every estimator underestimates d for a manifold with a boundary or with few points; calibrate on a torus of known
dimension before quoting a number (at d = 12 the slope of δ(P) on a cube reads 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree

from analysis.uncertainty import Interval, lines, t_interval

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """Mean distance of test points to the nearest of P training points."""

    sizes: FloatArray
    """P. [K]"""
    mean: FloatArray
    """δ(P) of each seed, in the unit of the metric. [S, K]"""

    @property
    def d_eff(self) -> Interval:
        """1/slope of ln δ over ln P, t interval over seeds (of the dimension itself)."""
        slopes = lines(np.log(self.sizes), np.log(self.mean))[0]
        return t_interval(-1 / slopes)


def neighbours(train: FloatArray, test: FloatArray, k: int = 1, box: float | None = None) -> FloatArray:
    """Ascending distances from each test point to its k nearest training points. [T, D] → [T, k]"""
    tree = cKDTree(train, boxsize=None if box is None else np.full(train.shape[1], box))
    distance, _ = tree.query(test, k=[*range(1, k + 1)])
    return np.asarray(distance)


def nearest_distances(
    train: FloatArray,
    test: FloatArray,
    sizes: NDArray[np.int64],
    n_seeds: int = 5,
    seed: int = 0,
    box: float | None = None,
) -> Distances:
    """δ(P) in Euclidean distance between descriptors, on subsets nested in P, disjoint across seeds while they last.

    Args:
        train: descriptors of the pool. [N, D]
        test: descriptors of the test frames. [T, D]
        sizes: P, ascending, at most N. [K]
        n_seeds: subsets per size.
        seed: of the draw.
        box: period of every coordinate (for tori).

    Raises ValueError where the largest size exceeds the pool.
    """
    if sizes[-1] > len(train):
        raise ValueError(f"nearest_distances: size {sizes[-1]} exceeds the pool of {len(train)}")
    rng = np.random.default_rng(seed)
    mean = np.empty((n_seeds, len(sizes)))
    order = rng.permutation(len(train))
    for s in range(n_seeds):
        start = s * int(sizes[-1])
        mine = order[start : start + sizes[-1]]
        if len(mine) < sizes[-1]:  # the pool is spent: an independent draw
            mine = rng.permutation(len(train))[: sizes[-1]]
        for k, size in enumerate(sizes):
            mean[s, k] = neighbours(train[mine[:size]], test, box=box).mean()
    return Distances(sizes.astype(float), mean)


def two_nn(points: FloatArray, box: float | None = None, discard: float = 0.1) -> float:
    """TwoNN: −ln(1 − F) = d·ln(r₂/r₁) through the origin (Facco et al. 2017, Sci. Rep. 7, 12140).

    Args:
        points: distinct points. [N, D]
        box: period of every coordinate.
        discard: share of the largest ratios left out, as in the paper.
    """
    distance = neighbours(points, points, 3, box)
    return two_nn_from(distance[:, 1], distance[:, 2], discard)


def two_nn_from(first: FloatArray, second: FloatArray, discard: float = 0.1) -> float:
    """TwoNN from the distances to the first and second neighbour; coinciding points are left out. [N], [N]"""
    good = first > 0
    ratio = np.sort(np.log(second[good] / first[good]))
    keep = int(len(ratio) * (1 - discard))
    empirical = np.arange(1, keep + 1) / len(ratio)
    x, y = ratio[:keep], -np.log1p(-empirical)
    return float(x @ y / (x @ x))


def levina_bickel(points: FloatArray, k: int = 20, box: float | None = None) -> float:
    """Maximum-likelihood dimension (Levina & Bickel 2004), inverse averaged over points (MacKay & Ghahramani 2005).

    Args:
        points: distinct points. [N, D]
        k: neighbours used.
        box: period of every coordinate.
    """
    return levina_bickel_from(neighbours(points, points, k + 1, box)[:, 1:])


def levina_bickel_from(distance: FloatArray) -> float:
    """The same from the ascending distances to k neighbours; rows with coinciding points are left out. [N, k]"""
    good = distance[:, 0] > 0
    logs = np.log(distance[good, -1:] / distance[good, :-1])
    return float(1 / logs.mean()) if logs.size else np.nan


def descriptor(positions: FloatArray, numbers: NDArray[np.int64]) -> FloatArray:
    """Inverse distances of a molecule, sorted within each pair of elements: invariant to E(3) and permutations.

    Args:
        positions: Å. [F, N, 3]
        numbers: atomic numbers, the same in every frame. [N]

    Returns:
        1/Å, one coordinate per pair of atoms. [F, N(N−1)/2]
    """
    i, j = np.triu_indices(len(numbers), 1)
    inverse = 1 / np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
    kinds = np.stack([np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])], axis=1)
    parts = [np.sort(inverse[:, (kinds == kind).all(axis=1)], axis=1) for kind in np.unique(kinds, axis=0)]
    return np.concatenate(parts, axis=1)


def aligned_rmsd(first: FloatArray, second: FloatArray, numbers: NDArray[np.int64], rounds: int = 8) -> float:
    """Root mean squared distance of two frames after the best proper rotation and permutation of like atoms, Å.

    Alternates the optimal rotation (Kabsch 1976) with the optimal assignment within each element until neither moves;
    started from the given order, so the result is an upper bound that is exact for frames of one conformer.

    Args:
        first, second: positions, Å. [N, 3]
        numbers: atomic numbers. [N]
        rounds: alternations at most.
    """
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    order = np.arange(len(numbers))
    for _ in range(rounds):
        turned = a @ _kabsch(a, b[order])
        new = order.copy()
        for element in np.unique(numbers):
            mine = np.flatnonzero(numbers == element)
            cost = ((turned[mine, None] - b[None, mine]) ** 2).sum(axis=-1)
            new[mine] = mine[linear_sum_assignment(cost)[1]]
        if np.array_equal(new, order):
            break
        order = new
    return float(np.sqrt(((a @ _kabsch(a, b[order]) - b[order]) ** 2).sum(axis=1).mean()))


def _kabsch(a: FloatArray, b: FloatArray) -> FloatArray:
    """The proper rotation R (acting as x @ R) that minimises ‖a·R − b‖."""
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(u @ flip @ vt)
