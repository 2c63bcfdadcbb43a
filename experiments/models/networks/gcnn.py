"""Group-equivariant convolutional network for p4 and p4m (Cohen & Welling 2016, arXiv 1602.07576).

The point group H (rotations by 90°; with mirrors for p4m) acts on the grid by matrices of whole numbers. With
[L_u f](h, x) = f(u⁻¹h, u⁻¹x), features are functions of H and of the place, and a layer correlates them with

    kernel of the lifting, first layer   ψ_h(x)      = ψ(h⁻¹x)                            eq. 10
    kernel of the group                  ψ_h(h', x)  = ψ(h⁻¹h', h⁻¹x)                      eq. 11

so that every kernel is one set of weights, moved by the elements of H: a gather. Nonlinearities act on each number;
a soft maximum (or a mean) over H and the grid is invariant, exactly, and so are the means by which `instance_norm`
normalises.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.models.gcnn import GcnnConfig
from experiments.nn.constants import Constant
from experiments.nn.grid import (
    check_square,
    correlate,
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

Whole = NDArray[np.int64]


def point_group(symmetry: str) -> Whole:
    """List the matrices `[|H|, 2, 2]` of p4 (4 of them) or p4m (8), the identity first."""
    turn, mirror, one = np.array([[0, -1], [1, 0]]), np.array([[1, 0], [0, -1]]), np.eye(2, dtype=np.int64)
    turns = [np.linalg.matrix_power(turn, k) for k in range(4)]
    return np.array([t @ m for m in ([one, mirror] if symmetry == "p4m" else [one]) for t in turns], np.int64)


def moved_taps(group: Whole, side: int) -> Whole:
    """Return `[|H|, side²]`: the tap h⁻¹x for every element h and every tap x of a centred square of odd `side`."""
    half = side // 2
    taps = np.stack(np.meshgrid(*[np.arange(-half, half + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    back = np.einsum("hji,tj->hti", group, taps) + half  # the inverse of h is its transpose
    return np.asarray(back[..., 0] * side + back[..., 1])


def moved_elements(group: Whole) -> Whole:
    """Return `[|H|, |H|]`: the number of h⁻¹h' for every h and h'."""
    products = np.einsum("hji,kjl->hkil", group, group)
    return np.asarray((products[:, :, None] == group).all((-2, -1)).argmax(-1))


class Gcnn:
    """The network as a function of packed weights and square images `[p, B, C, n, n]`; see the module."""

    def __init__(self, config: GcnnConfig, shape: tuple[int, ...], outputs: int) -> None:
        check_square(shape, "gcnn")
        self.config = config
        self.channels = shape[0]
        self.n_outputs = outputs
        group = point_group(config.symmetry)
        self.order = len(group)
        taps, elements = moved_taps(group, config.kernel), moved_elements(group)
        # the place of ψ(h⁻¹h', h⁻¹x) among the |H|·side² matrices of a stored kernel, by h, h' and x
        places = elements[:, :, None] * config.kernel**2 + taps[:, None, :]
        self.lifting, self.places = Constant(torch.as_tensor(taps)), Constant(torch.as_tensor(places))

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        config, taps = self.config, self.config.kernel**2
        out = [Parameter("layer0.kernel", (taps, self.channels, config.channels))]
        inner = (self.order * taps, config.channels, config.channels)
        out += [Parameter(f"layer{t}.kernel", inner) for t in range(1, config.n_layers)]
        out += [Parameter(f"layer{t}.bias", (config.channels,), 0.0) for t in range(config.n_layers)]
        return (*out, *readout_parameters(config.channels, self.n_outputs, config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def features(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Return the features after the last nonlinearity: `[p, B, C, n, n]` → `[p, B, C', |H|, n, n]`."""
        x = inputs
        for t in range(self.config.n_layers):
            weight = params[f"layer{t}.kernel"]  # [p, places, C, C']
            x = correlate(x, self._kernel(weight, self.lifting if t == 0 else self.places))
            p, batch, _, *space = x.shape
            if normalizes(self.config, t):
                x = normalized(x.reshape(p, batch, self.config.channels, -1), 3).reshape(x.shape)
            bias = params[f"layer{t}.bias"].repeat_interleave(self.order, 1)
            x = scaled_silu(with_bias(x, bias))
        return x.reshape(p, batch, self.config.channels, self.order, *space)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map images `[p, B, C, n, n]` to outputs `[p, B, o]`."""
        return readout(params, summary(self.features(params, inputs), 3, self.config.instance_norm))

    def _kernel(self, weight: Tensor, places: Constant) -> Tensor:
        """Return the whole bank of transformed kernels, `[p, C'·|H|, C·(|H|), side, side]`."""
        p, stored, c, out = weight.shape
        side = self.config.kernel
        scale = 1 / math.sqrt(stored * c)
        moved = (weight * scale).index_select(1, places.like(weight).flatten())
        moved = moved.reshape(p, self.order, -1, side, side, c, out)  # [p, h, h', x, y, C, C']
        return moved.permute(0, 6, 1, 5, 2, 3, 4).reshape(p, out * self.order, -1, side, side)
