"""Models linear in their coefficients, fitted by regularised least squares: linear ACE, linearised networks.

Every size of a ladder is a leading block of the same rows (`experiments.regression.rows`), and is solved by products of
rows or of columns, whichever is cheaper for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from experiments.core import files
from experiments.core.arrays import Floats
from experiments.data.baseline import Baseline, composition
from experiments.data.dataset import Frames
from experiments.regression.choice import Criterion, RidgeFit, constants
from experiments.regression.closed_form import Isolated, Labels, Solution, Weights, check_labels
from experiments.regression.gram import GramSystem
from experiments.regression.gram_path import Path, Products, fit_gram
from experiments.regression.ladder import MADE, SOLVED, Conditions, Ladder, solution_facts
from experiments.regression.ridge import RidgeProblem, Sums, fit_columns
from experiments.regression.rows import LinearModel, Plan, Rows
from experiments.tasks.predictions import Predictions


@dataclass(frozen=True)
class LinearFit:
    """A fitted linear model.

    coefficients `[M]`; energy of composition n is baseline(n) + n·`per_atom` `[s]` (eV) on top of the features.
    ridge, effective_parameters, score, criterion, at_floor: see `RidgeFit`; rows: number of informative labels; more:
    entries for the run's result.
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
    at_floor: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    def predict(self, frames: Frames) -> Predictions:
        """Predict energies (eV) and forces (eV/Å) of any frames of the known elements."""
        (predicted,) = self.model.predict_all(self.coefficients[None], frames)
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
            "ridge_at_floor": self.at_floor,
            **self.more,
        }
        tensors = {"coefficients": torch.as_tensor(self.coefficients)}
        return Solution(tensors, self.baseline, self.per_atom, self.model.size, facts)


def solve(
    model: LinearModel,
    frames: Frames,
    energy_weight: float | None,
    force_weight: float,
    isolated: Isolated = None,
    *,
    smaller: str = "",
    criterion: Criterion = "frames",
    ridge: float | None = None,
) -> LinearFit:
    """Fit a linear model to all of `frames`; see `solve_ladder`.

    Args:
        model: gives the design matrix.
        frames: the training frames.
        energy_weight: weight of the energies in the loss; None: a third of each frame's number of atoms.
        force_weight: weight of the forces in the loss.
        isolated: energies of free atoms in eV, for the baseline.
        smaller: a change that takes less memory, for the message.
        criterion: score that chooses the ridge parameter.
        ridge: λ over the largest eigenvalue, in place of the chosen one.
    """
    weights, sizes = (energy_weight, force_weight), [len(frames)]
    pass_ = _Pass(model, frames, sizes, weights, Conditions(isolated), smaller, criterion, ridge)
    return pass_.fits()[0]


def solve_ladder(
    model: LinearModel,
    frames: Frames,
    sizes: Sequence[int],
    weights: Weights,
    conditions: Conditions,
    smaller: str,
) -> Ladder:
    """Fit a linear model to the first P of `frames` for every P of `sizes`.

    Args:
        model: gives the design matrix.
        frames: the training frames of the largest P.
        sizes: the numbers of training frames.
        weights: of the energies and of the forces in the loss.
        conditions: free atoms, and whom to tell of progress.
        smaller: a change that takes less memory beside a smaller P, for the message.

    Raises:
        InputError: no frames or atoms, labels that are not finite, elements the model does not know, no weight, more
            memory than there is.
    """
    pass_ = _Pass(model, frames, sizes, weights, conditions, smaller)
    fits = pass_.fits()
    coefficients = np.stack([fit.coefficients for fit in fits])
    return Ladder(
        [fit.solution() for fit in fits],
        lambda others: predict_in_pieces(model, coefficients, others, conditions.watch),
        pass_.train,
        pass_.system,
    )


def predict_in_pieces(
    model: LinearModel, coefficients: Floats, frames: Frames, watch: Callable[[float], None]
) -> list[Predictions]:
    """Predict like `predict_all`, telling of progress from `SOLVED` on."""
    size = 8 * model.frames_at_once(frames)
    pieces = []
    for start in range(0, max(1, len(frames)), size):
        watch(SOLVED + (1 - SOLVED) * start / max(1, len(frames)))
        pieces.append(model.predict_all(coefficients, frames.take(slice(start, start + size))))
    return [_joined([piece[v] for piece in pieces]) for v in range(len(coefficients))]


def _joined(parts: Sequence[Predictions]) -> Predictions:
    virials = [part.virials for part in parts if part.virials is not None]
    return Predictions(
        np.concatenate([part.energies for part in parts]),
        np.concatenate([part.forces for part in parts]),
        np.concatenate(virials) if len(virials) == len(parts) else None,
    )


class _Pass:
    """One pass over a ladder; see `solve_ladder` for the arguments.

    system  products of the rows of the largest size that is solved by them; None: there is none
    train   predictions on the training frames of every size, where the rows give them
    """

    def __init__(
        self,
        model: LinearModel,
        frames: Frames,
        sizes: Sequence[int],
        weights: Weights,
        conditions: Conditions,
        smaller: str = "",
        criterion: Criterion = "frames",
        ridge: float | None = None,
    ) -> None:
        check_labels(frames)
        model.check(frames)
        self.sizes, self.criterion, self.ridge, self.conditions = list(sizes), criterion, ridge, conditions
        self.energies_too, self.forces_too = weights[0] != 0, weights[1] > 0
        self.labels = {
            P: Labels.of(frames.take(slice(0, P)), model.elements, conditions.isolated, *weights) for P in sizes
        }
        plan = Plan.of(frames, sizes, model, weights, smaller)
        self.rows = Rows(model, frames, self.labels[max(sizes)], plan, self.energies_too, conditions.watch)
        self.dual = sorted(P for P in set(sizes) if plan.in_dual(P))
        self.system: GramSystem | None = None
        self.train: list[Predictions | None] = []

    def fits(self) -> list[LinearFit]:
        """Solve every size, the smaller ones first."""
        found: dict[int, LinearFit] = {}
        predictions: dict[int, Predictions | None] = {}
        if self.dual:
            self.system = self.rows.system(self.dual[-1])
        path = None if self.system is None else self._path(self.system)
        sums, done = None, 0
        for number, P in enumerate(sorted(set(self.sizes))):
            self.conditions.watch(MADE + (SOLVED - MADE) * number / len(self.sizes))
            if path is not None and P in self.dual:
                found[P], predictions[P] = self._by_rows(path, P)
            else:
                zero = Sums.zero(self.rows.model.size) if sums is None else sums
                sums, done = zero.plus(self.rows.force_rows(P, done)), P
                found[P], predictions[P] = self._by_columns(P, sums), None
        self.train = [predictions[P] for P in self.sizes]
        return [found[P] for P in self.sizes]

    def _path(self, system: GramSystem) -> Path:
        return Path(system, self.criterion, tick=lambda: self.conditions.watch(MADE))

    def _by_rows(self, path: Path, P: int) -> tuple[LinearFit, Predictions | None]:
        rows, labels, system = self.rows, self.labels[P], path.system
        n = system.rows(P)
        scale = rows.scale(labels, P)  # [n]: 1 unless compositions differ
        if (scale != 1).any():
            gram = system.block(P) * scale[:, None] * scale
            path = self._path(GramSystem(gram, system.labels[:n] * scale, *rows.borders(P, scale)))
        products = Products(
            lambda alpha: rows.combine(alpha * scale[: len(alpha), None]),
            lambda w, count: rows.apply(w, count) * scale[:count, None],
        )
        fit = fit_gram(path, P, self.ridge, products)
        assert fit.coefficients is not None
        fitted = fit.fitted / scale
        geometry = rows.geometry(fitted, P)
        if not self.energies_too:
            geometry = Predictions(rows.energies[:P] @ fit.coefficients, geometry.forces)
        weight = labels.energy_weight
        intercepts = constants(labels.counts * weight[:, None], (labels.energies - geometry.energies) * weight)
        more = solution_facts(path.system, P)
        ridge_fit = RidgeFit(fit.coefficients, intercepts, *fit.choice.facts, fit.choice.at_floor)
        return self._fit(P, ridge_fit, geometry.energies, more), geometry if self.forces_too else None

    def _by_columns(self, P: int, sums: Sums) -> LinearFit:
        labels, rows = self.labels[P], self.rows
        problem = RidgeProblem(
            energy_x=rows.energies[:P] * labels.energy_weight[:, None],
            energy_y=labels.energies * labels.energy_weight,
            unpenalised=labels.counts * labels.energy_weight[:, None],
            force_rows=lambda: rows.force_rows(P),
            rows=rows.count(P),
        )
        fitted = fit_columns(problem, self.criterion, self.ridge, sums)
        return self._fit(P, fitted, rows.energies[:P] @ fitted.coefficients, {})

    def _fit(self, P: int, fitted: RidgeFit, energies: Floats, more: Mapping[str, Any]) -> LinearFit:
        labels = self.labels[P]
        per_atom = labels.per_atom(fitted.unpenalised, energies)
        return LinearFit(
            self.rows.model,
            fitted.coefficients,
            labels.baseline,
            per_atom,
            fitted.ridge,
            fitted.effective_parameters,
            fitted.score,
            fitted.criterion,
            self.rows.count(P),
            fitted.at_floor,
            more,
        )
