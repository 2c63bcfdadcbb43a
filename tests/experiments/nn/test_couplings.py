"""Symmetric couplings: equivariance, symmetry, orthonormality and completeness (an independent count)."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from e3nn import o3

from experiments.nn.couplings import coupling_blocks, symmetric_couplings

CASES = [
    (l_in, l_out, nu) for nu in (1, 2, 3) for l_in in (0, 1, 2, 3) for l_out in (0, 1, 2, 3)
] + [(2, 0, 4), (2, 1, 4)]  # fmt: skip
# entries are sums of < 1e3 products of numbers below 1, each with float64 round-off of about 1e-16
TOL = 1e-12


def count(l_in: int, l_out: int, nu: int) -> int:
    """Count D_{l_out} with parity (−1)^l_out in Sym^nu(D_0 ⊕ … ⊕ D_{l_in}), from characters alone.

    χ(Sym^ν) from power sums by Newton's identity h_ν = 1/ν Σ_k p_k h_{ν−k}, averaged over O(3): the class measure
    of SO(3) is (1 − cos θ)/π dθ on [0, π], and an inversion multiplies χ_l by (−1)^l. The integrand is a trigonometric
    polynomial, which the uniform grid on the circle integrates exactly.
    """
    theta = 2 * np.pi * np.arange(128) / 128

    def character(degree: int, angle: np.ndarray) -> np.ndarray:
        return np.asarray(1 + 2 * sum((np.cos(m * angle) for m in range(1, degree + 1)), np.zeros_like(angle)))

    total = 0.0
    for inverted in (1, -1):
        power = {
            k: sum(inverted ** (k * degree) * character(degree, k * theta) for degree in range(l_in + 1))
            for k in range(1, nu + 1)
        }
        h = [np.ones_like(theta)]
        for n in range(1, nu + 1):
            h.append(sum(power[k] * h[n - k] for k in range(1, n + 1)) / n)
        total += float(np.mean((1 - np.cos(theta)) * h[nu] * inverted**l_out * character(l_out, theta))) / 2
    assert total == pytest.approx(round(total), abs=1e-9)
    return round(total)


@pytest.mark.parametrize(("l_in", "l_out", "nu"), [*CASES, (3, 0, 4), (1, 0, 5)])
def test_number_of_paths(l_in: int, l_out: int, nu: int) -> None:
    assert symmetric_couplings(l_in, l_out, nu).shape == (
        *[(l_in + 1) ** 2] * nu,
        2 * l_out + 1,
        count(l_in, l_out, nu),
    )


def wigner_d(degree: int, angles: tuple[torch.Tensor, ...], inversion: int) -> torch.Tensor:
    """Return D_l(g) from Y(g x) = D Y(x): to round-off in float64, for e3nn's own matrices are float32 inside."""
    points = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    rotated = points @ o3.angles_to_matrix(*angles).T * (-1) ** inversion
    y, gy = (o3.spherical_harmonics(degree, x, True, "component") for x in (points, rotated))
    d = torch.linalg.lstsq(y, gy).solution.T
    e3nn_d = o3.Irrep(degree, (-1) ** degree).D_from_angles(*angles, torch.tensor(inversion))
    torch.testing.assert_close(d, e3nn_d.to(d), atol=1e-5, rtol=0)  # float32 generators
    return torch.as_tensor(d)


def test_counts_known_by_hand() -> None:
    # one factor: the identity; two factors to a scalar: a dot product per degree; (1, 1) → 1 is a cross product: 0
    assert [count(3, degree, 1) for degree in range(5)] == [1, 1, 1, 1, 0]
    assert count(3, 0, 2) == 4
    assert [block.degrees for block in coupling_blocks(3, 0, 2)] == [(0, 0), (1, 1), (2, 2), (3, 3)]
    assert [block.degrees for block in coupling_blocks(1, 1, 2)] == [(0, 1)]


@pytest.mark.parametrize(("l_in", "l_out", "nu"), CASES)
def test_equivariant_under_rotations_and_inversion(l_in: int, l_out: int, nu: int) -> None:
    u = symmetric_couplings(l_in, l_out, nu)
    torch.manual_seed(0)
    for inversion in (0, 1):
        angles = o3.rand_angles(dtype=torch.float64)
        d_in = torch.zeros((l_in + 1) ** 2, (l_in + 1) ** 2, dtype=torch.float64)
        for degree in range(l_in + 1):
            own = slice(degree**2, (degree + 1) ** 2)
            d_in[own, own] = wigner_d(degree, angles, inversion)
        d_out = wigner_d(l_out, angles, inversion)
        rotated = u
        for axis in range(nu):
            rotated = torch.movedim(torch.tensordot(rotated, d_in, dims=([axis], [0])), -1, axis)
        # U(D a, D a, …) = D U(a, a, …)
        expected = torch.movedim(torch.tensordot(u, d_out, dims=([nu], [1])), -1, nu)
        torch.testing.assert_close(rotated, expected, atol=TOL, rtol=0)


@pytest.mark.parametrize(("l_in", "l_out", "nu"), CASES)
def test_symmetric_and_orthonormal(l_in: int, l_out: int, nu: int) -> None:
    u = symmetric_couplings(l_in, l_out, nu)
    for p in permutations(range(nu)):
        torch.testing.assert_close(u.permute(*p, nu, nu + 1), u, atol=TOL, rtol=0)
    flat = u.flatten(0, -2)
    torch.testing.assert_close(flat.T @ flat, torch.eye(u.shape[-1], dtype=torch.float64), atol=TOL, rtol=0)


@pytest.mark.parametrize(("a", "b"), [(0, 2), (1, 1), (2, 1), (2, 3), (3, 3)])
def test_products_of_two_degrees_decompose_by_the_general_rule(a: int, b: int) -> None:
    """D_a ⊗ D_b = ⊕_{l=|a−b|}^{a+b} D_l; with a = b the symmetric half is the even l. Natural parity: l ≡ a + b."""
    found = [
        l_out
        for l_out in range(a + b + 2)
        if any(block.degrees == (min(a, b), max(a, b)) for block in coupling_blocks(max(a, b), l_out, 2))
    ]
    assert found == list(range(abs(a - b), a + b + 1, 2))
    if a == b:
        assert sum(2 * l_out + 1 for l_out in found) == (2 * a + 1) * (a + 1)  # dim Sym²(D_a)


def test_complete_among_symmetric_polynomials_of_a_vector() -> None:
    """Harmonics of one direction: a product of ν factors coupled to l is a multiple of Y_l, and some path is not 0."""
    torch.manual_seed(1)
    y = o3.spherical_harmonics([0, 1, 2], torch.randn(5, 3, dtype=torch.float64), True, "norm")
    u = symmetric_couplings(2, 2, 3)
    out = torch.einsum("abcmp,za,zb,zc->zmp", u, y, y, y)
    unit = o3.spherical_harmonics(2, y[:, 1:4], True, "norm")
    along = torch.einsum("zmp,zm->zp", out, unit)
    torch.testing.assert_close(out, unit[:, :, None] * along[:, None], atol=TOL, rtol=0)
    assert bool((along.abs().amax(0) > 1e-3).any())


def test_same_basis_each_time_and_shared() -> None:
    first = symmetric_couplings(2, 1, 3)
    assert symmetric_couplings(2, 1, 3) is first
    again = symmetric_couplings.__wrapped__(2, 1, 3)
    assert torch.equal(first, again)
    # the sign convention: scalars alone couple with +1
    assert symmetric_couplings(0, 0, 3).item() == 1.0
    torch.testing.assert_close(
        symmetric_couplings(1, 1, 1)[1:, :, 0], torch.eye(3, dtype=torch.float64) / math.sqrt(3), atol=TOL, rtol=0
    )


@pytest.mark.parametrize(("l_in", "l_out", "nu"), [(-1, 0, 1), (0, -1, 1), (1, 0, 0)])
def test_refuses_impossible_orders(l_in: int, l_out: int, nu: int) -> None:
    with pytest.raises(ValueError, match="expected l_in"):
        symmetric_couplings(l_in, l_out, nu)
