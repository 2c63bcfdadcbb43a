"""Linear ACE: invariant polynomials of the neighbour density, with the derivatives that a fit to forces needs.

Drautz 2019 (doi 10.1103/PhysRevB.99.014104) eqs. 15–27; Dusson et al. 2022 (arXiv 1911.03550) §3. Around atom i

    A_{c,lm} = Σ_j δ(z, z_j) R_n(r_ij) Y_lm(r̂_ij),   channel c = (z, n),   l = 0 … edge_lmax
    B_f      = Σ_m C_{m₁…m_k} A_{c₁,l₁m₁} ··· A_{c_k,l_km_k},   k = 1 … nu
    E        = Σ_i w_{z_i}·B(i)

with C the couplings to degree 0 and even Σl (no pseudo-scalars). Each unordered set of factors enters once, with the
couplings that are symmetric in equal factors, so that no feature is a copy of others. Products include the terms
in which two factors are the same neighbour, as the density trick has it.

Which features there are: experiments/regression/ace_basis.py. Columns are multiplied by the prior standard deviations
of their coefficients, (1 + Σ(n−1)² + Σl²)^(−p/2) with p = `smoothness`: features that vary fast get small
coefficients, as with the smoothness priors of ACEpotentials.jl (Witt et al. 2023, J. Chem. Phys. 159, 164101).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from numpy.polynomial import legendre
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import Frames
from experiments.data.neighbours import neighbours
from experiments.models.ace import AceConfig
from experiments.nn.graph import atomic_virials
from experiments.nn.radial import bessel, polynomial_cutoff
from experiments.nn.spherical import spherical_harmonics
from experiments.regression.ace_basis import (
    Group,
    Prefixes,
    Truncation,
    basis,
    contract,
    harmonic,
    most_features,
)
from experiments.regression.closed_form import Geometry, check_frames
from experiments.regression.ladder import Conditions, Ladder
from experiments.regression.least_squares import solve_ladder
from experiments.regression.rows import NUMBER_WORK, Plan
from experiments.tasks.predictions import Predictions

_CHUNK_BYTES = 2**27
"""Memory of the force rows of one chunk of frames (a single frame may need more)."""
_SMALLER = "a smaller nu or smaller model.degree"
"""Changes that take less memory, for messages."""
_WALKED = 2**13
"""Most rows for which λ is sought by factorising all of them a few times; above, it goes on as from a quarter to a
half of the frames (`Path.walked`)."""
_SLOPE_WORK = 4.0
"""Operations of a factorisation in the time of one of a density's slopes, which takes memory more than arithmetic."""
_CUTOFF_POWER = 2
_RADIAL_NODES = 400  # Gauss–Legendre nodes: products of 2 × 32 Bessel functions have fewer than 70 oscillations


@dataclass(frozen=True)
class Design:
    """Predictions of the features for some frames, per unit of each coefficient.

    frames    `[F]`        which frames of those asked for
    energies  `[F, M]`     eV, summed over atoms
    forces    `[F, r, M]`  −∂/∂x of it in 1/Å along r directions; r = 0: not asked for
    """

    frames: Ints
    energies: Floats
    forces: Floats


def like_frames(frames: Frames, most: int) -> Iterator[Ints]:
    """Yield numbers of frames with the same row of atomic numbers, at most `most` at a time; together all `frames`."""
    _, kind = np.unique(frames.numbers, axis=0, return_inverse=True)
    for k in range(int(kind.max(initial=-1)) + 1):
        same = np.flatnonzero(kind.reshape(-1) == k)
        for start in range(0, len(same), most):
            yield same[start : start + most]


def _waves(distance: Tensor, cutoff: float, n_radial: int, stretch: float | None) -> Tensor:
    """Evaluate Bessel functions of the transformed distance times the envelope: `[...]` → `[..., n]`."""
    x = distance
    if stretch is not None:  # [0, cutoff] onto itself
        x = cutoff / math.log1p(cutoff / stretch) * torch.log1p(distance / stretch)
    return bessel(x, cutoff, n_radial) * polynomial_cutoff(distance, cutoff, _CUTOFF_POWER)[..., None]


@cache
def _orthonormal(n_radial: int, cutoff: float, stretch: float | None) -> Tensor:
    """Return `[n, n]` that makes waves orthonormal on [0, cutoff] with weight r² (Löwdin)."""
    nodes, weights = legendre.leggauss(_RADIAL_NODES)
    r = torch.tensor((nodes + 1) * cutoff / 2)
    raw = _waves(r, cutoff, n_radial, stretch)
    overlap = raw.T @ (raw * (torch.tensor(weights) * cutoff / 2 * r**2)[:, None])
    values, vectors = torch.linalg.eigh(overlap)
    return torch.as_tensor((vectors / values.sqrt()) @ vectors.T)


def radial_functions(distance: Tensor, cutoff: float, n_radial: int, stretch: float | None = None) -> Tensor:
    """Evaluate R_n(r), n = 1 … `n_radial`: `[...]` Å → `[..., n_radial]`; three derivatives vanish at the cutoff.

    `stretch`: length in Å of a logarithmic distance transform, as those of ACEpotentials.jl; None: none.
    """
    raw = _waves(distance, cutoff, n_radial, stretch)
    return raw @ _orthonormal(n_radial, cutoff, stretch)


class LinearAce:
    """The features of `AceConfig` for atoms of given `elements` (atomic numbers).

    Coefficients are ordered (element of the centre, feature); there are `size` of them.
    """

    def __init__(self, config: AceConfig, elements: Sequence[int]) -> None:
        self.config = config
        self.elements = np.array(sorted(set(elements)), dtype=np.int64)
        self.kept = Truncation(config.n_radial, config.edge_lmax, config.nu, config.degree)
        # highest degree that is built: with one factor, only l = 0 makes a scalar
        self.lmax = max(max(ls) for order in range(1, config.nu + 1) for ls in self.kept.multidegrees(order))
        self._known: dict[tuple[int, int], Prefixes] = {}

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """The features, listed on first use: for many it takes seconds."""
        return basis(len(self.elements), self.kept)

    @cached_property
    def per_element(self) -> int:
        """Number of features of an atom."""
        return sum(group.size for group in self.groups)

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return self.per_element * len(self.elements)

    @cached_property
    def scales(self) -> Floats:
        """Return the factor of every column `[M]`: the prior standard deviation of its coefficient."""
        own = np.concatenate([group.smoothness(self.config.n_radial) for group in self.groups])
        return np.tile(own ** (-self.config.smoothness / 2), len(self.elements))

    def design(self, frames: Frames) -> Design:
        """Return the design matrix of all frames at once, its forces along every coordinate `[F, 3N, M]`."""
        n = frames.numbers.shape[1]
        directions = np.broadcast_to(np.eye(3 * n).reshape(3 * n, n, 3), (len(frames), 3 * n, n, 3))
        energies, forces = np.zeros((len(frames), self.size)), np.zeros((len(frames), 3 * n, self.size))
        self.fill(frames, directions, energies, forces)
        return Design(np.arange(len(frames)), energies, forces)

    def chunks(self, frames: Frames, directions: Floats | None) -> Iterator[Design]:
        """Yield the design matrix in pieces of bounded memory, each of frames with the same row of atomic numbers.

        Args:
            frames: the frames.
            directions: of forces, `[F, r, N, 3]`; None: energies alone.

        Raises:
            InputError: elements that the model does not know, or positions that are not finite.
        """
        self.check(frames)
        for chosen in like_frames(frames, self.frames_at_once(frames)):
            width = max(1, int((frames.numbers[chosen[0]] > 0).sum()))  # other frames may be larger
            own = None if directions is None else directions[chosen, :, :width]
            yield self._design(frames.take(chosen).padded(width), chosen, own)

    def frames_at_once(self, frames: Frames) -> int:
        """Return the number of frames whose rows are made at a time."""
        return max(1, int(_CHUNK_BYTES / self._frame_bytes(frames, self.size)))

    def fill_bytes(self, frames: Frames) -> float:
        """Return the peak memory (bytes) of making so many rows: a piece of the design matrix and its parts."""
        return 4 * max(float(_CHUNK_BYTES), self._frame_bytes(frames, self.size))

    def number_work(self, frames: Frames) -> float:
        """See `experiments.regression.rows.LinearModel`; in large cells the slopes of densities take most of it."""
        one = frames.take(slice(len(frames) // 2, len(frames) // 2 + 1))
        edges = int(neighbours(one, self.config.cutoff).mask.sum())
        slopes = 6.0 * edges * len(self.elements) * self.config.n_radial * (self.lmax + 1) ** 2
        return NUMBER_WORK + _SLOPE_WORK * slopes / self.size

    def fill(self, frames: Frames, directions: Floats, energies: Floats, forces: Floats | None) -> None:
        """Write rows of the design matrix; see `experiments.regression.rows.LinearModel`."""
        for part in self.chunks(frames, None if forces is None else directions):
            energies[part.frames] = part.energies
            if forces is not None:
                forces[part.frames] = part.forces

    def _frame_bytes(self, frames: Frames, size: int) -> float:
        atoms = frames.numbers.shape[1]
        # a coordinate has M rows of the design and the slopes of all densities
        slopes = len(self.elements) * self.config.n_radial * (self.lmax + 1) ** 2 * atoms
        return float(8 * 3 * atoms * max(size, slopes))

    def predict(self, coefficients: Floats, frames: Frames) -> Predictions:
        """Predict energies (eV, without intercept) and forces (eV/Å) from coefficients `[M]`; makes no force rows."""
        self.check(frames)
        weights = torch.as_tensor(coefficients * self.scales).reshape(len(self.elements), self.per_element)
        # features of an atom, or functions of its edges, and the copies of autograd: about ten numbers each
        atoms = frames.numbers.shape[1]
        edges = max(16, atoms) * self.config.n_radial * (self.lmax + 1) ** 2
        limit = max(1, _CHUNK_BYTES // (80 * atoms * max(self.per_element, edges)))
        energies, forces = np.zeros(len(frames)), np.zeros(frames.positions.shape)
        virials = np.zeros((len(frames), 3, 3))
        for start in range(0, len(frames), limit):
            part = slice(start, start + limit)
            near = _Neighbourhoods(frames.take(part), self.elements, self.config.cutoff)
            vectors = near.vectors.requires_grad_(True)
            density = self._density(self._edge_functions(vectors), near)
            picked = weights[near.species.clamp(min=0).flatten()] * (near.species.flatten()[:, None] >= 0)
            energy = torch.cat([b.flatten(1) for b in self._features(density.flatten(0, 1))], 1).mul(picked).sum(1)
            (gradient,) = torch.autograd.grad(energy.sum(), vectors)
            gradient = gradient * near.mask[..., None]
            f, n, k = near.index.shape
            sent = torch.zeros(f, n, 3, dtype=torch.float64).scatter_add_(
                1, near.index.reshape(f, n * k, 1).expand(-1, -1, 3), gradient.reshape(f, n * k, 3)
            )
            energies[part] = energy.detach().reshape(f, n).sum(1).numpy()
            forces[part] = (gradient.sum(2) - sent).numpy()
            virials[part] = atomic_virials(gradient, vectors.detach(), near.mask).sum(1).numpy()
        return Predictions(energies, forces, virials)

    def predict_all(self, coefficients: Floats, frames: Frames) -> list[Predictions]:
        """Predict for coefficients `[V, M]`, one after the other."""
        return [self.predict(one, frames) for one in coefficients]

    def check(self, frames: Frames) -> None:
        """Raise `InputError` for elements that the model does not know and for positions that are not finite."""
        check_frames(frames, self.elements)

    def _edge_functions(self, vectors: Tensor) -> Tensor:
        """Evaluate φ = R_n(r) Y_lm(r̂) of edge vectors: `[..., 3]` → `[..., n, (lmax+1)²]`."""
        radial, harmonics = self._edge_factors(vectors)
        return radial[..., :, None] * harmonics[..., None, :]

    def _edge_factors(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate R_n(r) and Y_lm(r̂) of edge vectors: `[..., 3]` → `[..., n]`, `[..., (lmax+1)²]`."""
        distance = vectors.square().sum(-1).sqrt()
        harmonics = spherical_harmonics(self.lmax, vectors / distance[..., None])
        c = self.config
        return radial_functions(distance, c.cutoff, c.n_radial, c.stretch), harmonics

    def _density(self, edge: Tensor, near: _Neighbourhoods) -> Tensor:
        """Sum over neighbours to the density A: φ `[f, i, k, n, lm]` → `[f, i, c, lm]`."""
        return torch.einsum("fiks,fiknm->fisnm", near.senders_species, edge).flatten(2, 3)

    def _features(self, density: Tensor) -> Iterator[Tensor]:
        """Yield the features B of every group: A `[i, c, lm]` → `[i, t, p]`."""
        for number, group in enumerate(self.groups):
            last = harmonic(density, group.degrees[-1])[:, group.channels[:, -1]]  # [i, t, m]
            prefixes = self._prefixes(number, len(group.degrees) - 1)
            partial = contract(density, group.degrees[:-1], prefixes, group.coupling)
            yield (partial * last[..., None]).sum(2)

    def _prefixes(self, number: int, left_out: int) -> Prefixes:
        """Return the prefixes of a group's factors except one; cached, since finding them is slow."""
        key = (number, left_out)
        if key not in self._known:
            channels = self.groups[number].channels
            self._known[key] = Prefixes.of(torch.cat([channels[:, :left_out], channels[:, left_out + 1 :]], 1))
        return self._known[key]

    def _design(self, frames: Frames, chosen: Ints, directions: Floats | None) -> Design:
        near = _Neighbourhoods(frames, self.elements, self.config.cutoff)
        edge, moved = self._edge_functions(near.vectors), None
        energies = torch.zeros(len(frames), self.size, dtype=torch.float64)
        forces = None
        if directions is not None:
            moved = self._moved(near, torch.as_tensor(np.ascontiguousarray(directions)))
            forces = torch.zeros(len(frames), directions.shape[1], self.size, dtype=torch.float64)
        density = self._density(edge, near)  # [f, i, c, lm]
        for s in range(len(self.elements)):
            atoms = torch.nonzero(near.species[0] == s)[:, 0]  # the same in every frame of the chunk
            if len(atoms):
                own = slice(s * self.per_element, (s + 1) * self.per_element)
                self._centre(
                    density[:, atoms],
                    None if moved is None else moved[:, atoms],
                    energies[:, own],
                    None if forces is None else forces[:, :, own],
                )
        scales = torch.as_tensor(self.scales)
        slopes = energies.new_zeros(len(frames), 0, self.size) if forces is None else forces.mul_(scales)
        return Design(chosen, energies.mul_(scales).numpy(), slopes.numpy())

    def _moved(self, near: _Neighbourhoods, directions: Tensor) -> Tensor:
        """Differentiate the densities along directions of motion `[f, r, N, 3]`: `[f, i, r, c, lm]`."""
        slopes = []
        for axis in range(3):  # ∂φ/∂v by forward differentiation: three directions instead of n·lm outputs
            direction = torch.zeros_like(near.vectors)
            direction[..., axis] = 1.0
            found = torch.func.jvp(self._edge_factors, (near.vectors,), (direction,))
            (radial, harmonics), (dr, dy) = found[0], found[1]
            slope = dr[..., :, None] * harmonics[..., None, :]
            slopes.append(slope.addcmul_(radial[..., :, None], dy[..., None, :]))
        by_slot = torch.stack(slopes, 3)  # [f, i, k, x, n, lm]
        f, i, k = near.index.shape
        r = directions.shape[1]
        # an edge grows by the motion of its sender less that of its receiver
        at = near.index.reshape(f, 1, i * k, 1).expand(-1, r, -1, 3)
        grown = torch.gather(directions, 2, at).reshape(f, r, i, k, 3) - directions[:, :, :, None]
        grown = grown.permute(0, 2, 1, 3, 4)  # [f, i, r, k, x]
        flat = by_slot.reshape(f, i, 3 * k, -1)
        own = near.senders_species[:, :, None, :, None]  # [f, i, 1, k, 1, s], zero in masked slots
        parts = [(grown * own[..., s]).flatten(3) @ flat for s in range(len(self.elements))]
        joined = parts[0] if len(parts) == 1 else torch.stack(parts, 3)
        return joined.reshape(f, i, r, len(parts) * by_slot.shape[-2], by_slot.shape[-1])

    def _centre(self, density: Tensor, moved: Tensor | None, energies: Tensor, forces: Tensor | None) -> None:
        """Write Σ_i B `[f, M_s]` and its negative slopes `[f, r, M_s]` for the centres of one element.

        A feature's slope is Σ over its factors of (∂B/∂A)·(slope of A): products of matrices over centres and m.
        """
        f, i = density.shape[:2]
        atoms = density.flatten(0, 1)
        by_degree = []
        if moved is not None:
            harmonics = [moved[..., degree**2 : (degree + 1) ** 2] for degree in range(self.lmax + 1)]
            by_degree = [part.permute(0, 3, 1, 4, 2).flatten(2, 3) for part in harmonics]  # [f, c, (i m), r]
        start = 0
        for number, group in enumerate(self.groups):
            t, p = len(group.channels), group.coupling.shape[-1]
            slope = None if forces is None else torch.zeros(f, t, p, forces.shape[1], dtype=torch.float64)
            for q, degree in enumerate(group.degrees if slope is not None else group.degrees[:1]):
                degrees = group.degrees[:q] + group.degrees[q + 1 :]
                coupling = torch.movedim(group.coupling, q, -2)
                partial = contract(atoms, degrees, self._prefixes(number, q), coupling)  # ∂B/∂A_q [i, t, m, p]
                if q == 0:
                    value = (partial * harmonic(atoms, degree)[:, group.channels[:, 0], :, None]).sum(2)
                    energies[:, start : start + t * p] = value.reshape(f, i, t * p).sum(1)
                if slope is None:
                    continue
                partial = partial.reshape(f, i, t, 2 * degree + 1, p).permute(0, 2, 4, 1, 3).flatten(3)
                for channel, rows in group.of_channel(q):  # [f, (t p), (i m)] @ [f, (i m), r]
                    part = partial[:, rows].flatten(1, 2) @ by_degree[degree][:, channel]
                    slope.index_add_(1, rows, part.reshape(f, len(rows), p, -1))
            if slope is not None and forces is not None:
                forces[:, :, start : start + t * p] = -slope.flatten(1, 2).transpose(1, 2)
            start += t * p


class Ace(LinearAce):
    """Linear ACE as a closed-form model."""

    def accept(self, train: Frames, test: Frames) -> None:
        """Raise `InputError` for unknown elements, and before features are listed if the memory would not do."""
        self.check(train)
        self.check(test)
        c = self.config
        most = len(self.elements) * most_features(len(self.elements), self.kept)
        frame_bytes = self._frame_bytes(train, most)
        batch, weights = max(1, int(_CHUNK_BYTES / frame_bytes)), (c.energy_weight, c.force_weight)
        if len(train):
            Plan.for_size(train, [len(train)], most, batch, 4 * max(_CHUNK_BYTES, frame_bytes), weights, _SMALLER)

    def ladder(self, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        """Fit by least squares; nothing is random."""
        weights = (self.config.energy_weight, self.config.force_weight)
        return solve_ladder(self, frames, sizes, weights, conditions, _SMALLER, _WALKED)

    def geometry(self, tensors: Mapping[str, Tensor]) -> Geometry:
        """Return the function that predicts from the coefficients."""
        return lambda frames: self.predict(tensors["coefficients"].numpy(), frames)


@dataclass(frozen=True, init=False)
class _Neighbourhoods:
    """Neighbours of a chunk as tensors.

    vectors `[f, i, k, 3]`; mask, index `[f, i, k]`; species `[f, i]` (−1 for padding); senders_species
    `[f, i, k, s]` is one-hot, zero where masked.
    """

    vectors: Tensor
    mask: Tensor
    index: Tensor
    species: Tensor
    senders_species: Tensor

    def __init__(self, frames: Frames, elements: Ints, cutoff: float) -> None:
        near = neighbours(frames, cutoff)
        species = np.where(frames.numbers > 0, np.searchsorted(elements, frames.numbers), -1)
        sent = np.take_along_axis(species[:, None, :], near.index.reshape(len(frames), 1, -1), 2)
        one_hot = (sent.reshape(near.index.shape)[..., None] == np.arange(len(elements))) & near.mask[..., None]
        for name, array, dtype in (
            ("vectors", near.vectors, torch.float64),
            ("mask", near.mask, torch.float64),
            ("index", near.index, torch.int64),
            ("species", species, torch.int64),
            ("senders_species", one_hot, torch.float64),
        ):
            object.__setattr__(self, name, torch.as_tensor(array, dtype=dtype))
