"""Capacity controls: the published ones, their rule, and what runs and sweeps make of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config.channel_match import ChannelMatch, ChannelMatchSpec
from experiments.config.parse import LacksKnob, parse
from experiments.config.run import RunConfig
from experiments.core.errors import InputError
from experiments.data.load import dataset_of
from experiments.models.contract import ModelConfig
from experiments.models.mace import MaceConfig
from experiments.models.mpnn import MpnnConfig
from experiments.models.nequip import NequipConfig
from experiments.models.ntk import NtkConfig
from experiments.models.polynomial import PolynomialConfig
from experiments.models.registry import MODELS
from experiments.models.tfn import TfnConfig
from experiments.runs.capacity import features, match_channels, resolve_channels, weights
from experiments.runs.execute import execute
from experiments.runs.store import RunStore
from experiments.runs.table import run_table
from tests.conftest import MakeConfig

ASPIRIN = {0: (167_640, 64), 1: (741_080, 512), 2: (1_674_968, 1152), 3: (3_190_488, 2048)}
"""Weights and feature components of NequIP's published networks by L (THEORY.md §5): 5 layers, 64 channels."""
CONTROLS = {"weights": (173, 741_852), "features": (512, 5_565_144)}
"""Channels and weights of its two controls: L = 0, matched to L = 1. Their embedding keeps 64 channels."""


def published(L: int) -> NequipConfig:
    return NequipConfig(L=L, n_layers=5, channels=64, prune="none")


@pytest.mark.parametrize("L", ASPIRIN)
def test_sizes_of_the_published_networks(L: int) -> None:
    assert (weights(published(L), 3), features(published(L))) == ASPIRIN[L]


@pytest.mark.parametrize("by", CONTROLS)
def test_the_published_controls_come_out(by: str) -> None:
    model, found = match_channels(published(0), ChannelMatchSpec(by, {"L": 1}, published(1), None), 3)
    channels, count = CONTROLS[by]
    assert isinstance(model, NequipConfig)
    assert (model.channels, model.embedding, weights(model, 3)) == (channels, 64, count)
    assert found.target == ASPIRIN[1][by == "features"]
    assert found.count == (count if by == "weights" else 512)


SMALL: dict[str, ModelConfig] = {
    "mace": MaceConfig(L=1, nu=2, edge_lmax=2, channels=6, n_bessel=3, radial_hidden=(5,)),
    "nequip": NequipConfig(L=2, n_layers=4, channels=5, n_bessel=3, radial_hidden=(5,)),
    "nequip embedding": NequipConfig(L=1, channels=5, embedding=3, self_connection="embedding"),
    "tfn": TfnConfig(L=2, channels=5, n_radial=3, radial_width=4),
    "polynomial": PolynomialConfig(L=2, nu=4, edge_lmax=2, channels=5, n_bessel=3),
    "mpnn": MpnnConfig(channels=7, message_layers=3),
}


def test_every_trained_architecture_is_here() -> None:
    assert {type(model) for model in SMALL.values()} == {MODELS[name] for name in MODELS if MODELS.of_molecules(name)}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("by", ["weights", "features"])
def test_a_model_that_is_its_own_reference_keeps_its_channels(name: str, by: str) -> None:
    model = SMALL[name]
    found, record = match_channels(model, ChannelMatchSpec(by, {"channels": 0}, model, None), 3)
    assert found == model
    assert record.mismatch == 0


@pytest.mark.parametrize("name", SMALL)
def test_the_nearest_number_of_channels_is_found(name: str) -> None:
    """Against counting every network from 1 to 40 channels; targets in between, on the points, and of a tie."""
    model: Any = SMALL[name]
    counts = {c: weights(dataclasses.replace(model, channels=c), 2) for c in range(1, 41)}
    assert sorted(counts.values()) == list(counts.values())
    for target in (counts[9], counts[9] + 1, (counts[20] + counts[21]) // 2, counts[30] - 1):
        found, record = match_channels(model, ChannelMatchSpec("weights", {}, None, target), 2)
        nearest = min(counts, key=lambda c: (abs(counts[c] - target), c))
        assert getattr(found, "channels", None) == nearest
        assert record.count == counts[nearest]
        assert record.mismatch == pytest.approx((counts[nearest] - target) / target)


@pytest.mark.parametrize(
    ("model", "components"),
    [
        (MaceConfig(L=2, channels=4), 36), (MaceConfig(L=2, channels=4, n_layers=1), 4),
        (MaceConfig(L=0, channels=4), 4), (TfnConfig(L=1, channels=4), 16), (TfnConfig(L=2, channels=4, n_layers=1), 4),
        (PolynomialConfig(L=1, nu=3, edge_lmax=2, channels=4), 36), (PolynomialConfig(nu=1, channels=4), 4),
        (MpnnConfig(channels=4), 4), (NequipConfig(L=1, channels=4, n_layers=3), 16),
    ],
)  # fmt: skip
def test_feature_components_known_by_hand(model: ModelConfig, components: int) -> None:
    assert features(model) == components


def test_no_number_of_channels_comes_near() -> None:
    with pytest.raises(InputError, match=r"match=weights: 3 weights of the reference; the nearest .* with 1 channels"):
        match_channels(SMALL["mace"], ChannelMatchSpec("weights", {}, None, 3), 2)


# --- configurations


def chosen(config: dict[str, Any]) -> RunConfig:
    parsed = parse(config)
    return resolve_channels(config, parsed, dataset_of(parsed.data))


def test_a_run_is_that_of_its_channels(make_config: MakeConfig) -> None:
    """Matched channels are the run's channels: the run has their name, its configuration tells where they come from."""
    config = make_config({"match": "weights", "reference": {"L": 1}, "L": 0, "model.n_layers": 2})
    with pytest.raises(AssertionError, match="before its channels are known"):
        parse(config).run_id("0")
    made = chosen(config)
    assert isinstance(made.model, MaceConfig)
    assert isinstance(made.match, ChannelMatch)
    plain = parse(make_config({"L": 0, "model.n_layers": 2, "model.channels": made.model.channels}))
    assert made.model.channels > 4
    assert made.run_id("0") == plain.run_id("0")
    assert made.match.target == weights(dataclasses.replace(made.model, L=1, channels=4), 2)
    assert made.match.count == weights(made.model, 2)
    assert parse(yaml.safe_load(yaml.safe_dump(made.as_dict()))) == made
    itself = chosen(make_config({"match": "weights", "reference": {"L": 1}, "L": 1}))
    assert itself.run_id("0") == parse(make_config({"L": 1})).run_id("0")


def test_what_null_stands_for_follows_the_knobs_of_the_reference(make_config: MakeConfig) -> None:
    """NequIP's edge order is its L: that of the reference is the reference's."""
    model = {"architecture": "nequip", "channels": 4, "n_layers": 2, "edge_lmax": None}
    wish = parse(
        make_config({"model": model, "L": 0, "nu": None, "match": "weights", "reference": {"L": 2, "channels": 3}})
    ).match
    assert isinstance(wish, ChannelMatchSpec)
    assert wish.model == NequipConfig(L=2, edge_lmax=2, channels=3, n_layers=2)


def test_a_tuned_rate_is_looked_up_for_the_channels_that_come_out(make_config: MakeConfig) -> None:
    config = make_config({"match": "weights", "reference": {"L": 1}, "L": 0, "training.tuned": "nowhere"})
    config["training"]["learning_rate"] = None
    assert parse(config).training is not None
    with pytest.raises(InputError, match=r"training\.tuned=nowhere"):
        chosen(config)


@pytest.mark.parametrize("by", ["weights", "features"])
def test_a_linearised_network_has_the_channels_of_its_network(make_config: MakeConfig, by: str) -> None:
    """The same match as of the network itself, and the same run as one that names these channels."""
    changes: dict[str, Any] = {"match": by, "reference": {"L": 1, "channels": 6}, "L": 0, "model.n_layers": 2}
    plain = chosen(make_config(changes))
    assert isinstance(plain.match, ChannelMatch)
    linearised = make_config(changes)
    linearised["model"] |= {"architecture": "ntk", "of": "mace", "energy_weight": 0.5}
    made = chosen(linearised)
    assert isinstance(made.model, NtkConfig)
    assert made.model.network == plain.model
    assert made.model.energy_weight == 0.5
    assert made.match == plain.match
    assert made.match.target == (24 if by == "features" else plain.match.target)
    assert parse(yaml.safe_load(yaml.safe_dump(made.as_dict()))) == made
    named = make_config({"L": 0, "model.n_layers": 2, "model.channels": made.model.channels})
    named["model"] |= {"architecture": "ntk", "of": "mace", "energy_weight": 0.5}
    assert parse(named).run_id("0") == made.run_id("0")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"match": "width"}, r"match='width': accepted: null \| weights \| features"),
    ({"match": "weights"}, r"match=weights: accepted: one or more of reference\.L, .*, or reference\.count alone"),
    ({"match": "weights", "reference": {"L": 1, "count": 5}}, "match=weights: accepted: one or more of"),
    ({"reference": {"L": 1}}, r"reference\.L without match; accepted: match=weights\|features"),
    ({"match": "weights", "reference": {"l": 1}}, r"reference\.l: unknown key"),
    ({"match": "weights", "reference": {"L": 7}}, "reference: L=7: accepted: an integer from 0 to 3"),
    ({"match": "weights", "reference": 3}, "reference=3: accepted: L, nu"),
    ({"match": {"by": "weights"}}, "match="),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_input_has_one_line(make_config: MakeConfig, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        parse(make_config(changes))
    assert "\n" not in str(error.value)


LACKS: list[tuple[dict[str, Any], str, str]] = [
    ({"match": "weights", "reference": {"L": 1}}, "ace", "match=weights: model=ace has no channels to choose"),
    ({"match": "weights", "reference": {"L": 1}}, "mpnn", "reference: L=1: model=mpnn has no L"),
    ({"match": "weights", "reference": {"edge_lmax": 1}}, "mpnn", "reference.edge_lmax=1: model=mpnn has no edge_lmax"),
]


@pytest.mark.parametrize(("changes", "name", "message"), LACKS)
def test_what_a_model_lacks_drops_the_point(
    make_config: MakeConfig, changes: dict[str, Any], name: str, message: str
) -> None:
    config = make_config(changes, model="ace")
    if name == "mpnn":
        config |= {"model": {"architecture": "mpnn"}, "nu": None}
    with pytest.raises(LacksKnob, match=message):
        parse(config)


@pytest.mark.parametrize("architecture", ["mace", "ntk"])
def test_a_finished_run_records_its_match(make_config: MakeConfig, tmp_path: Path, architecture: str) -> None:
    store = RunStore(tmp_path / "store")
    of = {"architecture": "ntk", "of": "mace"} if architecture == "ntk" else {}
    for changes in ({"match": "weights", "reference": {"L": 1}, "L": 0}, {"L": 0}):
        config = make_config({**changes, "model.n_layers": 2})
        config["model"] |= of
        made = chosen(config)
        run = store.run(made.run_id(dataset_of(made.data).sha256()))
        run.create(made.as_dict())
        assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    table = run_table(store).drop_duplicates("run_id").set_index("match.by", drop=False)
    row = table.loc["weights"]
    assert row["n_parameters"] == round(row["match.target"] * (1 + row["match_mismatch"]))
    assert abs(row["match_mismatch"]) < 0.1
    assert architecture == "ntk" or row["n_features"] == row["channels"]
    assert table["match.target"].isna().sum() == 1
    result = store.run(str(row["run_id"])).result()
    assert result is not None
    assert result["match"]["reference"] == {"L": 1}
    assert result["match"]["count"] == result["n_parameters"]
    assert result["match"]["rule"].startswith("the number of channels whose count is nearest")
