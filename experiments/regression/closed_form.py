"""Shared parts of models that are fitted in closed form, without an optimiser: solutions, labels' weights, memory.

Loss, as for networks: energy_weight · mean over frames of (ΔE per atom)² + force_weight · mean over components of
ΔF², with E in eV, F in eV/Å (the units of the force RMS × 1 Å and of the force RMS, which cancel here). Without an
energy_weight each frame's is a third of its number of atoms: an energy counts as much as one force component,
instead of drowning in those of a large cell, and less in larger cells, as sums of independent errors of atoms do.
A model makes its other choices by leaving out training frames (`experiments.regression.ridge`): P counts every label
used.

Forces of non-periodic molecules have six directions a frame that no invariant energy can reach (net force and
torque). They are projected out: half the rows of a small molecule less, exactly the same fit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from experiments.core import machine_memory
from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.baseline import Baseline, composition, fit_baseline
from experiments.data.dataset import Frames
from experiments.tasks.predictions import Predictions

logger = logging.getLogger(__name__)

_INERTIA = 1e-4
"""A direction in which atoms move by less than this (relative to the largest) under rotations counts as none: linear
molecules have two rotations. Their rows would be round-off."""

Isolated = Mapping[int, float] | None
"""Energies of free atoms in eV by atomic number, for the baseline, if they are known."""
Weights = tuple[float | None, float]
"""Of energies (None: a third of each frame's number of atoms) and of forces in the loss."""
Geometry = Callable[[Frames], Predictions]
"""Function of frames that returns energies (eV) without the part that composition explains, and forces (eV/Å)."""


@dataclass(frozen=True)
class Solution:
    """A solved model.

    tensors       content of its checkpoint: with the settings they make its geometry (`ClosedForm.geometry`)
    baseline      energy of a composition (eV), from the training frames
    per_atom      `[s]` energy of an atom of each element on top of the baseline (eV)
    n_parameters  numbers that were fitted
    facts         details of the fit, the entry `fit` of the run's result
    """

    tensors: Mapping[str, Tensor]
    baseline: Baseline
    per_atom: Floats
    n_parameters: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Labels:
    """Training labels as rows of a least-squares problem: sums of the loss times 3 × the number of atoms.

    baseline       of the training frames
    counts         `[F, s]` atoms of each element: columns whose coefficients are energies per atom
    energies       `[F]` in eV, without the baseline
    energy_weight  `[F]` factors of the energy rows
    force_weight   factor of the force rows
    """

    baseline: Baseline
    counts: Floats
    energies: Floats
    energy_weight: Floats
    force_weight: float

    @staticmethod
    def of(
        frames: Frames, elements: Ints, isolated: Isolated, energy_weight: float | None, force_weight: float
    ) -> Labels:
        """Make the rows of all `frames` (`check_labels`), with the weights of the loss (None: see the module's).

        Raises:
            InputError: no weight.
        """
        if energy_weight == 0 and force_weight == 0:
            raise InputError("model.energy_weight=0 and model.force_weight=0: nothing to fit; one of them must be > 0")
        baseline = fit_baseline(frames.numbers, frames.energies, isolated)
        counts = composition(frames.numbers, elements)
        atoms = counts.sum(1)
        return Labels(
            baseline,
            counts,
            frames.energies - baseline.predict(frames.numbers),
            np.sqrt((atoms / 3 if energy_weight is None else energy_weight) * 3 * atoms.sum() / len(frames)) / atoms,
            float(np.sqrt(force_weight)),
        )

    def per_atom(self, fitted: Floats, predicted: Floats) -> Floats:
        """Return energies per atom `[s]`: those `fitted`, or the best constant if forces alone leave it open.

        The best is the mean per atom of what `predicted` `[F]` (eV) leaves of the energies, as for networks.
        """
        if self.energy_weight.any():
            return fitted
        atoms = self.counts.sum(1)
        rest = (self.energies - predicted) / atoms
        return np.asarray(np.linalg.lstsq(self.counts / atoms[:, None], rest, rcond=1e-10)[0])


def reachable(positions: Floats, periodic: np.ndarray) -> tuple[Floats, Ints]:
    """Return orthonormal directions in which forces of an invariant energy can point: `[f, n, 3]` Å → `[f, 3n, r]`.

    Columns beyond a frame's own number `[f]` are zero. Cell vectors break rotations: periodic frames keep them.
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


def check_labels(frames: Frames) -> None:
    """Raise `InputError` if there is nothing to fit, or labels are not finite (forces may be unknown)."""
    if len(frames) == 0:
        raise InputError("a fit in closed form got no training frames; accepted: P ≥ 1")
    if not (frames.numbers > 0).any(1).all():
        raise InputError(f"training frame {int(np.argmin((frames.numbers > 0).any(1)))}: it has no atoms")
    for name, values in (("energy", frames.energies), ("forces", frames.forces), ("positions", frames.positions)):
        bad = ~np.isfinite(values.reshape(len(frames), -1)).all(1)
        if bad.any() and (frames.has_forces or name != "forces"):
            raise InputError(
                f"training frame {int(np.argmax(bad))}: {name} not finite; accepted: numbers (eV, eV/Å, Å)"
            )


def check_frames(frames: Frames, elements: Sequence[int] | Ints) -> None:
    """Raise `InputError` for elements that are not among `elements`, and for positions that are not finite."""
    strange = ~np.isin(frames.numbers, elements) & (frames.numbers > 0)
    if strange.any():
        f, n = np.argwhere(strange)[0]
        raise InputError(
            f"frame {f}, atom {n}: atomic number {frames.numbers[f, n]} is not among those of the fit; "
            f"accepted: {', '.join(str(z) for z in elements)}"
        )
    if not np.isfinite(frames.positions).all():
        f, n = np.argwhere(~np.isfinite(frames.positions))[0, :2]
        raise InputError(f"frame {f}, atom {n}: its position is not finite; accepted: numbers in Å")


def require_memory(needed: Callable[[int], float], P: int, what: str, smaller: str = "") -> None:
    """Raise `InputError` for a computation that does not fit into memory, before it allocates any.

    Args:
        needed: bytes at the peak for a number of training frames, growing with it.
        P: the number of training frames.
        what: the objects that take them, for the message.
        smaller: other changes that take less, for the message.

    Raises:
        InputError: this machine, or the job, has less.
    """
    limit = machine_memory.memory_limit()
    if needed(P) <= limit:
        now = machine_memory.free_memory()
        if now is not None and now < needed(P):
            logger.warning(
                "P=%d: needs about %.1f GiB of memory; %.1f GiB are free now", P, needed(P) / 2**30, now / 2**30
            )
        return
    low, high = 0, P  # fits, does not fit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if needed(middle) <= limit else (low, middle)
    accepted = " or ".join(part for part in (f"P={low} or fewer" if low else "", smaller) if part)
    raise InputError(
        f"P={P}: {what}: needs about {needed(P) / 2**30:.1f} GiB of memory, and this machine or job has "
        f"{limit / 2**30:.1f} GiB; accepted: {accepted or 'a machine with more memory'}"
    )
