"""A plain `torch.nn.Module` of atomic energies as a network of packed weights and neighbourhoods.

Such a module knows nothing of packs, padding or slots:

    forward(positions [n, 3], species [n], edge_index [2, e], shifts [e, 3], batch [n]) -> atomic energies [n]

`i, j = edge_index` are the receiver and the sender of an edge, `positions[j] + shifts - positions[i]` is its vector in
Å, with every pair within the cutoff in both directions; `species` are indices into `info.species`; `batch` is the index
of an atom's molecule. Energies are in units of the task's scale, without the energy that composition explains. The
energy may depend on positions through the vectors of edges alone: forces are its derivatives by these.

Slots without an edge become edges of an atom of their own (the last), in a molecule of its own, so that shapes depend
on shapes only and a step can be compiled. The runs of a pack are computed one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from experiments.models.contract import ModelConfig, MoleculeInfo
from experiments.models.registry import build, origin
from experiments.nn.graph import Graph
from experiments.nn.parameters import is_constant

BUFFER = "constant.buffer."
"""Prefix of a module's buffers, and of parameters that it does not train, among a run's constants."""
NEIGHBOURS = "constant.mean_neighbours"


class PlainNetwork:
    """A module as a function of packed weights; see the file.

    Args:
        config: its settings.
        info: facts about the data; `mean_neighbours` is part of what is stored.
        module: what the architecture's `build` made of the two.
    """

    def __init__(self, config: ModelConfig, info: MoleculeInfo, module: torch.nn.Module) -> None:
        self.config = config
        self.info = info
        self.module = module.eval()  # a function of its weights: no dropout, no running statistics
        self.device = torch.device("cpu")

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run by building the module anew after seeding torch's generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drawn = build(self.config, self.info)
        weights: dict[str, Tensor] = {}
        for name, value in drawn.named_parameters():
            weights[name if value.requires_grad else f"{BUFFER}{name}"] = value.detach().to(dtype)
        for name, value in drawn.named_buffers():
            if value.is_floating_point():
                weights[f"{BUFFER}{name}"] = value.detach().to(dtype)
        weights[NEIGHBOURS] = torch.tensor(self.info.mean_neighbours, dtype=dtype)
        return weights

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return atomic energies `[p, n]`; every tensor of `params` leads with p. Padding atoms have energy 0."""
        if graph.vectors.device != self.device:
            self.device = graph.vectors.device
            self.module.to(self.device)
        return torch.stack([self._of_run(params, graph, run) for run in range(len(graph.vectors))])

    def _of_run(self, params: Mapping[str, Tensor], graph: Graph, run: int) -> Tensor:
        n = graph.atoms.shape[1]
        out = self(weights_of(params, run), *inputs_of(graph, run, 0.5 * float(self.config.cutoff)))  # type: ignore[attr-defined]
        if out.shape != (n + 1,):
            raise self.wrong(out, n + 1)
        atomic: Tensor = out[:n] * graph.atoms[run]
        return atomic

    def __call__(self, weights: Mapping[str, Tensor], *inputs: Tensor) -> Any:
        """Call the module with the weights of one run."""
        return functional_call(self.module, dict(weights), inputs)

    def wrong(self, out: Any, atoms: int) -> Exception:
        """Return the error of a module whose output is no energy of each atom."""
        found = f"a tensor of shape {list(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
        return origin(self.config).fault(
            f"forward returned {found} for {atoms} atoms; accepted: shape [{atoms}], an energy of each atom"
        )


def weights_of(params: Mapping[str, Tensor], run: int) -> dict[str, Tensor]:
    """Return the tensors of one run by the module's own names."""
    return {
        name.removeprefix(BUFFER): value[run]
        for name, value in params.items()
        if name.startswith(BUFFER) or not is_constant(name)
    }


def inputs_of(graph: Graph, run: int, spare: float) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the arguments of a module's `forward` for one run: positions, species, edge_index, shifts, batch.

    Positions are zero and shifts the vectors themselves. The last atom takes the slots without an edge, with vectors of
    length `spare` (Å).
    """
    vectors, mask, atoms = graph.vectors[run], graph.mask[run] > 0, graph.atoms[run] > 0
    n, k = mask.shape
    own = torch.arange(n, device=mask.device)
    last = torch.full_like(own, n)
    real = mask.reshape(-1)
    receivers = torch.where(mask, own[:, None], n).reshape(-1)
    senders = torch.where(mask, graph.senders[run] - run * n, n).reshape(-1)
    away = torch.zeros(3, dtype=vectors.dtype, device=vectors.device)
    away[0] = spare
    shifts = torch.where(real[:, None], vectors.reshape(n * k, 3), away)
    frames = torch.zeros_like(own) if graph.frames is None else graph.frames[run]
    apart = frames.max() + 1  # a molecule of its own for padding
    batch = torch.cat([torch.where(atoms, frames, apart), apart[None]])
    species = torch.cat([graph.species[run], torch.zeros_like(last[:1])])
    positions = torch.zeros((n + 1, 3), dtype=vectors.dtype, device=vectors.device)
    return positions, species, torch.stack([receivers, senders]), shifts, batch
