"""NequIP against a slow network of e3nn's own modules: edge lists, index_add, mul-major features, e3nn's gate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from e3nn import o3
from e3nn.math import normalize2mom
from e3nn.nn import Gate
from torch import Tensor
from torch.nn.functional import silu

from experiments.models.nequip import NequipConfig
from experiments.models.networks.nequip import Layer, Nequip, couple
from experiments.nn.gate import SCALAR, Irrep, gated, name_of
from tests.experiments.models.clusters import positions, species
from tests.experiments.models.reference import Weights, same

CUTOFF = 3.0


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Set the default dtype: e3nn's modules keep their couplings in the default dtype of the moment they are made."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def gate_of(layer: Layer, channels: int) -> Gate:
    """Make e3nn's gate, as the published code does."""
    scalars = [o for o in layer.outputs if o[0] == 0]
    behind = gated(layer.outputs)
    return Gate(
        "+".join(f"{channels}x{name_of(o)}" for o in scalars),
        [silu if o == SCALAR else torch.tanh for o in scalars],
        "+".join(f"{channels}x0e" for _ in behind),
        [silu for _ in behind],
        "+".join(f"{channels}x{name_of(o)}" for o in behind),
    )


def split(x: Tensor, irreps: o3.Irreps) -> dict[str, Tensor]:
    """Split mul-major features `[n, dim]` by irrep: `[n, mul·(2l+1)]` each; every irrep occurs once."""
    assert len({ir for _, ir in irreps}) == len(irreps)
    return {str(ir): x[:, where] for where, (_, ir) in zip(irreps.slices(), irreps, strict=True)}


def layer_reference(
    t: int, network: Nequip, params: Weights, geometry: tuple[Tensor, ...], one_hot: Tensor, h: dict[str, Tensor]
) -> dict[str, Tensor]:
    config, layer = network.config, network.layers[t]
    receivers, senders, basis, harmonics = geometry
    c = config.channels if t > 0 else config.embedding_channels
    weights = [params[f"layer{t}.radial.{i}"] for i in range(len(config.radial_hidden) + 1)]
    radial = basis
    for i, weight in enumerate(weights):
        radial = radial @ (weight / math.sqrt(len(weight)))
        radial = normalize2mom(silu)(radial) if i < len(weights) - 1 else radial
    ordered = sorted(layer.paths, key=lambda path: layer.outputs.index(path[2]))
    columns = [layer.paths.index(path) for path in ordered]
    radial = radial.reshape(len(radial), len(layer.paths), c)[:, columns].flatten(1)
    irreps = o3.Irreps("+".join(f"{c}x{name_of(i)}" for i in layer.inputs))
    middle = o3.Irreps("+".join(f"{c}x{name_of(o)}" for _, _, o in ordered))
    up = o3.Linear(irreps, irreps, internal_weights=False, shared_weights=True)
    x = up(
        torch.cat([h[name_of(i)] for i in layer.inputs], 1),
        torch.cat([params[f"layer{t}.up.{name_of(i)}"].flatten() for i in layer.inputs]),
    )
    product = o3.TensorProduct(
        irreps,
        o3.Irreps.spherical_harmonics(config.edge_order),
        middle,
        [(layer.inputs.index(i), degree, k, "uvu", True) for k, (i, degree, _) in enumerate(ordered)],
        shared_weights=False,
        internal_weights=False,
    )
    messages = product(x[senders], harmonics, radial)
    summed = torch.zeros(len(one_hot), messages.shape[1]).index_add(0, receivers, messages)
    summed = summed * params["constant.inverse_neighbours"].sqrt()
    nonlinearity = gate_of(layer, config.channels)
    into = nonlinearity.irreps_in.simplify()
    names = [str(ir) for _, ir in into]
    down = o3.Linear(middle.simplify(), into, internal_weights=False, shared_weights=True)
    flat = [params[f"layer{t}.down.{ir}"].flatten() for _, ir in middle.simplify()]
    out = down(summed, torch.cat(flat))
    kept = [i for i in layer.inputs if f"layer{t}.self.{name_of(i)}" in params]
    if kept:
        attributes = one_hot if config.self_connection == "species" else one_hot @ params["embedding"]
        both = o3.FullyConnectedTensorProduct(
            "+".join(f"{c}x{name_of(i)}" for i in kept),
            f"{attributes.shape[1]}x0e",
            into,
            internal_weights=False,
            shared_weights=True,
        )
        assert all(name_of(i) in names for i in kept)
        matrices = [params[f"layer{t}.self.{name_of(i)}"].transpose(0, 1).flatten() for i in kept]
        out = out + both(torch.cat([h[name_of(i)] for i in kept], 1), attributes, torch.cat(matrices))
    return split(nonlinearity(out), nonlinearity.irreps_out)


def slow(network: Nequip) -> Any:
    """Return the whole network as a function of weights, positions and species."""
    config = network.config

    def energies(params: Weights, x: Tensor, kinds: list[int]) -> Tensor:
        n = len(kinds)
        edges = [(i, j) for i in range(n) for j in range(n) if i != j and (x[i] - x[j]).norm() < CUTOFF]
        receivers, senders = torch.tensor([i for i, _ in edges]), torch.tensor([j for _, j in edges])
        vectors = x[senders] - x[receivers]
        r, p = vectors.norm(dim=-1), config.cutoff_power
        u = r / CUTOFF
        envelope = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
        frequencies = params["bessel" if config.bessel_trainable else "constant.bessel"]
        basis = 2 / CUTOFF * torch.sin(frequencies * u[:, None]) / r[:, None] * envelope[:, None]
        degrees = list(range(config.edge_order + 1))
        harmonics = o3.spherical_harmonics(degrees, vectors, normalize=True, normalization="component")
        one_hot = torch.nn.functional.one_hot(torch.tensor(kinds), network.n_species).to(x.dtype)
        scale = 1 / math.sqrt(network.n_species) if config.self_connection == "species" else 1.0
        h = {"0e": one_hot @ params["embedding"] * scale}
        for t in range(config.n_layers):
            h = layer_reference(t, network, params, (receivers, senders, basis, harmonics), one_hot, h)
        scalars = h["0e"]
        for name in ("readout.0", "readout.1"):
            if name in params:
                scalars = scalars @ (params[name] / math.sqrt(len(params[name])))
        return scalars[:, 0]

    return energies


SMALL: dict[str, Any] = {"channels": 3, "cutoff": CUTOFF, "n_bessel": 4, "radial_hidden": (6, 6), "readout_hidden": 5}
CASES: list[dict[str, Any]] = [
    {"L": 0, "n_layers": 3},
    {"L": 1, "n_layers": 4},
    {"L": 1, "n_layers": 4, "prune": "none"},
    {"L": 2, "n_layers": 3, "prune": "none"},
    {"L": 2, "n_layers": 4},
    {"L": 2, "n_layers": 3, "parity": False, "prune": "last"},
    {"L": 3, "n_layers": 2},
    {"L": 1, "n_layers": 2, "edge_lmax": 3},
    {"L": 2, "n_layers": 3, "edge_lmax": 1, "embedding": 2},
    {"L": 1, "n_layers": 3, "self_connection": "embedding", "first_self_connection": False, "readout_hidden": None},
    {"L": 1, "n_layers": 2, "bessel_trainable": False, "radial_hidden": (5,)},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_network_is_that_of_e3nn(case: dict[str, Any]) -> None:
    network = Nequip(NequipConfig(**{**SMALL, **case}), 3)
    params = network.init(0, torch.float64) | {"constant.inverse_neighbours": torch.tensor(0.3, dtype=torch.float64)}
    same(network, slow(network), params, positions(0, 1, 1, 5), species(0, 1, 1, 5), CUTOFF)


def test_irreps_that_couple_are_those_of_e3nn() -> None:
    """The rule for signs against e3nn's products of irreps."""
    irreps: list[Irrep] = [(degree, sign) for degree in range(4) for sign in (1, -1)]
    for left in irreps:
        for degree in range(4):
            found = {str(ir) for ir in o3.Irrep(name_of(left)) * o3.Irrep(degree, (-1) ** degree) if ir.l <= 3}
            assert found == {name_of(right) for right in irreps if couple(left, degree, right)}
