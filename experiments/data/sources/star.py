"""The star teacher: data with a known answer for L, ν and the edge order.

A frame is a centre and `n` neighbours on the unit sphere around it, iid uniform, with
`E = Σ_{j<k} Σ_{l=1}^{l_max} c_l P_l(cos θ_jk)` and exact forces. Only centre–neighbour pairs are bonds, so a
network learns the angles through products at the centre or through messages of order ≥ 1, never from distances.
A linear model of two neighbour factors whose edges stop at order `edge_lmax` has the floor
`RMSE² = n(n−1)/2 Σ_{l>edge_lmax} c_l²/(2l+1)`; with only scalar edges its RMSE stays at sd(E).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.polynomial import legendre

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset, Frames

CENTRE, NEIGHBOUR = 6, 1  # carbon and hydrogen; the species carry no further meaning
RADIUS = 1.0  # Å


@dataclass(frozen=True)
class StarConfig:
    """Settings of the star teacher.

    `coefficients`: c_1 … c_lmax in eV; `noise`: sd of Gaussian noise on the labels of pool and holdout, in eV on
    energies and in eV/Å on every force component (test labels stay exact); the rest counts frames.
    """

    source: ClassVar[str] = "star"
    kind: ClassVar[str] = "molecules"

    n_neighbours: int = setting(4, low=2)
    coefficients: tuple[float, ...] = (1.0, 1.0, 1.0)
    noise: float = setting(0.0, low=0)
    pool: int = setting(5120, low=1)
    holdout: int = setting(256, low=1)
    test: int = setting(1024, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        if not any(self.coefficients):
            raise InputError(f"coefficients={list(self.coefficients)}: accepted: c_1, c_2, … in eV, not all zero")


def star_energy(directions: Floats, coefficients: Sequence[float]) -> Floats:
    """Return energies `[F]` (eV) of unit vectors `directions` `[F, n, 3]`."""
    series = np.array([0.0, *coefficients])
    j, k = np.triu_indices(directions.shape[1], 1)
    cosines = np.einsum("fpx,fpx->fp", directions[:, j], directions[:, k])  # [F, pairs]
    return np.asarray(legendre.legval(cosines, series).sum(1))


def star_forces(offsets: Floats, coefficients: Sequence[float]) -> Floats:
    """Return forces `[F, n, 3]` (eV/Å) on neighbours at `offsets` `[F, n, 3]` (Å) from the centre.

    E depends on u = r/|r| alone, so F_j = −(1 − u_j u_jᵀ)/|r_j| Σ_{k≠j} Σ_l c_l P_l'(u_j·u_k) u_k: tangential. The
    force on the centre is the negative sum.
    """
    lengths = np.linalg.norm(offsets, axis=2, keepdims=True)
    u = offsets / lengths
    slopes = legendre.legval(u @ u.transpose(0, 2, 1), legendre.legder(np.array([0.0, *coefficients])))  # [F, n, n]
    slopes = np.where(np.eye(u.shape[1], dtype=bool), 0.0, slopes)
    gradient = slopes @ u
    return np.asarray(-(gradient - (gradient * u).sum(2, keepdims=True) * u) / lengths)


def energy_variance(n_neighbours: int, coefficients: Sequence[float], above: int = 0) -> float:
    """Return the variance (eV²) carried by the orders l > `above`: n(n−1)/2 Σ c_l²/(2l+1).

    Pairs and orders are uncorrelated, because directions are uniform and independent. `above=0` is Var(E);
    `above=edge_lmax` is the squared floor of a linear model with two neighbour factors.
    """
    pairs = n_neighbours * (n_neighbours - 1) / 2
    return float(pairs * sum(c**2 / (2 * l + 1) for l, c in enumerate(coefficients, 1) if l > above))  # noqa: E741


def star(config: StarConfig) -> Dataset:
    """Make the dataset of the teacher.

    Pool, holdout and test each have a stream of `seed`, so that their frames do not depend on each other's sizes.
    """
    return Dataset(
        name=f"star_n{config.n_neighbours}_l{len(config.coefficients)}",
        pool=_frames(config, config.pool, stream=0, noise=config.noise),
        holdout=_frames(config, config.holdout, stream=1, noise=config.noise),
        test=_frames(config, config.test, stream=2, noise=0.0),
        disjoint_seeds=config.disjoint_seeds,
        provenance={
            "source": "star",
            **asdict(config),
            "energy_variance_eV2": energy_variance(config.n_neighbours, config.coefficients),
        },
    )


def _frames(config: StarConfig, count: int, stream: int, noise: float) -> Frames:
    directions = uniform_directions(config.n_neighbours, count, [config.seed, stream])
    # the forces at RADIUS·u, not at u: round-off is part of the content
    forces = star_forces(RADIUS * directions, config.coefficients)
    energies = star_energy(directions, config.coefficients)
    return star_frames(directions, energies, forces, noise, [config.seed, stream, 1])


def uniform_directions(n_neighbours: int, count: int, seed: Sequence[int]) -> Floats:
    """Draw uniform unit vectors `[count, n, 3]`, frame after frame: a longer set begins with the shorter one."""
    directions = np.random.default_rng(list(seed)).standard_normal((count, n_neighbours, 3))
    return np.asarray(directions / np.linalg.norm(directions, axis=2, keepdims=True))


def star_frames(directions: Floats, energies: Floats, forces: Floats, noise: float, seed: Sequence[int]) -> Frames:
    """Build frames of a centre with neighbours that are bonded to it alone.

    Args:
        directions: unit vectors `[F, n, 3]` from the centre to the neighbours.
        energies: `[F]` in eV.
        forces: on the neighbours, `[F, n, 3]` in eV/Å; the force on the centre is the negative sum.
        noise: standard deviation of Gaussian noise on energies (eV) and every force component (eV/Å).
        seed: of the noise.
    """
    count, n, _ = directions.shape
    positions = np.concatenate([np.zeros((count, 1, 3)), RADIUS * directions], axis=1)
    everywhere = np.concatenate([-forces.sum(1, keepdims=True), forces], axis=1)
    errors = np.random.default_rng(list(seed)).standard_normal((count, 3 * (n + 1) + 1)) * noise
    return Frames(
        numbers=np.tile(np.array([CENTRE] + [NEIGHBOUR] * n, np.int64), (count, 1)),
        positions=positions,
        energies=energies + errors[:, 0],
        forces=everywhere + errors[:, 1:].reshape(count, n + 1, 3),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
        bonds=np.stack([np.zeros(n, np.int64), np.arange(1, n + 1)], axis=1),
    )


load = star
