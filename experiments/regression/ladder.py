"""Ladders: the runs of one closed-form model that differ only in P, solved in one pass.

Subsets are nested in P, so the training frames of a smaller P are the first P of the largest one's. A closed form
(`ClosedForm`) is asked for all sizes at once and answers with a `Ladder`: one
solution a size, and a function that predicts with all of them together. Each solution is that of a run by itself:
nothing about it depends on which other sizes the ladder has.

What a ladder keeps of its largest P is its `GramSystem` (`experiments.regression.gram`), for models that are solved
by products of rows (ntk, krr, ace while it has more coefficients than rows); None otherwise:

    system.block(frames)       [n, n] copy of the products of the weighted rows, frame after frame: a frame's force rows
                               (directions that an invariant energy can reach), then its energy row
    system.labels              [n] weighted labels of the rows, energies without their baseline
    system.intercepts(frames)  [n, d] orthonormal columns of the unpenalised part, zero on force rows
    system.centred(frames)     both with that part projected out: what spectra are made of
    system.starts              [F + 1] first row of every frame; system.rows(frames) is starts[frames]
    system.top(frames)         largest eigenvalue of the centred block: the unit of every ridge

and from ONE factorisation at one absolute λ, residuals of left-out frames at every size:

    factor = system.factor(penalty)               inverse Cholesky factor of all frames; valid until the next one
    factor.left_out(frames).errors                [rows(frames)] y_f minus the prediction of a fit without frame f
    factor.left_out(frames).score                 their mean square a row, in the units of the labels
    factor.left_out(frames).dual                  [rows(frames)] coefficients of the rows

If compositions differ, energy rows are weighted by the mean number of atoms of the largest P.

Facts that come from the system of a run's own frames go into its result by `solution_facts` below, which is called
once a size while the system is at hand; they must be a function of the leading block of that size alone, for results
do not depend on the ladder that computed them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from experiments.data.dataset import Frames
from experiments.regression.cholesky import Tick, silent
from experiments.regression.closed_form import Geometry, Isolated, Solution
from experiments.regression.gram import GramSystem
from experiments.regression.spectrum import WHOLE_ROWS, kept_facts, leading_spectrum, spectrum_of
from experiments.tasks.predictions import Predictions

SAMPLE = 256
"""Frames of the pool that scale the inputs of a model; enough for a mean over atoms to a percent."""

PIECE = 250
"""Frames that are predicted between two looks at whether to stop."""
MADE, SOLVED = 0.4, 0.7
"""Shares of a ladder's work done when its rows are made and when it is solved, for displays of progress."""

Watch = Callable[[float], None]
"""Hears of the share of a pass that is done; it may raise to stop."""


@dataclass(frozen=True)
class Ladder:
    """The solutions of a closed form on the first P of its training frames, for several P.

    solutions  one a size, in the order asked for
    predict    of any frames, the predictions (`Geometry`) with every solution
    train      of every size, predictions (`Geometry`) on its own training frames; None: predict them
    system     rows of the largest size; None: the model is not solved by products of rows
    """

    solutions: Sequence[Solution]
    predict: Callable[[Frames], list[Predictions]]
    train: Sequence[Predictions | None]
    system: GramSystem | None = None


def _ignore(share: float) -> None:
    """Hear of progress and do nothing."""


class Work:
    """The work of a part of a pass, told of as the share of the whole pass that is done.

    A closed form estimates the operations of what it is about to do, and calls this with those just done, between
    pieces of bounded size: 2 m n k for a product of matrices, `cholesky.work` for a factorisation.
    """

    def __init__(self, watch: Watch, total: float, first: float = 0.0, last: float = SOLVED) -> None:
        """Prepare to tell `watch` of shares from `first` to `last` during about `total` operations."""
        self._watch, self._total, self._first, self._last = watch, total, first, last
        self._done = 0.0

    def __call__(self, operations: float) -> None:
        """Tell of so many operations more; may raise to stop."""
        self._done += operations
        share = min(1.0, self._done / self._total) if self._total > 0 else 1.0
        self._watch(self._first + (self._last - self._first) * share)


@dataclass(frozen=True)
class Conditions:
    """What a ladder is solved with besides its frames; nothing here depends on P.

    isolated  energies of free atoms
    seed      draws the random parts of the model (initial weights), if any
    pool      frames from which inputs are scaled (without their labels): all that runs may train on. None: the
              training frames
    watch     called with the share of the work that is done, between pieces of bounded size; it may raise to stop
    tests     frames that will be predicted, for estimates of that share
    """

    isolated: Isolated = None
    seed: int = 0
    pool: Frames | None = None
    watch: Watch = _ignore
    tests: int = 1000

    def sample(self, frames: Frames) -> Frames:
        """Return at most `SAMPLE` frames of the pool (without one: of `frames`), evenly spaced."""
        pool = frames if self.pool is None else self.pool
        return pool.take(np.linspace(0, len(pool) - 1, min(SAMPLE, len(pool))).round().astype(np.int64))


class ClosedForm(Protocol):
    """A closed-form model; made of its settings and the ascending atomic numbers."""

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for frames that the model cannot learn from or predict, before anything long begins."""
        ...

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Fit the first P of `frames` for every P of `sizes`, each as if it were the only one.

        Raises:
            InputError: no frames or atoms, labels that are not finite, no weight, frames that the model is not made
                for, more memory than there is.
        """
        ...

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that predicts from a solution's `tensors`.

        It raises `InputError` for frames that the model is not made for.
        """
        ...


def one_solution(model: ClosedForm, frames: Frames, isolated: Isolated, seed: int) -> Solution:
    """Fit all of `frames`: a ladder of one size."""
    return model.ladder(frames, [len(frames)], Conditions(isolated, seed)).solutions[0]


class SolvedAlone(Protocol):
    """A closed form that knows no ladders: it solves one set of training frames at a time."""

    def accept(self, train: Frames, test: Frames) -> None:
        """See `ClosedForm`."""
        ...

    def solve(self, frames: Frames, isolated: Isolated, seed: int) -> Solution:
        """Fit all of `frames`; `seed` draws the random parts of the model, if any."""
        ...

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """See `ClosedForm`."""
        ...


class OneByOne:
    """A `SolvedAlone` as a closed form: the sizes of a ladder are solved one after the other."""

    def __init__(self, model: SolvedAlone) -> None:
        self.model = model

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for frames that the model cannot learn from or predict."""
        self.model.accept(train, test)

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Fit the first P of `frames` for every P of `sizes`."""
        solutions = []
        for number, P in enumerate(sizes):
            conditions.watch(SOLVED * number / len(sizes))
            solutions.append(self.model.solve(frames.take(slice(0, P)), conditions.isolated, conditions.seed))
        return Ladder(solutions, lambda others: predict_apart(self, solutions, others, conditions), [None] * len(sizes))

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that predicts from a solution's `tensors`."""
        return self.model.geometry(tensors)


def predict_apart(
    model: ClosedForm, solutions: Sequence[Solution], frames: Frames, conditions: Conditions, solved: float = SOLVED
) -> list[Predictions]:
    """Predict with one solution after the other, for models that share nothing between them.

    `solved` is the share of the pass that is done before.
    """
    found = []
    for number, one in enumerate(solutions):
        geometry, parts = model.geometry(one.tensors), []
        for start in range(0, max(1, len(frames)), PIECE):
            done = number + start / max(1, len(frames))
            conditions.watch(solved + (1 - solved) * done / len(solutions))
            parts.append(geometry(frames.take(slice(start, start + PIECE))))
        found.append(Predictions.joined(parts))
    return found


def solution_facts(system: GramSystem, frames: int, tick: Tick = silent) -> Mapping[str, Any]:
    """Return more entries of `fit` in the result of the run on the first `frames` frames of `system`.

    These are its spectrum and the labels' power in it, of many rows the first directions; `tick` hears of
    `spectrum.facts_work`.
    """
    if system.rows(frames) <= WHOLE_ROWS:
        return {"spectrum": kept_facts(spectrum_of(*system.centred(frames)))}
    return {"spectrum": kept_facts(leading_spectrum(*system.centred_product(frames, tick)))}
