"""The tensor field network's own: identities between function classes, and that it tells mirror images apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from experiments.models.networks.tfn import Tfn
from tests.experiments.models.test_mace import rotated, rotations
from tests.experiments.models.test_networks import ROUND_OFF, example, packed, tfn


def same_function(a: Tfn, b: Tfn) -> None:
    params, others = packed(a, 4), packed(b, 4)
    assert params.keys() == others.keys()
    assert all(torch.equal(params[name], others[name]) for name in params)
    graph = example(4)
    assert torch.equal(a.energies(params, graph), b.energies(others, graph))


@pytest.mark.parametrize(("L", "edge"), [(1, 1), (2, 3), (3, 0)])
def test_one_layer_does_not_depend_on_L_and_edge_order(L: int, edge: int) -> None:
    same_function(tfn(n_layers=1, L=0, edge_lmax=0), tfn(n_layers=1, L=L, edge_lmax=edge))


def test_without_angles_L_is_irrelevant() -> None:
    same_function(tfn(L=0, n_layers=4), tfn(L=2, n_layers=4, edge_lmax=0))


def test_invariant_features_do_not_depend_on_the_edge_order() -> None:
    same_function(tfn(L=0, edge_lmax=0), tfn(L=0, edge_lmax=3))


@pytest.mark.parametrize(
    ("L", "n_layers", "chiral"), [(0, 4, False), (1, 2, False), (3, 2, False), (1, 3, True), (2, 3, True)]
)
def test_mirror_images_differ_from_three_layers_on(L: int, n_layers: int, chiral: bool) -> None:
    """Only cross products know a hand; of two, or of vectors in two layers, no scalar can be made."""
    model = tfn(L=L, n_layers=n_layers)
    params, graph = packed(model, 1), example(1)
    _, reflection = rotations(1)
    energies = model.energies(params, graph)
    difference = (model.energies(params, rotated(graph, reflection)) - energies).abs().max()
    scale = 1 + energies.abs().max()
    assert difference > 1e-6 * scale if chiral else difference < ROUND_OFF * scale


def test_features_that_no_edge_brings_home_are_irrelevant() -> None:
    """With edges of order 1, l = 2 appears behind the second layer, and a third cannot make scalars of it."""
    same_function(tfn(L=1, n_layers=3), tfn(L=2, edge_lmax=1, n_layers=3))


def test_networks_that_should_differ_do() -> None:
    made: list[dict[str, Any]] = [
        {"L": 0}, {"L": 1}, {"L": 2}, {"L": 1, "edge_lmax": 2},
        {"L": 2, "edge_lmax": 1, "n_layers": 4}, {"L": 1, "n_layers": 2},
        {"L": 1, "n_radial": 6}, {"L": 1, "radial_width": 5}, {"L": 1, "cutoff_power": 5},
    ]  # fmt: skip
    graph = example(4)
    seen: list[torch.Tensor] = []
    for changes in made:
        model = tfn(**changes)
        seen.append(model.energies(packed(model, 4), graph))
        assert all((seen[-1] - other).abs().max() > 1e-6 for other in seen[:-1]), changes


def test_a_node_sees_itself() -> None:
    """The sum over b includes a: without neighbours energies still depend on the filters at r = 0."""
    model = tfn(L=1)
    params = packed(model, 0)
    graph = example(0)
    alone = {"vectors": graph.vectors + 100.0, "mask": torch.zeros_like(graph.mask)}
    lonely = type(graph)(**{**vars(graph), **alone})
    before = model.energies(params, lonely)
    params["layer0.radial.1.bias"] = params["layer0.radial.1.bias"] + 0.5
    assert (model.energies(params, lonely) - before).abs().max() > 1e-3
