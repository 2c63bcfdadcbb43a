"""Radial functions: Bessel basis, smooth cutoff and the multilayer perceptron that turns them into weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from e3nn.math import normalize2mom
from torch import Tensor
from torch.nn.functional import silu


def bessel(distance: Tensor, cutoff: float, n_bessel: int) -> Tensor:
    """Evaluate the spherical Bessel basis `[...]` → `[..., n_bessel]`: √(2/r_c)·sin(nπr/r_c)/r, n = 1…`n_bessel`.

    Gasteiger et al. 2020 (arXiv 2003.03123) eq. 7; distances in Å and larger than zero.
    """
    order = torch.arange(1, n_bessel + 1, device=distance.device, dtype=distance.dtype)
    phase = distance[..., None] * (order * (math.pi / cutoff))
    return math.sqrt(2 / cutoff) * torch.sin(phase) / distance[..., None]


def polynomial_cutoff(distance: Tensor, cutoff: float, power: int) -> Tensor:
    """Evaluate the cutoff envelope `[...]` → `[...]`: from 1 at r = 0 to 0 at the cutoff, two continuous derivatives.

    Gasteiger et al. 2020 eq. 8 with p = `power` ≥ 2.
    """
    x = distance / cutoff
    p = power
    inner = 1 - x**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * x + p * (p + 1) / 2 * x * x)
    return torch.where(x < 1, inner, torch.zeros_like(inner))


@lru_cache(maxsize=1)
def silu_scale() -> float:
    """Return the factor that gives silu(z) a second moment of 1 for normal z, as e3nn (and with it MACE) defines it."""
    return float(normalize2mom(silu).cst)


def scaled_silu(x: Tensor) -> Tensor:
    """Apply normalised SiLU, elementwise."""
    return silu(x) * silu_scale()


def perceptron(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Apply a perceptron without biases: `[p, m, in]` → `[p, m, out]`; `weights[i]` is `[p, in_i, out_i]`.

    Weights with unit variance keep unit variance (e3nn's FullyConnectedNet): each layer divides by √in, SiLU between
    layers is normalised. It maps 0 to 0, so that inputs that vanish at the cutoff give outputs that do.
    """
    for i, weight in enumerate(weights):
        x = x @ (weight * (1 / math.sqrt(weight.shape[-2])))
        if i < len(weights) - 1:
            x = scaled_silu(x)
    return x
