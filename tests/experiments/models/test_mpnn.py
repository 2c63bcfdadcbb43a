"""Message passing without rotation symmetry: what it sees, and what it does not."""

from __future__ import annotations

import pytest
import torch

from tests.experiments.models.clusters import graph_of, positions, species
from tests.experiments.models.test_mace import rotated, rotations
from tests.experiments.models.test_networks import CUTOFF, ROUND_OFF, example, mpnn, packed


def test_rotations_and_reflections_change_the_energy() -> None:
    """At initialisation, by about as much as the energy itself varies."""
    model, graph = mpnn(), example(0)
    params = packed(model, 0)
    energies = model.energies(params, graph)
    for rotation in rotations(0):
        change = (model.energies(params, rotated(graph, rotation)) - energies).std()
        assert change > 0.1 * energies.std()


def test_translations_do_not() -> None:
    """Positions enter as differences; renumbering atoms is under test for every network."""
    model, x, kinds = mpnn(), positions(0, 1, 2, 6), species(0, 1, 2, 6)
    params = packed(model, 0)
    moved = x + torch.tensor([3.0, -1.0, 2.0], dtype=torch.float64)
    before, after = (model.energies(params, graph_of(y, kinds, CUTOFF)) for y in (x, moved))
    assert (after - before).abs().max() < ROUND_OFF * (1 + before.abs().max())


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_messages_reach_as_far_as_there_are_layers(layers: int) -> None:
    """A chain of atoms: the first one's energy depends on the atoms up to `layers` bonds away, and on no further."""
    model = mpnn(n_layers=layers)
    params = packed(model, 0)
    x = torch.zeros(1, 1, 5, 3, dtype=torch.float64)
    x[..., 0] = 2.0 * torch.arange(5)
    x.requires_grad_(True)
    energies = model.energies(params, graph_of(x, torch.zeros(1, 1, 5, dtype=torch.int64), CUTOFF))
    (gradient,) = torch.autograd.grad(energies[0, 0], x)
    reached = gradient[0, 0].abs().amax(-1) > 0
    assert reached.tolist() == [i <= layers for i in range(5)]


def test_every_setting_changes_the_function() -> None:
    graph = example(4)
    seen: list[torch.Tensor] = []
    for change in ({}, {"n_layers": 3}, {"message_layers": 1}, {"n_bessel": 4}, {"cutoff_power": 5}, {"channels": 6}):
        model = mpnn(**change)
        seen.append(model.energies(packed(model, 4), graph))
        assert all((seen[-1] - other).abs().max() > 1e-6 for other in seen[:-1]), change
