"""The gradient of a whole pack as one traced graph: energies, forces, loss, and its derivative.

The gradient of a loss on forces needs second derivatives, which ``torch.compile`` cannot take. So the derivatives
are traced first (``make_fx`` records the operations that autograd runs), and what is compiled is a plain graph.
The optimiser stays outside: it is a dozen operations on one vector, and would triple the time to compile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.compiler import compiler
from experiments.training.layout import Layout

Tensors = Mapping[str, Tensor]
LossFunction = Callable[[Tensors, Tensors, Tensors, Tensor], Tensor]
"""(parameters, targets, resident tensors, picked [p, B]) → loss [p]."""
Gradient = Callable[[Tensor, Tensors, Tensors, Tensors, Tensor], tuple[Tensor, Tensor]]
"""(parameters [p, n], constants, targets, resident tensors, picked [p, B]) → loss [p], gradient [p, n]."""


def eager_gradient(loss: LossFunction, layout: Layout) -> Gradient:
    """The gradient as ordinary torch operations."""

    def gradient(
        flat: Tensor, constants: Tensors, targets: Tensors, resident: Tensors, picked: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            params = {name: value.detach().requires_grad_(True) for name, value in layout.named(flat).items()}
            losses = loss({**params, **constants}, targets, resident, picked)  # [p]
            # The loss is summed over the pack: a run's parameters enter its own term only.
            found = torch.autograd.grad(losses.sum(), list(params.values()), materialize_grads=True)
        return losses.detach(), layout.flat(dict(zip(params, (g.detach() for g in found), strict=True)))

    return gradient


def make_gradient(
    loss: LossFunction,
    layout: Layout,
    compile: bool,
    example: tuple[Tensor, Tensors, Tensors, Tensors, Tensor],
) -> Gradient:
    """The gradient, compiled for the shapes of ``example`` (the arguments of a call) where ``compile`` is set."""
    eager = eager_gradient(loss, layout)
    if not compile:
        return eager
    flat, *groups, picked = example
    keys = [sorted(tensors) for tensors in groups]

    def listed(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        rest = iter(tensors[1:])
        named = [{k: next(rest) for k in names} for names in keys]
        return eager(tensors[0], named[0], named[1], named[2], next(rest))

    def arguments(flat: Tensor, groups: list[Tensors], picked: Tensor) -> list[Tensor]:
        return [flat, *(tensors[k] for tensors, names in zip(groups, keys, strict=True) for k in names), picked]

    inputs = arguments(flat, groups, picked)
    listed(*inputs)  # once plainly: what models cache must not be a tracer's
    traced = make_fx(listed)(*inputs)
    on_cpu = flat.device.type == "cpu"
    # One C++ file instead of one a kernel: half the time to compile, and half of what a call costs (measured).
    options: dict[str, Any] = {"cpp_wrapper": True} if on_cpu else {"triton.cudagraphs": True}
    compiled = torch.compile(traced, fullgraph=True, dynamic=False, options=options)

    def call(
        flat: Tensor, constants: Tensors, targets: Tensors, resident: Tensors, picked: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            losses, gradient = compiled(*arguments(flat, [constants, targets, resident], picked))
        return losses, gradient

    return call


def can_compile() -> bool:
    """Whether a C++ compiler is at hand; warns once where it is not."""
    return compiler() is not None
