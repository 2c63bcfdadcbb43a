"""Radial functions of linear ACE: orthonormal, and finer where bonds are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from experiments.core.arrays import Floats
from experiments.regression.ace import radial_functions


@pytest.mark.parametrize("stretch", [None, 0.5])
def test_radial_functions_are_orthonormal(stretch: float | None) -> None:
    r = torch.linspace(1e-6, 4.0, 20001, dtype=torch.float64)
    found = radial_functions(r, 4.0, 5, stretch)
    overlap = (found[:, :, None] * found[:, None] * r[:, None, None] ** 2).sum(0) * (r[1] - r[0])
    # rectangle rule of smooth functions that vanish at both ends: error ~ step² = 4e-8
    np.testing.assert_allclose(overlap.numpy(), np.eye(5), atol=1e-6)
    assert not radial_functions(torch.tensor([4.0, 5.0], dtype=torch.float64), 4.0, 5, stretch).any()


def test_stretched_radial_functions_resolve_bonds() -> None:
    """Zeros move to short distances: the last function has more of them below 2 Å than above."""
    r = torch.linspace(0.3, 4.9, 2000, dtype=torch.float64)

    def zeros(stretch: float | None) -> Floats:
        signs = torch.sign(radial_functions(r, 5.0, 12, stretch)[:, -1])
        return r[1:][signs[1:] != signs[:-1]].numpy()

    plain, fine = zeros(None), zeros(0.5)
    assert (fine < 2.0).mean() > 0.5 > (plain < 2.0).mean()
