"""What a model sees: a batch of neighbourhoods with a leading pack axis, and the gather that moves node features.

Neighbourhoods are padded to ``k`` slots a node instead of listed as edges. Sums over neighbours are then plain
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
    """Neighbourhoods of ``p`` packed batches of ``n`` nodes with ``k`` neighbour slots.

    vectors   ``[p, n, k, 3]``  x_sender − x_receiver in Å; node ``n`` is the receiver. Any finite value where masked
    senders   ``[p, n, k]``     row of the sender among the ``p·n`` nodes of the whole pack (int64)
    reverse   ``[p, n, k]``     slot of the opposite edge among the ``p·n·k`` slots of the whole pack (int64)
    mask      ``[p, n, k]``     1 where the slot holds an edge, else 0 (the dtype of ``vectors``)
    species   ``[p, n]``        index of the element in the dataset's list of elements (int64)
    atoms     ``[p, n]``        1 for an atom, 0 for padding (the dtype of ``vectors``)
    """

    vectors: Tensor
    senders: Tensor
    reverse: Tensor
    mask: Tensor
    species: Tensor
    atoms: Tensor


class _Gather(torch.autograd.Function):
    """``x[senders]`` whose gradient gathers through ``reverse`` (module docstring)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, senders: Tensor, reverse: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(senders, reverse, mask)
        return _gather(x, senders)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        senders, reverse, mask = ctx.saved_tensors
        return _SumReversed.apply(grads[0], senders, reverse, mask), None, None, None  # type: ignore[no-untyped-call]


class _SumReversed(torch.autograd.Function):
    """Transpose of ``_Gather``: node ``j`` receives the sum of ``y`` over all slots whose sender is ``j``."""

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


def _gather(x: Tensor, senders: Tensor) -> Tensor:
    p, n = x.shape[:2]
    flat = x.reshape(p * n, *x.shape[2:]).index_select(0, senders.reshape(-1))
    return flat.reshape(*senders.shape, *x.shape[2:])


def gather_senders(x: Tensor, graph: Graph) -> Tensor:
    """Features of every slot's sender: ``[p, n, ...]`` → ``[p, n, k, ...]``.

    Masked slots hold some node's features; whoever sums over slots multiplies them by zero first (the radial
    cutoff does), so that their gradient vanishes: the hand-written transpose relies on it.
    """
    return _Gather.apply(x, graph.senders, graph.reverse, graph.mask)  # type: ignore[no-untyped-call, no-any-return]


def pair_forces(gradient: Tensor, graph: Graph) -> Tensor:
    """Forces ``[p, n, 3]`` from ∂E/∂vectors ``[p, n, k, 3]``: F_i = Σ_k (g_ik − g_ki)."""
    masked = gradient * graph.mask[..., None]
    return masked.sum(2) - _SumReversed.apply(masked, graph.senders, graph.reverse, graph.mask)  # type: ignore[no-untyped-call, no-any-return]
