"""A pack's step, compiled if that works: a compiler that fails, or whose step is wrong, costs speed and nothing else.

Compilers make mistakes: on an H200 (torch 2.11) the compiled gradient of a small MACE was wrong by 30 %, without any
error (docs/gpu.md). So the compiled step is compared with the eager one before it is used. Both start from initial
weights, even in a run that is resumed: there gradients are no small differences of large numbers, and the outcome
depends on the shape alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.core.compiler import warn
from experiments.training.device_errors import first_line, lost_device, out_of_memory
from experiments.training.layout import Layout
from experiments.training.lengthy import lengthy
from experiments.training.optimizers.optimizer import Optimizer
from experiments.training.step import (
    Gradient,
    LossFunction,
    Tensors,
    Update,
    eager_gradient,
    eager_update,
    make_gradient,
    make_update,
)

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""Largest difference of gradients, relative to the gradient's norm. Another order of operations changed initial
gradients by 3e-15 in double and 2e-6 in single precision at most, in all networks (docs/gpu.md); a wrong one is off by
tenths. Losses and the update's results are as exact."""
TOLERANCE_TF32 = 3e-2
"""The same where products keep 11 binary digits, 2¹³ times fewer than 24: a few thousandths in the gradient."""
REPLAYS = 3
"""Calls that are compared on a GPU: the first runs kernels one by one, the second records them, the third replays."""


@dataclass(frozen=True)
class Example:
    """Arguments of an update at the beginning of training.

    Args:
        state: parameters, averages and optimiser state of all runs, and `constants` by name.
        constants: of the networks.
        batch: what the loss needs of the frames (`Task.batch`).
        limits: `clip` and `ema_decay`, `[p]`.
    """

    state: Tensors
    constants: Tensors
    batch: Tensors
    limits: Tensors

    @property
    def gradient(self) -> tuple[Tensor, Tensors, Tensors]:
        """Arguments of `Gradient`."""
        return self.state["params"], self.constants, self.batch

    def update(self, grads: Tensor) -> tuple[Tensors, Tensor, Tensor, Tensor, Tensors]:
        """Return the arguments of `Update` for a gradient `[p, n]`, at rate 1: round-off hides no change."""
        ones = torch.ones_like(self.limits["clip"])
        return self.state, grads, ones, ones, self.limits


@dataclass(frozen=True)
class Step:
    """Gradient and update of a pack."""

    gradient: Gradient
    update: Update
    kind: str
    """`compiled` or `eager`."""
    why: str | None = None
    """Why it is eager although it was to be compiled."""


@lengthy("compiling")
def make_step(
    loss: LossFunction,
    optimizer: Optimizer,
    layout: Layout,
    compile: bool,
    example: Example,
    name: str,
    tf32: bool = False,
) -> Step:
    """Return the step of a pack; with `compile`, compiled for the shapes of `example` if that works and is right.

    Args:
        loss: of a batch.
        optimizer: of all runs.
        layout: of their parameters.
        compile: whether to compile.
        example: arguments of a call.
        name: of the network, for a warning.
        tf32: whether products keep 11 binary digits only.

    Raises:
        Exception: memory ran out, or the device is lost.
    """
    if not compile:
        return Step(make_gradient(loss, layout, False, example.gradient), eager_update(optimizer, layout), "eager")
    device = example.limits["clip"].device
    eager = Step(eager_gradient(loss, layout), eager_update(optimizer, layout), "eager")
    # Before the compiled one exists: its memory on a GPU and that of an eager gradient need not fit side by side.
    losses, grads = eager.gradient(*example.gradient)
    try:
        gradient = make_gradient(loss, layout, True, example.gradient)
        update = make_update(optimizer, layout, True, example.update(grads))
        compiled = Step(gradient, update, "compiled")
        expected = {"loss": losses, "gradient": grads}
        if not tf32:  # an optimiser may orthogonalise, which amplifies what those digits lose
            expected |= eager.update(*example.update(grads))
        why = _difference(compiled, example, expected, grads, tf32)
    except Exception as error:
        if out_of_memory(error) or lost_device(error, device) is not None:
            raise
        why = f"its compiler failed ({first_line(error)})"
    if why is None:
        return compiled
    warn(f"{name} on {_place(device)} is trained eagerly, several times slower: {why}")
    return Step(eager.gradient, eager.update, "eager", why)


def _difference(step: Step, example: Example, expected: Mapping[str, Tensor], grads: Tensor, tf32: bool) -> str | None:
    """Return what a compiled step computes otherwise than `expected`, None if nothing; in one line."""
    tolerance = TOLERANCE_TF32 if tf32 else TOLERANCE.get(grads.dtype, TOLERANCE[torch.float32])
    for _ in range(REPLAYS if grads.device.type == "cuda" else 1):
        losses, found = step.gradient(*example.gradient)
        values = {"loss": losses.clone(), "gradient": found.clone()}  # before the next replay overwrites them
        if len(expected) > len(values):
            values |= step.update(*example.update(grads))
        for name, value in expected.items():
            apart = distance(values[name], value)
            if apart > tolerance:
                return f"the compiled step's {name} differs from the eager one's by {apart:.2g} of its norm"
    return None


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the largest distance of a run's values `[p, ...]` from those expected, relative to their norm.

    A run whose expected values are not finite counts as 0: its training fails the same way in both.
    """
    one, other = (tensor.double().reshape(len(tensor), -1) for tensor in (found, expected))
    norms = other.norm(dim=1)
    apart = (one - other).norm(dim=1) / (norms + torch.finfo(torch.float32).tiny)
    apart = torch.where(norms.isfinite(), torch.nan_to_num(apart, nan=torch.inf), torch.zeros_like(apart))
    return float(apart.max())


def _place(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return f"{name} with torch {torch.__version__}"
