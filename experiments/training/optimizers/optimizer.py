"""The interface of optimisers: every tensor carries the pack axis first, and runs never mix.

Parameters are one vector `[p, n]` (layout.py). `update` is made of elementwise operations and small products;
decompositions are done now and then, in `refresh`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from experiments.training.layout import Layout

Tensors = Mapping[str, Tensor]


class Optimizer(Protocol):
    """An optimiser; its state is a flat dictionary of tensors `[p, ...]`."""

    @property
    def anneals(self) -> bool:
        """True if the learning rate falls to zero at the end of a schedule."""
        ...

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return the state before the first update of parameters `like` `[p, n]`."""
        ...

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return new parameters and state after one update.

        Args:
            layout: the place of each parameter in the vector.
            params: `[p, n]`.
            grads: `[p, n]`, clipped.
            state: from `init` or the update before.
            rate: `[p]` learning rates.
            step: `[p]` places in the schedule, counted from 1.
        """
        ...

    def due(self, step: int) -> bool:
        """Return whether `refresh` is to be called after update `step` (counted from 1)."""
        ...

    def refresh(self, layout: Layout, state: Tensors, first: Tensor | None, due: Tensor) -> dict[str, Tensor]:
        """Recompute the parts of the state that are renewed only now and then.

        Args:
            layout: the place of each parameter in the vector.
            state: after an update.
            first: `[p]` whether a run has just made its first update; None: none has, which the device need not be
                asked then.
            due: `[p]`; runs for which it is false keep their state.
        """
        ...

    def evaluated(self, average: Tensor, state: Tensors) -> Tensor:
        """Return the weights `[p, n]` to evaluate, given the engine's moving average of the parameters `[p, n]`."""
        ...


class PlainOptimizer:
    """Defaults of an optimiser: it anneals, is evaluated at the moving average, and needs no `refresh`."""

    anneals = True

    def due(self, step: int) -> bool:
        """Return False: `refresh` is never needed."""
        return False

    def refresh(self, layout: Layout, state: Tensors, first: Tensor | None, due: Tensor) -> dict[str, Tensor]:
        """Return the state as it is."""
        return dict(state)

    def evaluated(self, average: Tensor, state: Tensors) -> Tensor:
        """Return the moving average."""
        return average


def along(vector: Tensor, tensor: Tensor) -> Tensor:
    """Reshape `vector` `[p]` so that it multiplies `tensor` `[p, ...]`."""
    return vector.reshape(-1, *([1] * (tensor.ndim - 1)))


def unbiased(moment: Tensor, beta: float, step: Tensor) -> Tensor:
    """Divide a moment `[p, ...]` that started at zero by its weight, 1 − β^step (`step` `[p]` counted from 1)."""
    # expm1, for 1 − β^step loses three of float32's seven digits if β^step is near one.
    return moment / along(-torch.expm1(step * math.log(beta)), moment)
