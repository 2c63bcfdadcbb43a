"""Isotropic kernels, how fast their spectra fall, and the exponents of learning curves that follow."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from experiments.data.dataset import Floats

SMOOTHNESS = {"laplace": 0.5, "matern32": 1.5, "matern52": 2.5, "gaussian": math.inf}
"""ν of the Matérn family: in d dimensions the spectrum falls as k^−(d + 2ν)."""


def kernel_matrix(name: str, x: Floats, y: Floats, length: float) -> Floats:
    """k(|x − y|) with k(0) = 1, of points ``[n, D]`` and ``[m, D]``. ``[n, m]``"""
    r = cdist(x, y) / length
    if name == "laplace":
        return np.asarray(np.exp(-r))
    if name == "matern32":
        s = math.sqrt(3) * r
        return np.asarray((1 + s) * np.exp(-s))
    if name == "matern52":
        s = math.sqrt(5) * r
        return np.asarray((1 + s + s**2 / 3) * np.exp(-s))
    if name == "gaussian":
        return np.asarray(np.exp(-0.5 * r**2))
    raise ValueError(f"kernel_matrix: got {name!r}; choose one of {set(SMOOTHNESS)}")


def known_exponent(teacher: str, student: str, dimension: int) -> float:
    """β of the RMSE of noiseless kernel regression on a Gaussian field.

    β_MSE = min(α_T − d, 2 α_S)/d with spectra |k|^−α (Spigler, Geiger & Wyart, J. Stat. Mech. 2020, 124001), and half
    of it for the RMSE. Infinite for a Gaussian teacher with a Gaussian student.
    """
    d = dimension
    return min(2 * SMOOTHNESS[teacher], 2 * (d + 2 * SMOOTHNESS[student])) / d / 2
