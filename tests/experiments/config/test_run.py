"""The configuration of a run: messages, round trip, identity."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.config import run as configuration
from experiments.config.parse import LacksKnob, parse, without_gpu
from experiments.config.run import RunConfig, digest
from experiments.config.training import TrainingConfig
from experiments.core.errors import InputError
from experiments.models.mace import MaceConfig
from experiments.models.nequip import NequipConfig
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS

MakeConfig = Callable[..., dict[str, Any]]
SHA = "0" * 64

BAD: list[tuple[str, Any, str]] = [
    ("P", 0, "P=0: accepted: an integer ≥ 1"),
    ("P", -4, "P=-4: accepted: an integer ≥ 1"),
    ("P", 16.0, "P=16.0: accepted: an integer ≥ 1"),
    ("P", "many", "P='many': accepted: an integer ≥ 1"),
    ("P", None, "P=None: accepted: an integer ≥ 1"),
    ("L", 4, "L=4: accepted: an integer from 0 to 3"),
    ("L", -1, "L=-1: accepted: an integer from 0 to 3"),
    ("L", 0.5, "L=0.5: accepted: an integer from 0 to 3"),
    ("nu", 0, "nu=0: accepted: an integer from 1 to 3"),
    ("nu", 4, "nu=4: accepted: an integer from 1 to 3"),
    ("nu", "x", "nu='x': accepted: an integer from 1 to 3"),
    ("seed", -1, "seed=-1: accepted: an integer from 0 to 2147483647"),
    ("seed", 2**31, "seed=2147483648: accepted: an integer from 0 to"),
    ("seed", 1.5, "seed=1.5: accepted: an integer from 0 to"),
    ("data.subset_seed", -1, "data.subset_seed=-1: accepted: an integer from 0"),
    ("training.init_seed", "a", "training.init_seed='a': accepted: an integer from 0"),
    ("device", "tpu", "device='tpu': accepted: auto | cpu | cuda"),
    ("store", 3.5, "store=3.5: accepted: a text"),
    ("Seed", 0, "Seed: unknown key (did you mean seed?); accepted: P, L, nu, seed"),
    ("data", "star", "data='star': accepted: one of the files in conf/data/"),
    ("model", None, "model=None: accepted: one of the files in conf/model/"),
    ("model.architecture", "nequip2", "model.architecture='nequip2' (did you mean nequip?): accepted: ace"),
    ("model.chanels", 3, "model.chanels: unknown key (did you mean model.channels?)"),
    ("model.edge_lmax", 9, "model.edge_lmax=9: accepted: an integer from 0 to 3"),
    ("training.max_steps", 1, "training.max_steps=1: accepted: an integer from 2 to"),
    ("training.optimizer", "sgd", "training.optimizer='sgd': accepted: soap | adam"),
    ("training.precision", "bf16", "training.precision='bf16': accepted: float32 | float64"),
    ("training.learning_rate", 0.0, "training.learning_rate=0.0: accepted: a number > 0 and ≤ 10"),
    ("training.ema_decay", 1.0, "training: ema_decay=1.0: the average would never move; accepted: 0 ≤ ema_decay < 1"),
    ("training.cooldown", 1.5, "training.cooldown=1.5: accepted: a number > 0 and ≤ 1"),
    ("training.tf32", 1, "training.tf32=1: accepted: true or false"),
    ("training.tf32", True, "training: tf32=true: a way to compute with float32, not float64; accepted: false"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD)
def test_bad_input_has_one_line(make_config: MakeConfig, key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(make_config({key: value}))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_nothing_to_train_on(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="nothing to train on"):
        parse(make_config({"training.energy_weight": 0.0, "training.force_weight": 0.0}))
    late = {"training.energy_weight": 0.0, "training.force_weight": 0.0, "training.late_energy_weight": 1.0}
    with pytest.raises(InputError, match="until the learning rate falls: nothing to train on"):
        parse(make_config(late))


def test_knob_that_a_model_lacks(make_config: MakeConfig) -> None:
    for L in (None, 0):
        assert parse(make_config({"L": L}, model="ace")).L is None
    with pytest.raises(LacksKnob, match=r"L=1: model=ace has no L; accepted: null or 0"):
        parse(make_config({"L": 1}, model="ace"))
    with pytest.raises(InputError) as error:  # no knob at all, so no point of a grid that may be dropped
        parse(make_config({"L": "x"}, model="ace"))
    assert not isinstance(error.value, LacksKnob)


@pytest.mark.parametrize("model", ["mace", "ace"])
def test_written_configuration_reads_back_as_itself(make_config: MakeConfig, model: str) -> None:
    changes = {"seed": 3, "data.subset_seed": 1} | ({"training.learning_rate": 1e-5} if model == "mace" else {})
    made = parse(make_config(changes, model=model))
    again = parse(yaml.safe_load(yaml.safe_dump(made.as_dict())))
    assert again == made
    assert again.run_id(SHA) == made.run_id(SHA)


def test_seeds_default_to_seed(make_config: MakeConfig) -> None:
    made = parse(make_config({"seed": 5}))
    assert (made.subset_seed, made.init_seed) == (5, 5)
    made = parse(make_config({"seed": 5, "data.subset_seed": 1, "training.init_seed": 0}))
    assert (made.subset_seed, made.init_seed) == (1, 0)


CHANGES: list[tuple[str, Any]] = [
    ("P", 9), ("seed", 1), ("data.subset_seed", 1), ("training.init_seed", 1), ("L", 0), ("nu", 1),
    ("model.edge_lmax", 2), ("model.n_layers", 2), ("model.channels", 8), ("model.cutoff", 2.5), ("model.n_bessel", 4),
    ("model.cutoff_power", 6), ("model.radial_hidden", [6, 6]), ("model.readout_hidden", 5),
    ("training.max_steps", 26), ("training.batch_size", 5), ("training.optimizer", "adam"),
    ("training.learning_rate", 1e-3), ("training.warmup_steps", 5), ("training.cooldown", 0.4),
    ("training.ema_decay", 0.5), ("training.clip", 1.0), ("training.energy_weight", 0.5),
    ("training.energy_weight", None), ("training.late_energy_weight", 9.0),
    ("training.force_weight", 0.5), ("training.precision", "float32"), ("training.compile", True),
]  # fmt: skip
POOLED = {"P", "seed", "data.subset_seed", "training.init_seed"}
"""Keys in which the runs of one curve may differ."""
SAME: list[tuple[str, Any]] = [
    ("store", "elsewhere"), ("device", "cuda"), ("training.checkpoint_seconds", 1.0), ("model.cutoff", 2),
    ("data.subset_seed", 0), ("training.init_seed", 0),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_identity_changes_with_what_can_change_a_number(make_config: MakeConfig, key: str, value: Any) -> None:
    base, other = parse(make_config()), parse(make_config({key: value}))
    assert other.run_id(SHA) != base.run_id(SHA)
    assert (other.model_id(SHA) == base.model_id(SHA)) == (key in POOLED)


@pytest.mark.parametrize(("key", "value"), SAME)
def test_identity_is_deaf_to_the_rest(make_config: MakeConfig, key: str, value: Any) -> None:
    assert parse(make_config({key: value})).run_id(SHA) == parse(make_config()).run_id(SHA)


def test_tf32_is_part_of_the_identity_where_it_is_on(make_config: MakeConfig) -> None:
    """Runs made before there was the key keep their names, and no pack has both kinds."""
    single = {"training.precision": "float32"}
    base, off, on = (
        parse(make_config({**single, **more})) for more in ({}, {"training.tf32": False}, {"training.tf32": True})
    )
    assert off.run_id(SHA) == base.run_id(SHA)
    for name in (RunConfig.run_id, RunConfig.model_id, RunConfig.shape_id):
        assert name(on, SHA) != name(base, SHA)


@pytest.mark.parametrize(("updates", "compiles"), [(1499, False), (1500, True)])
def test_auto_is_true_by_name_and_compiles_what_repays_it(
    make_config: MakeConfig, updates: int, compiles: bool
) -> None:
    """Packs are of one kind of step, whatever the settings that lead to it."""
    auto, yes, no = (
        parse(make_config({"training.max_steps": updates, "training.compile": value}))
        for value in ("auto", True, False)
    )
    assert auto.training is not None
    assert auto.training.compiles == compiles
    assert auto.run_id(SHA) == yes.run_id(SHA) != no.run_id(SHA)
    assert auto.model_id(SHA) == yes.model_id(SHA)
    assert (auto.shape_id(SHA) == yes.shape_id(SHA)) == compiles
    assert (auto.shape_id(SHA) == no.shape_id(SHA)) != compiles
    other = parse(make_config({"training.max_steps": 1500 if updates < 1500 else 1499, "training.compile": "auto"}))
    assert other.shape_id(SHA) != auto.shape_id(SHA)


def test_every_setting_is_in_one_of_the_lists(make_config: MakeConfig) -> None:
    """A new key must say here whether it changes numbers."""
    config = make_config()
    leaves = {f"{s}.{k}" for s in ("model", "training") for k in config[s]} | {
        "P",
        "L",
        "nu",
        "seed",
        "store",
        "device",
    }
    listed = {key for key, _ in CHANGES + SAME} | {"model.architecture"}
    assert leaves <= listed


def test_identity_knows_the_data(make_config: MakeConfig) -> None:
    made = parse(make_config())
    assert made.run_id("1" * 64) != made.run_id(SHA)


@pytest.mark.parametrize("family", ["data", "training", *MODELS])
def test_a_raised_number_renames_what_it_concerns_alone(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every architecture with its default settings, and a second network linearised."""
    models = {name: cls() for name, cls in MODELS.items()}
    models["ntk of nequip"] = NtkConfig("nequip", NequipConfig())
    runs = {
        name: RunConfig(8, 0, 0, 0, {}, model, None if model.closed_form else TrainingConfig(), "runs", "cpu")
        for name, model in models.items()
    }
    concerned = {
        "data": set(runs),
        "training": {name for name, run in runs.items() if run.training is not None},
        "ntk": {"ntk", "ntk of nequip"},
        "mace": {"mace", "ntk"},
        "nequip": {"nequip", "ntk of nequip"},
    }.get(family, {family})
    now = configuration.NUMERICS_RAISED.get(family, configuration.NUMERICS_VERSION.get(family, 1))
    names = [{name: (run.run_id(SHA), run.model_id(SHA)) for name, run in runs.items()}]
    for number in (now + 1, now + 2):
        monkeypatch.setitem(configuration.NUMERICS_RAISED, family, number)
        names.append({name: (run.run_id(SHA), run.model_id(SHA)) for name, run in runs.items()})
    for name in runs:
        distinct = 3 if name in concerned else 1
        assert len({made[name][0] for made in names}) == len({made[name][1] for made in names}) == distinct, name


def test_training_settings_are_no_part_of_a_closed_form_run(make_config: MakeConfig) -> None:
    base = parse(make_config(model="ace"))
    assert base.training is None
    assert parse(make_config({"training.max_steps": 50}, model="ace")).run_id(SHA) == base.run_id(SHA)


@pytest.mark.parametrize("device", ["cpu", "auto", "cuda"])
def test_closed_forms_have_the_cpu(make_config: MakeConfig, device: str) -> None:
    """Whatever is asked for; so one ladder is not divided by it, and who asked for a GPU is told."""
    shapes = set()
    for model, got in (("ace", "cpu"), ("mace", device)):
        composed = make_config({"device": device}, model=model)
        config = parse(composed)
        assert config.device == got
        assert bool(without_gpu(composed, config)) == (model == "ace" and device == "cuda")
        shapes.add(config.shape_id(SHA))
    assert parse(make_config(model="ace")).shape_id(SHA) in shapes


def test_architectures_never_share_a_curve(make_config: MakeConfig) -> None:
    ids = {parse(make_config({"L": 0}, model=model)).model_id(SHA) for model in ("mace", "ace")}
    assert len(ids) == 2


def test_golden_ids(make_config: MakeConfig) -> None:
    """Identity may not change by accident: a store of finished runs would be orphaned. If the numbers of a run
    changed on purpose, raise that family's number in NUMERICS_RAISED and put the new digits here (the ids of all
    shipped sweeps: tests/golden)."""
    made = parse(make_config())
    assert digest({"b": 1, "a": [1.0, "ν"]}) == "38cc7a16ca52"
    assert made.model_id(SHA) == "efa44f4bacf4"
    assert made.run_id(SHA) == "16be51bc59a7"
    assert parse(make_config(model="ace")).run_id(SHA) == "83cd13bac5a4"


@given(st.integers(1, 10**6), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_ids_are_twelve_hex_digits_and_a_function_of_the_content(P: int, seed: int, subset: int, init: int) -> None:
    def make(store: str) -> RunConfig:
        return RunConfig(P, seed, subset, init, {}, MaceConfig(), None, store, "cpu")

    run_id = make("a").run_id(SHA)
    assert len(run_id) == 12
    assert int(run_id, 16) >= 0
    assert make("b").run_id(SHA) == run_id


def test_digest_refuses_what_json_cannot_hold() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        digest({"a": math.nan})


def test_parse_leaves_its_argument_alone(make_config: MakeConfig) -> None:
    config = make_config()
    before = copy.deepcopy(config)
    parse(config)
    assert config == before


def test_a_later_process_finds_the_same_ids(make_config: MakeConfig, root: Path) -> None:
    """Hash seeds and dictionary orders differ between processes."""
    config = make_config()
    shuffled = {key: config[key] for key in reversed(config)}
    code = "import json, sys; from experiments.config.parse import parse; "
    code += "print(parse(json.load(sys.stdin)).run_id('0' * 64))"
    found = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(shuffled), capture_output=True, text=True, cwd=root, check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert found.stdout.strip() == parse(config).run_id(SHA)


def test_the_shipped_training_section_holds_every_setting() -> None:
    """A key that is not there could be given with a plus sign only."""
    shipped = yaml.safe_load((Path(__file__).parents[3] / "conf" / "training" / "default.yaml").read_text())
    assert {f.name for f in dataclasses.fields(TrainingConfig)} <= set(shipped)


@pytest.mark.parametrize("architecture", MODELS)
def test_the_shipped_model_sections_are_valid_and_hold_no_other_key(architecture: str) -> None:
    shipped = yaml.safe_load((Path(__file__).parents[3] / "conf" / "model" / f"{architecture}.yaml").read_text())
    known = {f.name for f in dataclasses.fields(MODELS[architecture])} | {"architecture"}
    if architecture == "ntk":  # the network's own settings stand beside it
        known |= set(NtkConfig.shared)
    assert set(shipped) <= known


@pytest.mark.parametrize(
    "data", [{"source": "water"}, {"source": "mlearn"}, {"source": "xtb", "molecule": "water", "copies": 4}]
)
@pytest.mark.parametrize("architecture", ["krr", "nearest"])
def test_periodic_sources_are_refused_before_they_are_read(
    make_config: MakeConfig, data: dict[str, Any], architecture: str
) -> None:
    one = {"L": None, "nu": None, "model": {"architecture": architecture}}
    with pytest.raises(InputError, match=f"^model={architecture}: .* data.source={data['source']} are periodic"):
        parse(make_config({"data": data, **one}))
    parse(make_config({"data": {"source": "xtb", "molecule": "water"}, **one}))
    parse(make_config({"data": data}, model="ace"))
