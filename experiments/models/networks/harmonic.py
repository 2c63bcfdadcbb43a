"""Harmonic network: features with rotation orders, filters that are circular harmonics (Worrall et al. 2017).

arXiv 1612.04642. A filter of order m is W_m(r, φ) = R(r)·e^{i(mφ + β)} with radial profile R and phase β learned
(eq. 4), here R = Σ_j w_j·(ring j). If an image is rotated by θ, so is its correlation with W_m, and it is multiplied by
e^{imθ}; correlations of a feature of order m' with W_m have order m' + m (eq. 7). A layer sums, for each order from 0
to `max_order`, over all orders before it; the nonlinearity ReLU(|z| + b)·z/|z| (eq. 10) and the soft maximum of |z|
over the grid keep the symmetry. The paper sums magnitudes over orders; here the readout sees those of each.

In continuous space this is exact for every angle. On a grid it is exact for multiples of 90°; other angles see the
pixels: filters are rings as wide as a pixel, cut to a disc, and the image itself must be interpolated.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.models.harmonic import HarmonicConfig
from experiments.nn.constants import Constant
from experiments.nn.grid import check_square, correlate, pooled, readout, readout_parameters
from experiments.nn.parameters import Parameter, draw_all
from experiments.tasks.task import Tensors

RING_WIDTH = 0.6
"""Standard deviation of a ring in pixels: the narrowest that the grid resolves."""
TINY = 1e-8
"""Under the root of |z|, so that it can be differentiated at 0."""
PHASES = 2.0
"""Standard deviation of the initial phases: about even over the circle."""


def filters(points: NDArray[np.float64], radius: float, n_rings: int, order: int) -> NDArray[np.complex128]:
    """Return circular harmonics: rings times e^{i·order·φ} at points `[taps, 2]`; `[n_rings, taps]`, 0 beyond `radius`
    + ½.

    An order other than 0 has no defined value at the centre; it is 0 there.
    """
    r, phi = np.hypot(points[:, 0], points[:, 1]), np.arctan2(points[:, 1], points[:, 0])
    centres = np.linspace(0, radius, n_rings) if n_rings > 1 else np.zeros(1)
    rings = np.exp(-0.5 * ((r - centres[:, None]) / RING_WIDTH) ** 2) * (r < radius + 0.5)
    if order != 0:
        rings = rings * (r > 1e-9)
    return np.asarray(rings * np.exp(1j * order * phi))


class Harmonic:
    """The network as a function of packed weights and square images `[p, B, C, n, n]`; see the module."""

    def __init__(self, config: HarmonicConfig, shape: tuple[int, ...], outputs: int) -> None:
        check_square(shape, "harmonic")
        self.config = config
        self.channels = shape[0]
        self.n_outputs = outputs
        self.orders = range(config.max_order + 1)
        half = config.kernel // 2
        axes = np.arange(-half, half + 1.0)
        taps = np.stack(np.meshgrid(axes, axes, indexing="ij"), -1).reshape(-1, 2)
        parts = []
        for order in range(-config.max_order, config.max_order + 1):
            rings = filters(taps, float(half), config.n_rings, order)
            size = np.sqrt((np.abs(rings) ** 2).sum(1, keepdims=True))
            basis = rings / np.where(size > 0, size, 1.0)
            parts.append(np.block([[basis.real, basis.imag], [-basis.imag, basis.real]]))
        wanted = [[o - i + config.max_order for i in orders for o in self.orders] for orders in (range(1), self.orders)]
        self._bases = [Constant(torch.as_tensor(np.array(parts)[places])) for places in wanted]
        """Bases of the first layer and of all others, by orders before and after it, for cosines and sines of phases:
        `[pairs, 2·rings, taps of both parts]`."""

    def inputs_of(self, t: int) -> tuple[range, int]:
        """Return the orders and the number of channels that layer `t` sees."""
        return (range(1), self.channels) if t == 0 else (self.orders, self.config.channels)

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        config, c = self.config, self.config.channels
        out = []
        for t in range(config.n_layers):
            orders, before = self.inputs_of(t)
            for i in orders:
                for o in self.orders:
                    out.append(Parameter(f"layer{t}.radial.{i}{o}", (config.n_rings, before, c)))
                    out.append(Parameter(f"layer{t}.phase.{i}{o}", (before, c), PHASES))
            out.append(Parameter(f"layer{t}.bias", (len(self.orders), c), 0.0))
        return (*out, *readout_parameters(c * len(self.orders), self.n_outputs, config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def features(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Return real and imaginary parts after the last layer: `[p, B, C, n, n]` → `[p, B, orders, C', 2, n, n]`."""
        p, batch, _, *space = inputs.shape
        c, orders = self.config.channels, len(self.orders)
        x = inputs
        for t in range(self.config.n_layers):
            y = correlate(x, self._kernel(params, t)).reshape(p, batch, orders, c, 2, *space)
            size = ((y * y).sum(4, keepdim=True) + TINY).sqrt()
            bias = params[f"layer{t}.bias"].reshape(p, 1, orders, c, 1, 1, 1)
            z = y * (torch.relu(size + bias) / size)
            x = z.reshape(p, batch, orders * c * 2, *space)
        return z

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map images `[p, B, C, n, n]` to outputs `[p, B, o]`."""
        z = self.features(params, inputs)
        size = ((z * z).sum(4) + TINY).sqrt()  # [p, B, orders, C', n, n]
        return readout(params, pooled(size, 4).flatten(2))

    def _kernel(self, params: Tensors, t: int) -> Tensor:
        """Return the kernel `[p, orders·C'·2, orders·C·(2), side, side]`: complex products as real ones."""
        orders, before = self.inputs_of(t)
        side, c = self.config.kernel, self.config.channels
        scale = 1 / math.sqrt(self.config.n_rings * before * len(orders))
        pairs = [(i, o) for i in orders for o in self.orders]
        stored = [params[f"layer{t}.radial.{i}{o}"] for i, o in pairs]
        radial = torch.stack(stored, 1) * scale  # [p, pairs, rings, C, C']
        phase = torch.stack([params[f"layer{t}.phase.{i}{o}"] for i, o in pairs], 1)[:, :, None]
        # real and imaginary parts of Σ R·e^{iβ}·basis, a product of all pairs of orders at once
        profiles = torch.cat([radial * phase.cos(), radial * phase.sin()], 2).flatten(3).mT  # [p, pairs, C·C', 2·rings]
        bases = self._bases[min(t, 1)].like(radial)
        taps = bases.shape[-1] // 2
        kernel = (profiles @ bases).reshape(len(radial), len(orders), len(self.orders), before, c, 2, taps)
        a, b = kernel.unbind(5)
        columns = [torch.stack([a, b], -2)]  # contribution of a feature's real part
        if t > 0:  # the image has no imaginary part
            columns.append(torch.stack([-b, a], -2))
        whole = torch.stack(columns, 4)  # [p, orders, orders', C, (2), C', 2, taps]
        whole = whole.permute(0, 2, 5, 6, 1, 3, 4, 7)
        return whole.reshape(len(radial), len(self.orders) * c * 2, -1, side, side)
