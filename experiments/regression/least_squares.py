"""Models linear in their coefficients, fitted by regularised least squares: linear ACE, linearised networks.

Every size of a ladder is a leading block of the same rows (`experiments.regression.rows`), and is solved by products of
rows or of columns, whichever is cheaper for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from experiments.regression.gram_path import Path, Products, expected_work, fit_gram
from experiments.regression.ladder import Conditions, Ladder, Watch, Work, solution_facts
from experiments.regression.ridge import RidgeProblem, Sums, columns_work, fit_columns
from experiments.regression.rows import LinearModel, Plan, Rows
from experiments.regression.spectrum import facts_work
from experiments.tasks.predictions import Predictions

_PREDICTED = 3.0
"""Numbers of a row that are made in the time that a prediction takes for each coefficient and frame."""


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
    walked: int | None = None,
) -> Ladder:
    """Fit a linear model to the first P of `frames` for every P of `sizes`.

    Args:
        model: gives the design matrix.
        frames: the training frames of the largest P.
        sizes: the numbers of training frames.
        weights: of the energies and of the forces in the loss.
        conditions: free atoms, and whom to tell of progress.
        smaller: a change that takes less memory beside a smaller P, for the message.
        walked: most rows for which λ is sought by a walk (`Path.walked`).

    Raises:
        InputError: no frames or atoms, labels that are not finite, elements the model does not know, no weight, more
            memory than there is.
    """
    pass_ = _Pass(model, frames, sizes, weights, conditions, smaller, walked=walked)
    fits = pass_.fits()
    coefficients = np.stack([fit.coefficients for fit in fits])
    return Ladder(
        [fit.solution() for fit in fits],
        lambda others: _predict_in_pieces(model, coefficients, others, conditions.watch, pass_.solved),
        pass_.train,
        pass_.system,
    )


def _predict_in_pieces(
    model: LinearModel, coefficients: Floats, frames: Frames, watch: Watch, solved: float
) -> list[Predictions]:
    """Predict like `predict_all`, telling of progress from the share `solved` on."""
    size = 8 * model.frames_at_once(frames)
    pieces = []
    for start in range(0, max(1, len(frames)), size):
        watch(solved + (1 - solved) * start / max(1, len(frames)))
        pieces.append(model.predict_all(coefficients, frames.take(slice(start, start + size))))
    return [Predictions.joined([piece[v] for piece in pieces]) for v in range(len(coefficients))]


class _Pass:
    """One pass over a ladder; see `solve_ladder` for the arguments.

    system  products of the rows of the largest size that is solved by them; None: there is none
    train   predictions on the training frames of every size, where the rows give them
    solved  share of the work that is done when every size is solved; the rest is predictions
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
        walked: int | None = None,
    ) -> None:
        check_labels(frames)
        model.check(frames)
        self.sizes, self.criterion, self.ridge, self.walked = list(sizes), criterion, ridge, walked
        self.energies_too, self.forces_too = weights[0] != 0, weights[1] > 0
        self.labels = {
            P: Labels.of(frames.take(slice(0, P)), model.elements, conditions.isolated, *weights) for P in sizes
        }
        plan = Plan.of(frames, sizes, model, weights, smaller)
        self.dual = sorted(P for P in set(sizes) if plan.in_dual(P))
        made = {P: float(plan.made[P]) for P in set(sizes)}
        number_work = model.number_work(frames)
        solving = plan.work(number_work) + expected_work(self.dual, plan.made, walked=walked)
        solving += sum(facts_work(made[P]) for P in self.dual)
        solving += sum(columns_work(made[P], P, model.size) for P in set(sizes) - set(self.dual))
        predicting = _PREDICTED * number_work * model.size * len(sizes) * conditions.tests
        self.solved = solving / (solving + predicting)
        self._tick = Work(conditions.watch, solving, last=self.solved)
        self.rows = Rows(model, frames, self.labels[max(sizes)], plan, self.energies_too, self._tick)
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
        for P in sorted(set(self.sizes)):
            if path is not None and P in self.dual:
                found[P], predictions[P] = self._by_rows(path, P)
            else:
                zero = Sums.zero(self.rows.model.size) if sums is None else sums
                sums, done = zero.plus(self.rows.force_rows(P, done)), P
                found[P], predictions[P] = self._by_columns(P, sums), None
        self.train = [predictions[P] for P in self.sizes]
        return [found[P] for P in self.sizes]

    def _path(self, system: GramSystem) -> Path:
        return Path(system, self.criterion, tick=self._tick, walked=self.walked)

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
        more = solution_facts(path.system, P, self._tick)
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
        fitted = fit_columns(problem, self.criterion, self.ridge, sums, self._tick)
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
