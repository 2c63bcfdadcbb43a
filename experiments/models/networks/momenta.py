"""Deep sets on the components of four-momenta: the twin of the Lorentz network without its symmetry."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from experiments.models.momenta import MomentaConfig
from experiments.models.networks.lorentz import UNIT, squashed
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import scaled_silu
from experiments.tasks.task import Tensors


class Momenta:
    """Deep sets as a function of packed weights and momenta `[p, B, n, 4]`: a perceptron per particle, one on their
    sum.

    Components enter as sgn(x)·ln(1 + |x|), x in units of 10 GeV, for they span decades.
    """

    def __init__(self, config: MomentaConfig, shape: tuple[int, ...], outputs: int) -> None:
        c, depth = config.channels, config.n_layers
        self.scale = 1 / shape[0]
        self.widths = {"particle": [shape[1], *[c] * depth], "jet": [c, *[c] * depth, outputs]}

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        out = []
        for name, widths in self.widths.items():
            for t in range(len(widths) - 1):
                out.append(Parameter(f"{name}.{t}", (widths[t], widths[t + 1])))
                out.append(Parameter(f"{name}.{t}.bias", (widths[t + 1],), 0.0))
        return tuple(out)

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map momenta `[p, B, n, 4]` to outputs `[p, B, o]`."""
        p, batch, n, _ = inputs.shape
        x = squashed(inputs.reshape(p, batch * n, -1) * (1 / UNIT))
        for t in range(len(self.widths["particle"]) - 1):
            x = scaled_silu(self._linear(params, f"particle.{t}", x))
        real = (inputs[..., 0] > 0).to(inputs.dtype)[..., None]
        x = (x.reshape(p, batch, n, -1) * real).sum(2) * self.scale
        last = len(self.widths["jet"]) - 2
        for t in range(last + 1):
            x = self._linear(params, f"jet.{t}", x)
            x = x if t == last else scaled_silu(x)
        return x

    @staticmethod
    def _linear(params: Tensors, name: str, x: Tensor) -> Tensor:
        return x @ (params[name] * (1 / math.sqrt(x.shape[-1]))) + params[f"{name}.bias"][:, None]
