"""A chain of three atoms on springs of zero length: Gaussian, with kT/2 for each of 6 coordinates, known exactly."""

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
