"""Models linear in their coefficients, fitted by regularised least squares: linear ACE, linearised networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from experiments.core import files
from experiments.core.arrays import Floats, Ints
from experiments.data.baseline import Baseline, composition
from experiments.data.dataset import Frames
from experiments.regression.closed_form import Isolated, Labels, Solution, check_labels, reachable, require_memory
from experiments.regression.ridge import Criterion, ForceRows, RidgeProblem, fit_ridge, in_dual
from experiments.tasks.predictions import Predictions

_HELD_BYTES = 2**31
"""Force rows kept in memory between passes of a fit by XᵀX; larger ones are computed again in each pass."""


def like_frames(frames: Frames, most: int) -> Iterator[Ints]:
    """Yield numbers of frames with the same row of atomic numbers, at most `most` at a time; together all `frames`."""
    _, kind = np.unique(frames.numbers, axis=0, return_inverse=True)
    for k in range(int(kind.max(initial=-1)) + 1):
        same = np.flatnonzero(kind.reshape(-1) == k)
        for start in range(0, len(same), most):
            yield same[start : start + most]


@dataclass(frozen=True)
class Design:
    """Predictions of a linear model for some frames, per unit of each coefficient.

    frames    `[F]`           which frames of those asked for
    energies  `[F, M]`        eV, summed over atoms
    forces    `[F, N, 3, M]`  −∂/∂x of it in 1/Å; zero on padding
    """

    frames: Ints
    energies: Floats
    forces: Floats


class LinearModel(Protocol):
    """A model whose energies and forces are linear in `size` coefficients."""

    elements: Ints

    @property
    def size(self) -> int:
        """Number of coefficients M."""
        ...

    def check(self, frames: Frames) -> None:
        """Raise `InputError` for elements that the model does not know and for positions that are not finite."""
        ...

    def chunks(self, frames: Frames) -> Iterator[Design]:
        """Yield the design matrix in pieces of bounded memory, each of frames with the same row of atomic numbers."""
        ...

    def chunk_bytes(self, frames: Frames) -> float:
        """Return the peak memory (bytes) of making a piece."""
        ...

    def predict(self, coefficients: Floats, frames: Frames) -> Predictions:
        """Predict energies (eV, without intercept) and forces (eV/Å) from coefficients `[M]`; makes no force rows."""
        ...


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model.

    coefficients `[M]`; energy of composition n is baseline(n) + n·`per_atom` `[s]` (eV) on top of the features.
    ridge, effective_parameters, score, criterion: see `RidgeFit`; rows: number of informative labels.
    """

    model: LinearModel
    coefficients: Floats
    baseline: Baseline
    per_atom: Floats
    ridge: float
    effective_parameters: float
    score: float
    criterion: str
    rows: int

    def predict(self, frames: Frames) -> Predictions:
        """Predict energies (eV) and forces (eV/Å) of any frames of the known elements."""
        predicted = self.model.predict(self.coefficients, frames)
        constant = (
            self.baseline.predict(frames.numbers) + composition(frames.numbers, self.model.elements) @ self.per_atom
        )
        return Predictions(predicted.energies + constant, predicted.forces)

    def solution(self) -> Solution:
        """Return the solution for a checkpoint, which keeps the coefficients alone."""
        facts = {
            "ridge": files.json_number(self.ridge),  # null: nothing to learn
            "effective_parameters": self.effective_parameters,
            "criterion": self.criterion,
            "rows": self.rows,
        }
        tensors = {"coefficients": torch.as_tensor(self.coefficients)}
        return Solution(tensors, self.baseline, self.per_atom, self.model.size, facts)


def solve(
    model: LinearModel,
    frames: Frames,
    energy_weight: float,
    force_weight: float,
    isolated: Isolated = None,
    *,
    smaller: str = "a smaller P",
    criterion: Criterion = "frames",
    ridge: float | None = None,
) -> LinearFit:
    """Fit a linear model to all of `frames`.

    Args:
        model: gives the design matrix.
        frames: the training frames.
        energy_weight: weight of the energies in the loss.
        force_weight: weight of the forces in the loss.
        isolated: energies of free atoms in eV, for the baseline.
        smaller: a change that takes less memory, for the message.
        criterion: score that chooses the ridge parameter.
        ridge: λ over the largest eigenvalue, in place of the chosen one.

    Raises:
        InputError: no frames or atoms, labels that are not finite, elements the model does not know, no weight, more
            memory than there is.
    """
    check_labels(frames)
    model.check(frames)
    labels = Labels.of(frames, model.elements, isolated, energy_weight, force_weight)
    check_memory(frames, model.size, model.chunk_bytes(frames), force_weight, smaller)
    rows = _Rows(model, frames, labels.force_weight)
    problem = RidgeProblem(
        energy_x=rows.energies * labels.energy_weight[:, None],
        energy_y=labels.energies * labels.energy_weight,
        unpenalised=labels.counts * labels.energy_weight[:, None],
        force_rows=rows,
        rows=(len(frames) if energy_weight > 0 else 0) + rows.informative,
    )
    fitted = fit_ridge(problem, criterion, ridge)
    return LinearFit(
        model,
        fitted.coefficients,
        labels.baseline,
        labels.per_atom(fitted.unpenalised, rows.energies @ fitted.coefficients),
        fitted.ridge,
        fitted.effective_parameters,
        fitted.score,
        fitted.criterion,
        problem.rows,
    )


def check_memory(frames: Frames, m: int, chunk_bytes: float, force_weight: float, smaller: str) -> None:
    """Raise `InputError` if a fit does not fit into memory: see `_dual` and `_primal` of
    `experiments.regression.ridge`.

    Args:
        frames: the training frames.
        m: number of coefficients.
        chunk_bytes: see `LinearModel`.
        force_weight: as for `solve`.
        smaller: as for `solve`.

    Raises:
        InputError: this machine has less.
    """
    components = int((frames.numbers > 0).sum()) * 3 if force_weight > 0 else 0
    rows = components + len(frames)
    held = 8.0 * components * m
    energies = 2 * 8.0 * len(frames) * m
    if in_dual(rows, m):
        decomposed = rows
    else:
        held, decomposed = (held if held <= _HELD_BYTES else 0.0), m
    # the matrix, its eigenvectors, and LAPACK's work space of two more
    peak = energies + held + max(4 * 8.0 * decomposed**2, chunk_bytes if components else 0.0)
    require_memory(peak, f"{rows} labels and {m} coefficients", smaller)


class _Rows:
    """Energy rows of all frames, and force rows in passes: from memory if they fit, else computed again in each pass.

    energies     `[F, M]`
    informative  number of force rows that an invariant energy can reach
    """

    def __init__(self, model: LinearModel, frames: Frames, force_weight: float) -> None:
        self.model, self.frames, self.force_weight = model, frames, force_weight
        self.energies = np.zeros((len(frames), model.size))
        self.informative = 0
        # by XXᵀ all rows are needed at once
        hold = in_dual(frames.forces.size + len(frames), model.size)
        hold = hold or 8 * frames.forces.size * model.size <= _HELD_BYTES
        self.held: list[ForceRows] | None = None
        held = []
        for part in model.chunks(frames):
            self.energies[part.frames] = part.energies
            if force_weight == 0:
                continue
            rows, informative = self._force_rows(part)
            self.informative += informative
            if hold:
                held.append(rows)
        if hold or force_weight == 0:
            self.held = held

    def __call__(self) -> Iterator[ForceRows]:
        if self.held is not None:
            yield from self.held
        else:
            for part in self.model.chunks(self.frames):
                yield self._force_rows(part)[0]

    def _force_rows(self, part: Design) -> tuple[ForceRows, int]:
        chosen = self.frames.take(part.frames)
        real = chosen.numbers[0] > 0  # a chunk has the same atoms throughout
        f, n = len(chosen), int(real.sum())
        if n == 0:
            return ForceRows(part.frames, np.zeros((f, 0, self.model.size)), np.zeros((f, 0))), 0
        onto, counts = reachable(chosen.positions[:, real], np.asarray(chosen.pbc.any(1)))  # [f, 3n, r], [f]
        x = onto.transpose(0, 2, 1) @ part.forces[:, real].reshape(f, 3 * n, -1)
        y = onto.transpose(0, 2, 1) @ chosen.forces[:, real].reshape(f, 3 * n, 1)
        return ForceRows(part.frames, x * self.force_weight, y[..., 0] * self.force_weight), int(counts.sum())
