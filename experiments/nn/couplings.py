"""Symmetric products of harmonics: every equivariant map from ν copies of one feature to one degree.

A product of ν equal factors a_{l₁m₁} a_{l₂m₂} … is symmetric, so only the permutation-symmetric part of the
generalised Clebsch–Gordan coefficients can be seen (Drautz 2019, arXiv 1911.01550 §IV; Dusson et al. 2022,
arXiv 1911.03550 eq. 3.17; Batatia et al. 2022, arXiv 2206.07697 eq. 10). Keeping just that part gives each distinct
polynomial once: fewer weights for a network, no duplicate columns for a linear fit.

Construction: for one multiset of degrees, chains of Wigner 3j symbols over all intermediate degrees
((l₁ l₂) k₁ l₃) k₂ … → l are an orthonormal basis of the equivariant maps (D_a ⊗ D_b = ⊕_{|a−b| ≤ l ≤ a+b} D_l).
Each is averaged over the permutations of equal degrees, and Gram–Schmidt in the order of the chains removes what
has become dependent. No eigenvector is involved: basis and signs are the same on every machine. A multiset is then
spread over its distinct orderings; multisets never mix, so each path has one set of degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations

import torch
from e3nn import o3
from torch import Tensor

# Dependent vectors leave a residual of round-off (below 1e-15), independent ones 0.15 or more wherever it was looked
# (l ≤ 4, ν ≤ 4); anything in between separates the two.
_INDEPENDENT = 1e-6


@dataclass(frozen=True)
class Block:
    """The couplings of one multiset of degrees.

    degrees  `(l₁ ≤ … ≤ l_ν)`
    tensor   `[2·l₁+1, …, 2·l_ν+1, 2·l_out+1, paths]` float64; symmetric under exchange of equal degrees,
             orthonormal over all but the last axis
    """

    degrees: tuple[int, ...]
    tensor: Tensor


def chains(degrees: tuple[int, ...], l_out: int, L: int | None = None) -> list[Tensor]:
    """List an orthonormal basis of the equivariant maps D_{l₁} ⊗ … ⊗ D_{l_ν} → D_{l_out}, one per chain of
    intermediates.

    With `L`, only chains whose intermediate degrees are at most L and, like the result, of natural parity.
    """
    by_degree = {degrees[0]: [torch.eye(2 * degrees[0] + 1, dtype=torch.float64)]}
    for step, degree in enumerate(degrees[1:], start=2):
        longer: dict[int, list[Tensor]] = {}
        for k, tensors in by_degree.items():
            for l_next in range(abs(k - degree), k + degree + 1, 1 if L is None else 2):
                if step == len(degrees) and l_next != l_out:
                    continue
                if L is not None and step < len(degrees) and l_next > L:
                    continue
                # √(2l+1)·3j is an isometry D_{l_next} → D_k ⊗ D_degree
                isometry = math.sqrt(2 * l_next + 1) * o3.wigner_3j(k, degree, l_next, dtype=torch.float64)
                longer.setdefault(l_next, []).extend(torch.tensordot(t, isometry, 1) for t in tensors)
        by_degree = dict(sorted(longer.items()))
    return [t / math.sqrt(2 * l_out + 1) for t in by_degree.get(l_out, [])]


def _symmetrised(tensor: Tensor, labels: tuple[int, ...]) -> Tensor:
    """Average over the permutations of the factors that leave the sequence of labels unchanged."""
    nu = len(labels)
    same = [p for p in permutations(range(nu)) if all(labels[i] == labels[j] for i, j in enumerate(p))]
    return torch.stack([tensor.permute(*p, nu) for p in same]).mean(0)


@cache
def coupling_basis(degrees: tuple[int, ...], l_out: int, alike: tuple[int, ...]) -> Tensor:
    """Return an orthonormal basis of the equivariant maps D_{l₁} ⊗ … ⊗ D_{l_ν} → D_{l_out}, symmetric in `alike`
    factors.

    `alike` gives each factor a label; factors with equal labels (they must have equal degrees) are copies of one
    feature. Returns float64 `[2·l₁+1, …, 2·l_ν+1, 2·l_out+1, paths]`. Of any parity: with Σl − l_out odd the output
    is a pseudo-tensor. The tensor is shared by all callers: do not write to it.
    """
    assert all(degrees[i] == degrees[j] for i, a in enumerate(alike) for j, b in enumerate(alike) if a == b)
    basis: list[Tensor] = []
    for chain in chains(degrees, l_out):
        vector = _symmetrised(chain, alike)
        for _ in range(2):  # twice is enough (Kahan): orthogonal to round-off
            for other in basis:
                vector = vector - (vector * other).sum() * other
        norm = vector.norm()
        if norm > _INDEPENDENT:
            basis.append(vector / norm)
    shape = (*(2 * degree + 1 for degree in degrees), 2 * l_out + 1, 0)
    tensor = torch.stack(basis, -1) if basis else torch.zeros(shape, dtype=torch.float64)
    return torch.where(tensor.abs() < 1e-14, 0.0, tensor)


@cache
def coupling_blocks(l_in: int, l_out: int, nu: int) -> tuple[Block, ...]:
    """List all symmetric, natural-parity couplings of `nu` factors of degrees 0…`l_in` to `l_out`, by multiset of
    degrees.

    Blocks are in lexicographic order of their degrees; multisets without a coupling are left out. The tensors
    are shared by all callers: do not write to them. Call outside of a trace (they are constants).
    """
    if l_in < 0 or l_out < 0 or nu < 1:
        raise ValueError(f"coupling_blocks: expected l_in ≥ 0, l_out ≥ 0 and nu ≥ 1, got {l_in}, {l_out}, {nu}")
    blocks = []
    for degrees in combinations_with_replacement(range(l_in + 1), nu):
        if (sum(degrees) - l_out) % 2:  # natural parity: (−1)^Σl = (−1)^l_out
            continue
        tensor = coupling_basis(degrees, l_out, degrees)
        if tensor.shape[-1]:
            blocks.append(Block(degrees, tensor))
    return tuple(blocks)


@cache
def symmetric_couplings(l_in: int, l_out: int, nu: int) -> Tensor:
    """Return an orthonormal basis of the symmetric equivariant maps from `nu` equal features to degree `l_out`.

    Returns float64 on the CPU, shape `[(l_in+1)²]*nu + [2·l_out+1, paths]`: component axes are ordered (l, m) as
    in e3nn's real spherical harmonics of degrees 0…`l_in`; contracted with ν copies of a feature
    U[…, M, path]·a·a·…·a transforms as D_{l_out} with parity (−1)^l_out. Unchanged by permutation of the ν axes; the
    sum of squares over all axes but the last is 1, and different paths are orthogonal. Paths are ordered as the
    blocks of `coupling_blocks`; `paths` may be 0 (l_out > nu·l_in). The tensor is shared: do not write to it.
    """
    blocks = coupling_blocks(l_in, l_out, nu)
    n_paths = sum(block.tensor.shape[-1] for block in blocks)
    dense = torch.zeros(*[(l_in + 1) ** 2] * nu, 2 * l_out + 1, n_paths, dtype=torch.float64)
    start = 0
    for block in blocks:
        stop = start + block.tensor.shape[-1]
        orderings: dict[tuple[int, ...], tuple[int, ...]] = {}
        for p in permutations(range(nu)):
            orderings.setdefault(tuple(block.degrees[i] for i in p), p)
        for degrees, p in orderings.items():
            where = tuple(slice(degree**2, (degree + 1) ** 2) for degree in degrees)
            dense[(*where, slice(None), slice(start, stop))] = block.tensor.permute(*p, nu, nu + 1) / math.sqrt(
                len(orderings)
            )
        start = stop
    return dense
