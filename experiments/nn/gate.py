"""Gate nonlinearity (Weiler et al. 2018, arXiv 1807.02547 §4.2.3): scalars by themselves, the rest by scalars."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import torch
from e3nn.math import normalize2mom
from torch import Tensor

from experiments.nn.radial import scaled_silu

Irrep = tuple[int, int]
"""Degree l and sign: 1 if the parity is (−1)^l, like the harmonics'; −1 if it is the opposite (pseudo-tensors).

In these terms (l₁, s₁) ⊗ Y_{l₂} contains (l₃, s₃) if |l₁ − l₂| ≤ l₃ ≤ l₁ + l₂ and s₁·s₃ = (−1)^(l₁+l₂+l₃).
"""
SCALAR: Irrep = (0, 1)


def name_of(irrep: Irrep) -> str:
    """Name an irrep as e3nn does: `1o`."""
    degree, sign = irrep
    return f"{degree}{'e' if sign == (-1) ** degree else 'o'}"


@lru_cache(maxsize=1)
def _tanh_scale() -> float:
    """Return the factor that gives tanh(z) a second moment of 1 for normal z, as e3nn defines it."""
    return float(normalize2mom(torch.tanh).cst)


def scaled_tanh(x: Tensor) -> Tensor:
    """Apply normalised tanh elementwise; it is odd, so that pseudo-scalars stay pseudo-scalars."""
    return torch.tanh(x) * _tanh_scale()


def gated(irreps: tuple[Irrep, ...]) -> tuple[Irrep, ...]:
    """List the irreps that need a gate."""
    return tuple(irrep for irrep in irreps if irrep[0] > 0)


def gate(sums: Mapping[Irrep, Tensor]) -> dict[Irrep, Tensor]:
    """Apply a layer's nonlinearities: sums of a layer → features `[p, n, 2l+1, C]`, by irrep.

    The sums have the shapes of the features except for true scalars, `[p, n, 1, C·(1+g)]`: the gates of the g irreps of
    l > 0 follow their own channels. SiLU for scalars and gates, tanh for pseudo-scalars; both normalised as in e3nn's
    `Gate`.
    """
    behind = gated(tuple(sums))
    scalars, *gates = torch.chunk(scaled_silu(sums[SCALAR]), 1 + len(behind), -1)
    out = {}
    for irrep, x in sums.items():
        if irrep == SCALAR:
            out[irrep] = scalars
        elif irrep[0] == 0:
            out[irrep] = scaled_tanh(x)
        else:
            out[irrep] = x * gates[behind.index(irrep)]
    return out
