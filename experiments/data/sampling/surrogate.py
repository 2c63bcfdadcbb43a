"""A cheap potential for one molecule, learned from forces in closed form: symmetric gradient-domain learning.

E(x) = Σ_m [β_m · ∇' k(D(x), D_m) + a_m k(D(x), D_m)] + c with the descriptor D_ij = 1/r_ij of all pairs and the
Matérn kernel k(d) = (1 + √5 d/σ + 5d²/3σ²) e^(−√5 d/σ), summed over permutations that leave the molecule the same
(sGDML: Chmiela et al., Sci. Adv. 3, e1603015, 2017; Nat. Commun. 9, 3887, 2018). The weights solve for the forces of
the training frames and, unlike sGDML's, for their energies too: nothing else fixes the relative energies of conformers
with no frame between them. Its forces are the exact gradient of its energy. It only makes proposals
(`experiments.data.sampling.nested`); no label comes from it.

`experiments.regression.krr` is the same kernel as a model whose length scale and ridge are chosen by its data. Code
that computes the same digits in both is in `experiments.core.kernels`. The rest differs in the order of factors and
sums and must stay separate: another last digit here would change proposals, so that cached frames could not be
generated again, and another last digit there would change errors.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from experiments.core import files
from experiments.core.arrays import Floats, Ints
from experiments.core.kernels import matern52, pair_permutations, pair_slopes
from experiments.data.sampling.molecule import bonds

_ROOT5 = np.sqrt(5.0)
MOST_UNKNOWNS = 12_000
"""Largest number of weights to solve for: a matrix of 1.2 GB, 20 s of a core."""
_RIDGE = 1e-8  # of the mean diagonal: a loosely converged calculation is noisy, and less changes nothing (measured)
_MOST_PERMUTATIONS = 27  # three methyl groups; each multiplies the cost of a call


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate; call it for energy and forces.

    `descriptors` D_m and `weights` β `[rows, pairs]`, `levels` a `[rows]` (eV), `sigma` (1/Å) and `offset` c (eV).
    """

    descriptors: Floats
    weights: Floats
    levels: Floats
    sigma: float
    offset: float

    @functools.cached_property
    def _both(self) -> Floats:
        return np.concatenate([self.descriptors, self.weights])

    @functools.cached_property
    def _products(self) -> Floats:
        return np.asarray((self.descriptors * self.weights).sum(1))

    @functools.cached_property
    def _squares(self) -> Floats:
        return np.asarray((self.descriptors**2).sum(1))

    @functools.cached_property
    def _pairs(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        atoms = round((1 + np.sqrt(1 + 8 * self.descriptors.shape[1])) / 2)
        return np.triu_indices(atoms, 1)

    def __call__(self, positions: Floats) -> tuple[float, Floats]:
        """Return energy (eV) and forces `[N, 3]` (eV/Å) at `positions` `[N, 3]` (Å)."""
        first, second = self._pairs
        apart = positions[first] - positions[second]
        descriptor = 1 / np.sqrt(np.einsum("pc,pc->p", apart, apart))
        rows = len(self.weights)
        along = self._both @ descriptor
        squared = np.maximum(descriptor @ descriptor - 2 * along[:rows] + self._squares, 0.0)
        stretch = along[rows:] - self._products  # (D − D_m) · β_m
        zeroth, first_order, second_order = _orders(np.sqrt(squared), self.sigma)
        energy = float(first_order @ stretch + zeroth @ self.levels) + self.offset
        pull = second_order * stretch - first_order * self.levels
        slope = first_order @ self.weights + pull.sum() * descriptor - pull @ self.descriptors  # dE/dD
        push = (slope * descriptor**3)[:, None] * apart  # −dE/dx of the first atom of each pair
        forces = np.zeros_like(positions)
        for axis in range(3):
            forces[:, axis] = np.bincount(first, push[:, axis], len(positions))
            forces[:, axis] -= np.bincount(second, push[:, axis], len(positions))
        return energy, forces

    def save(self, path: Path) -> None:
        """Write it to `path`, completely or not at all."""
        files.write_npz(path, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    @staticmethod
    def read(path: Path) -> Surrogate:
        """Read a saved surrogate."""
        with np.load(path, allow_pickle=False) as saved:
            return Surrogate(
                saved["descriptors"], saved["weights"], saved["levels"], float(saved["sigma"]), float(saved["offset"])
            )


def fit_surrogate(
    positions: Floats, energies: Floats, forces: Floats, permutations: Sequence[Sequence[int]], sigma: float
) -> Surrogate:
    """Fit a surrogate to frames `[M, N, 3]` (Å), `[M]` (eV), `[M, N, 3]` (eV/Å), with length scale `sigma` (1/Å).

    `permutations` `[g, N]` form a group, the identity included: the permuted frame is `positions[permutation]`.
    """
    count, atoms = positions.shape[:2]
    size = 3 * atoms
    pairs = np.triu_indices(atoms, 1)
    described, slopes = _descriptors(positions, pairs)
    orders = pair_permutations(np.asarray(permutations))
    first = count * size
    matrix = np.empty((first + count, first + count))  # its lower triangle: gradients first, then energies
    for m in range(count):
        block, cross, level = np.zeros((count - m, size, size)), np.zeros((count, size)), np.zeros(count - m)
        for order in orders:
            apart = described - described[m, order]
            zeroth, first_order, second_order = _orders(np.sqrt((apart**2).sum(1)), sigma)
            permuted_slopes = slopes[m, order]
            cross += (first_order[:, None] * apart) @ permuted_slopes
            apart, first_order = apart[m:], first_order[m:]
            left = np.einsum("ip,ipa->ia", apart, slopes[m:]) * second_order[m:, None]
            flat = (slopes[m:] * first_order[:, None, None]).transpose(0, 2, 1).reshape(-1, len(pairs[0]))
            block += (flat @ permuted_slopes).reshape(block.shape)
            block += left[:, :, None] * (apart @ permuted_slopes)[:, None, :]
            level += zeroth[m:]
        matrix[m * size : first, m * size : (m + 1) * size] = block.reshape(-1, size)
        matrix[first:, m * size : (m + 1) * size] = cross
        matrix[first + m :, first + m] = level
    diagonal = np.einsum("ii->i", matrix)
    for part in (diagonal[:first], diagonal[first:]):
        part += _RIDGE * part.mean()
    offset = float(energies.mean())
    factor = scipy.linalg.cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
    labels = np.concatenate([-forces.ravel(), energies - offset])
    solved = scipy.linalg.cho_solve(factor, labels, check_finite=False)
    weights = np.einsum("mpa,ma->mp", slopes, solved[:first].reshape(count, size))
    rows = [np.concatenate([of[:, order] for order in orders]) for of in (described, weights)]
    return Surrogate(rows[0], rows[1], np.tile(solved[first:], len(orders)), sigma, offset)


def most_frames(atoms: int) -> int:
    """Return the largest number of frames of `atoms` atoms that a surrogate may be fitted to."""
    return max(1, MOST_UNKNOWNS // (3 * atoms))


def rotor_permutations(numbers: Ints, positions: Floats) -> list[list[int]]:
    """Return the identity and the rotations by 120° of each group of three equal atoms at one end, such as methyl.

    They form a group of at most 27. A surrogate that is symmetric under them needs fewer frames; leaving out some of
    the molecule's symmetry is no error.
    """
    bonded = bonds(numbers, positions)
    leaves = bonded.sum(1) == 1
    rotors: list[list[int]] = []
    for centre in range(len(numbers)):
        ends = [n for n in np.flatnonzero(bonded[centre]).tolist() if leaves[n]]
        for element in sorted({int(numbers[n]) for n in ends}):
            equal = [n for n in ends if numbers[n] == element]
            if len(equal) == 3 and 3 ** (len(rotors) + 1) <= _MOST_PERMUTATIONS:
                rotors.append(equal)
    permutations = []
    for shifts in itertools.product(range(3), repeat=len(rotors)):
        permutation = list(range(len(numbers)))
        for equal, shift in zip(rotors, shifts, strict=True):
            for k in range(3):
                permutation[equal[k]] = equal[(k + shift) % 3]
        permutations.append(permutation)
    return permutations


def _descriptors(positions: Floats, pairs: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[Floats, Floats]:
    """Return 1/r `[M, pairs]` and its derivatives `[M, pairs, 3N]`."""
    apart = positions[:, pairs[0]] - positions[:, pairs[1]]
    inverse = 1 / np.linalg.norm(apart, axis=2)
    return inverse, pair_slopes(apart * inverse[..., None] ** 3, positions.shape[1])


def _orders(distance: Floats, sigma: float) -> tuple[Floats, Floats, Floats]:
    """Return k(d), g = −k'(d)/d and g'(d)/d `[...]` of the kernel, for ∇' k = g (D − D_m) and its gradient."""
    scaled = _ROOT5 / sigma * distance
    k, decay = matern52(scaled)
    return k, 5 / (3 * sigma**2) * (1 + scaled) * decay, -25 / (3 * sigma**4) * decay
