"""MACE (Batatia et al. 2022, arXiv 2206.07697) as a pure function of packed weights and packed neighbourhoods.

Layout: channels last, ``[p, n, m, C]``; degrees are kept apart or joined along m in the order (l, m). Features have
natural parity (−1)^l, as in mace-torch with hidden irreps "Cx0e + Cx1o + …": only couplings with even l₁+l₂+l₃.
Whatever cannot reach the energy has neither weights nor arithmetic (``_plan``), so that the identities between function
classes hold exactly: one layer ⇒ L irrelevant; (L=0, ν=1) independent of edge_lmax; edge_lmax=0 ⇒ L irrelevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from experiments.config import MaceConfig
from experiments.models.contraction import Contraction, couplings
from experiments.models.graph import Graph, Pairs, gather_senders, pairs_of, to_pairs, to_slots
from experiments.models.linear import linear, one_hot, species_linear
from experiments.models.parameters import Parameter, draw_all
from experiments.models.radial import bessel, perceptron, polynomial_cutoff, scaled_silu
from experiments.models.spherical import spherical_harmonics

Path = tuple[int, int, int]  # degrees of sender feature, edge harmonic and result


@dataclass(frozen=True)
class Layer:
    """What one layer computes: degrees of what comes in, of the A-features, and of the messages that go out."""

    inputs: tuple[int, ...]
    paths: tuple[Path, ...]
    features: tuple[int, ...]
    outputs: tuple[int, ...]
    residual: tuple[int, ...]


def _plan(config: MaceConfig) -> tuple[Layer, ...]:
    """Layers with the degrees that both exist (forward) and reach the energy (backward)."""
    edge = config.edge_lmax
    orders = range(1, config.nu + 1)
    made = tuple(d for d in range(config.L + 1) if any(couplings(edge, d, o).shape[-1] for o in orders))
    exist = [(0,), *[made] * (config.n_layers - 1)]  # degrees of h before each layer
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


class Mace:
    """MACE as a function of weights; see the module for layout and conventions."""

    def __init__(self, config: MaceConfig, n_species: int) -> None:
        self.config = config
        self.n_species = n_species
        self.layers = _plan(config)
        self.contractions = [Contraction(max(layer.features), layer.outputs, config.nu) for layer in self.layers]
        self._constants: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}

    # ------------------------------------------------------------------------------------------------ parameters

    def parameters(self) -> tuple[Parameter, ...]:
        """Every weight tensor of one run."""
        c, s = self.config.channels, self.n_species
        hidden = (self.config.n_bessel, *self.config.radial_hidden)
        out = [Parameter("embedding", (s, c))]
        for t, layer in enumerate(self.layers):
            name = f"layer{t}"
            out += [Parameter(f"{name}.radial.{i}", (hidden[i], hidden[i + 1])) for i in range(len(hidden) - 1)]
            blocks = tuple("/{}{}{}".format(*path) for path in layer.paths)
            out.append(Parameter(f"{name}.radial.{len(hidden) - 1}", (hidden[-1], c), blocks=blocks))
            if t > 0:
                out += [Parameter(f"{name}.up.{degree}", (c, c)) for degree in layer.inputs]
            for degree in layer.features:
                fan_in = c * sum(l3 == degree for _, _, l3 in layer.paths)
                out.append(Parameter(f"{name}.node.{degree}", (fan_in, c) if t > 0 else (s, fan_in, c)))
            for term in self.contractions[t].terms:
                shape = (s, term.paths, c)
                out.append(Parameter(f"{name}.contraction.{term.degree}.{term.order}", shape, 1 / term.paths))
            for degree in layer.outputs:
                out.append(Parameter(f"{name}.message.{degree}", (c, c)))
            out += [Parameter(f"{name}.residual.{degree}", (s, c, c)) for degree in layer.residual]
            if t < len(self.layers) - 1:
                out.append(Parameter(f"{name}.readout", (c, 1)))
        out.append(Parameter("readout.0", (c, self.config.readout_hidden)))
        out.append(Parameter("readout.1", (self.config.readout_hidden, 1)))
        return tuple(out)

    def init(self, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """Weights of one run (no pack axis), the same for the same ``seed``.

        ``constant.inverse_neighbours`` (not trained) multiplies the sums over neighbours; 1 until it is set.
        """
        return draw_all(self.parameters(), seed, dtype) | {"constant.inverse_neighbours": torch.ones((), dtype=dtype)}

    # ------------------------------------------------------------------------------------------------- constants

    def constants(self, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Coupling tensors in ``dtype`` on ``device``, made once."""
        key = (device, dtype)
        if key not in self._constants:
            made: dict[str, Tensor] = {}
            for t, layer in enumerate(self.layers):
                made[f"conv{t}"] = _convolution_matrix(layer.paths, self.config.edge_lmax)
            self._constants[key] = {name: tensor.to(device, dtype) for name, tensor in made.items()}
        return self._constants[key]

    # -------------------------------------------------------------------------------------------------- evaluation

    def energies(self, params: Mapping[str, Tensor], graph: Graph) -> Tensor:
        """Atomic energies ``[p, n]`` (in units of the task's scale); every tensor of ``params`` leads with p.

        Differentiable to any order in ``params`` and ``graph.vectors``; padding atoms have energy 0.
        """
        config = self.config
        vectors = graph.vectors
        constants = self.constants(vectors.device, vectors.dtype)
        which = one_hot(graph.species, self.n_species, vectors.dtype)  # [p, n, S]
        # a masked slot may hold anything, also zero, whose norm has no gradient
        keep = graph.mask[..., None] > 0
        vectors = torch.where(keep, vectors, torch.ones_like(vectors))
        distance = (vectors * vectors).sum(-1).sqrt()  # [p, n, k]
        harmonics = spherical_harmonics(config.edge_lmax, vectors / distance[..., None])  # [p, n, k, (edge+1)²]
        # radial functions are the same in both directions of a pair, and what they cost is most of the arithmetic
        pairs = pairs_of(graph)
        apart = 0.5 * to_pairs(distance, graph, pairs) + (1 - pairs.valid)  # [p, m], 1 Å where padded
        envelope = polynomial_cutoff(apart, config.cutoff, config.cutoff_power) * pairs.valid
        basis = bessel(apart, config.cutoff, config.n_bessel) * envelope[..., None]

        h = {0: (which @ params["embedding"])[:, :, None]}  # degree → [p, n, 2l+1, C]
        energy = torch.zeros_like(which[..., 0])
        for t, layer in enumerate(self.layers):
            a = self._features(t, layer, params, graph, pairs, h, which, basis, harmonics, constants)
            h = self._messages(t, layer, params, h, which, a)
            if t < len(self.layers) - 1:
                energy = energy + linear(h[0], params[f"layer{t}.readout"])[:, :, 0, 0]
        hidden = scaled_silu(linear(h[0], params["readout.0"]))
        energy = energy + linear(hidden, params["readout.1"])[:, :, 0, 0]
        return energy * graph.atoms

    def _features(
        self,
        t: int,
        layer: Layer,
        params: Mapping[str, Tensor],
        graph: Graph,
        pairs: Pairs,
        h: Mapping[int, Tensor],
        which: Tensor,
        basis: Tensor,
        harmonics: Tensor,
        constants: Mapping[str, Tensor],
    ) -> Tensor:
        """A-features ``[p, n, M, C]`` with all degrees joined: eq. 8 (first layer) and 9."""
        p, n, k = graph.mask.shape
        c = self.config.channels
        weights = [params[f"layer{t}.radial.{i}"] for i in range(len(self.config.radial_hidden) + 1)]
        radial = to_slots(perceptron(basis, weights), graph, pairs).reshape(p, n, k, 1, -1, c)
        if t > 0:
            h = {degree: linear(h[degree], params[f"layer{t}.up.{degree}"]) for degree in layer.inputs}
        degrees = sorted({l1 for l1, _, _ in layer.paths})
        joined = gather_senders(torch.cat([h[degree] for degree in degrees], 2), graph)
        senders = dict(zip(degrees, joined.split_with_sizes([2 * degree + 1 for degree in degrees], 3), strict=True))
        # couplings times harmonics first: they are the same for all channels
        edges = (harmonics.reshape(-1, harmonics.shape[-1]) @ constants[f"conv{t}"]).split_with_sizes(
            [(2 * l1 + 1) * (2 * l3 + 1) for l1, _, l3 in layer.paths], -1
        )
        parts: dict[int, list[Tensor]] = {degree: [] for degree in layer.features}
        for i, (l1, _, l3) in enumerate(layer.paths):
            right = (senders[l1] * radial[..., i, :]).reshape(p * n, k * (2 * l1 + 1), c)
            left = edges[i].reshape(p * n, k * (2 * l1 + 1), 2 * l3 + 1)
            parts[l3].append((left.transpose(1, 2) @ right).reshape(p, n, 2 * l3 + 1, c))
        scale = params["constant.inverse_neighbours"][:, None, None, None]
        out = []
        for degree in layer.features:
            weight = params[f"layer{t}.node.{degree}"]
            summed = torch.cat(parts[degree], -1)
            out.append(linear(summed, weight) if t > 0 else species_linear(summed, which, weight))
        return torch.cat(out, 2) * scale

    def _messages(
        self,
        t: int,
        layer: Layer,
        params: Mapping[str, Tensor],
        h: Mapping[int, Tensor],
        which: Tensor,
        a: Tensor,
    ) -> dict[int, Tensor]:
        """New node features: symmetric contraction, linear map and residual; eqs. 10 to 12."""
        contraction = self.contractions[t]
        weights = [params[f"layer{t}.contraction.{term.degree}.{term.order}"] for term in contraction.terms]
        contracted = contraction(a, which, weights)
        out = {}
        for degree in layer.outputs:
            out[degree] = linear(contracted[degree], params[f"layer{t}.message.{degree}"])
            if degree in layer.residual:
                out[degree] = out[degree] + species_linear(h[degree], which, params[f"layer{t}.residual.{degree}"])
        return out


def _convolution_matrix(paths: tuple[Path, ...], edge_lmax: int) -> Tensor:
    """``[(edge+1)², Σ_paths (2l₁+1)(2l₃+1)]`` (float64): from harmonics to their couplings, √(2l₃+1)·3j."""
    out = []
    for l1, l2, l3 in paths:
        block = torch.zeros((edge_lmax + 1) ** 2, (2 * l1 + 1) * (2 * l3 + 1), dtype=torch.float64)
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * math.sqrt(2 * l3 + 1)
        block[l2**2 : (l2 + 1) ** 2] = w3j.transpose(0, 1).reshape(2 * l2 + 1, -1)
        out.append(block)
    return torch.cat(out, -1)
