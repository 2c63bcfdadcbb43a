"""Averaging in place of a falling learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.training.layout import Layout
from experiments.training.optimizers.optimizer import PlainOptimizer, Tensors, along, unbiased


@dataclass(frozen=True)
class ScheduleFree(PlainOptimizer):
    """Schedule-free AdamW without decay of weights (Defazio et al. 2024, arXiv 2405.15682), Algorithm 1.

    The parameters are the points y at which gradients are taken; z makes the steps, and x, the weighted mean of all z,
    is evaluated.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    anneals = False

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return the state with z and x at the parameters."""
        weight = torch.zeros(len(like), dtype=like.dtype, device=like.device)
        return {"z": like.clone(), "x": like.clone(), "v": torch.zeros_like(like), "weight": weight}

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one update; shapes as in `Optimizer.update`."""
        v = torch.lerp(state["v"], grads**2, 1 - self.beta2)
        z = state["z"] - along(rate, grads) * grads / (unbiased(v, self.beta2, step).sqrt() + self.eps)
        weight = state["weight"] + rate**2
        x = torch.lerp(state["x"], z, along(rate**2 / weight, z))
        return torch.lerp(z, x, self.beta1), {"z": z, "x": x, "v": v, "weight": weight}

    def evaluated(self, average: Tensor, state: Tensors) -> Tensor:
        """Return x, the weighted mean of all z."""
        return state["x"]
