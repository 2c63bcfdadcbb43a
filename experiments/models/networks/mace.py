"""MACE (Batatia et al. 2022, arXiv 2206.07697) as a pure function of packed weights and packed neighbourhoods.

Layout: channels last, `[p, n, m, C]`; degrees are kept apart or joined along m in the order (l, m). Features have
natural parity (−1)^l, as in mace-torch with hidden irreps "Cx0e + Cx1o + …": only couplings with even l₁+l₂+l₃.
Paths that cannot reach the energy have neither weights nor arithmetic (`plan`), so that the identities between function
classes hold exactly: one layer ⇒ L irrelevant; (L=0, ν=1) independent of edge_lmax; edge_lmax=0 ⇒ L irrelevant.

Two linear maps in a row of mace-torch are one here: embedding and first "up" map; the first layer's node map and the
species-dependent one behind it; with `first_residual`, embedding and the map of the first residual. A matrix is
normalised by the root of its fan-in; picking a species costs no factor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.models.contract import feature_widths
from experiments.models.mace import MaceConfig
from experiments.nn.contraction import Contraction, couplings
from experiments.nn.convolution import Convolution, Path
from experiments.nn.edges import Edges, edges_of
from experiments.nn.graph import Graph, gather_senders, to_slots
from experiments.nn.linear import linear, species_linear
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import bessel, perceptron, scaled_silu

Features = dict[int, Tensor]
"""Degree l → `[p, n, 2l+1, C]`."""


@dataclass(frozen=True)
class Layer:
    """Degrees that one layer uses and makes.

    The degrees of its input features, the paths of its convolution, the degrees of its A-features and of the messages
    that it hands on, and which of these have a residual connection.
    """

    inputs: tuple[int, ...]
    paths: tuple[Path, ...]
    features: tuple[int, ...]
    outputs: tuple[int, ...]
    residual: tuple[int, ...]


def plan(config: MaceConfig) -> tuple[Layer, ...]:
    """List the layers with the degrees that both exist (forward) and reach the energy (backward)."""
    edge = config.edge_lmax
    orders = range(1, config.nu + 1)
    messages = tuple(d for d in range(config.L + 1) if any(couplings(edge, d, o).shape[-1] for o in orders))
    exist = [(0,), *[messages] * (config.n_layers - 1)]  # degrees of node features before each layer
    layers: list[Layer] = []
    outputs: tuple[int, ...] = (0,)
    for t in reversed(range(config.n_layers)):
        # from the second order on, (l, l) → 0 couples every degree
        features = outputs if config.nu == 1 else tuple(range(edge + 1))
        paths = tuple(
            (l1, l2, l3)
            for l3 in features
            for l1 in exist[t]
            for l2 in range(edge + 1)
            if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
        )
        residual = tuple(degree for degree in outputs if degree in exist[t]) if t > 0 else ()
        inputs = tuple(sorted({l1 for l1, _, _ in paths} | set(residual)))
        layers.append(Layer(inputs, paths, features, outputs, residual))
        outputs = inputs
    return tuple(reversed(layers))


def widths(config: MaceConfig) -> tuple[int, ...]:
    """Return the components of an atom's features that each layer takes from the one before it."""
    return feature_widths(config.channels, (layer.inputs for layer in plan(config)[1:]))


class Mace:
    """MACE as a function of packed weights; see the module for layout and conventions."""

    def __init__(self, config: MaceConfig, n_species: int) -> None:
        self.config = config
        self.n_species = n_species
        self.layers = plan(config)
        self.convolutions = [Convolution(layer.paths, config.edge_lmax) for layer in self.layers]
        self.contractions = [Contraction(max(layer.features), layer.outputs, config.nu) for layer in self.layers]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run."""
        c, s = self.config.channels, self.n_species
        widths = (self.config.n_bessel, *self.config.radial_hidden)
        out = [Parameter("embedding", (s, c))]
        for t, layer in enumerate(self.layers):
            name = f"layer{t}"
            out += [Parameter(f"{name}.radial.{i}", (widths[i], widths[i + 1])) for i in range(len(widths) - 1)]
            blocks = tuple("/{}{}{}".format(*path) for path in layer.paths)
            out.append(Parameter(f"{name}.radial.{len(widths) - 1}", (widths[-1], c), blocks=blocks))
            if t > 0:
                out += [Parameter(f"{name}.up.{degree}", (c, c)) for degree in self.convolutions[t].degrees]
            for degree in layer.features:
                fan_in = c * sum(l3 == degree for _, _, l3 in layer.paths)
                shape = (s, fan_in, c) if self._node_by_species(t) else (fan_in, c)
                out.append(Parameter(f"{name}.node.{degree}", shape))
            for term in self.contractions[t].terms:
                size = (s, term.paths, c)
                out.append(Parameter(f"{name}.contraction.{term.degree}.{term.order}", size, 1 / term.paths))
            out += [Parameter(f"{name}.message.{degree}", (c, c)) for degree in layer.outputs]
            out += [Parameter(f"{name}.residual.{degree}", (s, c, c)) for degree in layer.residual]
            if t == 0 and self.config.first_residual:
                out.append(Parameter(f"{name}.residual.0", (s, c)))
            if t < len(self.layers) - 1:
                out.append(Parameter(f"{name}.readout", (c, 1)))
        out.append(Parameter("readout.0", (c, self.config.readout_hidden)))
        out.append(Parameter("readout.1", (self.config.readout_hidden, 1)))
        return tuple(out)

    def _node_by_species(self, t: int) -> bool:
        """Return whether the map of the A-features depends on the element: only in a first layer without a residual."""
        return t == 0 and not self.config.first_residual

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Draw the weights of one run (no pack axis); the same `seed` gives the same weights.

        `constant.inverse_neighbours` (not trained) multiplies the sums over neighbours; 1 until it is set.
        """
        return draw_all(self.parameters(), seed, dtype) | {"constant.inverse_neighbours": torch.ones((), dtype=dtype)}

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Return atomic energies `[p, n]` in units of the task's scale; every tensor of `params` leads with p.

        Differentiable to any order in `params` and `graph.vectors`; padding atoms have energy 0.
        """
        *earlier, last = self.node_features(params, graph)
        hidden = scaled_silu(linear(last[0], params["readout.0"]))
        energy = linear(hidden, params["readout.1"])
        for t, h in enumerate(earlier):
            energy = energy + linear(h[0], params[f"layer{t}.readout"])
        return energy[:, :, 0, 0] * graph.atoms

    def node_features(self, params: Mapping[str, Tensor], graph: Graph) -> list[Features]:
        """Return the node features after every layer, by degree."""
        config = self.config
        edges = edges_of(graph, self.n_species, config.edge_lmax, config.cutoff, config.cutoff_power)
        basis = bessel(edges.distance, config.cutoff, config.n_bessel) * edges.envelope[..., None]  # [p, m, n_bessel]
        h = {0: (edges.one_hot @ params["embedding"])[:, :, None]}
        out = []
        for t in range(len(self.layers)):
            h = self._messages(t, params, edges, h, self._sums(t, params, edges, basis, h))
            out.append(h)
        return out

    def _sums(self, t: int, params: Mapping[str, Tensor], edges: Edges, basis: Tensor, h: Features) -> Tensor:
        """Return A-features `[p, n, M, C]` with all degrees joined; eqs. 8 and 9."""
        layer, convolution = self.layers[t], self.convolutions[t]
        weights = [params[f"layer{t}.radial.{i}"] for i in range(len(self.config.radial_hidden) + 1)]
        radial = to_slots(perceptron(basis, weights), edges.graph, edges.pairs)  # [p, n, k, paths·C]
        sent = [linear(h[d], params[f"layer{t}.up.{d}"]) if t > 0 else h[d] for d in convolution.degrees]
        senders = gather_senders(torch.cat(sent, 2), edges.graph)
        summed = convolution(senders, radial.reshape(*radial.shape[:3], len(layer.paths), -1), edges.harmonics)
        out = []
        for degree in layer.features:
            weight = params[f"layer{t}.node.{degree}"]
            x = summed[degree]
            out.append(species_linear(x, edges.one_hot, weight) if self._node_by_species(t) else linear(x, weight))
        return torch.cat(out, 2) * params["constant.inverse_neighbours"][:, None, None, None]

    def _messages(self, t: int, params: Mapping[str, Tensor], edges: Edges, h: Features, sums: Tensor) -> Features:
        """Return new node features by symmetric contraction, linear map and residual; eqs. 10 to 12."""
        layer, contraction = self.layers[t], self.contractions[t]
        weights = [params[f"layer{t}.contraction.{term.degree}.{term.order}"] for term in contraction.terms]
        out = {}
        for degree, message in contraction(sums, edges.one_hot, weights).items():
            out[degree] = linear(message, params[f"layer{t}.message.{degree}"])
            if degree in layer.residual:
                out[degree] = out[degree] + species_linear(
                    h[degree], edges.one_hot, params[f"layer{t}.residual.{degree}"]
                )
        if t == 0 and self.config.first_residual:
            out[0] = out[0] + (edges.one_hot @ params["layer0.residual.0"])[:, :, None]
        return out
