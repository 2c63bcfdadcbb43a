"""Teachers whose learning curves are known: functions of points on a sphere or a torus, not of atoms.

    sphere             Gaussian field with a kernel's spectrum on S^d; β from both kernels (`known_exponent`)
    torus, difference  f = g(θ1 − θ2) on T^2, Fourier coefficients c_k² ~ k^−b: the MSE of a kernel with the
                       invariance falls with exponent b − 1, that of an isotropic one with (b − 1)/2, unless the
                       student's smoothness saturates (b − 1 > 2 α_S)
    torus, lipschitz   f = distance to the nearest of some centres on T^d, Lipschitz constant 1: the nearest
                       neighbour's error falls with exponent 1/d

The students are `model=point_kernel` and `model=point_nearest`. Labels are stored as energies in eV; points on a torus
as (cos θ, sin θ) of each angle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import numpy as np

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.kernels import SMOOTHNESS, kernel_matrix
from experiments.core.schema import setting
from experiments.data.cache import cached_frames
from experiments.data.dataset import Dataset, Frames

_JITTER = 1e-10  # relative: above the round-off of the smallest eigenvalues of a smooth kernel
_MODES = 4096  # Fourier modes of g; the tail beyond has under a part in 4096^(b−1) of the variance
_READER = 1  # raise it whenever the same settings give other frames


@dataclass(frozen=True)
class SphereConfig:
    """Settings of the field on a sphere.

    `dimension` d of the sphere S^d; `kernel` and `length` (radius 1) of the Gaussian field; `noise`: sd on the labels
    of pool and holdout (test labels stay exact; the field has variance 1); the rest counts points.
    """

    source: ClassVar[str] = "sphere"
    kind: ClassVar[str] = "points"

    dimension: int = setting(2, low=1, high=16)
    kernel: str = setting("laplace", choices=tuple(SMOOTHNESS))
    length: float = setting(3.0, above=0.0)
    noise: float = setting(0.0, low=0.0)
    pool: int = setting(2560, low=1, high=20000)
    holdout: int = setting(64, low=0)
    test: int = setting(1024, low=1, high=20000)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)


@dataclass(frozen=True)
class TorusConfig:
    """Settings of the functions on a torus.

    `target`: difference or lipschitz (see `experiments.data.sources.teachers`); `dimension` d of the torus T^d (2 for
    the difference); `decay`: b of the difference; `centres`: number of them (lipschitz); the rest as for the sphere.
    """

    source: ClassVar[str] = "torus"
    kind: ClassVar[str] = "points"

    target: str = setting("difference", choices=("difference", "lipschitz"))
    dimension: int = setting(2, low=1, high=16)
    decay: float = setting(3.0, above=1.0, high=10.0)
    centres: int = setting(8, low=1)
    noise: float = setting(0.0, low=0.0)
    pool: int = setting(5120, low=1)
    holdout: int = setting(64, low=0)
    test: int = setting(1024, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        if self.target == "difference" and self.dimension != 2:
            raise InputError(f"dimension={self.dimension}: the difference of two angles has dimension 2; accepted: 2")


def sphere(config: SphereConfig) -> Dataset:
    """Load a Gaussian field on a sphere, drawn once at all points and cached, as round-off differs between machines.

    Raises `InputError` if `length` is so large that the field is constant to round-off.
    """
    name = f"sphere_d{config.dimension}_{config.kernel}"
    return _dataset(name, cached_frames(name, {**asdict(config), "reader": _READER}, lambda: _field(config)), config)


def _field(config: SphereConfig) -> Frames:
    count = config.pool + config.holdout + config.test
    rng = np.random.default_rng([config.seed, 0])
    points = rng.standard_normal((count, config.dimension + 1))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    covariance = kernel_matrix(config.kernel, points, points, config.length)
    covariance[np.diag_indices(count)] += _JITTER
    try:
        root = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        raise InputError(
            f"data.length={config.length:g}: a {config.kernel} field is as good as constant between {count} points; "
            "accepted: a smaller length, or fewer points"
        ) from None
    return _frames(points, root @ np.random.default_rng([config.seed, 1]).standard_normal(count))


def torus(config: TorusConfig) -> Dataset:
    """Compute a function on a torus; nothing is cached."""
    count = config.pool + config.holdout + config.test
    angles = np.random.default_rng([config.seed, 0]).uniform(0, 2 * np.pi, (count, config.dimension))
    rng = np.random.default_rng([config.seed, 1])
    if config.target == "difference":
        labels = _series(angles[:, 0] - angles[:, 1], config.decay, rng)
        name = f"torus_difference_b{config.decay:g}"
    else:
        centres = rng.uniform(0, 2 * np.pi, (config.centres, config.dimension))
        away = np.abs((angles[:, None] - centres + np.pi) % (2 * np.pi) - np.pi)
        labels = np.linalg.norm(away, axis=2).min(axis=1)
        name = f"torus_lipschitz_d{config.dimension}"
    points = np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(count, -1)
    return _dataset(name, _frames(points, labels), config)


def _series(phi: Floats, decay: float, rng: np.random.Generator) -> Floats:
    """Return Σ_k k^(−b/2) (a_k cos kφ + b_k sin kφ), `[F]`, with normal a_k, b_k and an expected variance of 1."""
    k = np.arange(1, _MODES + 1)
    amplitude = k ** (-decay / 2)
    weights = (rng.standard_normal(_MODES) - 1j * rng.standard_normal(_MODES)) * amplitude
    total = np.zeros(len(phi), dtype=np.complex128)
    step = np.exp(1j * phi)
    for weight in weights[::-1]:  # Horner
        total = (total + weight) * step
    return np.asarray(total.real / np.sqrt((amplitude**2).sum()))


def _frames(points: Floats, labels: Floats) -> Frames:
    count = len(points)
    return Frames(
        numbers=np.ones((count, 1), np.int64),
        positions=np.zeros((count, 1, 3)),
        energies=labels,
        forces=np.full((count, 1, 3), np.nan),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
        points=points,
    )


def _dataset(name: str, frames: Frames, config: SphereConfig | TorusConfig) -> Dataset:
    noise = config.noise * np.random.default_rng([config.seed, 2]).standard_normal(len(frames))
    noisy = replace(frames, energies=frames.energies + noise)
    first, last = config.pool, config.pool + config.holdout
    provenance: dict[str, Any] = {"source": "teacher", **asdict(config)}
    return Dataset(
        name=name,
        pool=noisy.take(slice(0, first)),
        holdout=noisy.take(slice(first, last)),
        test=frames.take(slice(last, None)),
        disjoint_seeds=config.disjoint_seeds,
        provenance=provenance,
    )


def load(config: SphereConfig | TorusConfig) -> Dataset:
    """Load the dataset of one of the settings above."""
    if isinstance(config, SphereConfig):
        return sphere(config)
    return torus(config)
