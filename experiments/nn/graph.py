"""The input of a model: a batch of neighbourhoods with a leading pack axis, and the gather of node features.

Neighbourhoods are padded to `k` slots a node instead of listed as edges. Sums over neighbours are then plain
contractions (no scatter), and because every pair appears in both directions, the gradient of a gather over
senders is itself a gather through the reversed edge: deterministic, without atomics, differentiable to any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Graph:
    """Neighbourhoods of `p` packed batches of `n` nodes with `k` neighbour slots.

    vectors   `[p, n, k, 3]`  x_sender − x_receiver in Å; node `n` is the receiver. Any finite value where masked
    senders   `[p, n, k]`     row of the sender among the `p·n` nodes of the whole pack (int64)
    reverse   `[p, n, k]`     slot of the opposite edge among the `p·n·k` slots of the whole pack (int64)
    mask      `[p, n, k]`     1 where the slot holds an edge, else 0 (the dtype of `vectors`)
    species   `[p, n]`        index of the element in the dataset's list of elements (int64)
    atoms     `[p, n]`        1 for an atom, 0 for padding (the dtype of `vectors`)
    frames    `[p, n]`        index of an atom's frame in its batch (int64); None: all atoms belong to one
    """

    vectors: Tensor
    senders: Tensor
    reverse: Tensor
    mask: Tensor
    species: Tensor
    atoms: Tensor
    frames: Tensor | None = None


class _Gather(torch.autograd.Function):
    """`x[senders]` whose gradient gathers through `reverse` (module docstring)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, senders: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(senders, reverse, mask)
        return _rows(x, senders)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        senders, reverse, mask = ctx.saved_tensors
        return _SumReversed.apply(grads[0], senders, reverse, mask), None, None, None  # type: ignore[no-untyped-call]


class _SumReversed(torch.autograd.Function):
    """Transpose of `_Gather`: node `j` receives the sum of `y` over all slots whose sender is `j`."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, senders: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(senders, reverse, mask)
        p, n, k = senders.shape
        rest = y.shape[3:]
        back = y.reshape(p * n * k, *rest).index_select(0, reverse.reshape(-1)).reshape(p, n, k, *rest)
        return (back * mask.reshape(p, n, k, *([1] * len(rest)))).sum(2)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        senders, reverse, mask = ctx.saved_tensors
        spread = _Gather.apply(grads[0], senders, reverse, mask)  # type: ignore[no-untyped-call]
        return spread * mask.reshape(*mask.shape, *([1] * (spread.ndim - 3))), None, None, None


def gather_senders(x: Tensor, graph: Graph) -> Tensor:
    """Gather the features of every slot's sender: `[p, n, ...]` → `[p, n, k, ...]`.

    Masked slots hold some node's features. Multiply them by zero before summing over slots (the radial cutoff does), so
    that their gradient vanishes: the hand-written transpose relies on it.
    """
    return _Gather.apply(x, graph.senders, graph.reverse, graph.mask)  # type: ignore[no-untyped-call, no-any-return]


def pair_forces(gradient: Tensor, graph: Graph) -> Tensor:
    """Return forces `[p, n, 3]` from ∂E/∂vectors `[p, n, k, 3]`: F_i = Σ_k (g_ik − g_ki)."""
    masked = gradient * graph.mask[..., None]
    return masked.sum(2) - _SumReversed.apply(masked, graph.senders, graph.reverse, graph.mask)  # type: ignore[no-untyped-call, no-any-return]


def atomic_virials(gradient: Tensor, vectors: Tensor, mask: Tensor) -> Tensor:
    """Return each atom's part of ∂E/∂ε from ∂E/∂vectors, in units of E: `[..., k, 3]` → `[..., 3, 3]`, symmetric.

    A strain ε of positions and cell turns every edge vector v into v + ε·v, whichever periodic image it leads to, so
    that the derivative is exact and costs one sum over edges. `vectors` `[..., k, 3]`, `mask` `[..., k]`: see `Graph`.
    """
    outer = torch.einsum("...ka,...kb->...ab", gradient * mask[..., None], vectors)
    return 0.5 * (outer + outer.mT)


@dataclass(frozen=True)
class Pairs:
    """Both directions of an edge as one pair: quantities equal for both are computed once.

    slot, other  `[p, m]`     the two slots of a pair among the `p·n·k` of the whole pack; m = ⌊n·k/2⌋ (at least 1)
    valid        `[p, m]`     1 for a pair, 0 for padding (the dtype of the mask)
    pair         `[p, n, k]`  row among the `p·m` pairs of every slot; any row where masked
    """

    slot: Tensor
    other: Tensor
    valid: Tensor
    pair: Tensor


def pairs_of(graph: Graph) -> Pairs:
    """Pair up the slots of a graph, in the order of first slots; traceable, for shapes depend on its shape only."""
    p, n, k = graph.mask.shape
    slots, m = n * k, max(n * k // 2, 1)
    device = graph.mask.device
    start = torch.arange(p, device=device)[:, None] * slots  # [p, 1]
    own = torch.arange(slots, device=device).expand(p, slots)
    reverse = graph.reverse.reshape(p, slots) - start
    first = (own < reverse) & (graph.mask.reshape(p, slots) > 0)
    rank = first.long().cumsum(1)  # [p, slots], counts from 1
    wanted = torch.arange(1, m + 1, device=device).expand(p, m).contiguous()
    slot = torch.searchsorted(rank, wanted).clamp(max=slots - 1)  # where the count reaches 1 … m
    pair = (rank.gather(1, torch.minimum(own, reverse)) - 1).clamp(min=0) + torch.arange(p, device=device)[:, None] * m
    return Pairs(
        slot=slot + start,
        other=reverse.gather(1, slot) + start,
        valid=(wanted <= rank[:, -1:]).to(graph.mask.dtype),
        pair=pair.reshape(p, n, k),
    )


class _ToSlots(torch.autograd.Function):
    """Values of pairs → both of their slots, 0 where masked."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, slot: Tensor, other: Tensor, valid: Tensor, pair: Tensor) -> Tensor:
        ctx.save_for_backward(mask, slot, other, valid, pair)
        return _rows(x, pair) * _like(mask, x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _ToPairs.apply(grads[0], *ctx.saved_tensors), None, None, None, None, None  # type: ignore[no-untyped-call]


class _ToPairs(torch.autograd.Function):
    """Transpose of `_ToSlots`: sum over the two slots of a pair, 0 where padded."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, mask: Tensor, slot: Tensor, other: Tensor, valid: Tensor, pair: Tensor) -> Tensor:
        ctx.save_for_backward(mask, slot, other, valid, pair)
        flat = y.flatten(1, 2)  # [p, n·k, ...]
        return (_rows(flat, slot) + _rows(flat, other)) * _like(valid, flat)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _ToSlots.apply(grads[0], *ctx.saved_tensors), None, None, None, None, None  # type: ignore[no-untyped-call]


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Pick rows `[p, r, ...]` by `index` (any shape) among all `p·r`."""
    return x.flatten(0, 1).index_select(0, index.reshape(-1)).reshape(*index.shape, *x.shape[2:])


def _like(factor: Tensor, x: Tensor) -> Tensor:
    return factor.reshape(*factor.shape, *([1] * (x.ndim - 2)))


def to_slots(x: Tensor, graph: Graph, pairs: Pairs) -> Tensor:
    """Copy values of pairs to both of their slots: `[p, m, ...]` → `[p, n, k, ...]`, 0 where masked."""
    return _ToSlots.apply(x, graph.mask, pairs.slot, pairs.other, pairs.valid, pairs.pair)  # type: ignore[no-untyped-call, no-any-return]


def to_pairs(y: Tensor, graph: Graph, pairs: Pairs) -> Tensor:
    """Sum over the two slots of every pair: `[p, n, k, ...]` → `[p, m, ...]`, 0 where padded."""
    return _ToPairs.apply(y, graph.mask, pairs.slot, pairs.other, pairs.valid, pairs.pair)  # type: ignore[no-untyped-call, no-any-return]
