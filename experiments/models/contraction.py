"""Symmetric contraction of MACE: products of ν equal features with weights for each species."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from experiments.models.couplings import symmetric_couplings


def couplings(l_in: int, l_out: int, order: int) -> Tensor:
    """Coupling tensor ``[2·l_out+1] + [(l_in+1)²]*order + [paths]`` (float64, CPU) in component normalisation."""
    return symmetric_couplings(l_in, l_out, order).movedim(-2, 0) * math.sqrt(2 * l_out + 1)


def contract(features: Tensor, one_hot: Tensor, weights: Mapping[int, Tensor], tensors: Mapping[int, Tensor]) -> Tensor:
    """Σ_ν Σ_η W^ν_{zη} U^ν_η · aᵛ for every node and channel; MACE (arXiv 2206.07697) eqs. 10, 11.

    features ``[p, n, M, C]`` with M = (l_in+1)², one_hot ``[p, n, S]``, ``weights[ν]`` ``[p, S, K_ν, C]``,
    ``tensors[ν]`` ``[2l+1] + [M]*ν + [K_ν]`` → ``[p, n, 2l+1, C]``. Orders without a path are left out of both.

    Horner's scheme from the highest order down, (…(U³a + U²)a + U¹)a, with weights first multiplied into U. The species
    is picked in the first, largest product by multiplying with a ⊗ one_hot; the rows of one_hot itself add U².
    """
    p, n, m, c = features.shape
    s = one_hot.shape[-1]
    x = features.permute(0, 3, 2, 1)  # [p, C, M, n]
    which = one_hot.transpose(1, 2)[:, None].expand(p, c, s, n)
    form: Tensor | None = None  # [p, C, (2l+1)·M^order, n]: what is left to be multiplied by `order` factors
    for order in range(max(tensors), -1, -1):
        added = None
        if order in tensors:
            added = _weighted(tensors[order], weights[order])  # [p, C, (2l+1)·M^order, S]
        if form is not None:
            form = (form.reshape(p, c, -1, m, n) * x[:, :, None]).sum(-2)
        elif order + 1 in tensors:
            upper = _weighted(tensors[order + 1], weights[order + 1]).reshape(p, c, -1, m * s)
            rows = (x[:, :, :, None] * which[:, :, None]).reshape(p, c, m * s, n)
            if added is not None:
                upper, rows, added = torch.cat([upper, added], -1), torch.cat([rows, which], -2), None
            form = upper @ rows
        if form is not None and added is not None:
            form = form + added @ which
    assert form is not None, "contract: expected at least one order with couplings"
    return form.permute(0, 3, 2, 1)


def _weighted(tensor: Tensor, weight: Tensor) -> Tensor:
    """U · W: ``[2l+1, M, …, K]`` and ``[p, S, K, C]`` → ``[p, C, (2l+1)·M^ν, S]``."""
    p, s, k, c = weight.shape
    out = tensor.reshape(-1, k) @ weight.transpose(1, 2).reshape(p, k, s * c)
    return out.reshape(p, -1, s, c).permute(0, 3, 1, 2)
