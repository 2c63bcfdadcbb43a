"""Real spherical harmonics as explicit polynomials of a unit vector, in e3nn's convention."""

from __future__ import annotations

import math
from functools import cache

import torch
from e3nn import o3
from torch import Tensor

from experiments.nn.constants import Constant


def spherical_harmonics(lmax: int, unit: Tensor) -> Tensor:
    """Evaluate Y_lm of degrees 0…`lmax`: unit vectors `[..., 3]` → `[..., (lmax+1)²]`, ordered (l, m).

    e3nn's axes and signs (l = 1 is √3·(x, y, z)) and its "component" normalisation, Σ_m Y_lm² = 2l+1, which MACE uses.
    Plain arithmetic on the last axis, so that it fuses under a compiler and can be differentiated to any order; the
    vectors have to be normalised by the caller.
    """
    x, y, z = unit.unbind(-1)
    columns = [torch.ones_like(x)]
    if lmax >= 1:
        columns += [math.sqrt(3) * x, math.sqrt(3) * y, math.sqrt(3) * z]
    if lmax >= 2:
        xx, yy, zz = x * x, y * y, z * z
        xz = math.sqrt(15) * x * z
        zx = math.sqrt(15) / 2 * (zz - xx)
        columns += [xz, math.sqrt(15) * x * y, math.sqrt(5) * (yy - 0.5 * (xx + zz)), math.sqrt(15) * y * z, zx]
    if lmax >= 3:
        around = 4 * yy - xx - zz
        columns += [
            math.sqrt(7 / 6) * (xz * z + zx * x),
            math.sqrt(7) * xz * y,
            math.sqrt(21 / 8) * around * x,
            math.sqrt(7) / 2 * y * (2 * yy - 3 * (xx + zz)),
            math.sqrt(21 / 8) * around * z,
            math.sqrt(7) * zx * y,
            math.sqrt(7 / 6) * (zx * z - xz * x),
        ]
    for degree in range(4, lmax + 1):
        lower = torch.stack(columns[(degree - 1) ** 2 : degree**2], -1)
        product = (lower[..., :, None] * unit[..., None, :]).flatten(-2)
        columns += (product @ _raise(degree).like(unit)).unbind(-1)
    return torch.stack(columns, -1)


@cache
def _raise(degree: int) -> Constant:
    """Return `[(2l−1)·3, 2l+1]`, the map from Y_{l−1} ⊗ r̂ to Y_l.

    Normalised on the polar axis, where Y_{l0}(ŷ) = √(2l+1).
    """
    w3j: Tensor = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
    # at r̂ = ŷ only m = 0 of Y_{l−1} (index l−1) and the y component (index 1) are non-zero
    scale = math.sqrt(2 * degree + 1) / (math.sqrt(2 * degree - 1) * w3j[degree - 1, 1, degree].item())
    return Constant((w3j * scale).reshape(-1, 2 * degree + 1))
