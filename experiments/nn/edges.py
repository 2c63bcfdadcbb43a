"""Edge geometry that every layer of a network reads: directions, and distances once for both ends of a pair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.nn.graph import Graph, Pairs, pairs_of, to_pairs
from experiments.nn.linear import one_hot
from experiments.nn.radial import polynomial_cutoff
from experiments.nn.spherical import spherical_harmonics


@dataclass(frozen=True)
class Edges:
    """A graph with its geometry.

    one_hot    `[p, n, S]`              species of the atoms
    harmonics  `[p, n, k, (edge+1)²]`   of the slots
    distance   `[p, m]`                 of the pairs in Å, 1 where padded
    envelope   `[p, m]`                 cutoff function of the pairs, 0 where padded
    """

    graph: Graph
    pairs: Pairs
    one_hot: Tensor
    harmonics: Tensor
    distance: Tensor
    envelope: Tensor


def edges_of(graph: Graph, n_species: int, edge_lmax: int, cutoff: float, cutoff_power: int) -> Edges:
    """Compute the geometry of a graph, with harmonics of degrees 0…`edge_lmax`; differentiable to any order."""
    # a masked slot may hold anything, also zero, whose norm has no gradient
    vectors = torch.where(graph.mask[..., None] > 0, graph.vectors, torch.ones_like(graph.vectors))
    distance = (vectors * vectors).sum(-1).sqrt()  # [p, n, k]
    # radial functions are the same in both directions of a pair, and they are most of the arithmetic
    pairs = pairs_of(graph)
    apart = 0.5 * to_pairs(distance, graph, pairs) + (1 - pairs.valid)
    return Edges(
        graph=graph,
        pairs=pairs,
        one_hot=one_hot(graph.species, n_species, vectors.dtype),
        harmonics=spherical_harmonics(edge_lmax, vectors / distance[..., None]),
        distance=apart,
        envelope=polynomial_cutoff(apart, cutoff, cutoff_power) * pairs.valid,
    )
