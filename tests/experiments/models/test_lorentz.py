"""The Lorentz group network over its group; its twin, which sees boosts but not the order of particles."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from torch import Tensor

from experiments.group_architectures import LorentzConfig, MomentaConfig
from experiments.models.lorentz import METRIC, Lorentz
from experiments.models.momenta import Momenta
from tests.experiments.models.test_grid_networks import assert_same, drawn

LORENTZ = LorentzConfig(n_layers=3, channels=3, width=4)
ETA = torch.diag(torch.tensor(METRIC, dtype=torch.float64))


def jet(seed: int, real: int = 6) -> Tensor:
    """Momenta of particles with masses, in GeV, and two rows of padding."""
    rng = np.random.default_rng(seed)
    momenta = rng.normal(size=(1, 2, real, 3)) * 20
    energy = np.sqrt((momenta**2).sum(-1, keepdims=True) + rng.uniform(0, 4, (1, 2, real, 1)))
    return torch.as_tensor(np.pad(np.concatenate([energy, momenta], -1), ((0, 0), (0, 0), (0, 2), (0, 0))))


def transformation(rotation: np.ndarray, rapidity: np.ndarray) -> Tensor:
    """exp of a generator of SO⁺(1,3): three rotations, three boosts."""
    generator = np.zeros((4, 4))
    generator[0, 1:] = generator[1:, 0] = rapidity
    generator[1:, 1:] = np.cross(np.eye(3), rotation)
    return torch.as_tensor(expm(generator))


vectors = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3).map(np.array)


@settings(max_examples=25)
@given(rotation=vectors, rapidity=vectors, seed=st.integers(0, 2**16))
def test_any_transformation_leaves_outputs_alone(rotation: np.ndarray, rapidity: np.ndarray, seed: int) -> None:
    """A boost multiplies energies by up to e^2.6, and round-off of invariant masses by its square: 1e-9 covers it."""
    matrix = transformation(rotation, rapidity)
    assert torch.allclose(matrix.T @ ETA @ matrix, ETA, atol=1e-9)
    model = Lorentz(LORENTZ, (8, 4), 2)
    weights, x = drawn(model), jet(seed)
    expected = model.outputs(weights, x)
    assert_same(model.outputs(weights, x @ matrix.T), expected, 1e-9)


def test_what_is_no_transformation_is_seen() -> None:
    model = Lorentz(LORENTZ, (8, 4), 2)
    weights, x = drawn(model), jet(0)
    stretched = x * torch.tensor([1.0, 1.0, 1.0, 1.1], dtype=x.dtype)
    assert float((model.outputs(weights, stretched) - model.outputs(weights, x)).abs().max()) > 1e-3


def test_order_and_padding_do_not_count() -> None:
    for model in (Lorentz(LORENTZ, (8, 4), 2), Momenta(MomentaConfig(channels=5), (8, 4), 2)):
        weights, x = drawn(model), jet(1)
        expected = model.outputs(weights, x)
        assert_same(model.outputs(weights, x[:, :, [7, 3, 0, 6, 5, 1, 4, 2]]), expected)
        other = x.clone()
        other[:, :, 5] = 0
        assert float((model.outputs(weights, other) - expected).abs().max()) > 1e-6


def test_the_twin_sees_boosts() -> None:
    model = Momenta(MomentaConfig(channels=5), (8, 4), 2)
    weights, x = drawn(model), jet(2)
    boosted = x @ transformation(np.zeros(3), np.array([0.0, 0.0, 0.5])).T
    assert float((model.outputs(weights, boosted) - model.outputs(weights, x)).abs().max()) > 1e-2


def test_packs_and_gradients() -> None:
    """Runs of a pack are those alone, and gradients are finite where particles are missing or have no mass."""
    for model in (Lorentz(LORENTZ, (8, 4), 2), Momenta(MomentaConfig(channels=5), (8, 4), 2)):
        weights = [drawn(model, seed) for seed in (0, 1)]
        packed = {name: torch.cat([w[name] for w in weights]).requires_grad_() for name in weights[0]}
        x = torch.cat([jet(3), jet(4)])
        x[0, 0, 0] = torch.tensor([5.0, 3.0, 4.0, 0.0])
        found = model.outputs(packed, x)
        for i in range(2):
            assert_same(found[i].detach(), model.outputs(weights[i], x[i : i + 1])[0])
        found.sum().backward()  # type: ignore[no-untyped-call]
        assert all(bool(torch.isfinite(value.grad).all()) for value in packed.values() if value.grad is not None)
