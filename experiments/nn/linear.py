"""Linear maps between channels: they mix channels only, so one GEMM serves all components m of a degree."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Map channels linearly, `[p, n, m, C]` → `[p, n, m, C']`, with `weight` `[p, C, C']` normalised by 1/√C."""
    p, n, m, c = x.shape
    out = x.reshape(p, n * m, c) @ (weight * (1 / math.sqrt(c)))
    return out.reshape(p, n, m, weight.shape[-1])


def species_linear(x: Tensor, one_hot: Tensor, weight: Tensor) -> Tensor:
    """Map channels like `linear`, with one matrix per species: `weight` `[p, S, C, C']`, `one_hot` `[p, n, S]`.

    x ⊗ one_hot meets the stacked matrices in one GEMM. That is S times the arithmetic, yet few elements keep it
    cheaper than a matrix gathered for every node or a loop over species, whose shapes depend on the data.
    """
    p, n, m, c = x.shape
    species = one_hot.shape[-1]
    spread = (one_hot[:, :, None, :, None] * x[:, :, :, None, :]).reshape(p, n * m, species * c)
    out = spread @ (weight.reshape(p, species * c, -1) * (1 / math.sqrt(c)))
    return out.reshape(p, n, m, weight.shape[-1])


def one_hot(species: Tensor, n_species: int, dtype: torch.dtype) -> Tensor:
    """Encode species `[p, n]` int64 as `[p, n, S]`; without scatter, so that it can be traced."""
    return (species[..., None] == torch.arange(n_species, device=species.device)).to(dtype)
