"""Frames of ethanol with random displacements and labels, of the shapes of real data.

Needs numpy and ASE only, so that other packages' environments make the same frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.build import molecule


@dataclass(frozen=True)
class EthanolFrames:
    """Atomic numbers `[N]`, positions `[F, N, 3]` in Å, energies `[F]` in eV, forces `[F, N, 3]` in eV/Å."""

    numbers: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    forces: np.ndarray


def random_ethanol(frames: int) -> EthanolFrames:
    """Draw frames from a fixed seed: the same in every environment."""
    atoms = molecule("CH3CH2OH")
    rng = np.random.default_rng(0)
    count = len(atoms)
    return EthanolFrames(
        numbers=atoms.numbers.astype(np.int64),
        positions=atoms.positions + rng.normal(0.0, 0.05, (frames, count, 3)),
        energies=rng.normal(size=frames),
        forces=rng.normal(size=(frames, count, 3)),
    )
