"""Adam, and the variant whose steps never grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.training.layout import Layout
from experiments.training.optimizers.optimizer import PlainOptimizer, Tensors, along, unbiased


@dataclass(frozen=True)
class Adam(PlainOptimizer):
    """Adam (Kingma & Ba 2015, arXiv 1412.6980), Algorithm 1."""

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return both moments at zero."""
        return {"m": torch.zeros_like(like), "v": torch.zeros_like(like)}

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one update; shapes as in `Optimizer.update`."""
        m = torch.lerp(state["m"], grads, 1 - self.beta1)
        v = torch.lerp(state["v"], grads**2, 1 - self.beta2)
        change = unbiased(m, self.beta1, step) / (unbiased(v, self.beta2, step).sqrt() + self.eps)
        return params - along(rate, params) * change, {"m": m, "v": v}


@dataclass(frozen=True)
class AmsGrad(Adam):
    """AMSGrad (Reddi et al. 2018, arXiv 1904.09237), Algorithm 2, with Adam's corrections of bias as in PyTorch.

    The second moment in the denominator is the largest so far. NequIP and MACE are trained with it.
    """

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return both moments and the maximum of the second at zero."""
        return {**super().init(layout, like), "largest": torch.zeros_like(like)}

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one update; shapes as in `Optimizer.update`."""
        m = torch.lerp(state["m"], grads, 1 - self.beta1)
        v = torch.lerp(state["v"], grads**2, 1 - self.beta2)
        largest = torch.maximum(state["largest"], v)
        change = unbiased(m, self.beta1, step) / (unbiased(largest, self.beta2, step).sqrt() + self.eps)
        return params - along(rate, params) * change, {"m": m, "v": v, "largest": largest}
