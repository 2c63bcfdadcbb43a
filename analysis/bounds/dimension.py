"""The dimension of the data: nearest-neighbour distances δ(P) and two estimators.

Every estimator underestimates d for a manifold with a boundary or with few points; calibrate on a torus of known
dimension before quoting a number (at d = 12 the slope of δ(P) on a cube gives 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import Interval, lines, t_interval


@dataclass(frozen=True)
class Distances:
    """Mean distance of test points to the nearest of P training points."""

    sizes: FloatArray
    """Numbers of training points P. [K]"""
    mean: FloatArray
    """δ(P) of each seed, in the unit of the metric. [S, K]"""

    @property
    def d_eff(self) -> Interval:
        """Dimension −1/slope of ln δ over ln P, with a t interval over the seeds' dimensions."""
        slopes = lines(np.log(self.sizes), np.log(self.mean))[0]
        return t_interval(-1 / slopes)


def neighbours(train: FloatArray, test: FloatArray, k: int = 1, box: float | None = None) -> FloatArray:
    """Return the ascending Euclidean distances of each test point to its k nearest training points.

    Args:
        train: training points. [N, D]
        test: test points. [T, D]
        k: number of neighbours.
        box: period of every coordinate (for tori); None for none.

    Returns:
        Distances. [T, k]
    """
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
    """Measure δ(P) between descriptors on subsets nested in P, and disjoint across seeds as long as the pool lasts.

    Args:
        train: descriptors of the pool. [N, D]
        test: descriptors of the test frames. [T, D]
        sizes: P, ascending, at most N. [K]
        n_seeds: subsets per size.
        seed: of the draw.
        box: period of every coordinate (for tori).

    Raises ValueError if the largest size exceeds the pool.
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
    """Estimate the dimension by TwoNN: −ln(1 − F) = d·ln(r₂/r₁) (Facco et al. 2017, Sci. Rep. 7, 12140).

    Args:
        points: distinct points. [N, D]
        box: period of every coordinate.
        discard: share of the largest ratios left out, as in the paper.
    """
    distance = neighbours(points, points, 3, box)
    return two_nn_from(distance[:, 1], distance[:, 2], discard)


def two_nn_from(first: FloatArray, second: FloatArray, discard: float = 0.1) -> float:
    """Estimate the dimension by TwoNN from the distances to the first [N] and second [N] neighbour.

    Coinciding points are left out, and a share `discard` of the largest ratios.
    """
    good = first > 0
    ratio = np.sort(np.log(second[good] / first[good]))
    keep = int(len(ratio) * (1 - discard))
    empirical = np.arange(1, keep + 1) / len(ratio)
    x, y = ratio[:keep], -np.log1p(-empirical)
    return float(x @ y / (x @ x))


def levina_bickel(points: FloatArray, k: int = 20, box: float | None = None) -> float:
    """Estimate the dimension by maximum likelihood (Levina & Bickel 2004).

    Its inverse is averaged over points (MacKay & Ghahramani 2005).

    Args:
        points: distinct points. [N, D]
        k: neighbours used.
        box: period of every coordinate.
    """
    return levina_bickel_from(neighbours(points, points, k + 1, box)[:, 1:])


def levina_bickel_from(distance: FloatArray) -> float:
    """Estimate the dimension as `levina_bickel` from the ascending distances to k neighbours, shape [N, k].

    Rows with coinciding points are left out; NaN if none is left.
    """
    good = distance[:, 0] > 0
    logs = np.log(distance[good, -1:] / distance[good, :-1])
    return float(1 / logs.mean()) if logs.size else np.nan


@dataclass(frozen=True)
class Calibration:
    """Estimates for a manifold of known dimension."""

    manifold: str
    """`torus`, `sphere` (neither has a boundary) or `cube`."""
    d: int
    """Its dimension."""
    d_eff: Interval
    """From the slope of δ(P), P = 32 … 1024."""
    two_nn: float
    """TwoNN on 2,000 points."""
    levina_bickel: float
    """Levina–Bickel on the same."""


def calibrate_estimators(n_seeds: int = 5, seed: int = 0) -> list[Calibration]:
    """Apply the estimators to tori and spheres, and to cubes, whose edges bias all of them downwards."""
    rng = np.random.default_rng(seed)
    sizes = 32 * 2 ** np.arange(6)
    result = []
    for manifold, dimensions in (("torus", (1, 2, 3, 5, 8)), ("sphere", (1, 2, 3, 5)), ("cube", (1, 2, 3, 5, 8, 12))):
        for d in dimensions:
            box = 1.0 if manifold == "torus" else None
            train, test, points = (_draw(manifold, d, n, rng) for n in (n_seeds * int(sizes[-1]), 500, 2000))
            distances = nearest_distances(train, test, sizes, n_seeds, seed, box)
            estimates = two_nn(points, box), levina_bickel(points, box=box)
            result.append(Calibration(manifold, d, distances.d_eff, *estimates))
    return result


def _draw(manifold: str, d: int, n: int, rng: np.random.Generator) -> FloatArray:
    if manifold != "sphere":
        return rng.random((n, d))
    points = rng.normal(size=(n, d + 1))
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))


def calibration_text(rows: list[Calibration]) -> str:
    """Return a text table of the estimates, a line per manifold."""
    lines = ["manifold   d   1/slope of δ(P)   TwoNN   Levina–Bickel"]
    for row in rows:
        half = (row.d_eff.high - row.d_eff.low) / 2
        d_eff = f"{row.d_eff.value:6.2f} ± {half:4.2f}"
        lines.append(f"{row.manifold:8} {row.d:3d}   {d_eff:>15} {row.two_nn:7.2f} {row.levina_bickel:15.2f}")
    lines.append(
        "Tori and spheres have no boundary; a cube has one, and all three are then too low, the more so the larger d."
    )
    return "\n".join(lines)
