"""Comparing a network with a slow one on a molecule: energies, forces, and what training on forces needs of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from experiments.models.networks import Trainable
from experiments.nn.graph import pair_forces
from tests.experiments.models.clusters import graph_of

Weights = Mapping[str, Tensor]
Slow = Callable[[Weights, Tensor, list[int]], Tensor]
"""(weights of one run, positions `[n, 3]` in Å, species) → atomic energies `[n]`."""


def loss_of(energies: Tensor, forces: Tensor) -> Tensor:
    """Return a loss that depends on both, and not on their signs alone."""
    return (energies + 0.3).pow(2).sum() + (forces - 0.1).pow(2).sum()


def same(network: Trainable, slow: Slow, weights: Weights, x: Tensor, kinds: Tensor, cutoff: float) -> None:
    """Assert that energies, forces and the gradient of a loss on both (second derivatives) agree; `x` is `[1, 1, n,
    3]`.

    1e-12 of the largest entry: the same sums in another order, some thousand terms in float64.
    """
    names = [name for name in weights if not name.startswith("constant.")]
    own = {name: value.clone().requires_grad_(name in names) for name, value in weights.items()}
    moved = x[0, 0].clone().requires_grad_(True)
    slow_energies = slow(own, moved, kinds.flatten().tolist())
    (gradient,) = torch.autograd.grad(slow_energies.sum(), moved, create_graph=True)
    slow_forces = -gradient
    leaves = [own[name] for name in names]
    expected = torch.autograd.grad(loss_of(slow_energies, slow_forces), leaves, materialize_grads=True)

    packed = {name: value[None].clone().requires_grad_(name in names) for name, value in weights.items()}
    graph = graph_of(x, kinds, cutoff, slots=1)
    graph.vectors.requires_grad_(True)
    energies = network.energies(packed, graph)
    (by_vector,) = torch.autograd.grad(energies.sum(), graph.vectors, create_graph=True)
    forces = pair_forces(by_vector, graph)
    leaves = [packed[name] for name in names]
    found = torch.autograd.grad(loss_of(energies, forces), leaves, materialize_grads=True)

    assert slow_forces.abs().max() > 1e-3, "no forces: the comparison shows nothing"
    close(energies[0], slow_energies, "energies")
    close(forces[0], slow_forces, "forces")
    largest = max(float(e.abs().max()) for e in expected)
    for name, mine, other in zip(names, found, expected, strict=True):
        close(mine[0], other, name, largest)


def close(found: Tensor, expected: Tensor, what: str, scale: float = 0.0) -> None:
    found, expected = found.detach(), expected.detach()
    difference = float((found - expected).abs().max())
    assert difference < 1e-12 * max(1.0, scale, float(expected.abs().max())), (what, difference)
