"""Our NequIP with the package's weights computes the package's numbers (references are written by tests/peers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from e3nn import o3
from safetensors import safe_open
from torch import Tensor

from experiments.core.errors import InputError
from experiments.interop.from_nequip import nequip_weights
from experiments.models.nequip import NequipConfig
from experiments.models.networks.nequip import Nequip
from experiments.nn.graph import pair_forces
from tests.experiments.models.clusters import graph_of

REFERENCES = sorted((Path(__file__).parents[1] / "models" / "references").glob("nequip05-*.safetensors"))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Return settings, weights, and the rest of a reference."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    return settings, weights, {name: value for name, value in tensors.items() if name not in weights}


def network_of(settings: dict[str, Any]) -> Nequip:
    hidden = o3.Irreps(settings["feature_irreps_hidden"])
    config = NequipConfig(
        L=settings["L"], parity=len(hidden) > settings["L"] + 1, n_layers=settings["num_layers"],
        channels=hidden[0].mul, embedding=o3.Irreps(settings["chemical_embedding_irreps_out"]).dim,
        cutoff=settings["r_max"], n_bessel=settings["num_basis"], cutoff_power=settings["PolynomialCutoff_p"],
        radial_hidden=(settings["invariant_neurons"],) * settings["invariant_layers"],
        readout_hidden=o3.Irreps(settings["conv_to_output_hidden_irreps_out"]).dim, prune="none",
    )  # fmt: skip
    return Nequip(config, settings["num_types"])


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: str(path.stem))
def test_energies_and_forces_are_the_packages(path: Path) -> None:
    settings, weights, molecule = read(path)
    network = network_of(settings)
    params = nequip_weights(weights, network, settings["feature_irreps_hidden"])
    assert sum(w.numel() for w in weights.values()) == sum(
        value.numel() for name, value in params.items() if not name.startswith("constant.")
    )
    params["constant.inverse_neighbours"] = torch.tensor(1 / settings["avg_num_neighbors"], dtype=torch.float64)
    graph = graph_of(molecule["positions"][None, None], molecule["species"][None, None], settings["r_max"])
    graph.vectors.requires_grad_(True)
    energies = network.energies({name: value[None] for name, value in params.items()}, graph)
    (gradient,) = torch.autograd.grad(energies.sum(), graph.vectors)
    forces = pair_forces(gradient, graph)[0]
    assert molecule["forces"].abs().max() > 1e-6
    # Relative to the largest: the same sums in another order. Measured 1e-15 and 3e-15.
    for found, expected in ((energies[0].detach(), molecule["energies"]), (forces, molecule["forces"])):
        assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_references_cover_degrees_with_and_without_parity() -> None:
    found = {(network.config.L, network.config.parity) for network in (network_of(read(p)[0]) for p in REFERENCES)}
    assert {L for L, _ in found} == {0, 1, 2, 3}
    assert {(2, True), (2, False)} <= found


def test_a_prefix_before_all_names_is_no_obstacle() -> None:
    settings, weights, _ = read(REFERENCES[0])
    network = network_of(settings)
    plain = nequip_weights(weights, network, settings["feature_irreps_hidden"])
    wrapped = {f"model.func.{name}": value for name, value in weights.items()}
    other = nequip_weights(wrapped, network, settings["feature_irreps_hidden"])
    assert all(torch.equal(plain[name], other[name]) for name in plain)


def test_what_is_no_such_network_has_one_line() -> None:
    settings, weights, _ = read(REFERENCES[0])
    network, hidden = network_of(settings), settings["feature_irreps_hidden"]
    with pytest.raises(InputError, match=r"chemical_embedding\.linear\.weight: not in the state"):
        nequip_weights({}, network, hidden)
    short = {name: value for name, value in weights.items() if "readout" not in name and "to_scalar" not in name}
    with pytest.raises(InputError, match=r"output_hidden_to_scalar\.linear\.weight: not in the state"):
        nequip_weights(short, network, hidden)
    with pytest.raises(InputError, match=r"embedding: 10 numbers in the state; accepted: \(3, 3\)"):
        nequip_weights({**weights, "chemical_embedding.linear.weight": torch.zeros(10)}, network, hidden)
    with pytest.raises(InputError, match="prune=all: the package has all weights"):
        nequip_weights(weights, Nequip(NequipConfig(), 3), hidden)
