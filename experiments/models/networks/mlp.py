"""Multilayer perceptron on pixels: the twin without any symmetry."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from experiments.models.mlp import MlpConfig
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import scaled_silu
from experiments.tasks.task import Tensors


class Mlp:
    """The network as a function of packed weights and arrays `[p, B, …]`; it ignores how their numbers are arranged."""

    def __init__(self, config: MlpConfig, shape: tuple[int, ...], outputs: int) -> None:
        self.widths = [math.prod(shape), *[config.channels] * config.n_layers, outputs]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        out = []
        for t, (before, after) in enumerate(pairwise(self.widths)):
            out.append(Parameter(f"layer{t}", (before, after)))
            out.append(Parameter(f"layer{t}.bias", (after,), 0.0))
        return tuple(out)

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map arrays `[p, B, …]` to outputs `[p, B, o]`."""
        x = inputs.flatten(2)
        last = len(self.widths) - 2
        for t in range(last + 1):
            x = x @ (params[f"layer{t}"] * (1 / math.sqrt(x.shape[-1]))) + params[f"layer{t}.bias"][:, None]
            x = x if t == last else scaled_silu(x)
        return x
