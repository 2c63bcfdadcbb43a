"""Networks of molecules on point clouds: every point sees every other, and outputs are means over points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from experiments.nn.graph import Graph
from experiments.tasks.task import Tensors


class PointNetwork(Protocol):
    """Interface of a network on neighbourhoods."""

    def init(self, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Draw the weights of one run."""
        ...

    def scores(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return the outputs of every node, `[p, n, o]`."""
        ...


class Clouds:
    """A network on point clouds `[p, B, n, 3]`, as a function of packed weights and points."""

    def __init__(self, network: PointNetwork, shape: tuple[int, ...]) -> None:
        self.network = network
        self.n_points = shape[0]

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights."""
        weights = self.network.init(seed, dtype)
        weights["constant.inverse_neighbours"] = torch.tensor(1 / max(1, self.n_points - 1), dtype=dtype)
        return weights

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Map points `[p, B, n, 3]` to outputs `[p, B, o]`."""
        p, batch, n, _ = inputs.shape
        scores = self.network.scores(params, complete_graph(inputs))
        return scores.reshape(p, batch, n, -1).mean(2)


def complete_graph(points: Tensor) -> Graph:
    """Build the graph in which each of `[p, B, n, 3]` points has the other n − 1 points of its cloud as neighbours."""
    p, batch, n, _ = points.shape
    device = points.device
    own = torch.arange(n, device=device)[:, None]
    slot = torch.arange(n - 1, device=device)[None]
    sender = slot + (slot >= own).long()  # [n, n − 1]: all but the point itself, in order
    back = own - (own > sender).long()  # the slot of the opposite edge at the sender
    start = (torch.arange(p * batch, device=device) * n).reshape(p, batch, 1, 1)
    senders = sender + start
    vectors = points[:, :, sender] - points[:, :, :, None]  # [p, B, n, n − 1, 3]
    return Graph(
        vectors=vectors.reshape(p, batch * n, n - 1, 3),
        senders=senders.reshape(p, batch * n, n - 1),
        reverse=(senders * (n - 1) + back).reshape(p, batch * n, n - 1),
        mask=torch.ones((p, batch * n, n - 1), dtype=points.dtype, device=device),
        species=torch.zeros((p, batch * n), dtype=torch.int64, device=device),
        atoms=torch.ones((p, batch * n), dtype=points.dtype, device=device),
    )
