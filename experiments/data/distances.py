"""Distances between test and training frames in two metrics invariant to rotations and permutations (torch-free).

    descriptor     Euclidean between inverse interatomic distances, sorted within each pair of elements, 1/Å
    aligned_rmsd   root mean squared displacement after the best proper rotation and permutation of like atoms, Å

The dimension of the data, and bounds of the form Lip·δ(P), are read from these distances.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Frames

if TYPE_CHECKING:
    import pandas as pd  # it and scipy take half a second, and a plan of runs needs the descriptor alone

SPACES = {"descriptor": "1/Å", "aligned_rmsd": "Å"}
"""Unit of each metric."""
NEIGHBOURS = 8
"""Distances kept for each test frame: two for TwoNN, more for Levina and Bickel's estimator."""
_BATCH = 48
"""Frames aligned at a time in the search for the nearest."""
_ROUNDS = 8  # alternations of rotation and assignment at most; two or three are the rule


def comparable(frames: Frames, numbers: Ints) -> bool:
    """Return whether distances between frames are defined.

    That is, all frames hold the atoms `numbers` `[N]` (0: padding) in this order, at least two, and none is periodic.
    """
    same = frames.numbers.shape[1] == len(numbers) and bool((frames.numbers == numbers).all())
    return same and int((numbers > 0).sum()) >= 2 and not bool(frames.pbc.any())


def descriptor(positions: Floats, numbers: Ints) -> Floats:
    """Return a molecule's inverse distances sorted within each pair of elements: invariant to E(3) and permutations.

    Args:
        positions: `[F, N, 3]` in Å.
        numbers: atomic numbers `[N]`, the same in every frame.

    Returns:
        One coordinate per pair of atoms, `[F, N(N−1)/2]` in 1/Å.
    """
    i, j = np.triu_indices(len(numbers), 1)
    inverse = 1 / np.linalg.norm(positions[:, i] - positions[:, j], axis=-1)
    kinds = np.stack([np.minimum(numbers[i], numbers[j]), np.maximum(numbers[i], numbers[j])], axis=1)
    parts = [np.sort(inverse[:, (kinds == kind).all(axis=1)], axis=1) for kind in np.unique(kinds, axis=0)]
    return np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class Alignment:
    """The alignment of one frame with each of several others.

    rmsd   `[C]` remaining root mean squared displacement, Å
    order  `[C, N]` the atom of the other frame that matches each atom of the frame
    turn   `[C, 3, 3]` rotation: (frame − its centre) @ turn lies on the other's atoms in that order
    """

    rmsd: Floats
    order: Ints
    turn: Floats


def aligned_rmsd(frame: Floats, others: Floats, numbers: Ints) -> Floats:
    """Return the RMSD `[C]` (Å) of one frame to each of several after alignment; arguments as of `align`."""
    return align(frame, others, numbers).rmsd


def align(frame: Floats, others: Floats, numbers: Ints) -> Alignment:
    """Find the proper rotation and permutation of like atoms that best align one frame with each of several.

    The optimal rotation (Kabsch 1976) alternates with the optimal assignment within each element until neither
    changes, from two starts: the given order, and the order that matches the atoms with the most similar surroundings.
    The RMSD is an upper bound of the true minimum, exact for frames of one conformer.

    Args:
        frame: `[N, 3]` in Å.
        others: `[C, N, 3]` in Å.
        numbers: atomic numbers `[N]`.
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
    """Return each atom's inverse distances to the others, sorted within each element: `[C, N, 3]` → `[C, N, N]`."""
    away = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=-1)
    inverse = np.where(away > 0, 1 / np.where(away > 0, away, 1.0), 0.0)
    return np.concatenate([np.sort(inverse[:, :, numbers == z], axis=2) for z in np.unique(numbers)], axis=2)


def _alternate(a: Floats, b: Floats, order: Ints, numbers: Ints) -> Alignment:
    """Alternate rotation and assignment; `order` `[C, N]` is the atom of b that each atom of a starts matched to."""
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
    """Find the cheapest one-to-one assignment within each element: `[C, N, N]` → `[C, N]`."""
    from scipy.optimize import linear_sum_assignment

    order = np.empty(cost.shape[:2], dtype=np.int64)
    for z in np.unique(numbers):
        mine = np.flatnonzero(numbers == z)
        part = cost[:, mine[:, None], mine]
        nearest = part.argmin(axis=2)
        # if no two atoms have the same nearest, the nearest are the assignment
        clear = (np.sort(nearest, axis=1) == np.arange(len(mine))).all(axis=1)
        for c in np.flatnonzero(~clear):
            nearest[c] = linear_sum_assignment(part[c])[1]
        order[:, mine] = mine[nearest]
    return order


def _kabsch(a: Floats, b: Floats) -> Floats:
    """Return the proper rotations R (acting as x @ R) that minimise ‖a·R − b‖: `[N, 3]`, `[C, N, 3]` → `[C, 3, 3]`."""
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
    """Tabulate distances of test frames to their nearest training frames: a row for each metric, P, subset and frame.

    Columns: space, unit, P, subset_seed, frame (number of the test frame), d1 … d8 (ascending; NaN beyond P) and, if
    energies are given, label_gap: |E − E of the nearest| per atom, eV.

    Args:
        test: positions `[T, N, 3]` in Å.
        pool: positions `[F, N, 3]` in Å.
        numbers: atomic numbers `[N]`, the same in all frames.
        subsets: for each subset seed, indices `[≥ P_max]` into the pool in the order in which they are taken.
        sizes: values of P.
        energies: of test `[T]` and pool `[F]` frames, eV.
    """
    import pandas as pd

    far, near = descriptor(pool, numbers), descriptor(test, numbers)
    parts = []
    for seed, order in subsets.items():
        aligned = AlignedSearch(test, pool[order[: max(sizes)]], 1 / near, 1 / far[order[: max(sizes)]], numbers)
        for size in sorted(sizes):
            searches = {"descriptor": _query(far[order[:size]], near), "aligned_rmsd": aligned.nearest(size)}
            for space, (distances, nearest) in searches.items():
                gap = None
                if energies is not None:
                    gap = np.abs(energies[0] - energies[1][order[nearest[:, 0]]]) / len(numbers)
                parts.append(_rows(space, size, seed, distances, gap))
    return pd.concat(parts, ignore_index=True)


def _query(train: Floats, test: Floats) -> tuple[Floats, Ints]:
    """Return the ascending distances to the nearest training points and their indices, `[T, ≤ 8]` each."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(train).query(test, k=[*range(1, min(NEIGHBOURS, len(train)) + 1)])
    return np.asarray(distance), np.asarray(index)


class AlignedSearch:
    """A search for the nearest frames by aligned RMSD that skips frames which a lower bound rules out.

    Atoms i, j that move by u, v change their distance by |u| + |v| at most, and sorting cannot increase the
    difference: RMSD ≥ ‖sorted distances − sorted distances′‖/√(2N(N−1)). So most frames need no alignment.
    """

    def __init__(self, test: Floats, train: Floats, near: Floats, far: Floats, numbers: Ints) -> None:
        """Take frames `[T, N, 3]` and `[P, N, 3]` and their sorted distances `[T, pairs]` and `[P, pairs]`, in Å."""
        from scipy.spatial.distance import cdist

        self._test, self._train, self._numbers = test, train, numbers
        n = len(numbers)
        self._least = cdist(near, far) / np.sqrt(2 * n * (n - 1))  # [T, P]
        self._known = np.full(self._least.shape, np.inf)

    def nearest(self, size: int, most: int = NEIGHBOURS) -> tuple[Floats, Ints]:
        """Return the ascending RMSDs to the nearest of the first `size` training frames, and the indices of these.

        `[T, min(most, size)]` each.
        """
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
    import pandas as pd

    columns: dict[str, Any] = {"space": space, "unit": SPACES[space], "P": size, "subset_seed": seed}
    columns["frame"] = np.arange(len(distances))
    for k in range(NEIGHBOURS):
        columns[f"d{k + 1}"] = distances[:, k] if k < distances.shape[1] else np.nan
    if gap is not None:
        columns["label_gap"] = gap
    return pd.DataFrame(columns)
