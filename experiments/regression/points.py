"""Students of the teachers on spheres and tori: kernel regression and the nearest neighbour, on points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.linalg import lapack, solve_triangular
from scipy.spatial import cKDTree
from torch import Tensor

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.kernels import kernel_matrix
from experiments.data.baseline import Baseline
from experiments.data.dataset import Frames
from experiments.models.point_kernel import PointKernelConfig
from experiments.models.point_nearest import PointNearestConfig
from experiments.regression.closed_form import Geometry, Solution, require_memory
from experiments.regression.ladder import MADE, SOLVED, Conditions, Ladder, predict_apart
from experiments.tasks.predictions import Predictions

_JITTER = 1e-12  # relative to k(0) = 1: Cholesky needs it for a matrix that is positive only to round-off


def points_of(frames: Frames) -> Floats:
    """Return the points `[F, D]`.

    Raises:
        InputError: the frames are of atoms.
    """
    if frames.points is None:
        raise InputError("frames of atoms have no points; accepted: data=sphere, data=torus")
    return frames.points


def check_dimension(points: Floats, known: Floats) -> Floats:
    """Return `points` `[F, D]` unchanged.

    Raises:
        InputError: the `known` points have another number of coordinates.
    """
    D = known.shape[1]
    if points.shape[1] != D:
        raise InputError(f"points of {points.shape[1]} coordinates: the model learned from {D}; accepted: {D}")
    return points


def solution(tensors: Mapping[str, Floats], elements: Sequence[int], n_parameters: int) -> Solution:
    """Return a solution without a baseline: labels of teachers have no composition."""
    known = np.array(elements, dtype=np.int64)
    kept = {name: torch.as_tensor(np.ascontiguousarray(value)) for name, value in tensors.items()}
    return Solution(kept, Baseline(known, np.zeros(len(known))), np.zeros(len(known)), n_parameters)


def predictions(frames: Frames, labels: Floats) -> Predictions:
    """Return the labels as predictions; nothing here has forces, which are NaN."""
    return Predictions(labels, np.full(frames.forces.shape, np.nan))


class PointKernel:
    """Kernel regression f(x) = Σ_i a_i k(x, x_i) with (K + ridge) a = y: the mean of a Gaussian process."""

    def __init__(self, config: PointKernelConfig, elements: Sequence[int]) -> None:
        self.config = config
        self.elements = elements

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for frames of atoms, and for other points than pairs of angles if `quotient` is set."""
        for frames in (train, test):
            self._seen(frames)

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Solve (K + ridge) a = y for the first P points: the leading block of one Cholesky factor.

        Raises:
            InputError: the kernel matrix is singular to round-off.
        """
        x, y = self._seen(frames), frames.energies
        require_memory(lambda P: 3 * 8.0 * P**2, len(x), f"a kernel of {len(x)} points")
        matrix = kernel_matrix(self.config.kernel, x, x, self.config.length)
        matrix[np.diag_indices(len(x))] += self.config.ridge + _JITTER
        conditions.watch(MADE)
        lower, singular = lapack.dpotrf(matrix.T, lower=1, clean=0, overwrite_a=1)
        if 0 < singular <= max(sizes):
            raise InputError(
                f"P={max(sizes)}: model.length={self.config.length:g}: the {self.config.kernel} kernel of "
                f"{len(x)} points is singular to round-off; accepted: P={singular - 1} or fewer, a smaller length, or "
                "model.ridge > 0"
            )
        conditions.watch(SOLVED)
        solutions = []
        for P in sizes:
            half = solve_triangular(lower[:P, :P], y[:P], lower=True)
            weights = solve_triangular(lower[:P, :P], half, lower=True, trans=1)
            solutions.append(solution({"points": x[:P], "weights": weights}, self.elements, P))

        def predict(others: Frames) -> list[Predictions]:
            points = check_dimension(self._seen(others), x)
            cross = kernel_matrix(self.config.kernel, points, x, self.config.length)
            return [
                predictions(others, cross[:, :P] @ one.tensors["weights"].numpy())
                for P, one in zip(sizes, solutions, strict=True)
            ]

        return Ladder(solutions, predict, [None] * len(sizes))

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the regression function."""
        x, weights = tensors["points"].numpy(), tensors["weights"].numpy()

        def predict(frames: Frames) -> Predictions:
            matrix = kernel_matrix(self.config.kernel, check_dimension(self._seen(frames), x), x, self.config.length)
            return predictions(frames, matrix @ weights)

        return predict

    def _seen(self, frames: Frames) -> Floats:
        """Return the kernel's inputs: the points, or with `quotient` cos and sin of θ1 − θ2."""
        points = points_of(frames)
        if not self.config.quotient:
            return points
        if points.shape[1] != 4:
            raise InputError("model.quotient=true: needs pairs of angles; accepted: data=torus data.dimension=2")
        c1, s1, c2, s2 = points.T
        return np.stack([c1 * c2 + s1 * s2, s1 * c2 - c1 * s2], axis=1)


class PointNearest:
    """The label of the nearest training point, as a closed-form model."""

    def __init__(self, config: PointNearestConfig, elements: Sequence[int]) -> None:
        self.elements = elements

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for frames of atoms."""
        points_of(train), points_of(test)

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Store the first P points for every P."""
        x, y = points_of(frames), frames.energies
        solutions = [solution({"points": x[:P], "labels": y[:P]}, self.elements, 0) for P in sizes]

        def predict(others: Frames) -> list[Predictions]:
            return predict_apart(self, solutions, others, conditions)

        return Ladder(solutions, predict, [None] * len(sizes))

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that looks up the label of the nearest point in `tensors`."""
        x, labels = tensors["points"].numpy(), tensors["labels"].numpy()
        tree = cKDTree(x)
        return lambda frames: predictions(frames, labels[tree.query(check_dimension(points_of(frames), x))[1]])
