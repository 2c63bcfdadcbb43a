"""Equivariant polynomials built from ⊗ and ⊕ alone (Geiger, "Youth in high dimensions", 2022), trained like a network.

Around atom i, with the channels of linear ACE (Drautz 2019, doi 10.1103/PhysRevB.99.014104) mixed by weights R and W,

    A_l  = 1/√N̄ Σ_j R_l(r_ij, z_j) Y_l(r̂_ij),   l = 0 … edge_lmax            the neighbour density
    xᵏ_l = W·⊕_{l₁,l₂} [xᵏ⁻¹_{l₁} ⊗ A_{l₂}]_l,   x¹ = A,   k = 2 … ν          each product has one more factor
    E    = Σ_i Σ_{k ≤ ν} w_{k,z_i}·(scalars of the k-th product)

**ν** counts the neighbour factors of the highest product: E is a polynomial of degree ν in A, of body order ν + 1.
**edge_lmax** bounds the degrees of A, the factor that enters every product. **L** bounds the degrees that are handed
from one product to the next (x² … xᵛ⁻¹): L=0 has scalar features alone, made by products of order up to edge_lmax.
R are linear in Bessel functions × cutoff, so nothing is nonlinear but the products, and E is linear ACE with its
coefficients in factors. Products go channel by channel; degrees have natural parity (−1)^l.

A product's result has neither weights nor arithmetic where it cannot reach the energy: up to ν = 2 L is irrelevant, for
no product follows another; ν = 1 does not depend on edge_lmax; edge_lmax=0 ⇒ L irrelevant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from experiments.models.contract import feature_widths
from experiments.models.polynomial import PolynomialConfig
from experiments.nn.constants import Constant
from experiments.nn.convolution import Path
from experiments.nn.edges import edges_of
from experiments.nn.graph import Graph, gather_senders, to_slots
from experiments.nn.linear import linear, species_linear
from experiments.nn.parameters import Parameter, draw_all
from experiments.nn.radial import bessel

Features = dict[int, Tensor]
"""Degree l → `[p, n, 2l+1, C]`."""


@dataclass(frozen=True)
class Product:
    """Degrees and paths of one product.

    The degrees of x that enter, its paths (l₁ of x, l₂ of A, l₃), and the degrees that it hands on (its scalars go to
    the energy in any case).
    """

    inputs: tuple[int, ...]
    paths: tuple[Path, ...]
    outputs: tuple[int, ...]

    def into(self, degree: int) -> int:
        """Count the paths to a degree."""
        return sum(result == degree for _, _, result in self.paths)


def plan(config: PolynomialConfig) -> tuple[Product, ...]:
    """List the ν − 1 products with the degrees that exist (forward) and reach the energy (backward)."""
    edge = range(config.edge_lmax + 1)
    exist: list[tuple[int, ...]] = [tuple(edge)]
    for _ in range(config.nu - 2):
        before = exist[-1]
        exist.append(tuple(o for o in range(config.L + 1) if any(couple(i, f, o) for i in before for f in edge)))
    products: list[Product] = []
    outputs: tuple[int, ...] = ()
    for k, before in reversed(list(enumerate(exist[: config.nu - 1]))):
        wanted = sorted({0, *outputs})
        # A ⊗ A is symmetric: of its pairs each counts once
        paths = tuple((i, f, o) for o in wanted for i in before for f in edge if couple(i, f, o) and (k > 0 or i <= f))
        inputs = tuple(sorted({i for i, _, _ in paths}))
        products.append(Product(inputs, paths, outputs))
        outputs = inputs
    return tuple(reversed(products))


def couple(left: int, right: int, result: int) -> bool:
    """Return whether two degrees of natural parity make a third."""
    return abs(left - right) <= result <= left + right and (left + right + result) % 2 == 0


def widths(config: PolynomialConfig) -> tuple[int, ...]:
    """Return the components of an atom's features that a product takes, densities included."""
    return feature_widths(config.channels, (product.inputs for product in plan(config)))


class Polynomial:
    """An equivariant polynomial as a function of packed weights; see the module for layout and conventions."""

    def __init__(self, config: PolynomialConfig, n_species: int) -> None:
        self.config = config
        self.n_species = n_species
        self.products = plan(config)
        self.edge_order = max((f for product in self.products for _, f, _ in product.paths), default=0)
        self._couplings = [Constant(_couplings(product, self.edge_order)) for product in self.products]

    def parameters(self) -> tuple[Parameter, ...]:
        """List the weight tensors of one run."""
        c, s = self.config.channels, self.n_species
        functions = s * self.config.n_bessel
        out = [Parameter(f"density.{degree}", (functions, c)) for degree in range(self.edge_order + 1)]
        out.append(Parameter("readout.1", (s, c, 1)))
        for k, product in enumerate(self.products, 2):
            out += [Parameter(f"mix.{k}.{degree}", (c * product.into(degree), c)) for degree in product.outputs]
            out.append(Parameter(f"readout.{k}", (s, c * product.into(0), 1)))
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
        config = self.config
        edges = edges_of(graph, self.n_species, self.edge_order, config.cutoff, config.cutoff_power)
        basis = bessel(edges.distance, config.cutoff, config.n_bessel) * edges.envelope[..., None]  # [p, m, n_bessel]
        radial = to_slots(basis, graph, edges.pairs)  # [p, n, k, n_bessel]
        kinds = gather_senders(edges.one_hot, graph)  # [p, n, k, S]
        functions = (kinds[..., None] * radial[..., None, :]).flatten(-2)  # [p, n, k, S·n_bessel]
        # a neighbour at 1 Å adds 1 to |A|²: the squares of the Bessel functions sum to n_bessel/(r_c·r²), about
        size = math.sqrt(self.n_species * config.cutoff)
        scale = params["constant.inverse_neighbours"].sqrt()[:, None, None, None] * size
        density = edges.harmonics.transpose(2, 3) @ functions * scale  # [p, n, (edge+1)², S·n_bessel]
        parts = torch.split(density, [2 * degree + 1 for degree in range(self.edge_order + 1)], 2)
        a = {degree: linear(part, params[f"density.{degree}"]) for degree, part in enumerate(parts)}
        joined = torch.cat(list(a.values()), 2)
        energy = species_linear(a[0], edges.one_hot, params["readout.1"])
        x: Features = a
        for k, product in enumerate(self.products, 2):
            products = self._product(k, torch.cat([x[degree] for degree in product.inputs], 2), joined)
            energy = energy + species_linear(products[0], edges.one_hot, params[f"readout.{k}"])
            x = {degree: linear(products[degree], params[f"mix.{k}.{degree}"]) for degree in product.outputs}
        return energy[:, :, 0, 0] * graph.atoms

    def _product(self, k: int, x: Tensor, a: Tensor) -> Features:
        """Multiply features, `[p, n, M₁, C]` ⊗ `[p, n, M₂, C]` → degree l₃: `[p, n, 2l₃+1, paths to l₃ · C]`.

        One matrix of all couplings: few operations to trace and compile, whatever the number of paths.
        """
        p, n, _, c = x.shape
        pairs = (x[:, :, :, None] * a[:, :, None]).flatten(2, 3)  # [p, n, M₁·M₂, C]
        coupled = self._couplings[k - 2].like(x) @ pairs  # [p, n, Σ_paths (2l₃+1), C]
        product = self.products[k - 2]
        degrees = sorted({result for _, _, result in product.paths})
        parts = torch.split(coupled, [(2 * degree + 1) * product.into(degree) for degree in degrees], 2)
        return {
            degree: part.reshape(p, n, -1, 2 * degree + 1, c).transpose(2, 3).flatten(3)
            for degree, part in zip(degrees, parts, strict=True)
        }


def _couplings(product: Product, edge_order: int) -> Tensor:
    """Return the couplings `[Σ_paths (2l₃+1), M₁·M₂]` float64, √(2l₃+1)·3j as in e3nn's "component" normalisation.

    Paths are in the order of their results.
    """
    start = dict(zip(product.inputs, _starts(product.inputs), strict=True))
    rows = []
    for l1, l2, l3 in product.paths:
        block = torch.zeros(2 * l3 + 1, sum(2 * i + 1 for i in product.inputs), (edge_order + 1) ** 2).double()
        w3j = o3.wigner_3j(l1, l2, l3, dtype=torch.float64) * math.sqrt(2 * l3 + 1)
        block[:, start[l1] : start[l1] + 2 * l1 + 1, l2**2 : (l2 + 1) ** 2] = w3j.permute(2, 0, 1)
        rows.append(block.flatten(1))
    return torch.cat(rows)


def _starts(degrees: tuple[int, ...]) -> list[int]:
    """Return where each degree begins when they are joined."""
    return [sum(2 * other + 1 for other in degrees[:i]) for i in range(len(degrees))]
