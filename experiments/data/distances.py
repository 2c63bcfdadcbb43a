"""How far test frames are from training frames, in two metrics that know the symmetry (torch-free).

    descriptor     Euclidean between inverse interatomic distances, sorted within each pair of elements, 1/Å
    aligned_rmsd   root mean squared displacement after the best proper rotation and permutation of like atoms, Å

The dimension of the data, and bounds of the form Lip·δ(P), are read from these distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Frames

SPACES = {"descriptor": "1/Å", "aligned_rmsd": "Å"}
"""Metrics and their units."""
NEIGHBOURS = 8
"""Distances kept for each test frame: two for TwoNN, more for Levina and Bickel's estimator."""
_BATCH = 48
"""Frames aligned at a time in the search for the nearest."""
_ROUNDS = 8  # alternations of rotation and assignment at most; two or three are the rule


def comparable(frames: Frames, numbers: Ints) -> bool:
    """Whether distances between frames are defined: all have the atoms `numbers` `[N]` in this order, at least two
    (0 is padding), and no period."""
    same = frames.numbers.shape[1] == len(numbers) and bool((frames.numbers == numbers).all())
    return same and int((numbers > 0).sum()) >= 2 and not bool(frames.pbc.any())


def descriptor(positions: Floats, numbers: Ints) -> Floats:
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


@dataclass(frozen=True)
class Alignment:
    """One frame laid on several others.

    rmsd   `[C]` root mean squared displacement that is left, Å
    order  `[C, N]` which atom of the other each atom of the frame stands for
    turn   `[C, 3, 3]` rotation: (frame − its centre) @ turn lies on the other's atoms in that order
    """

    rmsd: Floats
    order: Ints
    turn: Floats


def aligned_rmsd(frame: Floats, others: Floats, numbers: Ints) -> Floats:
    """RMSD of one frame to each of several after the best rotation and permutation of like atoms, Å. [C]

    See `align`.
    """
    return align(frame, others, numbers).rmsd


def align(frame: Floats, others: Floats, numbers: Ints) -> Alignment:
    """The best proper rotation and permutation of like atoms that lay one frame on each of several.

    The optimal rotation (Kabsch 1976) alternates with the optimal assignment within each element until neither moves,
    from two starts: the given order, and the order in which atoms have the most similar surroundings. An upper bound,
    exact for frames of one conformer.

    Args:
        frame: Å. [N, 3]
        others: Å. [C, N, 3]
        numbers: atomic numbers. [N]
    """
    a, b = frame - frame.mean(axis=0), others - others.mean(axis=1, keepdims=True)
    given = np.tile(np.arange(len(numbers)), (len(b), 1))
    mine, theirs = _surroundings(a[None], numbers), _surroundings(b, numbers)
    alike = ((mine[:, :, None] - theirs[:, None]) ** 2).sum(axis=-1)  # [C, N, N]
    first, second = (_alternate(a, b, order, numbers) for order in (given, _assign(alike, numbers)))
    better = first.rmsd <= second.rmsd
    return Alignment(
        np.where(better, first.rmsd, second.rmsd),
        np.where(better[:, None], first.order, second.order),
        np.where(better[:, None, None], first.turn, second.turn),
    )


def _surroundings(positions: Floats, numbers: Ints) -> Floats:
    """Each atom's inverse distances to the others, sorted within each element. [C, N, 3] → [C, N, N]"""
    away = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    inverse = np.where(away > 0, 1 / np.where(away > 0, away, 1.0), 0.0)
    return np.concatenate([np.sort(inverse[:, :, numbers == z], axis=2) for z in np.unique(numbers)], axis=2)


def _alternate(a: Floats, b: Floats, order: Ints, numbers: Ints) -> Alignment:
    """Alternating rotation and assignment; `order` says which atom of b each atom of a stands for. [C, N]"""
    for _ in range(_ROUNDS):
        rotated = a @ _kabsch(a, np.take_along_axis(b, order[:, :, None], axis=1))
        new = _assign(((rotated[:, :, None] - b[:, None]) ** 2).sum(axis=-1), numbers)
        if np.array_equal(new, order):
            break
        order = new
    matched = np.take_along_axis(b, order[:, :, None], axis=1)
    turn = _kabsch(a, matched)
    return Alignment(np.sqrt(((a @ turn - matched) ** 2).sum(axis=2).mean(axis=1)), order, turn)


def _assign(cost: Floats, numbers: Ints) -> Ints:
    """The cheapest one-to-one assignment within each element. [C, N, N] → [C, N]"""
    order = np.empty(cost.shape[:2], dtype=np.int64)
    for z in np.unique(numbers):
        mine = np.flatnonzero(numbers == z)
        part = cost[:, mine[:, None], mine]
        nearest = part.argmin(axis=2)
        # where no two atoms have the same nearest, the nearest are the assignment
        clear = (np.sort(nearest, axis=1) == np.arange(len(mine))).all(axis=1)
        for c in np.flatnonzero(~clear):
            nearest[c] = linear_sum_assignment(part[c])[1]
        order[:, mine] = mine[nearest]
    return order


def _kabsch(a: Floats, b: Floats) -> Floats:
    """The proper rotations R (acting as x @ R) that minimise ‖a·R − b‖. [N, 3], [C, N, 3] → [C, 3, 3]"""
    u, _, vt = np.linalg.svd(np.einsum("ni,cnj->cij", a, b))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)


def distance_table(
    test: Floats,
    pool: Floats,
    numbers: Ints,
    subsets: Mapping[int, Ints],
    sizes: Sequence[int],
    energies: tuple[Floats, Floats] | None = None,
) -> pd.DataFrame:
    """Distances of every test frame to its nearest training frames, for every subset and P; one row each.

    Columns: space, unit, P, subset_seed, frame (number of the test frame), d1 … d8 (ascending; NaN where P is
    smaller) and, with energies, label_gap: |E − E of the nearest| per atom, eV.

    Args:
        test: positions, Å. [T, N, 3]
        pool: positions, Å. [F, N, 3]
        numbers: atomic numbers, the same in all frames. [N]
        subsets: for each subset seed the frames of the pool in the order in which they are taken. [≥ P_max]
        sizes: values of P.
        energies: of test and pool frames, eV. [T], [F]
    """
    far, near = descriptor(pool, numbers), descriptor(test, numbers)
    parts = []
    for seed, order in subsets.items():
        aligned = Aligned(test, pool[order[: max(sizes)]], 1 / near, 1 / far[order[: max(sizes)]], numbers)
        for size in sorted(sizes):
            searches = {"descriptor": _query(far[order[:size]], near), "aligned_rmsd": aligned.nearest(size)}
            for space, (distances, nearest) in searches.items():
                gap = None
                if energies is not None:
                    gap = np.abs(energies[0] - energies[1][order[nearest[:, 0]]]) / len(numbers)
                parts.append(_rows(space, size, seed, distances, gap))
    return pd.concat(parts, ignore_index=True)


def _query(train: Floats, test: Floats) -> tuple[Floats, Ints]:
    """Ascending distances to the nearest training points and their numbers. [T, ≤ 8] each"""
    distance, index = cKDTree(train).query(test, k=[*range(1, min(NEIGHBOURS, len(train)) + 1)])
    return np.asarray(distance), np.asarray(index)


class Aligned:
    """Searches the nearest frames by aligned RMSD, aligning only those that can be among them.

    Atoms i, j that move by u, v change their distance by |u| + |v| at most, and the sorted distances by no more than
    any others: RMSD ≥ ‖sorted distances − sorted distances′‖/√(2N(N−1)). So most frames need no alignment.
    """

    def __init__(self, test: Floats, train: Floats, near: Floats, far: Floats, numbers: Ints) -> None:
        """Frames [T, N, 3] and [P, N, 3], and their sorted distances, Å. [T, pairs], [P, pairs]"""
        self._test, self._train, self._numbers = test, train, numbers
        n = len(numbers)
        self._least = cdist(near, far) / np.sqrt(2 * n * (n - 1))  # [T, P]
        self._known = np.full(self._least.shape, np.inf)

    def nearest(self, size: int, most: int = NEIGHBOURS) -> tuple[Floats, Ints]:
        """Ascending RMSD to the nearest of the first `size` training frames, and their numbers. [T, ≤ `most`] each"""
        count = min(most, size)
        index = np.empty((len(self._test), count), dtype=np.int64)
        for t, frame in enumerate(self._test):
            known = self._known[t, :size]
            new = np.flatnonzero(np.isinf(known))
            new = new[np.argsort(self._least[t, new], kind="stable")]
            for start in range(0, len(new), _BATCH):
                batch = new[start : start + _BATCH]
                if self._least[t, batch[0]] > np.partition(known, count - 1)[count - 1]:
                    break
                known[batch] = aligned_rmsd(frame, self._train[batch], self._numbers)
            index[t] = np.argsort(known, kind="stable")[:count]
        return np.take_along_axis(self._known, index, axis=1), index


def _rows(space: str, size: int, seed: int, distances: Floats, gap: Floats | None) -> pd.DataFrame:
    columns: dict[str, Any] = {"space": space, "unit": SPACES[space], "P": size, "subset_seed": seed}
    columns["frame"] = np.arange(len(distances))
    for k in range(NEIGHBOURS):
        columns[f"d{k + 1}"] = distances[:, k] if k < distances.shape[1] else np.nan
    if gap is not None:
        columns["label_gap"] = gap
    return pd.DataFrame(columns)
