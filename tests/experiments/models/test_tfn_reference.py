"""The tensor field network against loops over pairs of atoms and paths, with e3nn's couplings and harmonics."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from e3nn import o3
from e3nn.math import normalize2mom
from torch import Tensor

from experiments.models.networks.tfn import Tfn
from experiments.models.tfn import TfnConfig
from tests.experiments.models.clusters import positions, species
from tests.experiments.models.reference import Slow, Weights, same

CUTOFF = 3.0


def eta(x: Tensor) -> Tensor:
    return torch.log(0.5 * torch.exp(x) + 0.5)


def filters(network: Tfn, t: int, path: int, params: Weights, r: Tensor) -> Tensor:
    """Return R_c of one path at a distance (a number), with the envelope: `[C]`."""
    config, name = network.config, f"layer{t}.radial"
    width, c, p = config.radial_width, config.channels, config.cutoff_power
    centres = torch.linspace(0, CUTOFF, config.n_radial, dtype=r.dtype)
    basis = torch.exp(-(((r - centres) / (centres[1] - centres[0])) ** 2))
    first = params[f"{name}.0"][:, path * width : (path + 1) * width]
    hidden = normalize2mom(eta)(basis @ first + params[f"{name}.0.bias"][path * width : (path + 1) * width])
    out = hidden @ params[f"{name}.1"][path] / math.sqrt(width) + params[f"{name}.1.bias"][path * c : (path + 1) * c]
    u = r / CUTOFF
    envelope = 1 - (p + 1) * (p + 2) / 2 * u**p + p * (p + 2) * u ** (p + 1) - p * (p + 1) / 2 * u ** (p + 2)
    found: Tensor = out * envelope
    return found


def slow(network: Tfn) -> Slow:
    """Return the whole network as a function of weights, positions and species; features `[2l+1, C]` of every atom."""
    config = network.config

    def energies(params: Weights, x: Tensor, kinds: list[int]) -> Tensor:
        n, c = len(kinds), config.channels
        embedding = params["embedding"] / math.sqrt(network.n_species)
        h = [{0: (embedding[kind] + params["embedding.bias"])[None]} for kind in kinds]
        for t, layer in enumerate(network.layers):
            new: list[dict[int, Tensor]] = []
            for a in range(n):
                sums: dict[int, list[Tensor]] = {}
                for path, (i, f, o) in enumerate(layer.paths):
                    w3j = o3.wigner_3j(i, f, o, dtype=x.dtype) * math.sqrt(2 * o + 1)
                    total = torch.zeros(2 * o + 1, c, dtype=x.dtype)
                    for b in range(n):
                        r = torch.zeros((), dtype=x.dtype) if a == b else (x[b] - x[a]).norm()
                        if r >= CUTOFF or (a == b and f > 0):
                            continue
                        y = torch.ones(1, dtype=x.dtype)
                        if f > 0:
                            y = o3.spherical_harmonics(f, x[b] - x[a], normalize=True, normalization="component")
                        total = total + torch.einsum("ic,f,ifo->oc", h[b][i], y, w3j) * filters(
                            network, t, path, params, r
                        )
                    sums.setdefault(o, []).append(total * params["constant.inverse_neighbours"].sqrt())
                made = {}
                for o, found in sums.items():
                    joined = torch.cat(found, 1)
                    v = joined @ params[f"layer{t}.mix.{o}"] / math.sqrt(joined.shape[1])
                    bias = params[f"layer{t}.bias.{o}"]
                    if t == len(network.layers) - 1:
                        made[o] = v + bias
                    elif o == 0:
                        made[o] = normalize2mom(eta)(v + bias)
                    else:
                        made[o] = v * eta(((v * v).sum(0) + 1e-8).sqrt() + bias)
                new.append(made)
            h = new
        return torch.stack([features[0][0, 0] for features in h])

    return energies


CASES: list[dict[str, Any]] = [
    {"L": 0, "n_layers": 3},
    {"L": 1, "n_layers": 3},
    {"L": 2, "n_layers": 2},
    {"L": 1, "n_layers": 2, "edge_lmax": 3},
    {"L": 2, "n_layers": 3, "edge_lmax": 1},
    {"L": 3, "n_layers": 1},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_network_is_that_of_loops_over_pairs(case: dict[str, Any]) -> None:
    config = TfnConfig(**{"channels": 2, "cutoff": CUTOFF, "n_radial": 4, "radial_width": 3, **case})
    network = Tfn(config, 3)
    params = network.init(0, torch.float64)
    generator = torch.Generator().manual_seed(1)
    for name in params:
        if "bias" in name:  # zero at first, which would hide where they enter
            params[name] = 0.3 * torch.randn(params[name].shape, generator=generator, dtype=torch.float64)
    params["constant.inverse_neighbours"] = torch.tensor(0.3, dtype=torch.float64)
    same(network, slow(network), params, positions(0, 1, 1, 4), species(0, 1, 1, 4), CUTOFF)
