"""Networks (but MACE) as runs: their knobs, their identity, packs, interruptions, stored models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from experiments.config.parse import LacksKnob, parse
from experiments.core.errors import InputError
from experiments.models.registry import MODELS
from experiments.runs import evaluate
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from experiments.runs.table import run_table
from experiments.training.pack import Interrupted
from tests.conftest import STAR, TRAINING
from tests.experiments.finished import finished, queued

SHA = "0" * 64
MODEL: dict[str, dict[str, Any]] = {
    "nequip": {
        "architecture": "nequip", "n_layers": 2, "channels": 3, "cutoff": 2.0, "n_bessel": 3, "radial_hidden": [5],
        "readout_hidden": 4, "edge_lmax": None, "embedding": None,
    },
    "tfn": {
        "architecture": "tfn", "n_layers": 2, "channels": 3, "cutoff": 2.0, "n_radial": 3, "radial_width": 4,
        "edge_lmax": None,
    },
    "polynomial": {
        "architecture": "polynomial", "edge_lmax": 2, "channels": 3, "cutoff": 2.0, "n_bessel": 3, "cutoff_power": 6,
    },
    "mpnn": {
        "architecture": "mpnn", "n_layers": 2, "channels": 3, "message_layers": 2, "cutoff": 2.0, "n_bessel": 3,
    },
}  # fmt: skip
ALL = pytest.mark.parametrize("name", MODEL)
WITHOUT_NU = ("nequip", "tfn", "mpnn")


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Compose the configuration of a tiny run on the star."""

    def config(name: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "P": 8, "L": None if name == "mpnn" else 1, "nu": None, "seed": 0,
            "data": dict(STAR), "model": dict(MODEL[name]),
            "training": dict(TRAINING), "store": str(tmp_path / "store"), "device": "cpu",
        }  # fmt: skip
        for key, value in (changes or {}).items():
            section, _, own = key.rpartition(".")
            (made[section] if section else made)[own] = value
        return made

    return config


@pytest.mark.parametrize("name", WITHOUT_NU)
def test_there_is_no_nu_but_one(make: Callable[..., dict[str, Any]], name: str) -> None:
    made = parse(make(name))
    assert made.nu is None
    assert parse(make(name, {"nu": 1})).run_id(SHA) == made.run_id(SHA)
    with pytest.raises(LacksKnob, match=rf"nu=3: model={name} has no nu; accepted: null or 1"):
        parse(make(name, {"nu": 3}))


def test_features_without_degrees_have_no_L(make: Callable[..., dict[str, Any]]) -> None:
    made = parse(make("mpnn"))
    assert made.L is None
    assert made.model.group == "T(3)"
    assert parse(make("mpnn", {"L": 0})).run_id(SHA) == made.run_id(SHA)
    with pytest.raises(LacksKnob, match=r"L=1: model=mpnn has no L; accepted: null or 0"):
        parse(make("mpnn", {"L": 1}))


@pytest.mark.parametrize("name", ["nequip", "tfn"])
def test_what_null_stands_for_is_written_and_identifies_the_run(make: Callable[..., dict[str, Any]], name: str) -> None:
    made = parse(make(name, {"L": 2}))
    assert made.as_dict()["model"]["edge_lmax"] == 2
    assert parse(make(name, {"L": 2, "model.edge_lmax": 2})).run_id(SHA) == made.run_id(SHA)
    assert parse(make(name, {"L": 2, "model.edge_lmax": 1})).run_id(SHA) != made.run_id(SHA)
    again = parse(yaml.safe_load(yaml.safe_dump(made.as_dict())))
    assert again == made


CHANGES: dict[str, dict[str, Any]] = {
    "nequip": {
        "L": 0, "model.edge_lmax": 2, "model.parity": False, "model.n_layers": 3, "model.channels": 4,
        "model.embedding": 2, "model.cutoff": 3.0, "model.n_bessel": 4, "model.bessel_trainable": False,
        "model.cutoff_power": 5, "model.radial_hidden": [6], "model.readout_hidden": None,
        "model.self_connection": "embedding", "model.first_self_connection": False, "model.prune": "none",
        "model.species_scales": True,
    },
    "tfn": {
        "L": 0, "model.edge_lmax": 2, "model.n_layers": 3, "model.channels": 4, "model.cutoff": 3.0,
        "model.n_radial": 4, "model.radial_width": 5, "model.cutoff_power": 5,
    },
    "polynomial": {
        "L": 0, "nu": 2, "model.edge_lmax": 1, "model.channels": 4, "model.cutoff": 3.0, "model.n_bessel": 4,
        "model.cutoff_power": 5,
    },
    "mpnn": {
        "model.n_layers": 3, "model.channels": 4, "model.message_layers": 1, "model.cutoff": 3.0, "model.n_bessel": 4,
        "model.cutoff_power": 5,
    },
}  # fmt: skip


@ALL
def test_every_setting_is_part_of_the_identity(make: Callable[..., dict[str, Any]], name: str, root: Path) -> None:
    ids = {parse(make(name)).model_id(SHA)}
    ids |= {parse(make(name, {key: value})).model_id(SHA) for key, value in CHANGES[name].items()}
    assert len(ids) == 1 + len(CHANGES[name])
    listed = {key.removeprefix("model.") for key in CHANGES[name]} - {"L", "nu"} | {"architecture"}
    assert set(yaml.safe_load((root / "conf" / "model" / f"{name}.yaml").read_text())) == listed


BAD: list[tuple[str, str, Any, str]] = [
    ("nequip", "L", 4, "L=4: accepted: an integer from 0 to 3"),
    ("nequip", "model.prune", "some", "model.prune='some': accepted: all | last | none"),
    ("nequip", "model.parity", 1, "model.parity=1: accepted: true or false"),
    ("nequip", "model.nu", 1, "model.nu: unknown key"),
    ("tfn", "model.edge_lmax", 4, "model.edge_lmax=4: accepted: an integer from 0 to 3 or null"),
    ("tfn", "model.parity", True, "model.parity: unknown key"),
    ("polynomial", "nu", 5, "nu=5: accepted: an integer from 1 to 4"),
    ("polynomial", "model.n_layers", 2, "model.n_layers: unknown key"),
    ("mpnn", "model.edge_lmax", 1, "model.edge_lmax: unknown key"),
    ("mpnn", "training.augment", 1, "training.augment=1: accepted: true or false"),
]


@pytest.mark.parametrize(("name", "key", "value", "message"), BAD)
def test_bad_input_has_one_line(
    make: Callable[..., dict[str, Any]], name: str, key: str, value: Any, message: str
) -> None:
    with pytest.raises(InputError) as error:
        parse(make(name, {key: value}))
    assert str(error.value).startswith(message)


def errors(run: Run) -> dict[str, Any]:
    result = run.result()
    assert result is not None
    found: dict[str, Any] = result["by_metric"]
    return found


@ALL
def test_an_interrupted_run_ends_as_if_it_were_not(
    make: Callable[..., dict[str, Any]], name: str, tmp_path: Path
) -> None:
    whole = finished(make(name))
    run = queued(make(name, {"store": str(tmp_path / "other")}))
    asked = iter([False] * 3 + [True] * 100)
    with pytest.raises(Interrupted):
        execute([run], lambda: next(asked), lambda event: None)
    assert run.result() is None
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    assert run.latest_attempt() == 2
    assert errors(run) == errors(whole)


@ALL
def test_a_pack_is_its_runs(make: Callable[..., dict[str, Any]], name: str, tmp_path: Path) -> None:
    alone = [finished(make(name, {"seed": seed})) for seed in (0, 1)]
    pack = [queued(make(name, {"seed": seed, "store": str(tmp_path / "packs")})) for seed in (0, 1)]
    assert set(execute(pack, lambda: False, lambda event: None).values()) == {"done"}
    for one, other in zip(pack, alone, strict=True):
        for metric, values in errors(other).items():
            # batched products may sum in another order, and training amplifies that (tests of the packs)
            assert errors(one)[metric]["error"] == pytest.approx(values["error"], rel=1e-10)


@ALL
def test_a_stored_model_gives_the_runs_own_errors(make: Callable[..., dict[str, Any]], name: str) -> None:
    run = finished(make(name))
    found, _ = evaluate.evaluate(run, evaluate.section_of(run, []))
    for metric, values in errors(run).items():
        assert found["by_metric"][metric]["error"] == pytest.approx(values["error"], rel=1e-9)


def test_a_sweep_over_architectures(root: Path, tmp_path: Path) -> None:
    """Through the command, in packs of two; points with a ν that these models lack are dropped and listed."""
    keys = {key: value for key, value in STAR.items() if key not in ("source", "subset_seed")}
    arguments = [f"data.{key}={value}".replace(" ", "") for key, value in keys.items()]
    settings = ("max_steps=24", "warmup_steps=4", "batch_size=4", "compile=false")
    arguments += [f"training.{setting}" for setting in settings]
    ended = subprocess.run(
        [sys.executable, "-m", "experiments", "-m", "data=star", *arguments, "model=nequip,tfn,mpnn,polynomial",
         "L=0", "nu=1,3", "P=8", "seed=0,1", "training.augment=false,true", "model.channels=3",
         "model.cutoff=2.0", f"store={tmp_path / 'store'}",
         "hydra.launcher.workers=1", "hydra.launcher.pack=2"],
        cwd=root, capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout + ended.stderr
    for name in WITHOUT_NU:
        assert f"nu=3: model={name} has no nu; accepted: null or 1" in said
    for name in ("nequip", "tfn", "polynomial"):
        assert f"training.augment=true: model={name} has rotation symmetry" in said
    store = RunStore(tmp_path / "store")
    table = run_table(store)
    knobs = ["architecture", "group", "L", "edge_lmax", "nu", "training.augment"]
    found = {tuple(None if pd.isna(value) else value for value in row) for row in table[knobs].to_numpy(object)}
    assert found == {
        ("nequip", "E(3)", 0, 0, None, False),
        ("tfn", "SE(3)", 0, 0, None, False),
        ("mpnn", "T(3)", None, None, None, False),
        ("mpnn", "T(3)", None, None, None, True),
        ("polynomial", "E(3)", 0, 3, 1, False),
        ("polynomial", "E(3)", 0, 3, 3, False),
    }
    assert len(table) == 12 * table["metric"].nunique()
    assert all(json.loads((run.path / "result.json").read_text())["n_parameters"] > 0 for run in store.runs())


def test_help_names_the_models(root: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "experiments", "--help"], cwd=root, capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    line = next(line for line in ended.stdout.splitlines() if line.startswith("model:"))
    assert set(MODELS) == {name.strip() for name in line.removeprefix("model:").split(",")}
