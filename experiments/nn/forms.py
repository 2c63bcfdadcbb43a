"""Symmetric forms with sparse coefficients, differentiable to any order with one and the same inner loop.

A contraction of MACE is a polynomial in the features x of one node and channel, linear in its weights w. With the
covector g of its outputs and directions d₁…d_J all its derivatives are slots of one scalar,

    S_J = Σ_ν ν(ν−1)…(ν−J+1) Σ_{o,q,i} U^ν[i₁…i_ν, o, q] · g_o · w_q · d₁[i₁]…d_J[i_J] · x[i_{J+1}]…x[i_ν]

because U is symmetric in its ν axes: the value is ∂S₀/∂g, its gradient ∂S₁/∂d₁, and differentiating any slot once
more only renames slots. U has few non-zero entries (353 of 32,768 for ν = 3, l ≤ 3 → 0), so the terms are listed
and equal monomials merged; every slot has its table, made when first needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import perm
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.nn.constants import outside_traces
from experiments.nn.native.sparse import sparse_product

Slot = Literal["output", "weight", "feature"]


@dataclass(frozen=True)
class _Terms:
    """Non-zero entries of U for one order: `features` [T, ν], `output` [T], `weight` [T], `value` [T]."""

    features: NDArray[np.int64]
    output: NDArray[np.int64]
    weight: NDArray[np.int64]
    value: NDArray[np.float64]


@dataclass(frozen=True)
class _Table:
    """Arguments of the inner loop; see `experiments.nn.native.sparse.sparse_product`."""

    pairs: Tensor
    index: Tensor
    coefficient: Tensor
    offset: Tensor


class SymmetricForm:
    """Polynomial maps `x [N, M, C], w [N, K, C] → [N, O, C]`, given by coupling tensors.

    `couplings` maps (first output, first weight) to a tensor `[outputs] + [M]*ν + [weights]`, symmetric in the M
    axes: several degrees and orders share one table.
    """

    def __init__(self, couplings: Mapping[tuple[int, int], Tensor]) -> None:
        self.order = max(tensor.ndim - 2 for tensor in couplings.values())
        first = next(iter(couplings.values()))
        self.rows = {
            "output": max(start + tensor.shape[0] for (start, _), tensor in couplings.items()),
            "weight": max(start + tensor.shape[-1] for (_, start), tensor in couplings.items()),
            "feature": first.shape[1],
        }
        self._terms: list[_Terms] = []
        for (output, weight), tensor in couplings.items():
            dense = tensor.numpy()
            where = np.argwhere(np.abs(dense) > 1e-12)  # couplings are of order 1, round-off of order 1e-16
            self._terms.append(
                _Terms(where[:, 1:-1], where[:, 0] + output, where[:, -1] + weight, dense[tuple(where.T)])
            )
        self._tables: dict[tuple[Slot, int, torch.dtype], _Table] = {}

    def __call__(self, x: Tensor, w: Tensor) -> Tensor:
        """Evaluate the map; differentiable to any order in both arguments."""
        return _Slot.apply(self, "output", None, w, x)  # type: ignore[no-untyped-call, no-any-return]

    def slot(self, slot: Slot, g: Tensor | None, w: Tensor | None, x: Tensor, directions: Sequence[Tensor]) -> Tensor:
        """Evaluate the derivative of S with respect to one slot (see the module), without recording a graph."""
        table = self._table(slot, len(directions), x.dtype)
        arguments = [t for t in (g, w) if t is not None] + [*directions, x]
        return sparse_product(arguments, table.pairs, table.index, table.coefficient, table.offset)

    def _table(self, slot: Slot, directions: int, dtype: torch.dtype) -> _Table:
        key = (slot, directions, dtype)
        if key not in self._tables:
            with outside_traces():  # constants, also when first needed inside of a trace
                self._tables[key] = self._make(slot, directions, dtype)
        return self._tables[key]

    def _make(self, slot: Slot, directions: int, dtype: torch.dtype) -> _Table:
        fixed = directions + (slot == "feature")  # feature axes with a slot of their own
        # first row of every argument in the numbering of the inner loop
        given: list[Slot] = [s for s in ("output", "weight") if s != slot]
        starts = np.cumsum([1, *(self.rows[s] for s in given), *[self.rows["feature"]] * directions])
        rows, values = [], []
        for terms in self._terms:
            nu = terms.features.shape[1]
            if nu < fixed:
                continue
            entries = {"output": terms.output, "weight": terms.weight, "feature": terms.features[:, 0]}
            single = [entries[s] for s in given] + list(terms.features[:, fixed - directions : fixed].T)
            rest = np.sort(terms.features[:, fixed:], axis=1)  # equal arguments commute: one term for all orderings
            ones = np.zeros((len(rest), self.order - nu), dtype=np.int64)
            columns = [entries[slot], *(c + start for c, start in zip(single, starts[:-1], strict=True))]
            rows.append(np.concatenate([np.stack(columns, 1), rest + starts[-1], ones], axis=1))
            values.append(terms.value * perm(nu, fixed))
        merged, which = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
        value = np.bincount(which.reshape(-1), weights=np.concatenate(values), minlength=len(merged))
        offset = np.searchsorted(merged[:, 0], np.arange(self.rows[slot] + 1))
        n_rows = int(starts[-1]) + self.rows["feature"]
        pairs, index = _paired(merged[:, 1:], n_rows)
        return _Table(
            torch.from_numpy(pairs.astype(np.int32)),
            torch.from_numpy(np.ascontiguousarray(index, dtype=np.int32)),
            torch.from_numpy(value).to(dtype),
            torch.from_numpy(offset.astype(np.int32)),
        )


def _paired(index: NDArray[np.int64], n_rows: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return pairs `[Q, 2]` of factors that many terms share, and `index` with rows for those pairs."""
    pairs: list[NDArray[np.int64]] = []
    columns = list(index.T)
    done: list[NDArray[np.int64]] = []
    while len(columns) + len(done) > 2 and len(columns) >= 2:  # from the end: there stand the powers of x
        two = np.stack(columns[-2:], 1)
        columns = columns[:-2]
        distinct, which = np.unique(two, axis=0, return_inverse=True)
        if 2 * len(distinct) < len(index):
            done.append(which.reshape(-1) + n_rows)
            n_rows += len(distinct)
            pairs.append(distinct)
        else:
            done += list(two.T)
    return np.concatenate([np.zeros((0, 2), dtype=np.int64), *pairs]), np.stack([*columns, *done], 1)


class _Slot(torch.autograd.Function):
    """∂S_J/∂slot of a form, as a differentiable function of the other slots."""

    @staticmethod
    def forward(
        ctx: Any, form: SymmetricForm, slot: Slot, g: Tensor | None, w: Tensor | None, x: Tensor, *directions: Tensor
    ) -> Tensor:
        ctx.form, ctx.slot = form, slot
        ctx.save_for_backward(g, w, x, *directions)
        return form.slot(slot, g, w, x, directions)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        form: SymmetricForm = ctx.form
        g, w, x, *directions = ctx.saved_tensors
        own = len(directions)
        if ctx.slot == "output":
            g = grads[0]
        elif ctx.slot == "weight":
            w = grads[0]
        else:
            directions = [*directions, grads[0]]
        _, _, need_g, need_w, need_x, *need = ctx.needs_input_grad

        def derivative(slot: Slot, along: Sequence[Tensor]) -> Tensor | None:
            if len(along) + (slot == "feature") > form.order:  # a polynomial of this order has no such derivative
                return None
            g_, w_ = (None if slot == "output" else g), (None if slot == "weight" else w)
            return _Slot.apply(form, slot, g_, w_, x, *along)  # type: ignore[no-untyped-call, no-any-return]

        return (
            None,
            None,
            derivative("output", directions) if need_g else None,
            derivative("weight", directions) if need_w else None,
            derivative("feature", directions) if need_x else None,
            *(derivative("feature", [*directions[:i], *directions[i + 1 :]]) if need[i] else None for i in range(own)),
        )
