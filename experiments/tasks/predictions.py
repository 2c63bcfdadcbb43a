"""Predicted energies and forces, as every way of fitting hands them to the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.core.arrays import Floats


@dataclass(frozen=True)
class Predictions:
    """`energies` `[frames]` in eV, `forces` `[frames, atoms, 3]` in eV/Å (zero on padding), and `virials`
    `[frames, 3, 3]` in eV: ∂E/∂ε of a symmetric strain ε of positions and cell (None: the model gives none)."""

    energies: Floats
    forces: Floats
    virials: Floats | None = None
