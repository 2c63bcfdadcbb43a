"""A message-passing network without rotation symmetry, as a pure function of packed weights and neighbourhoods.

The "no symmetry" baseline of Ngo & Ravanbakhsh 2025 (arXiv 2510.09768) and Brehmer et al. 2024 (arXiv 2410.23179): the
components of the relative vectors x, y, z enter multilayer perceptrons like any other numbers. The only symmetries left
are translations and renumberings of atoms. One layer is

    m_ij = MLP(h_i, h_j, r_ij/r_c, B(|r_ij|))·f(|r_ij|)          f: polynomial cutoff, B: Bessel functions
    h_i  ← h_i + MLP(h_i, 1/√N̄ Σ_j m_ij)

and the energy of an atom is an MLP of its last h; forces are its gradient, as for every network here. The last linear
map of a message's MLP commutes with the sum over neighbours and the envelope, and so acts once an atom.

Every message carries the envelope, so that the energy has two continuous derivatives where an atom leaves the cutoff;
SiLU has all. Rotations are learned from data, with `training.augment=true` from rotated frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from experiments.models.mpnn import MpnnConfig
from experiments.nn.edges import edges_of
from experiments.nn.graph import Graph, gather_senders, to_slots
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import bessel, scaled_silu


class Mpnn:
    """Unconstrained message passing as a function of packed weights; see the module."""

    def __init__(self, config: MpnnConfig, n_species: int, n_outputs: int = 1) -> None:
        """Make the network; `n_outputs`: numbers read out of every atom, 1 for an energy."""
        self.config = config
        self.n_species = n_species
        self.n_outputs = n_outputs

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        c, config = self.config.channels, self.config
        out = [Parameter("embedding", (self.n_species, c))]
        for t in range(config.n_layers):
            name = f"layer{t}"
            out += [Parameter(f"{name}.message.{part}", (c, c)) for part in ("receiver", "sender")]
            out.append(Parameter(f"{name}.message.edge", (3 + config.n_bessel, c)))
            out.append(Parameter(f"{name}.message.bias.0", (c,), 0.0))
            for i in range(1, config.message_layers):
                out.append(Parameter(f"{name}.message.{i}", (c, c)))
                out.append(Parameter(f"{name}.message.bias.{i}", (c,), 0.0))
            out.append(Parameter(f"{name}.message.out", (c, c)))
            out += [Parameter(f"{name}.update.{part}", (c, c)) for part in ("own", "sum", "out")]
            out.append(Parameter(f"{name}.update.bias", (c,), 0.0))
        out.append(Parameter("readout.0", (c, c)))
        out.append(Parameter("readout.bias", (c,), 0.0))
        out.append(Parameter("readout.1", (c, self.n_outputs)))
        return tuple(out)

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights.

        `constant.inverse_neighbours` (not trained) is 1/N̄; 1 until it is set.
        """
        return draw_all(self.parameters(), seed, dtype) | {"constant.inverse_neighbours": torch.ones((), dtype=dtype)}

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return atomic energies `[p, n]` in units of the task's scale; every tensor of `params` leads with p.

        Differentiable to any order in `params` and `graph.vectors`; padding atoms have energy 0.
        """
        return self.scores(params, graph)[..., 0]

    def scores(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return the outputs of every atom, `[p, n, n_outputs]`; 0 for padding."""
        config = self.config
        edges = edges_of(graph, self.n_species, 1, config.cutoff, config.cutoff_power)
        basis = bessel(edges.distance, config.cutoff, config.n_bessel)
        by_pair = torch.cat([edges.distance[..., None], edges.envelope[..., None], basis], -1)
        by_slot = to_slots(by_pair, graph, edges.pairs)  # [p, n, k, 2 + n_bessel]
        envelope = by_slot[..., 1:2]
        # √3·r_ij/r_c, for r is 0 where masked, which r_ij need not be
        vectors = edges.harmonics[..., 1:] * by_slot[..., :1] * (1 / config.cutoff)
        seen = torch.cat([vectors, by_slot[..., 2:]], -1)  # [p, n, k, 3 + n_bessel]
        scale = params["constant.inverse_neighbours"].sqrt()[:, None, None]
        h = edges.one_hot @ params["embedding"]  # [p, n, C]
        for t in range(config.n_layers):
            message = self._hidden(f"layer{t}.message", params, graph, h, seen)
            total = _maps(params, [((message * envelope).sum(2) * scale, f"layer{t}.message.out")])
            update = [(h, f"layer{t}.update.own"), (total, f"layer{t}.update.sum")]
            hidden = scaled_silu(_maps(params, update) + params[f"layer{t}.update.bias"][:, None])
            h = h + _maps(params, [(hidden, f"layer{t}.update.out")])
        hidden = scaled_silu(_maps(params, [(h, "readout.0")]) + params["readout.bias"][:, None])
        return _maps(params, [(hidden, "readout.1")]) * graph.atoms[..., None]

    def _hidden(self, name: str, params: Mapping[str, Tensor], graph: Graph, h: Tensor, seen: Tensor) -> Tensor:
        """Return the hidden layers of the messages `[p, n, k, C]`; parts of one atom are computed once per atom."""
        p, n, k, width = seen.shape
        scale = math.sqrt(1 / 3)  # three inputs of unit size are added
        receiver = _maps(params, [(h, f"{name}.receiver")]) + params[f"{name}.bias.0"][:, None]
        sender = gather_senders(_maps(params, [(h, f"{name}.sender")]), graph)
        edge = _maps(params, [(seen.reshape(p, n * k, width), f"{name}.edge")]).reshape(p, n, k, -1)
        x = scaled_silu((receiver[:, :, None] + sender + edge) * scale)
        for i in range(1, self.config.message_layers):
            flat = _maps(params, [(x.reshape(p, n * k, -1), f"{name}.{i}")]) + params[f"{name}.bias.{i}"][:, None]
            x = scaled_silu(flat).reshape(p, n, k, -1)
        return x


def _maps(params: Mapping[str, Tensor], terms: Sequence[tuple[Tensor, str]]) -> Tensor:
    """Sum linear maps `[p, n, C]` → `[p, n, C']`, normalised by the root of the number of all inputs."""
    fan_in = sum(x.shape[-1] for x, _ in terms)
    first, *others = (x @ (params[name] * (1 / math.sqrt(fan_in))) for x, name in terms)
    return sum(others, first)
