"""Isotropic kernels, the decay of their spectra and the learning-curve exponents that follow from it; and the
descriptor 1/r of all pairs of atoms, which kernels of forces use."""

from __future__ import annotations

import math

import numpy as np
from scipy.spatial.distance import cdist

from experiments.core.arrays import Floats, Ints

SMOOTHNESS = {"laplace": 0.5, "matern32": 1.5, "matern52": 2.5, "gaussian": math.inf}
"""ν of the Matérn family: in d dimensions the spectrum falls as k^−(d + 2ν)."""


def kernel_matrix(name: str, x: Floats, y: Floats, length: float) -> Floats:
    """Evaluate k(|x − y|), k(0) = 1, between points `[n, D]` and `[m, D]`: `[n, m]`."""
    r = cdist(x, y) / length
    if name == "laplace":
        return np.asarray(np.exp(-r))
    if name == "matern32":
        s = math.sqrt(3) * r
        return np.asarray((1 + s) * np.exp(-s))
    if name == "matern52":
        return matern52(math.sqrt(5) * r)[0]
    if name == "gaussian":
        return np.asarray(np.exp(-0.5 * r**2))
    raise ValueError(f"kernel_matrix: got {name!r}; choose one of {set(SMOOTHNESS)}")


def matern52(scaled: Floats) -> tuple[Floats, Floats]:
    """Return the Matérn 5/2 kernel k = (1 + s + s²/3) e^(−s) at s = √5 d/ℓ, and e^(−s), both of the shape of `scaled`.

    The derivatives by d follow: g = −k′/d = 5/(3ℓ²) (1 + s) e^(−s) and −g′/d = 25/(3ℓ⁴) e^(−s), smooth at 0.
    """
    decay = np.exp(-scaled)
    return np.asarray((1 + scaled + scaled**2 / 3) * decay), decay


def pair_slopes(pull: Floats, atoms: int) -> Floats:
    """Return ∂q/∂x `[F, D, 3N]` of a descriptor q `[F, D]` of all pairs i < j, D = N(N−1)/2.

    Args:
        pull: ∂q/∂x of the second atom of each pair, which is −∂q/∂x of the first. `[F, D, 3]`
        atoms: N.
    """
    i, j = np.triu_indices(atoms, 1)
    pairs = np.arange(len(i))
    slopes = np.zeros((len(pull), len(i), atoms, 3))
    slopes[:, pairs, i] = -pull
    slopes[:, pairs, j] = pull
    return slopes.reshape(len(pull), len(i), 3 * atoms)


def pair_permutations(permutations: Ints) -> Ints:
    """Return the number of the pair that each renumbering of atoms `[S, N]` takes every pair of atoms to: `[S, D]`."""
    n = permutations.shape[1]
    i, j = np.triu_indices(n, 1)
    number = np.zeros((n, n), dtype=np.int64)
    number[i, j] = number[j, i] = np.arange(len(i))
    return np.asarray(number[permutations[:, i], permutations[:, j]])


def known_exponent(teacher: str, student: str, dimension: int) -> float:
    """Return β of the RMSE of noiseless kernel regression on a Gaussian random field; infinite if both kernels are
    Gaussian.

    β_MSE = min(α_T − d, 2 α_S)/d with spectra |k|^−α (Spigler, Geiger & Wyart, J. Stat. Mech. 2020, 124001), and half
    of it for the RMSE.
    """
    d = dimension
    return min(2 * SMOOTHNESS[teacher], 2 * (d + 2 * SMOOTHNESS[student])) / d / 2
