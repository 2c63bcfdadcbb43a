"""Predicted energies and forces, as every way of fitting hands them to the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments.core.arrays import Floats


@dataclass(frozen=True)
class Predictions:
    """`energies` `[frames]` in eV, `forces` `[frames, atoms, 3]` in eV/Å (zero on padding), and `virials`
    `[frames, 3, 3]` in eV: ∂E/∂ε of a symmetric strain ε of positions and cell (None: the model gives none)."""

    energies: Floats
    forces: Floats
    virials: Floats | None = None

    @staticmethod
    def joined(parts: Sequence[Predictions]) -> Predictions:
        """Return the predictions of some frames and of those after them as one."""
        virials = [part.virials for part in parts if part.virials is not None]
        return Predictions(
            np.concatenate([part.energies for part in parts]),
            np.concatenate([part.forces for part in parts]),
            np.concatenate(virials) if len(virials) == len(parts) else None,
        )
