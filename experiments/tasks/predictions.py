"""Predicted energies and forces, as every way of fitting hands them to the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.core.arrays import Floats


@dataclass(frozen=True)
class Predictions:
    """`energies` `[frames]` in eV, `forces` `[frames, atoms, 3]` in eV/Å (zero on padding)."""

    energies: Floats
    forces: Floats
