"""The polynomial teacher: a seeded invariant polynomial of known ν and L, for data whose learning curve is known.

A frame is a centre and `n` neighbours on the unit sphere around it, iid uniform, with only centre–neighbour bonds, as
for the star teacher, whose energies are the case ν = 2 up to a constant. With the density A_l = Σ_j Y_l(u_j) of the
directions the energy is

    E = Σ_b W_b·[A_{l₁} ⊗ … ⊗ A_{l_ν}],    1 ≤ l₁ ≤ … ≤ l_ν ≤ edge_lmax

with invariants W_b drawn from those that chains of ν − 1 products make, ((A ⊗ A)_{k₂} ⊗ A)_{k₃} … → 0, whose
intermediate degrees k are at most L and of natural parity. L, ν and edge_lmax mean the same as in `model=polynomial`,
which can therefore represent the teacher exactly if none of its three is smaller. Harmonics of l ≥ 1 average to zero,
so the part of E with ν different neighbours is orthogonal to every function of fewer: the error of a model with fewer
products is at least the standard deviation of that part, which is `scale` by construction (`floor`).

The data have 2n − 3 dimensions: n directions up to rotations.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset, Frames
from experiments.data.sources.star import star_frames, uniform_directions

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 4096
"""Frames computed at a time."""
_WEIGHTS = 20221025  # keeps the draw of the weights apart from every other use of a small seed
_INDEPENDENT = 1e-6
"""Norm above which a vector counts as independent; round-off leaves 1e-15 (see `experiments.nn.couplings`)."""


@dataclass(frozen=True)
class PolynomialTeacherConfig:
    """Settings of the polynomial teacher.

    `scale`: sd (eV) of the energy's part with ν different neighbours; `teacher_seed`: of the polynomial; `noise`: sd
    of Gaussian noise on the labels of pool and holdout, in eV on energies and in eV/Å on every force component (test
    labels stay exact); `seed`: of the directions; the rest counts frames.
    """

    source: ClassVar[str] = "polynomial"
    kind: ClassVar[str] = "molecules"

    L: int = setting(1, low=0, high=3)
    nu: int = setting(3, low=2, high=4)
    edge_lmax: int = setting(2, low=1, high=3)
    n_neighbours: int = setting(4, low=2)
    scale: float = setting(1.0, above=0.0)
    teacher_seed: int = setting(0, low=0)
    noise: float = setting(0.0, low=0)
    pool: int = setting(5120, low=1)
    holdout: int = setting(256, low=1)
    test: int = setting(1024, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        if self.n_neighbours < self.nu:
            raise InputError(f"n_neighbours={self.n_neighbours}: accepted: an integer ≥ nu={self.nu}")
        least = {2: (0, 1), 3: (1, 2), 4: (1, 1)}[self.nu]  # (1, 1) → 0; (1, 1, 2) → 0; (1, 1, 1, 1) → 0
        for name, low in zip(("L", "edge_lmax"), least, strict=True):
            if getattr(self, name) < low:
                raise InputError(f"{name}={getattr(self, name)}: accepted: an integer ≥ {low} with nu={self.nu}")


@dataclass(frozen=True)
class Term:
    """The teacher's polynomial on one multiset of degrees.

    degrees      `(l₁ ≤ … ≤ l_ν)`
    coordinates  `[paths]` in the orthonormal basis of the symmetric couplings; those of all terms have norm 1
    weights      `[2l₁+1, …, 2l_ν+1]` in eV
    """

    degrees: tuple[int, ...]
    coordinates: Tensor
    weights: Tensor


@cache
def span(degrees: tuple[int, ...], L: int) -> Tensor:
    """Return an orthonormal basis `[r, paths]` of the invariants that chains of products make, `r` may be 0.

    Chains multiply features of the given `degrees`, in any order, with intermediate degrees ≤ `L`. Rows are in the
    basis of `experiments.nn.couplings.coupling_basis`.
    """
    import torch

    from experiments.nn.couplings import chains, coupling_basis

    basis = coupling_basis(degrees, 0, degrees).squeeze(-2).flatten(0, -2)  # [components, paths]
    rows: list[Tensor] = []
    for order in sorted(set(permutations(range(len(degrees))))):
        for chain in chains(tuple(degrees[i] for i in order), 0, L):
            # the basis is symmetric in equal degrees, and so averages the chain over them
            inverse = sorted(range(len(order)), key=order.__getitem__)
            row = chain.squeeze(-1).permute(*inverse).flatten() @ basis
            for _ in range(2):  # twice is enough (Kahan)
                for other in rows:
                    row = row - (row @ other) * other
            if row.norm() > _INDEPENDENT:
                rows.append(row / row.norm())
    return torch.stack(rows) if rows else torch.zeros(0, basis.shape[1], dtype=torch.float64)


def multisets(nu: int, edge_lmax: int) -> list[tuple[int, ...]]:
    """Return all multisets of `nu` degrees from 1 to `edge_lmax` whose product has natural parity."""
    return [d for d in combinations_with_replacement(range(1, edge_lmax + 1), nu) if sum(d) % 2 == 0]


def teacher(config: PolynomialTeacherConfig) -> tuple[Term, ...]:
    """Draw the polynomial, isotropically among those of its L, ν and edge order; return its terms."""
    import torch

    from experiments.nn.couplings import coupling_basis

    n, nu = config.n_neighbours, config.nu
    rng = np.random.default_rng([_WEIGHTS, config.teacher_seed])
    drawn = []
    for degrees in multisets(nu, config.edge_lmax):
        rows = span(degrees, config.L)
        drawn.append((degrees, torch.as_tensor(rng.standard_normal(len(rows))) @ rows))
    norm = math.sqrt(sum(float(v @ v) for _, v in drawn))
    # C(n, ν) sets of neighbours, in ν! orders each: Var = C(n, ν)·(ν!·amplitude)²
    amplitude = config.scale / (math.sqrt(math.comb(n, nu)) * math.factorial(nu))
    terms = []
    for degrees, v in drawn:
        basis = coupling_basis(degrees, 0, degrees).squeeze(-2)
        orderings = len(set(permutations(degrees)))  # a multiset is spread over them, and its square with it
        terms.append(Term(degrees, v / norm, basis @ v * (amplitude * math.sqrt(orderings) / norm)))
    return tuple(term for term in terms if bool((term.coordinates != 0).any()))


def floor(config: PolynomialTeacherConfig, nu: int, L: int | None = None, edge_lmax: int | None = None) -> float:
    """Return a lower bound of the mean squared energy error (eV²) of a model with these orders.

    `scale`² if `nu` is smaller than the teacher's; with the same ν, the part of the ν-body polynomial outside of the
    span of chains of these L and edge order (None: no smaller than the teacher's).

    Raises:
        ValueError: `nu` is larger (products in which a neighbour enters twice have higher degrees: no such floor).
    """
    if nu > config.nu:
        raise ValueError(f"floor: expected nu ≤ {config.nu}, got {nu}")
    if nu < config.nu:
        return config.scale**2
    represented = 0.0
    for term in teacher(config):
        if edge_lmax is None or max(term.degrees) <= edge_lmax:
            inside = span(term.degrees, config.L if L is None else L) @ term.coordinates
            represented += float(inside @ inside)
    return config.scale**2 * max(0.0, 1.0 - represented)


def energies_and_forces(offsets: Floats, terms: tuple[Term, ...]) -> tuple[Floats, Floats]:
    """Return energies `[F]` (eV) and forces on the neighbours `[F, n, 3]` (eV/Å).

    Neighbours lie at `offsets` `[F, n, 3]` (Å) from the centre, of which only directions matter.
    """
    import torch

    from experiments.nn.spherical import spherical_harmonics

    lmax = max(max(term.degrees) for term in terms)
    energies, forces = [], []
    for start in range(0, len(offsets), _CHUNK):
        x = torch.tensor(offsets[start : start + _CHUNK], requires_grad=True)
        density = spherical_harmonics(lmax, x / x.norm(dim=-1, keepdim=True)).sum(1)  # [F, (lmax+1)²]
        energy = torch.zeros(len(x), dtype=torch.float64)
        for term in terms:
            partial = term.weights[None]
            for degree in term.degrees:
                factor = density[:, degree**2 : (degree + 1) ** 2]
                partial = torch.einsum("fm,fm...->f...", factor, partial.expand(len(x), *partial.shape[1:]))
            energy = energy + partial
        (gradient,) = torch.autograd.grad(energy.sum(), x)
        energies.append(energy.detach().numpy())
        forces.append(-gradient.numpy())
    return np.concatenate(energies), np.concatenate(forces)


def polynomial(config: PolynomialTeacherConfig) -> Dataset:
    """Make the dataset of the teacher.

    Pool, holdout and test each have a stream of `seed`, so that their frames do not depend on each other's sizes.
    """
    terms = teacher(config)

    def frames(count: int, stream: int, noise: float) -> Frames:
        directions = uniform_directions(config.n_neighbours, count, [config.seed, stream])
        energies, forces = energies_and_forces(directions, terms)
        return star_frames(directions, energies, forces, noise, [config.seed, stream, 1])

    return Dataset(
        name=f"polynomial_n{config.n_neighbours}_L{config.L}_nu{config.nu}_l{config.edge_lmax}",
        pool=frames(config.pool, 0, config.noise),
        holdout=frames(config.holdout, 1, config.noise),
        test=frames(config.test, 2, 0.0),
        disjoint_seeds=config.disjoint_seeds,
        provenance={
            "source": "polynomial",
            **asdict(config),
            "dimension": 2 * config.n_neighbours - 3,
            "floor_of_lower_order_eV2": config.scale**2,
        },
    )


load = polynomial
