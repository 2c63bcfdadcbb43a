"""3D steerable CNN: fields of irreps on voxels, kernels of spherical harmonics (Weiler et al. 2018, arXiv 1807.02547).

A kernel from degree l to l' obeys κ(Rx) = D^l'(R) κ(x) D^l(R)ᵀ (eq. 8); all that do are sums of a radial function
times a spherical harmonic Y_j, |l − l'| ≤ j ≤ l + l', joined by Clebsch–Gordan coefficients (eq. 10). Radial functions
are Gaussian rings with weights learned. Scalars pass through SiLU, the others are multiplied by the sigmoid of a scalar
of their own (gates). Harmonics and coefficients are e3nn's.

In continuous space this is exact for every rotation. On voxels it is exact for the 24 rotations of the cube; others
see the grid, the more so the fewer voxels a ring has.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from experiments.core.errors import InputError
from experiments.models.steerable3d import Steerable3dConfig
from experiments.nn.constants import Constant
from experiments.nn.grid import correlate, normalized, normalizes, readout, readout_parameters, summary
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import scaled_silu
from experiments.tasks.task import Tensors

RING_WIDTH = 0.6
"""Standard deviation of a ring in voxels."""
BLUR = 0.7
"""Standard deviation (voxels) of the blur that kernels are normalised for: outputs for white noise blurred so have
size one. (Normalised for white noise itself, a ring of 80 taps would be 9 times too weak for a density.)"""


def kernels(points: Tensor, radius: float, n_rings: int, before: int, after: int) -> Tensor:
    """Return all steerable kernels from degree `before` to `after` at `points` `[taps, 3]` (float64).

    Returns:
        `[n, 2·after+1, 2·before+1, taps]`, for every degree of the harmonic all rings; 0 beyond `radius` + ½.
    """
    r = points.norm(dim=1)
    centres = torch.linspace(0, radius, n_rings, dtype=points.dtype) if n_rings > 1 else torch.zeros(1).to(points)
    rings = torch.exp(-0.5 * ((r - centres[:, None]) / RING_WIDTH) ** 2) * (r < radius + 0.5)
    parts = []
    for degree in range(abs(before - after), before + after + 1):
        harmonics = o3.spherical_harmonics(degree, points, normalize=True, normalization="component")  # [taps, 2j+1]
        if degree > 0:
            harmonics = harmonics * (r > 1e-9)[:, None]
        coupling = o3.wigner_3j(after, before, degree, dtype=points.dtype)
        parts.append(torch.einsum("oij,tj,rt->roit", coupling, harmonics, rings))
    return torch.cat(parts)


class Steerable3d:
    """The network as a function of packed weights and voxels `[p, B, C, n, n, n]`; see the module."""

    def __init__(self, config: Steerable3dConfig, shape: tuple[int, ...], outputs: int) -> None:
        if len(shape) != 4 or len(set(shape[1:])) != 1:
            raise InputError(f"model=steerable3d: inputs of shape {list(shape)}; accepted: cubes [channels, n, n, n]")
        self.config = config
        self.channels = shape[0]
        self.n_outputs = outputs
        half = config.kernel // 2
        axis = np.arange(-half, half + 1.0)
        taps = torch.as_tensor(np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3))
        self.bases = {}
        correlation = torch.exp(-(torch.cdist(taps, taps) ** 2) / (4 * BLUR**2))
        for before in range(config.L + 1):
            for after in range(config.L + 1):
                basis = kernels(taps, float(half), config.n_rings, before, after)
                size = torch.einsum("noit,tu,noiu->n", basis, correlation, basis) / (2 * after + 1)
                self.bases[before, after] = Constant(basis / size.clamp(min=1e-30).sqrt()[:, None, None, None])

    def fields(self, t: int) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Return (degree, channels) before and after the correlation of layer `t`; gates are scalars."""
        c, last = self.config.channels, t == self.config.n_layers - 1
        degrees = [0] if last else list(range(self.config.L + 1))  # the readout sees scalars
        before = [(0, self.channels)] if t == 0 else [(degree, c) for degree in range(self.config.L + 1)]
        return before, [(degree, c * len(degrees) if degree == 0 else c) for degree in degrees]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        out = []
        for t in range(self.config.n_layers):
            before, after = self.fields(t)
            for o, c_out in after:
                for i, c_in in before:
                    out.append(Parameter(f"layer{t}.kernel.{i}{o}", (len(self.bases[i, o].value), c_in, c_out)))
            out.append(Parameter(f"layer{t}.bias", (after[0][1],), 0.0))
        return (*out, *readout_parameters(self.config.channels, self.n_outputs, self.config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def features(self, params: Tensors, inputs: Tensor) -> list[Tensor]:
        """Return the fields before the last layer: `[p, B, C, 2l+1, n, n, n]` by degree."""
        return self._layers(params, inputs, self.config.n_layers - 1)

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map voxels `[p, B, C, n, n, n]` to outputs `[p, B, o]`."""
        scalars = self._layers(params, inputs, self.config.n_layers)[0]
        return readout(params, summary(scalars, 3, self.config.instance_norm))

    def _layers(self, params: Tensors, inputs: Tensor, count: int) -> list[Tensor]:
        fields = [inputs[:, :, :, None]]
        for t in range(count):
            x = torch.cat([field.flatten(2, 3) for field in fields], 2)
            y = correlate(x, self._kernel(params, t))
            _, after = self.fields(t)
            parts = torch.split(y, [c * (2 * degree + 1) for degree, c in after], 2)
            p, c, normalize = len(y), self.config.channels, normalizes(self.config, t)
            scalars = normalized(parts[0], 3) if normalize else parts[0]
            scalars = scalars + params[f"layer{t}.bias"].reshape(p, 1, -1, 1, 1, 1)
            fields = [scaled_silu(scalars[:, :, :c])[:, :, :, None]]
            for k, (degree, _) in enumerate(after[1:], 1):
                gate = torch.sigmoid(scalars[:, :, k * c : (k + 1) * c])[:, :, :, None]
                field = parts[k].reshape(p, -1, c, 2 * degree + 1, *parts[k].shape[3:])
                fields.append((normalized(field, 3, centre=False) if normalize else field) * gate)
        return fields

    def _kernel(self, params: Tensors, t: int) -> Tensor:
        """Return the kernel `[p, Σ C'(2l'+1), Σ C(2l+1), side, side, side]`."""
        before, after = self.fields(t)
        rows = []
        for o, _ in after:
            row = []
            for i, c_in in before:
                weight = params[f"layer{t}.kernel.{i}{o}"]
                basis = self.bases[i, o].like(weight)
                scale = 1 / math.sqrt(len(basis) * c_in * len(before))
                # [p, b, C, C'] and [b, 2l'+1, 2l+1, taps] → [p, C', 2l'+1, C, 2l+1, taps]
                row.append(torch.einsum("pbcd,bojt->pdocjt", weight * scale, basis).flatten(3, 4).flatten(1, 2))
            rows.append(torch.cat(row, 2))
        kernel = torch.cat(rows, 1)
        return kernel.reshape(*kernel.shape[:3], *[self.config.kernel] * 3)
