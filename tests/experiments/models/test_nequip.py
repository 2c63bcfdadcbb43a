"""NequIP's own: the published numbers of weights, identities between function classes, what its parities do."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from experiments.models.nequip import NequipConfig
from experiments.models.networks.nequip import Nequip
from experiments.nn.gate import SCALAR, gate, name_of
from tests.experiments.models.test_networks import ROUND_OFF, example, nequip, packed

ASPIRIN = {0: 167_640, 1: 741_080, 2: 1_674_968, 3: 3_190_488}
"""Weights of the published networks by L: 5 layers, 64 channels, 8 Bessel functions, radial network 3×64, 3 elements.
All weights, those of the last layer too that never reach the energy."""
CONTROLS = {173: 741_852, 512: 5_565_144}
"""The same of the paper's two L=0 controls by channels; their embedding keeps 64."""
PACKAGE = {0: 79_488, 1: 165_504, 2: 265_856}
"""Counted of the nequip package 0.19.1 for ethanol, 32 channels × 3 layers, one hidden layer of 64, without parity."""


def weights(config: NequipConfig) -> int:
    found = Nequip(config, 3).init(0)
    return sum(value.numel() for name, value in found.items() if not name.startswith("constant."))


@pytest.mark.parametrize("L", ASPIRIN)
def test_number_of_weights_of_the_published_networks(L: int) -> None:
    assert weights(NequipConfig(L=L, n_layers=5, channels=64, prune="none")) == ASPIRIN[L]


@pytest.mark.parametrize("channels", CONTROLS)
def test_number_of_weights_of_the_published_controls(channels: int) -> None:
    assert weights(NequipConfig(L=0, n_layers=5, channels=channels, embedding=64)) == CONTROLS[channels]


@pytest.mark.parametrize("L", PACKAGE)
def test_number_of_weights_of_the_package(L: int) -> None:
    config = NequipConfig(
        L=L, n_layers=3, channels=32, parity=False, prune="last", radial_hidden=(64,), readout_hidden=None,
        bessel_trainable=False, self_connection="embedding", first_self_connection=False,
    )  # fmt: skip
    assert weights(config) == PACKAGE[L]


def same_function(a: Nequip, b: Nequip) -> None:
    params, others = packed(a, 4), packed(b, 4)
    assert params.keys() == others.keys()
    assert all(torch.equal(params[name], others[name]) for name in params)
    graph = example(4)
    assert torch.equal(a.energies(params, graph), b.energies(others, graph))


@pytest.mark.parametrize("parity", [True, False])
def test_one_layer_does_not_depend_on_L_and_edge_order(parity: bool) -> None:
    """The scalars of the only layer sum up the radial part alone: one weight, one function, exactly."""
    for L, edge in ((1, 1), (2, 3), (3, 0)):
        same_function(nequip(n_layers=1, L=0, edge_lmax=0), nequip(n_layers=1, L=L, edge_lmax=edge, parity=parity))


def test_without_angles_L_is_irrelevant() -> None:
    same_function(nequip(L=0, n_layers=4), nequip(L=2, n_layers=4, edge_lmax=0))


def test_invariant_features_do_not_depend_on_the_edge_order() -> None:
    same_function(nequip(L=0, n_layers=3, edge_lmax=0), nequip(L=0, n_layers=3, edge_lmax=3))


@pytest.mark.parametrize("L", [1, 2, 3])
def test_parity_is_irrelevant_up_to_three_layers(L: int) -> None:
    """Pseudo-tensors appear behind the second layer and need one more to become true ones again before the scalars."""
    same_function(nequip(L=L, n_layers=3, parity=True), nequip(L=L, n_layers=3, parity=False))
    four = nequip(L=L, n_layers=4)
    assert any(sign < 0 for layer in four.layers for _, sign in layer.inputs)


@pytest.mark.parametrize("parity", [True, False])
def test_pruned_networks_compute_the_same(parity: bool) -> None:
    """The weights of the whole network that reach the energy, put into the pruned one, make the same energies."""
    whole = nequip(L=2, n_layers=4, parity=parity, prune="none")
    params, graph = packed(whole, 2), example(2)
    energies = whole.energies(params, graph)
    for prune in ("last", "all"):
        pruned = nequip(L=2, n_layers=4, parity=parity, prune=prune)
        assert (pruned.energies(kept(whole, pruned, params), graph) - energies).abs().max() < ROUND_OFF * (
            1 + energies.abs().max()
        )


def kept(whole: Nequip, pruned: Nequip, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the pruned network's share of the weights; fan-ins shrink, so the rest is rescaled."""
    out = {name: value for name, value in params.items() if not name.startswith("layer")}
    c = whole.config.channels
    for t, (a, b) in enumerate(zip(whole.layers, pruned.layers, strict=True)):
        last = len(whole.config.radial_hidden)
        for i in range(last):
            out[f"layer{t}.radial.{i}"] = params[f"layer{t}.radial.{i}"]
        radial = params[f"layer{t}.radial.{last}"]
        radial = radial.reshape(*radial.shape[:2], len(a.paths), -1)[:, :, [a.paths.index(p) for p in b.paths]]
        out[f"layer{t}.radial.{last}"] = radial.flatten(2)
        for irrep in b.inputs:
            out[f"layer{t}.up.{name_of(irrep)}"] = params[f"layer{t}.up.{name_of(irrep)}"]
        for irrep in b.outputs:
            columns = [0]
            if irrep == SCALAR:
                gates = [o for o in a.outputs if o[0] > 0]
                columns += [1 + gates.index(o) for o in b.outputs if o[0] > 0]
            before, after = ([p for p in layer.paths if p[2] == irrep] for layer in (a, b))
            down = params[f"layer{t}.down.{name_of(irrep)}"]
            down = down.reshape(1, len(before), -1, down.shape[2] // c, c)[:, [before.index(p) for p in after]]
            down = down[:, :, :, columns] * (len(after) / len(before)) ** 0.5
            out[f"layer{t}.down.{name_of(irrep)}"] = down.flatten(3).flatten(1, 2)
            name = f"layer{t}.self.{name_of(irrep)}"
            if irrep in b.inputs:
                weight = params[name]
                out[name] = weight.reshape(*weight.shape[:3], -1, c)[:, :, :, columns].flatten(3)
    return out


def test_features_that_no_edge_brings_home_are_irrelevant() -> None:
    """With edges of order 1, l = 2 appears behind the second layer, and a third cannot make scalars of it."""
    same_function(nequip(L=1, n_layers=3), nequip(L=2, edge_lmax=1, n_layers=3))


def test_networks_that_should_differ_do() -> None:
    made: list[dict[str, Any]] = [
        {"L": 0}, {"L": 1}, {"L": 2}, {"L": 1, "edge_lmax": 2},
        {"L": 2, "edge_lmax": 1, "n_layers": 4}, {"L": 1, "n_layers": 4},
        {"L": 1, "n_layers": 4, "parity": False}, {"L": 1, "first_self_connection": False},
        {"L": 1, "self_connection": "embedding"}, {"L": 1, "readout_hidden": None},
    ]  # fmt: skip
    graph = example(4)
    seen: list[torch.Tensor] = []
    for changes in made:
        model = nequip(**{"n_layers": 3, **changes})
        seen.append(model.energies(packed(model, 4), graph))
        assert all((seen[-1] - other).abs().max() > 1e-6 for other in seen[:-1]), changes


def test_frequencies_of_the_radial_basis_are_weights_where_wanted() -> None:
    free, fixed = nequip(), nequip(bessel_trainable=False)
    assert torch.equal(free.init(0)["bessel"], fixed.init(0)["constant.bessel"])
    params, graph = packed(free, 0), example(0)
    other = {name.replace("bessel", "constant.bessel"): value for name, value in copy.copy(params).items()}
    assert torch.equal(free.energies(params, graph), fixed.energies(other, graph))


def test_a_gate_of_zero_closes() -> None:
    """Vectors leave by their gates, pseudo-scalars by an odd function."""
    scalars = torch.randn(1, 2, 1, 6, dtype=torch.float64)
    scalars[..., 3:] = 0
    vectors, pseudo = torch.randn(1, 2, 3, 3, dtype=torch.float64), torch.randn(1, 2, 1, 3, dtype=torch.float64)
    out = gate({SCALAR: scalars, (1, 1): vectors, (0, -1): pseudo})
    assert out[SCALAR].shape == (1, 2, 1, 3)
    assert out[1, 1].abs().max() == 0
    assert torch.equal(gate({SCALAR: scalars[..., :3], (0, -1): -pseudo})[0, -1], -out[0, -1])
