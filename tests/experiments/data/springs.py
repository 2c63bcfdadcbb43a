"""Atoms on springs, whose energies and forces belong together.

A chain of three on springs of zero length is Gaussian, with kT/2 for each of 6 coordinates, known exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from experiments.core.arrays import Floats
from experiments.data.sampling.sampler import Bonds

SPRING = 20.0
"""eV/Å², so that a mass of 1 u has a period of 14 fs."""
SPRINGS = Bonds(np.array([0, 1]), np.array([1, 2]), np.zeros(2))


def tether(spring: float) -> Callable[[Floats], tuple[float, Floats]]:
    """Energy (eV) and forces (eV/Å) of such a chain of springs of that strength."""

    def potential(positions: Floats) -> tuple[float, Floats]:
        stretched = np.diff(positions, axis=0)
        forces = np.zeros_like(positions)
        forces[:-1] += spring * stretched
        forces[1:] -= spring * stretched
        return 0.5 * spring * float((stretched**2).sum()), forces

    return potential


def tied(positions: Floats, rest: Floats, stiffness: float = SPRING) -> tuple[Floats, Floats]:
    """Return energies `[F]` (eV) and forces (eV/Å) of `[F, n, 3]` with a spring between any two atoms.

    Its length is that in `rest` `[n, 3]`, so that they move as a molecule does.
    """
    i, j = np.triu_indices(len(rest), 1)
    away = positions[:, j] - positions[:, i]
    length = np.linalg.norm(away, axis=2)
    stretched = length - np.linalg.norm(rest[i] - rest[j], axis=1)
    pull = stiffness * (stretched / length)[..., None] * away
    forces = np.zeros_like(positions)
    for pair in range(len(i)):
        forces[:, i[pair]] += pull[:, pair]
        forces[:, j[pair]] -= pull[:, pair]
    return 0.5 * stiffness * (stretched**2).sum(1), forces
