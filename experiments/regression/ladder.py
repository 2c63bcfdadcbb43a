"""Ladders: the runs of one closed-form model that differ only in P, solved in one pass.

Subsets are nested in P, so the training frames of a smaller P are the first P of the largest one's. A closed form
(`experiments.regression.closed_form.ClosedForm`) is asked for all sizes at once and answers with a `Ladder`: one
solution a size, and a function that predicts with all of them together. Each solution is that of a run by itself:
nothing about it depends on which other sizes the ladder has.

What a ladder keeps of its largest P is its `GramSystem` (`experiments.regression.gram`), for models that are solved
by products of rows (ntk, krr, ace while it has more coefficients than rows); None otherwise:

    system.gram         [n, n] products of the weighted rows, frame after frame: a frame's force rows (directions that
                        an invariant energy can reach), then its energy row. The first P frames are a leading block
    system.labels       [n] weighted labels of the rows, energies without their baseline
    system.intercepts   [n, d] orthonormal columns of the unpenalised part, zero on force rows; `system.centred(frames)`
                        is the leading block with that part projected out, and its labels (what spectra are made of)
    system.starts       [F + 1] first row of every frame; system.rows(frames) is starts[frames]
    system.top(frames)  largest eigenvalue of the centred leading block: the unit of every ridge

and from ONE factorisation at one absolute λ, residuals of left-out frames at every size:

    factor = system.factor(penalty)               Cholesky factor of gram + penalty, inverted (overwrites nothing)
    factor.left_out(frames).errors                [rows(frames)] y_f minus the prediction of a fit without frame f
    factor.left_out(frames).score                 their mean square a row, in the units of the labels
    factor.left_out(frames).dual                  [rows(frames)] coefficients of the rows

Facts that come from the system of a run's own frames go into its result by `solution_facts` below, which is called
once a size while the system is at hand; they must be a function of the leading block of that size alone, for results
do not depend on the ladder that computed them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.data.dataset import Frames
from experiments.tasks.predictions import Predictions

if TYPE_CHECKING:
    from experiments.regression.closed_form import Solution
    from experiments.regression.gram import GramSystem


@dataclass(frozen=True)
class Ladder:
    """The solutions of a closed form on the first P of its training frames, for several P.

    solutions  one a size, in the order asked for
    train      of every size, energies (eV, with all terms) and forces on its own training frames; None: predict them
    predict    of any frames, the predictions (`Geometry`) with every solution
    system     rows of the largest size; None: the model is not solved by products of rows
    """

    solutions: Sequence[Solution]
    train: Sequence[Predictions | None]
    predict: Callable[[Frames], list[Predictions]]
    system: GramSystem | None = None


def solution_facts(system: GramSystem, frames: int) -> Mapping[str, Any]:
    """Return more entries of `fit` in the result of the run on the first `frames` frames of `system`."""
    return {}
