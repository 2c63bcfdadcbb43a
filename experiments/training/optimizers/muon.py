"""Steps of equal size along all singular vectors of a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from experiments.training.layout import Layout
from experiments.training.optimizers.adam import Adam
from experiments.training.optimizers.optimizer import PlainOptimizer, Tensors, along

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton–Schulz iteration; singular values end between 0.7 and 1.2 (Jordan et al. 2024)."""


@dataclass(frozen=True)
class Muon(PlainOptimizer):
    """Muon (Jordan et al. 2024; scaled as in Liu et al. 2025, arXiv 2502.16982, eq. 4).

    The momentum of a matrix of the layout is replaced by the nearest orthogonal matrix; vectors are updated by Adam.
    """

    momentum: float = 0.95
    iterations: int = 5
    adam: Adam = field(default_factory=Adam)

    def init(self, layout: Layout, like: Tensor) -> dict[str, Tensor]:
        """Return the momentum and Adam's moments at zero."""
        return {"momentum": torch.zeros_like(like), **self.adam.init(layout, like)}

    def update(
        self, layout: Layout, params: Tensor, grads: Tensor, state: Tensors, rate: Tensor, step: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Make one update; shapes as in `Optimizer.update`."""
        momentum = torch.lerp(state["momentum"], grads, 1 - self.momentum)
        ahead = torch.lerp(momentum, grads, 1 - self.momentum)  # Nesterov's
        adam, memory = self.adam.update(layout, params, grads, {k: state[k] for k in ("m", "v")}, rate, step)
        parts = []
        for block in layout.blocks:
            if min(block.rows, block.columns) == 1:
                parts.append(block.of(adam).flatten(1))
                continue
            direction = orthogonal(block.of(ahead), self.iterations)
            size = 0.2 * math.sqrt(max(block.rows, block.columns))  # the root mean square of Adam's steps
            parts.append((block.of(params) - along(rate, direction) * size * direction).flatten(1))
        return torch.cat(parts, 1), {"momentum": momentum, **memory}


def orthogonal(matrix: Tensor, iterations: int) -> Tensor:
    """Return U Vᵀ of `matrix` = U S Vᵀ `[..., r, c]`, approximately, by Newton–Schulz iterations."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[-2] > matrix.shape[-1]
    x: Tensor = matrix.mT if tall else matrix
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-12)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
