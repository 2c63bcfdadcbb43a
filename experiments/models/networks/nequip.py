"""NequIP (Batzner et al. 2021, arXiv 2101.03164) as a pure function of packed weights and packed neighbourhoods.

Layout: channels last, `[p, n, 2l+1, C]` for every irrep of O(3). One layer is, with a(z) the one-hot element,

    h ← gate( Linear[ 1/√N̄ Σ_j R(r_ij) · (Linear[h_j] ⊗ Y(r̂_ij)) ] + FullyConnected[h_i ⊗ a(z_i)] )

with a radial network R on trainable Bessel functions times a polynomial cutoff, and sums over all paths to an irrep
followed by one linear map; the readout is two linear maps of the scalars. Normalisations are those of the published
code (e3nn's: 1/√fan-in for linear maps, also over species; "component" tensor products; second moments of one).
Scale and shift of its energies are the task's: scale and baseline come from the training frames. `species_scales` adds
the package's `per_type_energy_scales`.

`prune=all` leaves out what cannot reach the energy (all but scalars of the last layer, pseudo-tensors of the one
before, …), so that the identities between function classes hold exactly: one layer ⇒ L irrelevant; edge_lmax=0 ⇒ L
irrelevant; L=0 with its edge_lmax=0 is the invariant, SchNet-like limit. `prune=none` has the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.models.contract import feature_widths
from experiments.models.nequip import NequipConfig
from experiments.nn.convolution import Convolution
from experiments.nn.edges import Edges, edges_of
from experiments.nn.gate import SCALAR, Irrep, gate, gated, name_of
from experiments.nn.graph import Graph, gather_senders, to_slots
from experiments.nn.linear import linear, one_hot, species_linear
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import perceptron

Features = dict[Irrep, Tensor]
"""Irrep → `[p, n, 2l+1, C]`."""
IrrepPath = tuple[Irrep, int, Irrep]
"""Irrep of the sender's feature, degree of the harmonic, irrep of the result."""


@dataclass(frozen=True)
class Layer:
    """Irreps and paths of one layer.

    The irreps of its input features, the paths of its convolution, and the irreps that it hands on. Paths are sorted by
    the signs of sender and result: each pair of signs is a convolution by itself.
    """

    inputs: tuple[Irrep, ...]
    paths: tuple[IrrepPath, ...]
    outputs: tuple[Irrep, ...]

    def into(self, irrep: Irrep) -> int:
        """Count the paths to an irrep."""
        return sum(result == irrep for _, _, result in self.paths)


def couple(left: Irrep, degree: int, result: Irrep) -> bool:
    """Return whether `left` ⊗ Y_degree contains `result`."""
    total = left[0] + degree + result[0]
    return abs(left[0] - degree) <= result[0] <= left[0] + degree and left[1] * result[1] == (-1) ** total


def plan(config: NequipConfig) -> tuple[Layer, ...]:
    """List the layers with the irreps that exist (forward) and, if pruned, reach the energy (backward)."""
    edge = range(config.edge_order + 1)
    hidden = [(degree, sign) for sign in ((1, -1) if config.parity else (1,)) for degree in range(config.L + 1)]
    exist: list[tuple[Irrep, ...]] = [(SCALAR,)]  # node features before each layer
    for _ in range(config.n_layers):
        exist.append(tuple(i for i in hidden if any(couple(j, degree, i) for j in exist[-1] for degree in edge)))
    layers: list[Layer] = []
    outputs = exist[-1] if config.prune == "none" else (SCALAR,)
    for before in reversed(exist[:-1]):
        paths = [(i, degree, o) for o in outputs for i in before for degree in edge if couple(i, degree, o)]
        paths.sort(key=lambda path: (-path[0][1], -path[2][1]))
        used = {path[0] for path in paths}  # a self-connection adds none: degree 0 leads from every irrep to itself
        inputs = tuple(i for i in before if i in used)
        layers.append(Layer(inputs, tuple(paths), outputs))
        outputs = inputs if config.prune == "all" else before
    return tuple(reversed(layers))


def widths(config: NequipConfig) -> tuple[int, ...]:
    """Return the components of an atom's features that each layer takes; with `prune=none` in vain, too."""
    return feature_widths(config.channels, ([degree for degree, _ in layer.inputs] for layer in plan(config)[1:]))


class Nequip:
    """NequIP as a function of packed weights; see the module for layout and conventions."""

    def __init__(self, config: NequipConfig, n_species: int) -> None:
        self.config = config
        self.n_species = n_species
        self.layers = plan(config)
        self._convolutions = [_by_signs(layer, config.edge_order) for layer in self.layers]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run, except the radial basis' frequencies and the scales of the elements."""
        config, s = self.config, self.n_species
        weighing = s if config.self_connection == "species" else config.embedding_channels
        widths = (config.n_bessel, *config.radial_hidden)
        out = [Parameter("embedding", (s, config.embedding_channels))]
        for t, layer in enumerate(self.layers):
            name, c = f"layer{t}", self._width(t)
            out += [Parameter(f"{name}.radial.{i}", (widths[i], widths[i + 1])) for i in range(len(widths) - 1)]
            blocks = tuple(f"/{name_of(i)}{degree}{name_of(o)}" for i, degree, o in layer.paths)
            out.append(Parameter(f"{name}.radial.{len(widths) - 1}", (widths[-1], c), blocks=blocks))
            out += [Parameter(f"{name}.up.{name_of(i)}", (c, c)) for i in layer.inputs]
            for o in layer.outputs:
                blocks = ("",)
                if o == SCALAR:
                    blocks += tuple(f"/gate{name_of(g)}" for g in gated(layer.outputs))
                out.append(Parameter(f"{name}.down.{name_of(o)}", (c * layer.into(o), config.channels), blocks=blocks))
                if self._has_self_connection(t, o):
                    out.append(Parameter(f"{name}.self.{name_of(o)}", (weighing, c, config.channels), blocks=blocks))
        if config.readout_hidden is not None:
            out.append(Parameter("readout.0", (config.channels, config.readout_hidden)))
        out.append(Parameter("readout.1", (config.readout_hidden or config.channels, 1)))
        return tuple(out)

    def _width(self, t: int) -> int:
        """Return the number of channels of the features before layer `t`."""
        return self.config.channels if t > 0 else self.config.embedding_channels

    def _has_self_connection(self, t: int, irrep: Irrep) -> bool:
        return irrep in self.layers[t].inputs and (t > 0 or self.config.first_self_connection)

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights.

        `constant.inverse_neighbours` (not trained) is 1/N̄; 1 until it is set. `bessel` are the frequencies of the
        radial basis in units of 1/cutoff, π·n at first.
        """
        frequencies = (math.pi * torch.arange(1, self.config.n_bessel + 1, dtype=torch.float64)).to(dtype)
        name = "bessel" if self.config.bessel_trainable else "constant.bessel"
        constants = {"constant.inverse_neighbours": torch.ones((), dtype=dtype), name: frequencies}
        if self.config.species_scales:
            constants["scales"] = torch.ones(self.n_species, dtype=dtype)
        return draw_all(self.parameters(), seed, dtype) | constants

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return atomic energies `[p, n]` in units of the task's scale; every tensor of `params` leads with p.

        Differentiable to any order in `params` and `graph.vectors`; padding atoms have energy 0.
        """
        x = self.node_features(params, graph)[-1][SCALAR]
        if self.config.readout_hidden is not None:
            x = linear(x, params["readout.0"])
        energies = linear(x, params["readout.1"])[:, :, 0, 0] * graph.atoms
        if self.config.species_scales:
            energies = (
                energies * (one_hot(graph.species, self.n_species, x.dtype) @ params["scales"][..., None])[..., 0]
            )
        return energies

    def node_features(self, params: Mapping[str, Tensor], graph: Graph) -> list[Features]:
        """Return the node features after every layer, by irrep."""
        config = self.config
        edges = edges_of(graph, self.n_species, config.edge_order, config.cutoff, config.cutoff_power)
        frequencies = params["bessel" if config.bessel_trainable else "constant.bessel"]
        basis = _bessel(edges.distance, frequencies, config.cutoff) * edges.envelope[..., None]
        # e3nn's linear map of a one-hot vector divides by the root of its length, a table of embeddings does not
        scale = 1 / math.sqrt(self.n_species) if config.self_connection == "species" else 1.0
        h: Features = {SCALAR: (edges.one_hot @ (params["embedding"] * scale))[:, :, None]}
        out = []
        for t in range(len(self.layers)):
            h = gate(self._sums(t, params, edges, basis, h))
            out.append(h)
        return out

    def _sums(self, t: int, params: Mapping[str, Tensor], edges: Edges, basis: Tensor, h: Features) -> Features:
        """Return the inputs of the gate: messages after their linear map, plus self-connections."""
        layer, name = self.layers[t], f"layer{t}"
        weights = [params[f"{name}.radial.{i}"] for i in range(len(self.config.radial_hidden) + 1)]
        radial = to_slots(perceptron(basis, weights), edges.graph, edges.pairs)  # [p, n, k, paths·C]
        radial = radial.reshape(*radial.shape[:3], len(layer.paths), -1)
        up = torch.cat([linear(h[i], params[f"{name}.up.{name_of(i)}"]) for i in layer.inputs], 2)
        parts = torch.split(gather_senders(up, edges.graph), [2 * degree + 1 for degree, _ in layer.inputs], 3)
        senders = dict(zip(layer.inputs, parts, strict=True))
        messages: dict[Irrep, list[Tensor]] = {}
        for (left, right), where, convolution in self._convolutions[t]:
            own = {degree: senders[degree, left] for degree in convolution.degrees}
            for degree, x in convolution(own, radial[..., where, :], edges.harmonics).items():
                messages.setdefault((degree, right), []).append(x)
        scale = params["constant.inverse_neighbours"].sqrt()[:, None, None, None]
        out = {}
        for o in layer.outputs:
            out[o] = linear(torch.cat(messages[o], -1), params[f"{name}.down.{name_of(o)}"]) * scale
            if self._has_self_connection(t, o):
                weight = self._of_species(params, params[f"{name}.self.{name_of(o)}"])
                out[o] = out[o] + species_linear(h[o], edges.one_hot, weight)
        return out

    def _of_species(self, params: Mapping[str, Tensor], weight: Tensor) -> Tensor:
        """Return one matrix per species `[p, S, C, C']` from the weights `[p, V, C, C']` of a self-connection."""
        weight = weight * (1 / math.sqrt(weight.shape[1]))
        if self.config.self_connection == "species":
            return weight
        mixed = params["embedding"] @ weight.flatten(2)  # [p, S, V] @ [p, V, C·C']
        return mixed.reshape(len(weight), self.n_species, *weight.shape[2:])


def _by_signs(layer: Layer, edge_lmax: int) -> list[tuple[tuple[int, int], slice, Convolution]]:
    """List, for each pair of signs (of sender and result), the slice of its paths and their convolution."""
    out = []
    signs = [(i[1], o[1]) for i, _, o in layer.paths]
    for pair in dict.fromkeys(signs):
        where = slice(signs.index(pair), signs.index(pair) + signs.count(pair))
        degrees = [(i[0], degree, o[0]) for i, degree, o in layer.paths[where]]
        out.append((pair, where, Convolution(degrees, edge_lmax)))
    return out


def _bessel(distance: Tensor, frequencies: Tensor, cutoff: float) -> Tensor:
    """Return 2/r_c·sin(ω_n·r/r_c)/r (NequIP eq. 8): distances `[p, m]` in Å, ω `[p, n_bessel]` → `[p, m, n_bessel]`."""
    apart = distance[..., None]
    return (2 / cutoff) * torch.sin(apart * (frequencies / cutoff)[:, None]) / apart
