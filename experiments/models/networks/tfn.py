"""Tensor field network (Thomas et al. 2018, arXiv 1802.08219) as a pure function of packed weights and neighbourhoods.

Layout: channels last, `[p, n, 2l+1, C]` for every degree l. One layer is

    point convolution   Σ_b [R_c(r_ab)·Y_{l_f}(r̂_ab)] ⊗ V_b, over all paths (l_i, l_f) → l_o, a itself among the b
    self-interaction    a linear map of all paths to l_o, with a bias for l = 0
    nonlinearity        η(V) for l = 0, η(‖V‖ + b)·V for l > 0, with η the shifted softplus

and of the last layer only the first two, with one scalar channel: the atomic energy. Every path has a radial network R
of its own with one hidden layer, on Gaussians, as in the authors' code. Of b = a only l_f = 0 is left (Y_l of a zero
vector is zero for l > 0), which carries a node's own features on.

Degrees carry no parity: paths with l_i + l_f + l_o odd (cross products) are in, so that the network is equivariant
under rotations, and from three layers and L = 1 on it tells mirror images apart.

Choices that the paper leaves open or a potential needs: radial functions fall to 0 at a cutoff with a polynomial
envelope; η serves in the radial networks too (ReLU has no second derivative for the training on forces); ‖V‖ is
√(Σ V² + 10⁻⁸), so that it can be differentiated at 0. Constants that weights could absorb give signals the size of one:
1/√N̄ with the sums, 1/√fan-in with linear maps, and (except for l > 0) the factor that makes the second moment of η(z)
one for normal z. Paths that cannot reach the energy have neither weights nor arithmetic: one layer ⇒ L irrelevant;
edge_lmax=0 ⇒ L irrelevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from e3nn.math import normalize2mom
from torch import Tensor
from torch.nn.functional import softplus

from experiments.models.contract import feature_widths
from experiments.models.tfn import TfnConfig
from experiments.nn.convolution import Convolution, Path
from experiments.nn.edges import Edges, edges_of
from experiments.nn.graph import Graph, gather_senders, to_slots
from experiments.nn.linear import linear
from experiments.nn.parameters import Parameter, draw_all

Features = dict[int, Tensor]
"""Degree l → `[p, n, 2l+1, C]`."""
TINY = 1e-8
"""Under the root of a norm; the authors' own regulariser is the larger of this and the square."""


@dataclass(frozen=True)
class Layer:
    """Degrees that one layer uses, the paths of its convolution, and the degrees that it hands on."""

    inputs: tuple[int, ...]
    paths: tuple[Path, ...]
    outputs: tuple[int, ...]


def plan(config: TfnConfig) -> tuple[Layer, ...]:
    """List the layers with the degrees that both exist (forward) and reach the energy (backward)."""
    edge = range(config.edge_order + 1)
    exist: list[tuple[int, ...]] = [(0,)]
    for _ in range(config.n_layers - 1):
        before = exist[-1]
        exist.append(tuple(o for o in range(config.L + 1) if any(_couple(i, f, o) for i in before for f in edge)))
    layers: list[Layer] = []
    outputs: tuple[int, ...] = (0,)
    for before in reversed(exist):
        paths = tuple((i, f, o) for o in outputs for i in before for f in edge if _couple(i, f, o))
        inputs = tuple(sorted({i for i, _, _ in paths}))
        layers.append(Layer(inputs, paths, outputs))
        outputs = inputs
    return tuple(reversed(layers))


def _couple(left: int, degree: int, result: int) -> bool:
    return abs(left - degree) <= result <= left + degree


def widths(config: TfnConfig) -> tuple[int, ...]:
    """Return the components of an atom's features that each layer takes from the one before it."""
    return feature_widths(config.channels, (layer.inputs for layer in plan(config)[1:]))


class Tfn:
    """The tensor field network as a function of packed weights; see the module for layout and conventions."""

    def __init__(self, config: TfnConfig, n_species: int, n_outputs: int = 1) -> None:
        """Make the network; `n_outputs`: scalars of the last layer, 1 for an energy."""
        self.config = config
        self.n_species = n_species
        self.n_outputs = n_outputs
        self.layers = plan(config)
        self._convolutions = [Convolution(layer.paths, config.edge_order) for layer in self.layers]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run; biases start at zero."""
        config, c = self.config, self.config.channels
        out = [Parameter("embedding", (self.n_species, c)), Parameter("embedding.bias", (c,), 0.0)]
        for t, layer in enumerate(self.layers):
            name, paths = f"layer{t}", len(layer.paths)
            blocks = tuple("/{}{}{}".format(*path) for path in layer.paths)
            out.append(Parameter(f"{name}.radial.0", (config.n_radial, config.radial_width), blocks=blocks))
            out.append(Parameter(f"{name}.radial.0.bias", (paths * config.radial_width,), 0.0))
            out.append(Parameter(f"{name}.radial.1", (paths, config.radial_width, c)))
            out.append(Parameter(f"{name}.radial.1.bias", (paths * c,), 0.0))
            width = c if t < len(self.layers) - 1 else self.n_outputs
            for degree in layer.outputs:
                fan_in = c * sum(o == degree for _, _, o in layer.paths)
                out.append(Parameter(f"{name}.mix.{degree}", (fan_in, width)))
                # of scalars the bias of the map and that of η are one; vectors can have none but inside of η
                out.append(Parameter(f"{name}.bias.{degree}", (width,), 0.0))
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
        """Return the scalars of the last layer, `[p, n, n_outputs]`; 0 for padding."""
        return self.node_features(params, graph)[-1][0][:, :, 0] * graph.atoms[..., None]

    def node_features(self, params: Mapping[str, Tensor], graph: Graph) -> list[Features]:
        """Return the node features after every layer, by degree; the last are the outputs `[p, n, 1, n_outputs]`."""
        config = self.config
        edges = edges_of(graph, self.n_species, config.edge_order, config.cutoff, config.cutoff_power)
        scale = 1 / math.sqrt(self.n_species)  # a linear map of a one-hot vector
        embedded = edges.one_hot @ (params["embedding"] * scale) + params["embedding.bias"][:, None]
        h: Features = {0: embedded[:, :, None]}
        out = []
        for t in range(len(self.layers)):
            h = self._layer(t, params, edges, h)
            out.append(h)
        return out

    def _layer(self, t: int, params: Mapping[str, Tensor], edges: Edges, h: Features) -> Features:
        layer, name = self.layers[t], f"layer{t}"
        # a row for r = 0 behind the pairs: the filter of a node on itself
        distance = torch.nn.functional.pad(edges.distance, (0, 1))
        radial = self._radial(t, params, distance)  # [p, m + 1, paths, C]
        filters = to_slots(radial[:, :-1] * edges.envelope[:, :, None, None], edges.graph, edges.pairs)
        senders = gather_senders(torch.cat([h[degree] for degree in layer.inputs], 2), edges.graph)
        sums = self._convolutions[t](senders, filters, edges.harmonics)
        scale = params["constant.inverse_neighbours"].sqrt()[:, None, None, None]
        out = {}
        for degree in layer.outputs:
            x = sums[degree] + self._own(t, degree, radial[:, -1], h, sums[degree].shape[-1])
            x = linear(x * scale, params[f"{name}.mix.{degree}"])
            bias = params[f"{name}.bias.{degree}"][:, None, None]
            if degree == 0:
                out[degree] = x + bias if t == len(self.layers) - 1 else scaled_softplus(x + bias)
            else:
                norm = ((x * x).sum(2, keepdim=True) + TINY).sqrt()
                out[degree] = x * shifted_softplus(norm + bias)
        return out

    def _own(self, t: int, degree: int, radial: Tensor, h: Features, width: int) -> Tensor | float:
        """Return a node's own share of its sums, `[p, n, 2l+1, width]`.

        It enters on the path (l, 0, l) alone, with the filters at r = 0, `radial` `[p, paths, C]`.
        """
        own = (degree, 0, degree)
        if own not in self.layers[t].paths:
            return 0.0
        before = [path for path in self.layers[t].paths if path[2] == degree].index(own) * self.config.channels
        x = h[degree] * radial[:, None, None, self.layers[t].paths.index(own)]
        return torch.nn.functional.pad(x, (before, width - before - self.config.channels))

    def _radial(self, t: int, params: Mapping[str, Tensor], distance: Tensor) -> Tensor:
        """Evaluate the radial networks, without the envelope: distances `[p, m]` in Å → `[p, m, paths, C]`."""
        config, paths = self.config, len(self.layers[t].paths)
        p, m = distance.shape
        name, width = f"layer{t}.radial", config.radial_width
        basis = gaussians(distance, config.cutoff, config.n_radial)
        # no 1/√n_radial: the squares of overlapping Gaussians already sum to about one
        hidden = scaled_softplus(basis @ params[f"{name}.0"] + params[f"{name}.0.bias"][:, None])
        hidden = hidden.reshape(p, m, paths, width).transpose(1, 2)  # [p, paths, m, width]
        out = hidden @ (params[f"{name}.1"] * (1 / math.sqrt(width)))
        return (out + params[f"{name}.1.bias"].reshape(p, paths, 1, -1)).transpose(1, 2)


def shifted_softplus(x: Tensor) -> Tensor:
    """Return η(x) = ln(½·eˣ + ½), elementwise."""
    return softplus(x) - math.log(2)


@lru_cache(maxsize=1)
def _softplus_scale() -> float:
    return float(normalize2mom(shifted_softplus).cst)


def scaled_softplus(x: Tensor) -> Tensor:
    """Return η(x) normalised, elementwise."""
    return shifted_softplus(x) * _softplus_scale()


def gaussians(distance: Tensor, cutoff: float, count: int) -> Tensor:
    """Return exp(−((r − r_i)/Δ)²), `[...]` → `[..., count]`, at centres r_i from 0 to the cutoff, Δ apart."""
    centres = torch.linspace(0, cutoff, count, dtype=distance.dtype, device=distance.device)
    return torch.exp(-(((distance[..., None] - centres) * ((count - 1) / cutoff)) ** 2))
