"""Spherical harmonics, radial functions, linear maps and weights against e3nn and against their definitions."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from e3nn.nn import FullyConnectedNet
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import silu

from experiments.nn.linear import linear, one_hot, species_linear
from experiments.nn.parameters import Parameter
from experiments.nn.radial import bessel, perceptron, polynomial_cutoff, scaled_silu
from experiments.nn.spherical import spherical_harmonics

# Polynomials of degree ≤ 6 with coefficients of order ten, in float64.
ROUND_OFF = 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_harmonics_are_those_of_e3nn(seed: int) -> None:
    unit = torch.randn(7, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit = unit / unit.norm(dim=-1, keepdim=True)
    reference = o3.spherical_harmonics(list(range(7)), unit, normalize=False, normalization="component")
    assert torch.allclose(spherical_harmonics(6, unit), reference, atol=ROUND_OFF)


def test_harmonics_of_lower_degrees_are_the_first_columns() -> None:
    unit = torch.nn.functional.normalize(torch.randn(5, 3, dtype=torch.float64), dim=-1)
    for lmax in range(6):
        assert torch.equal(spherical_harmonics(lmax, unit), spherical_harmonics(6, unit)[:, : (lmax + 1) ** 2])


def test_harmonics_have_second_derivatives() -> None:
    unit = torch.nn.functional.normalize(torch.randn(2, 3, dtype=torch.float64), dim=-1).requires_grad_(True)
    assert torch.autograd.gradgradcheck(lambda u: spherical_harmonics(4, u), (unit,))


def test_bessel_basis_is_that_of_e3nn() -> None:
    r = torch.linspace(0.3, 4.9, 50, dtype=torch.float64)
    reference = soft_one_hot_linspace(r, 0.0, 5.0, 8, basis="bessel", cutoff=True)
    assert torch.allclose(bessel(r, 5.0, 8), reference, atol=ROUND_OFF)


@pytest.mark.parametrize("power", [2, 5, 6])
def test_cutoff_is_one_at_zero_and_flat_at_the_cutoff(power: int) -> None:
    zero = torch.zeros((), dtype=torch.float64)
    assert polynomial_cutoff(zero, 5.0, power) == 1
    r = torch.tensor(5.0 * (1 - 1e-9), dtype=torch.float64, requires_grad=True)
    value = polynomial_cutoff(r, 5.0, power)
    (first,) = torch.autograd.grad(value, r, create_graph=True)
    (second,) = torch.autograd.grad(first, r, create_graph=True)
    # A zero of third order at r_c: 1e-9 away the second derivative is 1e-9·f''' with |f'''| < 100 here.
    assert max(abs(value.item()), abs(first.item()), abs(second.item())) < 1e-6
    assert polynomial_cutoff(torch.tensor(5.1), 5.0, power) == 0
    inside = polynomial_cutoff(torch.linspace(0, 5, 100, dtype=torch.float64), 5.0, power)
    assert (inside[1:] <= inside[:-1]).all()


def test_perceptron_is_that_of_e3nn() -> None:
    net = FullyConnectedNet([8, 16, 16, 12], silu).double()
    x = torch.randn(9, 8, dtype=torch.float64)
    weights = [parameter.detach()[None] for parameter in net.parameters()]
    assert torch.allclose(perceptron(x[None], weights)[0], net(x).detach(), atol=ROUND_OFF)
    assert perceptron(torch.zeros_like(x)[None], weights).abs().max() == 0


def test_activation_has_unit_second_moment() -> None:
    z = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / (2 * torch.pi) ** 0.5
    moment = torch.trapezoid(scaled_silu(z) ** 2 * density, z)
    # e3nn estimates the factor from 10⁶ normal samples: 0.2 % of sampling error.
    assert abs(moment.item() - 1) < 5e-3


def test_linear_is_that_of_e3nn_for_every_component() -> None:
    weight = torch.randn(1, 6, 4, dtype=torch.float64)
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64)
    reference = o3.Linear("6x2e", "4x2e", internal_weights=False, shared_weights=True).double()
    flat = reference(x[0].transpose(1, 2).flatten(1), weight[0].flatten())
    assert torch.allclose(linear(x, weight)[0].transpose(1, 2).flatten(1), flat, atol=ROUND_OFF)


def test_species_linear_picks_one_matrix_a_node() -> None:
    kinds = torch.tensor([[0, 2, 1, 2], [1, 1, 0, 2]])
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    weight = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    out = species_linear(x, one_hot(kinds, 3, torch.float64), weight)
    for p in range(2):
        for n in range(4):
            expected = x[p, n] @ weight[p, kinds[p, n]] / 5**0.5
            assert torch.allclose(out[p, n], expected, atol=ROUND_OFF)


def test_weights_depend_on_seed_and_name_alone() -> None:
    wide = Parameter("w", (3, 2), blocks=("/a", "/b"))
    narrow = Parameter("w", (3, 2), blocks=("/b",))
    assert torch.equal(wide.draw(1, torch.float64)[:, 2:], narrow.draw(1, torch.float64))
    assert not torch.equal(wide.draw(1, torch.float64), wide.draw(2, torch.float64))
    assert not torch.equal(narrow.draw(1, torch.float64), Parameter("v", (3, 2), blocks=("/b",)).draw(1, torch.float64))
    assert torch.equal(wide.draw(1, torch.float32), wide.draw(1, torch.float64).float())


def test_weights_have_the_stated_deviation() -> None:
    drawn = Parameter("w", (400, 100), std=0.25).draw(0, torch.float64)
    # 40,000 samples: the deviation is known to 0.35 %, the mean to 0.00125.
    assert abs(drawn.std().item() / 0.25 - 1) < 0.02
    assert abs(drawn.mean().item()) < 0.007
