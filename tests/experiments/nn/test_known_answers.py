"""Statements of the slides about representations, as known answers of the parts that the networks are made of.

(Geiger, "Youth in high dimensions", 2022; in e3nn's axes, where l = 1 is (x, y, z) and y is the polar axis.)
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from e3nn import o3
from torch import Tensor

from experiments.nn.couplings import chains, coupling_basis
from experiments.nn.spherical import spherical_harmonics
from tests.experiments.nn.test_couplings import wigner_d

# products of a few matrices with entries below one, in float64
TOL = 1e-12


def angles(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(seed)
    a, b, c = o3.rand_angles(dtype=torch.float64)
    return a, b, c


def block_diagonal(blocks: list[Tensor]) -> Tensor:
    return torch.as_tensor(scipy.linalg.block_diag(*blocks))


def change_of_basis(a: int, b: int) -> tuple[list[int], Tensor]:
    """Return the degrees l in D_a ⊗ D_b and the matrix `[Σ (2l+1), (2a+1)(2b+1)]` that takes the product apart."""
    degrees, rows = [], []
    for degree in range(a + b + 3):
        for chain in chains((a, b), degree):
            degrees.append(degree)
            rows.append(chain.flatten(0, 1).T * math.sqrt(2 * degree + 1))
    return degrees, torch.cat(rows)


@pytest.mark.parametrize(("a", "b"), [(2, 1), (0, 3), (1, 1), (1, 2), (2, 2), (3, 2)])
def test_products_decompose_by_the_general_rule(a: int, b: int) -> None:
    """D_a ⊗ D_b = D_|a−b| ⊕ … ⊕ D_{a+b}, each once: D_2 ⊗ D_1 = D_1 ⊕ D_2 ⊕ D_3. By an orthogonal matrix, for
    rotations and for inversion (whose sign on every part is (−1)^(a+b), not (−1)^l)."""
    degrees, q = change_of_basis(a, b)
    assert degrees == list(range(abs(a - b), a + b + 1))
    torch.testing.assert_close(q @ q.T, torch.eye(len(q), dtype=torch.float64), atol=TOL, rtol=0)
    assert q.shape[0] == q.shape[1] == (2 * a + 1) * (2 * b + 1)
    for inversion in (0, 1):
        turn = angles(a + 10 * b)
        whole = torch.kron(wigner_d(a, turn, inversion), wigner_d(b, turn, inversion))
        parts = block_diagonal([wigner_d(degree, turn, 0) for degree in degrees]) * (-1) ** (inversion * (a + b))
        torch.testing.assert_close(q @ whole @ q.T, parts, atol=TOL, rtol=0)


@pytest.mark.parametrize(("a", "b"), [(2, 1), (3, 3)])
def test_the_rule_by_characters(a: int, b: int) -> None:
    """χ_a·χ_b = Σ_l χ_l, which knows nothing of couplings."""
    theta = np.linspace(0.1, 3.0, 12)

    def character(degree: int) -> np.ndarray:
        return np.asarray(np.sin((degree + 0.5) * theta) / np.sin(theta / 2))

    degrees, _ = change_of_basis(a, b)
    np.testing.assert_allclose(sum(character(degree) for degree in degrees), character(a) * character(b), atol=1e-12)


STRESS = {
    0: [np.eye(3) / math.sqrt(3)],
    # antisymmetric part: ε_kij/√2 for k = x, y, z, an axial vector
    1: [np.cross(np.eye(3)[k], np.eye(3)) / math.sqrt(2) for k in range(3)],
    # symmetric and traceless: the quadratic forms xz, xy, y² − (x² + z²)/2, yz, (z² − x²)/2
    2: [
        np.array(form) / norm
        for form, norm in (
            ([[0, 0, 1], [0, 0, 0], [1, 0, 0]], math.sqrt(2)),
            ([[0, 1, 0], [1, 0, 0], [0, 0, 0]], math.sqrt(2)),
            ([[-1, 0, 0], [0, 2, 0], [0, 0, -1]], math.sqrt(6)),
            ([[0, 0, 0], [0, 0, 1], [0, 1, 0]], math.sqrt(2)),
            ([[-1, 0, 0], [0, 0, 0], [0, 0, 1]], math.sqrt(2)),
        )
    ],
}
"""The change of basis of a 3×3 tensor, written out: by degree the matrices that its components are read off with."""


def test_a_stress_tensor_is_three_representations() -> None:
    """σ → RσRᵀ is D_0 ⊕ D_1 ⊕ D_2: trace, axial vector, traceless symmetric part; inversion leaves σ as it is."""
    q = torch.as_tensor(np.stack([matrix.ravel() for matrices in STRESS.values() for matrix in matrices]))
    torch.testing.assert_close(q @ q.T, torch.eye(9, dtype=torch.float64), atol=TOL, rtol=0)
    turn = angles(3)
    rotation = o3.angles_to_matrix(*turn)
    sigma = torch.randn(3, 3, dtype=torch.float64)
    parts = block_diagonal([wigner_d(degree, turn, 0) for degree in range(3)])
    for r in (rotation, -rotation):
        torch.testing.assert_close(q @ (r @ sigma @ r.T).flatten(), parts @ (q @ sigma.flatten()), atol=1e-11, rtol=0)
    torch.testing.assert_close(wigner_d(1, turn, 0), rotation, atol=TOL, rtol=0)


@pytest.mark.parametrize("degree", STRESS)
def test_couplings_of_two_vectors_are_the_stress_tensors(degree: int) -> None:
    """The library's own D_1 ⊗ D_1 → D_l, up to a sign of each l."""
    (chain,) = chains((1, 1), degree)
    own = chain.permute(2, 0, 1).numpy() * math.sqrt(2 * degree + 1)
    expected = np.stack(STRESS[degree])
    sign = np.sign((own * expected).sum())
    np.testing.assert_allclose(own, sign * expected, atol=1e-12)


@pytest.mark.parametrize("degree", range(7))
def test_harmonics_are_equivariant_polynomials(degree: int) -> None:
    """r^l·Y_l(r̂) is a homogeneous polynomial of degree l (its l-th difference on any line is constant, the next one
    vanishes), harmonic, and rotates with D_l; inversion multiplies it by (−1)^l."""

    def solid(x: Tensor) -> Tensor:
        r = x.norm(dim=-1, keepdim=True)
        return torch.as_tensor(r**degree * spherical_harmonics(degree, x / r)[..., degree**2 :])

    generator = torch.Generator().manual_seed(degree)
    start, step = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    line = solid(start + step * torch.arange(degree + 3, dtype=torch.float64)[:, None]).numpy()
    size = np.abs(line).max()
    assert np.abs(np.diff(line, degree + 1, axis=0)).max() < 1e-12 * size
    assert np.abs(np.diff(line, degree, axis=0)).max() > 1e-6 * size
    hessian = torch.func.hessian(lambda x: solid(x))(start)  # [2l+1, 3, 3]
    laplacian = hessian.diagonal(dim1=-2, dim2=-1).sum(-1)
    assert laplacian.abs().max() < 1e-11 * (1 + hessian.abs().max())
    turn = angles(degree)
    rotated = solid(start @ o3.angles_to_matrix(*turn).T)
    expected = o3.Irrep(degree, (-1) ** degree).D_from_angles(*turn).double() @ solid(start)
    assert (rotated - expected).abs().max() < 1e-5 * size  # e3nn's generators are float32
    torch.testing.assert_close(solid(-start), (-1) ** degree * solid(start), atol=1e-12 * size, rtol=0)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_harmonics_are_products_of_a_vector_with_itself(degree: int) -> None:
    """r̂ ⊗ … ⊗ r̂ (l factors) holds D_l once, and there it is Y_l: polynomials are built from ⊗ and ⊕."""
    basis = coupling_basis((1,) * degree, degree, (1,) * degree)
    assert basis.shape[-1] == 1
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = x / x.norm(dim=-1, keepdim=True)
    value = basis.squeeze(-1).expand(5, *basis.shape[:-1])
    for _ in range(degree):
        value = torch.einsum("zi,zi...->z...", x, value)
    y = spherical_harmonics(degree, x)[:, degree**2 :]
    factor = (value * y).sum() / (y * y).sum()
    assert factor.abs() > 1e-2
    torch.testing.assert_close(value, factor * y, atol=TOL, rtol=0)
