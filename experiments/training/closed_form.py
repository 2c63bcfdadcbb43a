"""Linear ACE fitted in closed form: the learning curve without an optimiser in it.

Loss, as for networks: energy_weight · mean over frames of (ΔE per atom)² + force_weight · mean over components of
ΔF², with E in eV, F in eV/Å (the units of the force RMS × 1 Å and of the force RMS, which cancel here). Its ridge
parameter comes from leaving out training frames (:mod:`experiments.training.ridge`): P counts every label used.

Forces of non-periodic molecules have six directions a frame that no invariant energy can reach (net force and
torque). They are projected out: half the rows of a small molecule less, exactly the same fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from experiments.config import AceConfig
from experiments.data.baseline import Baseline, composition, fit_baseline
from experiments.data.dataset import Dataset, Floats, Frames, Ints
from experiments.errors import InputError
from experiments.models.ace import Design, LinearAce
from experiments.tasks.predictions import Predictions
from experiments.training.evaluate import Evaluation, evaluation
from experiments.training.ridge import Criterion, ForceRows, RidgeProblem, fit_ridge

_HELD_BYTES = 2**31
"""Force rows kept in memory between passes; larger ones are computed again in each pass."""
_INERTIA = 1e-4
"""A direction in which atoms move by less than this (relative to the largest) under rotations counts as none: linear
molecules have two rotations. Their rows would be round-off."""


@dataclass(frozen=True)
class Solution:
    """A fitted model.

    coefficients ``[M]``; energy of composition n is baseline(n) + n·``per_atom`` ``[s]`` (eV) on top of the features.
    ridge, effective_parameters, score, criterion: see ``RidgeFit``; rows: labels that could tell anything.
    """

    model: LinearAce
    coefficients: Floats
    baseline: Baseline
    per_atom: Floats
    ridge: float
    effective_parameters: float
    score: float
    criterion: str
    rows: int

    def predict(self, frames: Frames) -> Predictions:
        """Energies (eV) and forces (eV/Å) of any frames of the known elements."""
        found = self.model.predict(self.coefficients, frames)
        constant = (
            self.baseline.predict(frames.numbers) + composition(frames.numbers, self.model.elements) @ self.per_atom
        )
        return Predictions(found.energies + constant, found.forces)


def solve(
    model: LinearAce,
    frames: Frames,
    isolated: Mapping[int, float] | None = None,
    *,
    criterion: Criterion = "frames",
    ridge: float | None = None,
) -> Solution:
    """Fit the model to all of ``frames``, with the weights of its configuration.

    Args:
        isolated: energies of free atoms in eV, for the baseline.
        criterion: what chooses the ridge parameter; ``ridge`` (λ over the largest eigenvalue) overrides it.

    Raises:
        InputError: no frames or atoms, labels that are not finite, elements the model does not know, no weight.
    """
    _check(frames, model.config.force_weight > 0)
    model.check(frames)
    config = model.config
    if config.energy_weight == 0 and config.force_weight == 0:
        raise InputError("model.energy_weight=0 and model.force_weight=0: nothing to fit; one of them must be > 0")
    baseline = fit_baseline(frames.numbers, frames.energies, isolated)
    counts = composition(frames.numbers, model.elements)  # [F, s]
    atoms = counts.sum(1)
    # sums of the loss times 3 × the number of atoms: force rows have weight 1
    energy_weight = np.sqrt(config.energy_weight * 3 * atoms.sum() / len(frames)) / atoms  # [F]
    force_weight = float(np.sqrt(config.force_weight))
    rows = _Rows(model, frames, force_weight)
    targets = frames.energies - baseline.predict(frames.numbers)
    problem = RidgeProblem(
        energy_x=rows.energies * energy_weight[:, None],
        energy_y=targets * energy_weight,
        unpenalised=counts * energy_weight[:, None],
        force_rows=rows,
        rows=(len(frames) if config.energy_weight > 0 else 0) + rows.informative,
    )
    fitted = fit_ridge(problem, criterion, ridge)
    per_atom = fitted.unpenalised
    if config.energy_weight == 0:  # forces alone leave the constant open: the mean per atom, as for networks
        rest = targets - rows.energies @ fitted.coefficients
        per_atom = np.asarray(np.linalg.lstsq(counts / atoms[:, None], rest / atoms, rcond=1e-10)[0])
    return Solution(
        model,
        fitted.coefficients,
        baseline,
        per_atom,
        fitted.ridge,
        fitted.effective_parameters,
        fitted.score,
        fitted.criterion,
        problem.rows,
    )


def solve_run(config: AceConfig, dataset: Dataset, subset: Ints) -> tuple[Evaluation, Solution]:
    """A run of a model fitted in closed form: its errors, and the model.

    ``subset`` are the indices ``[P]`` of the training frames in the dataset's pool.
    """
    splits = (dataset.pool, dataset.holdout, dataset.test)
    elements = {int(z) for frames in splits for z in np.unique(frames.numbers) if z > 0}
    model = LinearAce(config, sorted(elements))
    train = dataset.pool.take(subset)
    solution = solve(model, train, dataset.isolated_energies)
    return evaluation(solution.predict(dataset.test), solution.predict(train), dataset.test, train), solution


class _Rows:
    """Energy rows of all frames, and force rows in passes: from memory where they fit, else computed again.

    energies ``[F, M]``; informative: force rows that an invariant energy can reach.
    """

    def __init__(self, model: LinearAce, frames: Frames, force_weight: float) -> None:
        self.model, self.frames, self.force_weight = model, frames, force_weight
        self.energies = np.zeros((len(frames), model.size))
        self.informative = 0
        hold = 8 * frames.forces.size * model.size <= _HELD_BYTES
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
        onto, counts = _reachable(chosen.positions[:, real], np.asarray(chosen.pbc.any(1)))  # [f, 3n, r], [f]
        x = onto.transpose(0, 2, 1) @ part.forces[:, real].reshape(f, 3 * n, -1)
        y = onto.transpose(0, 2, 1) @ chosen.forces[:, real].reshape(f, 3 * n, 1)
        return ForceRows(part.frames, x * self.force_weight, y[..., 0] * self.force_weight), int(counts.sum())


def _reachable(positions: Floats, periodic: np.ndarray) -> tuple[Floats, Ints]:
    """Orthonormal directions in which forces of an invariant energy can point: ``[f, n, 3]`` Å → ``[f, 3n, r]``.

    Columns beyond a frame's own number ``[f]`` are zero. Cell vectors break rotations: periodic frames keep them.
    """
    f, n, _ = positions.shape
    centred = positions - positions.mean(1, keepdims=True)
    rigid = np.zeros((f, n, 3, 6))
    for axis in range(3):
        unit = np.eye(3)[axis]
        rigid[..., axis] = unit / np.sqrt(n)
        rigid[..., 3 + axis] = np.cross(unit, centred)
    rigid[periodic, ..., 3:] = 0.0
    size = np.sqrt((rigid[..., 3:] ** 2).sum((1, 2, 3), keepdims=True))
    rigid[..., 3:] /= np.where(size > 0, size, 1.0)
    u, s, _ = np.linalg.svd(rigid.reshape(f, 3 * n, 6), full_matrices=True)
    s = np.concatenate([s, np.zeros((f, max(0, 6 - s.shape[1])))], 1)[:, :6]
    frozen = (s > _INERTIA).sum(1)  # [f]
    least = int(frozen.min(initial=6))
    onto = u[:, :, least:] * (np.arange(least, u.shape[2]) >= frozen[:, None])[:, None, :]
    return onto, 3 * n - frozen


def _check(frames: Frames, forces: bool) -> None:
    if len(frames) == 0:
        raise InputError("a fit in closed form got no training frames; accepted: P ≥ 1")
    if not (frames.numbers > 0).any(1).all():
        raise InputError(f"training frame {int(np.argmin((frames.numbers > 0).any(1)))}: it has no atoms")
    for name, values in (("energy", frames.energies), ("forces", frames.forces), ("positions", frames.positions)):
        bad = ~np.isfinite(values.reshape(len(frames), -1)).all(1)
        if bad.any() and (forces or name != "forces"):
            raise InputError(
                f"training frame {int(np.argmax(bad))}: {name} not finite; accepted: numbers (eV, eV/Å, Å)"
            )
