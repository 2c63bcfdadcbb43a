"""An update of a whole pack as two traced graphs: the gradient, and the step that follows from it.

The gradient of a loss on forces needs second derivatives, which `torch.compile` cannot take. So the derivatives
are traced first (`make_fx` records the operations that autograd runs), and what is compiled is a plain graph.
Clipping, optimiser and moving average are a graph of their own: inside the gradient's they would triple the time to
compile; as ordinary operations they would cost half as much time as the gradient (measured).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.core.compiler import compiler, lacking, warn
from experiments.training.layout import Layout
from experiments.training.lengthy import lengthy
from experiments.training.optimizers.optimizer import Optimizer, along

if TYPE_CHECKING:
    from experiments.training.inductor import PositionalFunction

logger = logging.getLogger(__name__)
Tensors = Mapping[str, Tensor]
LossFunction = Callable[[Tensors, Tensors], Tensor]
"""(parameters and constants, batch) → loss [p]."""
Gradient = Callable[[Tensor, Tensors, Tensors], tuple[Tensor, Tensor]]
"""(parameters [p, n], constants, batch) → loss [p], gradient [p, n]; see `Task.batch`."""
Update = Callable[[Tensors, Tensor, Tensor, Tensor, Tensors], dict[str, Tensor]]
"""(state, gradient [p, n], rate [p], step [p] counted from 1, limits: clip [p], ema_decay [p]) → state, with
`params` [p, n], `ema` [p, n] and the optimiser's entries as `optimizer/name`."""
MIX_ORDER = "triton.mix_order_reduction"
"""Inductor's option to sum rows and columns in one kernel, which adds padded rows to sums of columns without an error
(pytorch #195845, torch 2.10 to 2.13 at least); from five million numbers on, as in packs."""


def eager_gradient(loss: LossFunction, layout: Layout) -> Gradient:
    """Return the gradient as ordinary torch operations."""

    def gradient(flat: Tensor, constants: Tensors, batch: Tensors) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            params = {name: value.detach().requires_grad_(True) for name, value in layout.named(flat).items()}
            losses = loss({**params, **constants}, batch)  # [p]
            # The loss is summed over the pack: a run's parameters enter its own term only.
            grads = torch.autograd.grad(losses.sum(), list(params.values()), materialize_grads=True)
        return losses.detach(), layout.flat(dict(zip(params, (g.detach() for g in grads), strict=True)))

    return gradient


@lengthy()
def make_gradient(
    loss: LossFunction, layout: Layout, compile: bool, example: tuple[Tensor, Tensors, Tensors]
) -> Gradient:
    """Return the gradient; if `compile` is set, compiled for the shapes of `example`, the arguments of a call."""
    eager = eager_gradient(loss, layout)
    if not compile:
        return eager
    flat, *groups = example
    keys = [sorted(tensors) for tensors in groups]

    def listed(*tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors[1:])
        constants, batch = ({name: next(rest) for name in names} for names in keys)
        return eager(tensors[0], constants, batch)

    def arguments(flat: Tensor, *groups: Tensors) -> list[Tensor]:
        return [flat, *(tensors[k] for tensors, names in zip(groups, keys, strict=True) for k in names)]

    inputs = arguments(flat, *groups)
    listed(*inputs)  # once plainly: what models cache must not be a tracer's
    compiled = compiled_for(listed, inputs, replayed=True)

    def call(flat: Tensor, constants: Tensors, batch: Tensors) -> tuple[Tensor, Tensor]:
        losses, gradient = compiled(*arguments(flat, constants, batch))
        return losses, gradient

    return call


def eager_update(optimizer: Optimizer, layout: Layout) -> Update:
    """Return the update (clipping, optimiser, moving average) as ordinary torch operations."""

    def update(state: Tensors, grads: Tensor, rate: Tensor, step: Tensor, limits: Tensors) -> dict[str, Tensor]:
        shrink = torch.clamp(limits["clip"] / (grads.norm(dim=1) + 1e-12), max=1.0)
        memory = {k.removeprefix("optimizer/"): v for k, v in state.items() if k.startswith("optimizer/")}
        params, memory = optimizer.update(layout, state["params"], grads * along(shrink, grads), memory, rate, step)
        # Early on the average forgets faster, else it would be the initial weights for its first 1/(1−d) steps.
        keep = torch.minimum((1 + step) / (10 + step), limits["ema_decay"])
        ema = torch.lerp(state["ema"], params, along(1 - keep, params))
        return {"params": params, "ema": ema, **{f"optimizer/{k}": v for k, v in memory.items()}}

    return update


@lengthy()
def make_update(
    optimizer: Optimizer, layout: Layout, compile: bool, example: tuple[Tensors, Tensor, Tensor, Tensor, Tensors]
) -> Update:
    """Return the update; if `compile` is set, compiled for the shapes of `example`, the arguments of a call."""
    eager = eager_update(optimizer, layout)
    if not compile:
        return eager
    names = sorted(eager(*example))

    def listed(*tensors: Tensor) -> tuple[Tensor, ...]:
        state = dict(zip(names, tensors, strict=False))
        grads, rate, step, clip, decay = tensors[len(names) :]
        new = eager(state, grads, rate, step, {"clip": clip, "ema_decay": decay})
        return tuple(new[name] for name in names)

    def arguments(state: Tensors, grads: Tensor, rate: Tensor, step: Tensor, limits: Tensors) -> list[Tensor]:
        return [*(state[name] for name in names), grads, rate, step, limits["clip"], limits["ema_decay"]]

    compiled = compiled_for(listed, arguments(*example), replayed=False)

    def call(state: Tensors, grads: Tensor, rate: Tensor, step: Tensor, limits: Tensors) -> dict[str, Tensor]:
        new = compiled(*arguments(state, grads, rate, step, limits))
        return dict(zip(names, new, strict=True))

    return call


def compiled_for(function: PositionalFunction, inputs: Sequence[Tensor], replayed: bool) -> PositionalFunction:
    """Return `function`, traced and compiled for the shapes of `inputs`; it has been called once, so it is ready.

    Args:
        function: of tensors, without side effects.
        inputs: arguments of a call.
        replayed: on a GPU, replay the kernels as one CUDA graph: its outputs last only until the next call.
    """
    distinct = [tensor.clone() for tensor in inputs]  # one given twice would be traced, and guarded, as one
    if inputs[0].device.type == "cpu":
        from experiments.training import inductor  # takes a second to import, which eager trainings need not wait for

        try:
            run = inductor.compiled(function, distinct)
            run(*distinct)
        except Exception as error:  # anything that another release of torch may raise
            logger.info("compiled by torch.compile instead, which takes longer: %s", error)
        else:
            return run
    traced = make_fx(function)(*distinct)
    if inputs[0].device.type == "cuda":
        torch.cuda.empty_cache()  # what tracing took is no use to the graph, whose memory is its own
    options: dict[str, Any] = {"triton.cudagraphs": True} if replayed else {}
    if inputs[0].device.type == "cuda" and MIX_ORDER in torch._inductor.list_options():
        options[MIX_ORDER] = False
    if inputs[0].device.type == "cpu":
        # One C++ file instead of one a kernel: half the time to compile, and half of what a call costs (measured).
        options = {"cpp_wrapper": True}
    compiled = torch.compile(traced, fullgraph=True, dynamic=False, options=options)

    def call(*tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = compiled(*tensors)
        return outputs

    call(*distinct)
    return call


def can_compile(device: torch.device) -> bool:
    """Return whether `device`'s compiler and all that it needs are installed; if not, warn once a process."""
    if device.type == "cpu":
        return compiler() is not None
    missing = lacking(device)
    if missing:
        warn(f"training eagerly on {device.type}, several times slower ({'; '.join(missing.values())})")
    return not missing
