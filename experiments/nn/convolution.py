"""Sums over neighbours of sender features ⊗ edge harmonics with radial weights: the hot operation of a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from e3nn import o3
from torch import Tensor

from experiments.nn.constants import Constant

Path = tuple[int, int, int]
"""Degrees of sender feature, edge harmonic and result."""


class Convolution:
    """Convolution over neighbour slots k, Σ_k R_path(k) · [h(k) ⊗ Y(k)]_l₃, for a list of paths (l₁, l₂, l₃).

    Batatia et al. 2022 (MACE, arXiv 2206.07697) eq. 8. Couplings are √(2l₃+1)·3j, as in e3nn's tensor products with
    "component" normalisation. Couplings and harmonics are multiplied first, since they are the same for all channels;
    what is left is a small matrix product for every node and path, (2l₃+1) × k(2l₁+1) × C, whose sum over neighbours
    needs no scatter.
    """

    def __init__(self, paths: Sequence[Path], edge_lmax: int) -> None:
        self.paths = tuple(paths)
        self.degrees = tuple(sorted({l1 for l1, _, _ in paths}))
        """Degrees of the sender features, joined in this order."""
        self._couplings = Constant(_couplings(self.paths, edge_lmax))

    def __call__(self, senders: Tensor | Mapping[int, Tensor], radial: Tensor, harmonics: Tensor) -> dict[int, Tensor]:
        """Return the sums over neighbours `[p, n, 2l₃+1, paths to l₃ · C]`, by degree l₃.

        Args:
            senders: `[p, n, k, M, C]`, or by degree `[p, n, k, 2l+1, C]`.
            radial: `[p, n, k, paths, C]`, zero in masked slots.
            harmonics: `[p, n, k, (edge+1)²]`.
        """
        p, n, k, _, c = radial.shape
        if isinstance(senders, Tensor):
            split = torch.split(senders, [2 * degree + 1 for degree in self.degrees], 3)
            by_degree: Mapping[int, Tensor] = dict(zip(self.degrees, split, strict=True))
        else:
            by_degree = senders
        sizes = [(2 * l1 + 1) * (2 * l3 + 1) for l1, _, l3 in self.paths]
        edges = torch.split(harmonics.flatten(0, 2) @ self._couplings.like(radial), sizes, -1)
        parts: dict[int, list[Tensor]] = {}
        for i, (l1, _, l3) in enumerate(self.paths):
            right = (by_degree[l1] * radial[..., i : i + 1, :]).reshape(p * n, k * (2 * l1 + 1), c)
            left = edges[i].reshape(p * n, k * (2 * l1 + 1), 2 * l3 + 1)
            parts.setdefault(l3, []).append((left.transpose(1, 2) @ right).reshape(p, n, 2 * l3 + 1, c))
        return {degree: torch.cat(sums, -1) for degree, sums in parts.items()}


def _couplings(paths: Sequence[Path], edge_lmax: int) -> Tensor:
    """Return `[(edge+1)², Σ_paths (2l₁+1)(2l₃+1)]` float64, which maps harmonics to the factors of sender features."""
    out = []
    for l1, l2, l3 in paths:
        block = torch.zeros((edge_lmax + 1) ** 2, (2 * l1 + 1) * (2 * l3 + 1), dtype=torch.float64)
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * math.sqrt(2 * l3 + 1)
        block[l2**2 : (l2 + 1) ** 2] = w3j.transpose(0, 1).reshape(2 * l2 + 1, -1)
        out.append(block)
    return torch.cat(out, -1)
