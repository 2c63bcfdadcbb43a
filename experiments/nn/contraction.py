"""Symmetric contraction of MACE: products of ν equal features with weights for each species.

MACE (Batatia et al. 2022, arXiv 2206.07697) eqs. 10, 11: m_lm = Σ_ν Σ_η W^ν_{zη} U^ν_{η,lm} · a…a (ν factors).
Two ways: sparse (CPU, `experiments.nn.forms`), which lists the non-zero couplings, and dense (any device),
which folds the weights into U and nests the orders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.nn.constants import Constant
from experiments.nn.couplings import symmetric_couplings
from experiments.nn.forms import SymmetricForm
from experiments.nn.native import sparse as native


def couplings(l_in: int, l_out: int, order: int) -> Tensor:
    """Return the coupling tensor `[2·l_out+1] + [(l_in+1)²]*order + [paths]` (float64, CPU), component-normalised."""
    return symmetric_couplings(l_in, l_out, order).movedim(-2, 0) * math.sqrt(2 * l_out + 1)


@dataclass(frozen=True)
class Term:
    """Couplings of one order to one degree; `paths` is their number."""

    degree: int
    order: int
    paths: int


class Contraction:
    """Contraction of features of degrees 0…`l_in` to `degrees` with orders 1…`nu`.

    Every entry of `terms` has a weight tensor `[S, paths, C]`; orders without a coupling are left out.
    """

    def __init__(self, l_in: int, degrees: Sequence[int], nu: int) -> None:
        counted = [Term(d, o, couplings(l_in, d, o).shape[-1]) for d in degrees for o in range(1, nu + 1)]
        self.terms = tuple(term for term in counted if term.paths)
        self.degrees = tuple(degrees)
        self._couplings = [Constant(couplings(l_in, term.degree, term.order)) for term in self.terms]
        table: dict[tuple[int, int], Tensor] = {}
        output = weight = 0
        for degree in degrees:
            for term, coupling in zip(self.terms, self._couplings, strict=True):
                if term.degree == degree:
                    table[output, weight] = coupling.value
                    weight += term.paths
            output += 2 * degree + 1
        self._form = SymmetricForm(table)

    def __call__(self, features: Tensor, one_hot: Tensor, weights: Sequence[Tensor]) -> dict[int, Tensor]:
        """Return messages `[p, n, 2l+1, C]` of every degree.

        `features` `[p, n, (l_in+1)², C]`, `one_hot` `[p, n, S]`, `weights` `[p, S, paths, C]` by `terms`.
        """
        if features.device.type == "cpu" and native.available():
            return self.sparse(features, one_hot, weights)
        return self.dense(features, one_hot, weights)

    def sparse(self, features: Tensor, one_hot: Tensor, weights: Sequence[Tensor]) -> dict[int, Tensor]:
        """Contract by a list of the non-zero couplings (CPU, needs `native.available`)."""
        p, n, m, c = features.shape
        joined = torch.cat(list(weights), 2)  # [p, S, K, C]
        own = one_hot @ joined.flatten(2)  # [p, n, K·C]: every node's weights
        out = self._form(features.reshape(p * n, m, c), own.reshape(p * n, -1, c)).reshape(p, n, -1, c)
        parts = torch.split(out, [2 * degree + 1 for degree in self.degrees], 2)
        return dict(zip(self.degrees, parts, strict=True))

    def dense(self, features: Tensor, one_hot: Tensor, weights: Sequence[Tensor]) -> dict[int, Tensor]:
        """Contract by full coupling tensors."""
        out = {}
        for degree in self.degrees:
            chosen = [i for i, term in enumerate(self.terms) if term.degree == degree]
            tensors = {self.terms[i].order: self._couplings[i].like(features) for i in chosen}
            out[degree] = _nested(features, one_hot, {self.terms[i].order: weights[i] for i in chosen}, tensors)
        return out


def _nested(features: Tensor, one_hot: Tensor, weights: Mapping[int, Tensor], tensors: Mapping[int, Tensor]) -> Tensor:
    """Contract to one degree with dense couplings.

    features `[p, n, M, C]` with M = (l_in+1)², one_hot `[p, n, S]`, `weights[ν]` `[p, S, K_ν, C]`,
    `tensors[ν]` `[2l+1] + [M]*ν + [K_ν]` → `[p, n, 2l+1, C]`. Orders without a path are left out of both.

    Horner's scheme from the highest order down, (…(U³a + U²)a + U¹)a, with weights first multiplied into U. The species
    is picked in the first, largest product by multiplying with a ⊗ one_hot; the rows of one_hot itself add U².
    """
    p, n, m, c = features.shape
    s = one_hot.shape[-1]
    x = features.permute(0, 3, 2, 1)  # [p, C, M, n]
    which = one_hot.transpose(1, 2)[:, None].expand(p, c, s, n)
    form: Tensor | None = None  # [p, C, (2l+1)·M^order, n]: still to be multiplied by `order` factors
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
    assert form is not None, "contraction: expected at least one order with couplings"
    return form.permute(0, 3, 2, 1)


def _weighted(tensor: Tensor, weight: Tensor) -> Tensor:
    """Multiply weights into couplings: `[2l+1, M, …, K]` and `[p, S, K, C]` → `[p, C, (2l+1)·M^ν, S]`."""
    p, s, k, c = weight.shape
    out = tensor.reshape(-1, k) @ weight.transpose(1, 2).reshape(p, k, s * c)
    return out.reshape(p, -1, s, c).permute(0, 3, 1, 2)
