"""Convolutional network on a periodic grid: correlations, pointwise nonlinearities, and a soft maximum over the grid (a
mean if layers are normalised).

Exactly invariant under translations by whole pixels. All other symmetries of the plane it has to learn.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from experiments.models.cnn import CnnConfig
from experiments.nn.grid import (
    correlate,
    kernel_of,
    normalized,
    normalizes,
    readout,
    readout_parameters,
    summary,
    with_bias,
)
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import scaled_silu
from experiments.tasks.task import Tensors


class Cnn:
    """The network as a function of packed weights and images `[p, B, C, *space]`; see the module."""

    def __init__(self, config: CnnConfig, shape: tuple[int, ...], outputs: int) -> None:
        self.config = config
        self.channels, self.dimensions = shape[0], len(shape) - 1
        self.n_outputs = outputs

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        config = self.config
        widths = [self.channels] + [config.channels] * config.n_layers
        out = []
        for t, (before, after) in enumerate(pairwise(widths)):
            out.append(Parameter(f"layer{t}.kernel", (config.kernel**self.dimensions, before, after)))
            out.append(Parameter(f"layer{t}.bias", (after,), 0.0))
        return (*out, *readout_parameters(config.channels, self.n_outputs, config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map images `[p, B, C, *space]` to outputs `[p, B, o]`."""
        x = inputs
        for t in range(self.config.n_layers):
            kernel = kernel_of(params[f"layer{t}.kernel"], self.config.kernel)
            y = correlate(x, kernel)
            if normalizes(self.config, t):
                y = normalized(y, 3)
            x = scaled_silu(with_bias(y, params[f"layer{t}.bias"]))
        return readout(params, summary(x, 3, self.config.instance_norm))
