"""The labels of the nearest training frame: the Lipschitz reference, |E − E_nearest| ≤ Lip·δ(P) with δ ~ P^(−1/d).

von Luxburg & Bousquet 2004 (JMLR 5:669), and the elementary argument for ε ∝ P^(−1/d). Forces are the neighbour's,
rotated onto the frame by the alignment of the two (Kabsch 1976) and handed to the matching atoms; the metric of sorted
distances does not tell mirror images apart, so that its alignment may be improper. They are labels, not the gradient
of the energy, which is piecewise constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.data.baseline import fit_baseline
from experiments.data.checks import one_molecule
from experiments.data.dataset import Frames
from experiments.data.distances import AlignedSearch, align, descriptor
from experiments.models.nearest import NearestConfig
from experiments.regression.closed_form import Geometry, Solution, check_labels
from experiments.regression.ladder import Conditions, Ladder, predict_apart
from experiments.tasks.predictions import Predictions


class Nearest:
    """The nearest training frame as a closed-form model; of several at the same distance, any."""

    def __init__(self, config: NearestConfig, elements: Sequence[int]) -> None:
        self.config = config
        self.elements = np.array(elements, dtype=np.int64)

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` unless all frames are of one molecule with its atoms in one order."""
        numbers = train.numbers[0][train.numbers[0] > 0]
        one_molecule(train, numbers, "nearest")
        one_molecule(test, numbers, "nearest")

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Store the first P frames for every P."""
        check_labels(frames)
        self.accept(frames, frames)
        real = frames.numbers[0] > 0
        solutions = []
        for P in sizes:
            own = frames.take(slice(0, P))
            baseline = fit_baseline(own.numbers, own.energies, conditions.isolated)
            tensors = {
                "numbers": torch.as_tensor(own.numbers[0][real]),
                "positions": torch.as_tensor(own.positions[:, real]),
                "energies": torch.as_tensor(own.energies - baseline.predict(own.numbers)),
                "forces": torch.as_tensor(own.forces[:, real]),
            }
            solutions.append(Solution(tensors, baseline, np.zeros(len(self.elements)), n_parameters=0))

        def predict(others: Frames) -> list[Predictions]:
            return predict_apart(self, solutions, others, conditions)

        return Ladder(solutions, predict, [None] * len(sizes))

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that looks up the labels of the nearest frame in `tensors`."""
        stored = {name: value.numpy() for name, value in tensors.items()}
        numbers, known = stored["numbers"], stored["positions"]
        n = len(numbers)
        search = SEARCHES[self.config.metric]
        improper = self.config.metric == "descriptor"

        def predict(frames: Frames) -> Predictions:
            one_molecule(frames, numbers, "nearest")
            if len(frames) == 0:
                return Predictions(np.zeros(0), np.zeros(frames.positions.shape))
            positions = frames.positions[:, :n]
            nearest = search(positions, known, numbers) if n > 1 else np.zeros(len(frames), dtype=np.int64)
            forces = np.zeros(frames.positions.shape)
            for f, k in enumerate(nearest):
                forces[f, :n] = carry_forces(positions[f], known[k], stored["forces"][k], numbers, improper)
            return Predictions(stored["energies"][nearest], forces)

        return predict


def carry_forces(frame: Floats, other: Floats, forces: Floats, numbers: Ints, improper: bool) -> Floats:
    """Return the `forces` `[N, 3]` of the `other` frame, on the atoms and in the orientation of `frame` `[N, 3]`.

    With `improper` the frame's mirror image is used if it lies closer.
    """
    aligned = align(frame, other[None], numbers)
    turn = aligned.turn[0]
    if improper:
        mirrored = align(-frame, other[None], numbers)
        if mirrored.rmsd[0] < aligned.rmsd[0]:
            aligned, turn = mirrored, -mirrored.turn[0]
    return np.asarray(forces[aligned.order[0]] @ turn.T)


def by_descriptor(positions: Floats, known: Floats, numbers: Ints) -> Ints:
    """Return the number of the known frame `[P, N, 3]` (Å) that is nearest to each of the others `[T, N, 3]`: `[T]`."""
    return np.asarray(cKDTree(descriptor(known, numbers)).query(descriptor(positions, numbers))[1], dtype=np.int64)


def by_alignment(positions: Floats, known: Floats, numbers: Ints) -> Ints:
    """Return the same numbers as `by_descriptor`, by aligned RMSD."""
    far, near = (1 / descriptor(x, numbers) for x in (known, positions))
    return AlignedSearch(positions, known, near, far, numbers).nearest(len(known), most=1)[1][:, 0]


SEARCHES = {"descriptor": by_descriptor, "aligned_rmsd": by_alignment}
"""Search by the name of the metric."""
