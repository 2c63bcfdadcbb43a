"""One update of a whole pack as a single traced graph: loss, forces, gradients, clipping, optimiser, average.

The gradient of a loss on forces needs second derivatives, which ``torch.compile`` cannot take. So the derivatives
are traced first (``make_fx`` records the operations that autograd runs), and what is compiled is a plain graph.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.training.optimizers import Optimizer, like

logger = logging.getLogger(__name__)
Tensors = Mapping[str, Tensor]
LossFunction = Callable[[Tensors, Tensors, Tensors, Tensor], Tensor]
"""(parameters, targets, resident tensors, picked [p, B]) → loss [p]."""


@dataclass(frozen=True)
class StepSettings:
    """What an update does besides following the gradient."""

    clip: float
    ema_decay: float


class Step(Protocol):
    """State, targets, resident tensors, picked ``[p, B]``, rate ``[p]``, step ``[p]`` → new state, loss ``[p]``."""

    def __call__(
        self, state: Tensors, targets: Tensors, resident: Tensors, picked: Tensor, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """One update."""
        ...


def part(state: Tensors, kind: str) -> dict[str, Tensor]:
    """Entries of a flat state ``kind/name`` by name; kinds: params, constants, ema, optimizer."""
    prefix = f"{kind}/"
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def whole_state(**kinds: Tensors) -> dict[str, Tensor]:
    """The flat state from its parts."""
    return {f"{kind}/{name}": value for kind, tensors in kinds.items() for name, value in tensors.items()}


def eager_step(loss: LossFunction, optimizer: Optimizer, settings: StepSettings) -> Step:
    """The update as ordinary torch operations."""

    def step(
        state: Tensors, targets: Tensors, resident: Tensors, picked: Tensor, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        params, constants = part(state, "params"), part(state, "constants")
        ema, memory = part(state, "ema"), part(state, "optimizer")
        with torch.enable_grad():
            leaves = {name: value.detach().requires_grad_(True) for name, value in params.items()}
            losses = loss({**leaves, **constants}, targets, resident, picked)  # [p]
            # The loss is summed over the pack: a run's parameters enter its own term only.
            found = torch.autograd.grad(losses.sum(), list(leaves.values()), materialize_grads=True)
        grads = dict(zip(leaves, (g.detach() for g in found), strict=True))
        square = torch.stack([(g**2).flatten(1).sum(1) for g in map(_with_axis, grads.values())]).sum(0)  # [p]
        shrink = torch.clamp(settings.clip / (square.sqrt() + 1e-12), max=1.0)
        grads = {name: g * like(shrink, g) for name, g in grads.items()}
        params, memory = optimizer.update(params, grads, memory, rate, step)
        # Early on the average forgets faster, else it would be the initial weights for its first 1/(1−d) steps.
        keep = torch.clamp((1 + step) / (10 + step), max=settings.ema_decay)
        ema = {name: torch.lerp(value, params[name], like(1 - keep, value)) for name, value in ema.items()}
        return whole_state(params=params, constants=constants, ema=ema, optimizer=memory), losses.detach()

    return step


def _with_axis(tensor: Tensor) -> Tensor:
    return tensor[:, None] if tensor.ndim == 1 else tensor


def make_step(
    loss: LossFunction, optimizer: Optimizer, settings: StepSettings, compile: bool, example: Sequence[Any]
) -> Step:
    """The update, compiled for the shapes of ``example`` (the arguments of a call) where ``compile`` is set."""
    eager = eager_step(loss, optimizer, settings)
    if not compile:
        return eager
    state, targets, resident, picked, rate, step = example
    keys = [sorted(tensors) for tensors in (state, targets, resident)]
    inputs = [tensors[k] for tensors, names in zip(example[:3], keys, strict=True) for k in names]
    out_keys: list[str] = []

    def flat(*tensors: Tensor) -> tuple[Tensor, ...]:
        rest = iter(tensors)
        named = [{k: next(rest) for k in names} for names in keys]
        new, losses = eager(named[0], named[1], named[2], *rest)
        out_keys[:] = sorted(new)
        return (losses, *(new[k] for k in out_keys))

    flat(*inputs, picked, rate, step)  # once plainly: what models cache must not be a tracer's
    traced = make_fx(flat)(*inputs, picked, rate, step)
    with torch.no_grad():
        compiled = torch.compile(traced, fullgraph=True, dynamic=False)

    def call(
        state: Tensors, targets: Tensors, resident: Tensors, picked: Tensor, rate: Tensor, step: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        groups = (state, targets, resident)
        flat_inputs = [tensors[k] for tensors, names in zip(groups, keys, strict=True) for k in names]
        with torch.no_grad():
            losses, *new = compiled(*flat_inputs, picked, rate, step)
        return dict(zip(out_keys, new, strict=True)), losses

    return call


def can_compile() -> bool:
    """Whether a C++ compiler is at hand; warns once where it is not."""
    if any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        return True
    logger.warning("no C++ compiler (g++) found: training eagerly, several times slower")
    return False
