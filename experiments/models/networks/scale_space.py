"""Deep scale-space: correlations on the semigroup of dilations and translations (Worrall & Welling 2019).

arXiv 1905.11697. The image is lifted to f(k, x) = (G_k f)(x), blurred so far that every 2^k-th pixel says all (eq. 9);
a layer is the correlation of the semigroup, dilated by 2^k at scale k (eq. 17):

    [ψ ⋆ f](k, x) = Σ_k' Σ_y ψ(k', y)·f(k + k', x + 2^k·y)

Dilations by 2 act by [L f](k, x) = f(k + 1, 2x): there is no inverse, for pixels and the finest scale are lost. What is
exact, on a periodic grid: L commutes with ⋆ (beyond the coarsest scale f is 0) and with everything pointwise. What is
not: the lifting (to subsample an image first is not to blur it first), whatever sums or compares over the pixels and
scales that are left (the maximum or mean before the readout, the means of normalised layers), and sizes between the
powers of 2.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from experiments.models.scale_space import ScaleSpaceConfig
from experiments.nn.constants import Constant
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

PIXEL = 0.5
"""Standard deviation (pixels) of the blur that an image is taken to have already."""


def blur(size: int, deviation: float) -> NDArray[np.float64]:
    """Return the periodic Gaussian blur of one axis, `[size, size]`; blurs compose exactly, variances add."""
    frequency = np.fft.fftfreq(size)
    damping = np.exp(-2 * (np.pi * deviation * frequency) ** 2)
    return np.asarray(np.fft.ifft(damping[:, None] * np.fft.fft(np.eye(size), axis=0), axis=0).real)


class ScaleSpace:
    """The network as a function of packed weights and images `[p, B, C, n, m]`; see the module."""

    def __init__(self, config: ScaleSpaceConfig, shape: tuple[int, ...], outputs: int) -> None:
        self.config = config
        self.channels = shape[0]
        self.n_outputs = outputs
        # a blur of PIXEL at scale 1 is one of 2^k·PIXEL at scale k: variances add
        deviations = [PIXEL * math.sqrt(4**k - 1) for k in range(config.n_scales)]
        self.blurs = [[Constant(torch.as_tensor(blur(size, d))) for size in shape[1:]] for d in deviations]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        config = self.config
        out = []
        for t in range(config.n_layers):
            before = self.channels if t == 0 else config.channels
            shape = (config.kernel**2, config.kernel_scales * before, config.channels)
            out.append(Parameter(f"layer{t}.kernel", shape))
            out.append(Parameter(f"layer{t}.bias", (config.channels,), 0.0))
        return (*out, *readout_parameters(config.channels, self.n_outputs, config.hidden))

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        return draw_all(self.parameters(), seed, dtype)

    def lifted(self, inputs: Tensor) -> list[Tensor]:
        """Return the image on every scale, `[p, B, C, n, m]` each."""
        sized = [[axis.like(inputs) for axis in pair] for pair in self.blurs]
        return [rows @ inputs @ columns.T for rows, columns in sized]

    def layer(self, params: Tensors, t: int, x: list[Tensor]) -> list[Tensor]:
        """Apply one correlation with its nonlinearity, on every scale."""
        config = self.config
        kernel = kernel_of(params[f"layer{t}.kernel"], config.kernel)  # [p, C', scales·C, side, side]
        width = x[0].shape[2]
        correlated = []
        for k in range(len(x)):
            seen = x[k : k + config.kernel_scales]
            correlated.append(correlate(torch.cat(seen, 2), kernel[:, :, : width * len(seen)], dilation=2**k))
        if normalizes(config, t):
            correlated = list(normalized(torch.stack(correlated, 3), 3).unbind(3))
        return [scaled_silu(with_bias(y, params[f"layer{t}.bias"])) for y in correlated]

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map images `[p, B, C, n, m]` to outputs `[p, B, o]`."""
        x = self.lifted(inputs)
        for t in range(self.config.n_layers):
            x = self.layer(params, t, x)
        return readout(params, summary(torch.stack(x, 3), 3, self.config.instance_norm))
