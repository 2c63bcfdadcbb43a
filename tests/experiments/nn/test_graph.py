"""Gathers without scatter: values, transposes, second derivatives, and forces against autograd through positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from experiments.nn.graph import Graph, count_by_products, gather_senders, pair_forces, pairs_of, to_pairs, to_slots
from tests.experiments.models.clusters import graph_of, positions, species

# Sums of some ten terms of order one in float64.
ROUND_OFF = 1e-12


def small(seed: int, pack: int = 2, slots: int = 1, padding: int = 1, cutoff: float = 2.4) -> Graph:
    x = positions(seed, pack, 2, 5)
    return graph_of(x, species(seed, pack, 2, 5), cutoff, slots, padding)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_pairs_list_every_edge_once(seed: int) -> None:
    graph = small(seed)
    pairs = pairs_of(graph)
    used = pairs.valid > 0
    both = torch.cat([pairs.slot[used], pairs.other[used]]).sort().values
    assert torch.equal(both, torch.nonzero(graph.mask.flatten() > 0).flatten())
    slots = torch.nonzero(graph.mask.flatten() > 0).flatten()
    mine = pairs.pair.flatten()[slots]
    assert ((pairs.slot.flatten()[mine] == slots) | (pairs.other.flatten()[mine] == slots)).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 1), (2, 1, 5), (2, 7, 6), (2, 3, 0), (1, 300, 40)])
def test_places_are_counted_the_same_by_products(shape: tuple[int, int, int]) -> None:
    """Of no place, of half, and of all."""
    generator = torch.Generator().manual_seed(0)
    for share in (0.0, 0.5, 1.0):
        chosen = torch.rand(shape, generator=generator) < share
        expected = chosen.reshape(shape[0], -1).long().cumsum(1)
        assert torch.equal(count_by_products(chosen), expected)


def test_pairs_of_a_graph_without_edges() -> None:
    graph = small(0, cutoff=0.1)
    pairs = pairs_of(graph)
    assert pairs.valid.sum() == 0
    value = to_slots(torch.ones(2, pairs.slot.shape[1], 3, dtype=torch.float64), graph, pairs)
    assert value.abs().max() == 0
    assert to_pairs(torch.ones(*graph.mask.shape, dtype=torch.float64), graph, pairs).abs().max() == 0


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_hand_written_transposes(seed: int) -> None:
    """⟨G x, y⟩ = ⟨x, Gᵀ y⟩ for every gather, with y zero where slots are masked, as all users guarantee."""
    graph = small(seed)
    generator = torch.Generator().manual_seed(seed)
    pairs = pairs_of(graph)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def check(apply: Callable[[Tensor], Tensor], x: Tensor) -> None:
        x.requires_grad_(True)
        (transposed,) = torch.autograd.grad((apply(x) * masked).sum(), x)
        units = torch.eye(x.numel(), dtype=torch.float64)
        direct = torch.stack([(apply(unit.reshape(x.shape)) * masked).sum() for unit in units])
        assert torch.allclose(transposed.flatten(), direct, atol=ROUND_OFF)

    masked = normal(*graph.mask.shape, 2) * graph.mask[..., None]
    check(lambda x: gather_senders(x, graph), normal(*graph.species.shape, 2))
    check(lambda x: to_slots(x, graph, pairs), normal(*pairs.slot.shape, 2))


@pytest.mark.parametrize("which", ["senders", "slots", "pairs", "forces"])
def test_first_and_second_derivatives(which: str) -> None:
    graph = small(3, pack=1)
    pairs = pairs_of(graph)
    shapes = {"senders": graph.species.shape, "slots": pairs.slot.shape}
    x = torch.randn(*shapes.get(which, graph.mask.shape), 3, dtype=torch.float64, requires_grad=True)
    mask = graph.mask[..., None]

    def function(x: Tensor) -> Tensor:
        if which == "senders":
            return (gather_senders(x, graph) ** 2) * mask
        if which == "slots":
            return to_slots(x**2, graph, pairs)
        return to_pairs(x**2, graph, pairs) if which == "pairs" else pair_forces(x**2, graph)

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_pair_forces_are_the_gradient_through_positions(seed: int) -> None:
    """F = −∂E/∂x of an energy that depends on all vectors, against autograd through the positions themselves."""
    x = positions(seed, 2, 2, 5).requires_grad_(True)
    graph = graph_of(x, species(seed, 2, 2, 5), 2.4, slots=1)
    weights = torch.rand(graph.mask.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    def energy(vectors: Tensor) -> Tensor:
        return (weights * graph.mask * torch.sin((vectors * vectors).sum(-1) + vectors[..., 0])).sum()

    (reference,) = torch.autograd.grad(energy(graph.vectors), x)
    vectors = graph.vectors.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(energy(vectors), vectors)
    forces = pair_forces(gradient, dataclasses.replace(graph, vectors=vectors))
    assert torch.allclose(forces.reshape(x.shape), -reference, atol=ROUND_OFF)
    assert torch.allclose(forces.sum(1), torch.zeros(2, 3, dtype=torch.float64), atol=ROUND_OFF)
