"""What an optimiser is to the engine: every tensor carries the pack axis first, and runs never mix.

Parameters are one vector `[p, n]` (layout.py). `update` is made of elementwise operations and small products;
what needs a decomposition is done now and then, in `refresh`.
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
    """State is a flat dictionary of tensors `[p, ...]`."""

    @property
    def anneals(self) -> bool:
        """Whether the learning rate falls to zero at the end of a schedule."""
        ...

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """State before the first update of parameters `like` `[p, n]`."""
        ...

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """New parameters `[p, n]` and state; `rate` `[p]` learning rates, `step` `[p]` counted from 1."""
        ...

    def due(self, step: int) -> bool:
        """Whether `refresh` is to be called after update `step` (counted from 1)."""
        ...

    def refresh(self, layout: Layout, state: Tensors, first: Tensor, due: Tensor) -> dict[str, Tensor]:
        """State with what is recomputed only now and then; runs where `due` `[p]` is false keep theirs."""
        ...

    def evaluated(self, average: Tensor, state: Tensors) -> Tensor:
        """The weights `[p, n]` that errors are measured with, given the engine's moving average of the parameters."""
        ...


class PlainOptimizer:
    """Anneals, is evaluated at the moving average, and recomputes nothing now and then."""

    anneals = True

    def due(self, step: int) -> bool:
        """Never."""
        return False

    def refresh(self, layout: Layout, state: Tensors, first: Tensor, due: Tensor) -> dict[str, Tensor]:
        """Nothing to do."""
        return dict(state)

    def evaluated(self, average: Tensor, state: Tensors) -> Tensor:
        """The average."""
        return average


def along(vector: Tensor, tensor: Tensor) -> Tensor:
    """`[p]` reshaped to multiply `[p, ...]`."""
    return vector.reshape(-1, *([1] * (tensor.ndim - 1)))


def unbiased(moment: Tensor, beta: float, step: Tensor) -> Tensor:
    """Moment over its weight, 1 − β^step."""
    # expm1, for 1 − β^step loses three of float32's seven digits where β^step is near one.
    return moment / along(-torch.expm1(step * math.log(beta)), moment)
