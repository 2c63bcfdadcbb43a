"""Our MACE with mace-torch's weights computes mace-torch's numbers (references are written by tests/peers)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from experiments.core.errors import InputError
from experiments.interop.from_mace import config_of, converted
from experiments.models.networks import network
from experiments.nn.graph import pair_forces
from tests.experiments.models.clusters import graph_of

REFERENCES = sorted((Path(__file__).parents[1] / "models" / "references").glob("mace-*.safetensors"))


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """Return settings, weights, and the rest of a reference."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        settings = json.loads(file.metadata()["settings"])
    weights = {name.removeprefix("weight/"): value for name, value in tensors.items() if name.startswith("weight/")}
    return settings, weights, {name: value for name, value in tensors.items() if name not in weights}


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: str(path.stem))
def test_energies_and_forces_are_the_packages(path: Path) -> None:
    settings, weights, molecule = read(path)
    model = converted(weights, settings)
    graph = graph_of(molecule["positions"][None, None], molecule["species"][None, None], settings["r_max"])
    graph.vectors.requires_grad_(True)
    ours = network(model.config, len(model.elements))
    energies = ours.energies({name: value[None] for name, value in model.weights.items()}, graph)
    (gradient,) = torch.autograd.grad(energies.sum(), graph.vectors)
    forces = model.scale * pair_forces(gradient, graph)[0]
    constants = torch.as_tensor(model.per_atom)[molecule["species"]]
    assert molecule["forces"].abs().max() > 1e-3
    # Relative to the largest: the same sums in another order, and couplings in another basis. Measured up to 5e-13 of
    # energies (small beside the constants that are subtracted) and 3e-15 of forces.
    for found, expected in (
        (model.scale * energies[0].detach(), molecule["energies"] - constants),
        (forces, molecule["forces"]),
    ):
        assert (found - expected).abs().max() < 1e-11 * expected.abs().max()


def test_a_model_of_single_precision_converts() -> None:
    """Its couplings are rounded too."""
    settings, weights, _ = read(next(path for path in REFERENCES if "L1-nu3" in path.stem))
    exact = converted(weights, settings)
    rounded = {
        name: value.float() if value.is_floating_point() and "points" not in name else value
        for name, value in weights.items()
    }
    found = converted(rounded, settings)
    assert (exact.precision, found.precision) == ("float64", "float32")
    for name, value in exact.weights.items():
        # rounding of 6e-8 times a condition number of the couplings below 100
        assert (found.weights[name] - value).abs().max() <= 1e-5 * value.abs().max(), name


def test_references_cover_orders_and_both_first_layers() -> None:
    configs = [config_of(read(path)[0]) for path in REFERENCES]
    assert {(L, nu) for L in range(3) for nu in (1, 2, 3)} <= {(c.L, c.nu) for c in configs if c.n_layers == 2}
    assert {c.first_residual for c in configs} == {False, True}
    assert all(len(read(path)[0]["atomic_numbers"]) > 1 for path in REFERENCES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pair_repulsion": True}, r"pair_repulsion=True: our MACE has none such; accepted: False"),
        ({"interaction_cls": "RealAgnosticDensityResidualInteractionBlock"}, "interaction_cls=RealAgnosticDensity"),
        ({"heads": ["a", "b"]}, "heads=a, b: accepted: a model with one head"),
        ({"hidden_irreps": [[2, [0, 1]], [2, [1, 1]]]}, r"hidden_irreps=2x0e \+ 2x1e: accepted: Cx0e \+ Cx1o"),
        ({"hidden_irreps": [[3, [0, 1]], [2, [1, -1]]]}, r"hidden_irreps=3x0e \+ 2x1o"),
        ({"model": "MACE"}, "model=MACE: our MACE has none such; accepted: ScaleShiftMACE"),
        ({"distance_transform": "Agnesi"}, "distance_transform=Agnesi"),
        ({"max_ell": 4}, r"model\.edge_lmax=4: accepted: an integer from 0 to 3"),
    ],
)
def test_what_ours_lacks_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of({**read(REFERENCES[0])[0], **change})


def test_a_missing_or_misshapen_weight_has_one_line() -> None:
    settings, weights, _ = read(REFERENCES[0])
    short = {name: value for name, value in weights.items() if "linear_2" not in name}
    with pytest.raises(InputError, match=r"readouts\.1\.linear_2\.weight: not in the state"):
        converted(short, settings)


def test_couplings_of_other_features_are_refused() -> None:
    settings, weights, _ = read(next(path for path in REFERENCES if "L0-nu2" in path.stem))
    name = "products.0.symmetric_contractions.contractions.0.values_2"
    with pytest.raises(InputError, match="couplings of order 2 to degree 0: not those of features of natural parity"):
        converted({**weights, name: torch.randn(weights[name].shape, dtype=torch.float64)}, settings)
