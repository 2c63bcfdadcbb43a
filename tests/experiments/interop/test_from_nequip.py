"""Our NequIP with weights of nequip (≥ 0.7) computes its numbers (references are written by tests/peers)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.core.errors import InputError
from experiments.interop.from_nequip import averaged, config_of, converted
from experiments.models.networks import network
from experiments.nn.graph import pair_forces
from tests.experiments.interop.test_from_mace import read
from tests.experiments.models.clusters import graph_of

REFERENCES = sorted((Path(__file__).parents[1] / "models" / "references").glob("nequip-*.safetensors"))
ELEMENTS = {"H": 0, "C": 1, "O": 2}
"""Species of ours, by rising atomic number."""


@pytest.mark.parametrize("path", REFERENCES, ids=lambda path: str(path.stem))
def test_energies_and_forces_are_the_packages(path: Path) -> None:
    settings, weights, molecule = read(path)
    model = converted(weights, settings)
    kinds = torch.tensor([ELEMENTS[settings["type_names"][kind]] for kind in molecule["species"].tolist()])
    graph = graph_of(molecule["positions"][None, None], kinds[None, None], settings["r_max"])
    graph.vectors.requires_grad_(True)
    ours = network(model.config, len(model.elements))
    energies = ours.energies({name: value[None] for name, value in model.weights.items()}, graph)
    (gradient,) = torch.autograd.grad(energies.sum(), graph.vectors)
    forces = model.scale * pair_forces(gradient, graph)[0]
    constants = torch.as_tensor(model.per_atom)[kinds]
    assert list(model.elements) == [1, 6, 8]
    assert molecule["forces"].abs().max() > 1e-3
    # Relative to the largest: the same sums in another order. Measured 3e-15.
    for found, expected in (
        (model.scale * energies[0].detach(), molecule["energies"] - constants),
        (forces, molecule["forces"]),
    ):
        assert (found - expected).abs().max() < 1e-12 * expected.abs().max()


def test_references_cover_degrees_with_and_without_parity() -> None:
    configs = [config_of(read(path)[0]) for path in REFERENCES]
    assert {(L, parity) for L in range(4) for parity in (True, False)} <= {(c.L, c.parity) for c in configs}
    assert {c.species_scales for c in configs} == {False, True}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_target_": "nequip.model.modify"}, r"model nequip\.model\.modify: accepted: nequip\.model\.NequIPGNNModel"),
        ({"pair_potential": {"_target_": "ZBL"}}, "pair_potential=.*: our NequIP has none such; accepted: None"),
        ({"num_features": [3, 2]}, r"num_features=\[3, 2\]: accepted: the same number for all degrees"),
        ({"readout_mlp_hidden_layers_depth": 1}, "readout_mlp_hidden_layers_depth=1"),
        ({"gates": 1}, "gates=1: an unknown setting"),
        ({"l_max": 4}, r"model\.L=4: accepted: an integer from 0 to 3"),
    ],
)
def test_what_ours_lacks_is_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_of({**read(REFERENCES[0])[0], **change})


def test_other_weights_and_species_have_one_line() -> None:
    settings, weights, _ = read(REFERENCES[0])
    with pytest.raises(InputError, match=r"avg_num_neighbors=.*: accepted: one number for all elements"):
        converted(weights, {**settings, "avg_num_neighbors": {"H": 1.0, "C": 2.0, "O": 3.0}})
    with pytest.raises(InputError, match="type_names=H, C, Xy: Xy is no element"):
        converted(weights, {**settings, "type_names": ["H", "C", "Xy"]})
    with pytest.raises(InputError, match=r"type_embed\.embed_module\.weight: not in the state"):
        converted({}, settings)


def test_moving_averages_take_the_place_of_weights() -> None:
    settings, weights, _ = read(REFERENCES[0])
    prefix = "model.sole_model."
    state = {f"{prefix}{name}": value for name, value in weights.items()}
    trained = [name for name in state if name.endswith(".weight")]
    checkpoint = {"state_dict": state, "hyper_parameters": {"model": settings}}
    assert averaged(checkpoint).keys() == state.keys()
    averages = {f"ema.ema_weight_{i}": state[name] + 1 for i, name in enumerate(trained)}
    found = averaged({**checkpoint, "state_dict": state | averages})
    assert all(torch.equal(found[name], value + (name in trained)) for name, value in state.items())
    averages.pop("ema.ema_weight_0")
    with pytest.raises(InputError, match="ema: averages of other weights"):
        averaged({**checkpoint, "state_dict": state | averages})
