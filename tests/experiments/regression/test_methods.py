"""Models that solve themselves as runs: through the command, their knobs, the table, evaluate, and the calculator."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
import yaml

from experiments.config.parse import LacksKnob, parse
from experiments.core.errors import InputError
from experiments.data.sources.extxyz import write_frames
from experiments.interop.calculator import EquilawCalculator
from experiments.models.mace import MaceConfig
from experiments.models.nequip import NequipConfig
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS
from experiments.regression.methods import closed_form
from experiments.runs import evaluate
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from experiments.runs.table import run_table
from tests.conftest import MakeConfig
from tests.experiments.finished import queued
from tests.experiments.regression.test_krr import molecules

SHA = "0" * 64
KRR = {"architecture": "krr"}
NEAREST = {"architecture": "nearest"}
NTK = {
    "architecture": "ntk", "of": "nequip", "n_layers": 2, "channels": 3, "cutoff": 2.0, "edge_lmax": None,
    "n_bessel": 3, "radial_hidden": [5],
}  # fmt: skip


def test_every_one_is_registered() -> None:
    for settings in MODELS.values():
        if settings.closed_form:
            assert closed_form(settings(), [1, 6])


@pytest.mark.parametrize("model", [KRR, NEAREST], ids=["krr", "nearest"])
def test_neither_l_nor_nu(make_config: MakeConfig, model: dict[str, Any]) -> None:
    changes = {"model": model, "L": None, "nu": None}
    made = parse(make_config(changes))
    assert (made.L, made.nu, made.training) == (None, None, None)
    for knob in ("L", "nu"):
        with pytest.raises(LacksKnob) as error:
            parse(make_config({**changes, knob: 1}))
        assert str(error.value) == f"{knob}=1: model={model['architecture']} has no {knob}; accepted: null"


def test_a_linearised_network_has_the_knobs_of_the_network(make_config: MakeConfig) -> None:
    made = parse(make_config({"model": NTK, "L": 2, "nu": None}))
    network = NequipConfig(L=2, n_layers=2, channels=3, cutoff=2.0, n_bessel=3, radial_hidden=(5,))
    assert made.model == NtkConfig(of="nequip", network=network)
    assert (made.L, made.nu, made.architecture, made.training) == (2, None, "ntk-nequip", None)
    found = [getattr(made.model, name) for name in ("edge_lmax", "n_layers", "channels", "cutoff", "group")]
    assert found == [2, 2, 3, 2.0, "E(3)"]
    with pytest.raises(LacksKnob, match=r"^nu=3: model=ntk model.of=nequip has no nu; accepted: null or 1$"):
        parse(make_config({"model": NTK, "L": 2, "nu": 3}))
    settings: dict[str, Any] = {"architecture": "ntk", "of": "mace", "edge_lmax": 0}
    mace = parse(make_config({"model": settings, "L": 0, "nu": 3}))
    assert mace.model == NtkConfig(network=MaceConfig(L=0, nu=3, edge_lmax=0))


def test_a_linearised_network_reads_back_and_identifies_itself(make_config: MakeConfig) -> None:
    base = {"model": NTK, "L": 1, "nu": None}
    made = parse(make_config(base))
    again = parse(yaml.safe_load(yaml.safe_dump(made.as_dict())))
    assert again == made
    changes: dict[str, Any] = {
        "edge_lmax": 0, "n_layers": 3, "channels": 4, "cutoff": 3.0, "n_bessel": 4, "radial_hidden": [6],
        "cutoff_power": 5, "parity": False, "embedding": 2, "readout_hidden": None, "bessel_trainable": False,
        "self_connection": "embedding", "first_self_connection": False, "prune": "none", "species_scales": True,
    }  # fmt: skip
    assert set(changes) | {"L"} == {field.name for field in dataclasses.fields(NequipConfig)}
    changed = [{**NTK, key: value} for key, value in {**changes, "energy_weight": 0.0, "force_weight": 2.0}.items()]
    ids = {parse(make_config({**base, "model": model})).model_id(SHA) for model in [NTK, *changed]}
    ids.add(parse(make_config({**base, "L": 0})).model_id(SHA))
    assert len(ids) == 2 + len(changed)
    seeds = {parse(make_config({**base, "training.init_seed": seed})).run_id(SHA) for seed in (0, 1)}
    assert len(seeds) == 2  # initial weights are random


BAD: list[tuple[dict[str, Any], str]] = [
    ({**NTK, "of": "ace"}, "model.of='ace': accepted: mace | mpnn | nequip | polynomial | tfn"),
    ({**NTK, "of": None}, "model.of=None: accepted: mace | mpnn | nequip | polynomial | tfn"),
    ({**NTK, "chanels": 3}, "model.chanels: unknown key (did you mean model.channels?)"),
    ({**NTK, "channels": 0}, "model.channels=0: accepted: an integer from 1 to 1024"),
    ({**NTK, "energy_weight": -1.0}, "model.energy_weight=-1.0: accepted: a number ≥ 0"),
    ({**NTK, "network": {}}, "model.network: unknown key"),
    ({**KRR, "kernel": "rbf"}, "model.kernel='rbf': accepted: gaussian | matern52"),
    ({**KRR, "length": 0.0}, "model.length=0.0: accepted: a number > 0 or null"),
    ({**NEAREST, "metric": "soap"}, "model.metric='soap': accepted: descriptor | aligned_rmsd"),
]


@pytest.mark.parametrize(("model", "message"), BAD)
def test_bad_input_has_one_line(make_config: MakeConfig, model: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(make_config({"model": model, "L": None, "nu": None}))
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write training and test frames of methanol."""
    path = tmp_path_factory.mktemp("methanol")
    write_frames(path / "train.xyz", molecules(40))
    write_frames(path / "test.xyz", molecules(8, seed=1))
    return path


def command(root: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments", "data=extxyz", f"data.train={folder / 'train.xyz'}",
         f"data.test={folder / 'test.xyz'}", f"store={folder / 'store'}", *arguments],
        cwd=root, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(root: Path, folder: Path) -> RunStore:
    """Run one of each through the command; points with a knob that a model lacks are dropped and listed, and a GPU that
    is asked for is not used, so that it need not be there."""
    words = ["-m", "model=krr,nearest", "nu=null,4", "P=16", "device=cuda", "hydra.launcher.workers=1"]
    ended = command(root, folder, *words)
    assert ended.returncode == 0, ended.stderr
    no_gpu = "fitted in closed form on the CPU; device=cuda uses and holds no GPU for it"
    for model in ("krr", "nearest"):
        assert ended.stderr.count(f"model={model}: {no_gpu}") == 1
        assert f"nu=4: model={model} has no nu; accepted: null" in ended.stdout + ended.stderr
    ended = command(
        root, folder, "-m", "model=ntk", "model.of=mace,nequip", "cell=A,C", "nu=1,3", "P=16", "model.channels=2",
        "+model.n_bessel=3", "+model.radial_hidden=[4]", "model.edge_lmax=1", "hydra.launcher.workers=1",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "nu=3: model=ntk model.of=nequip has no nu; accepted: null or 1" in ended.stdout + ended.stderr
    words = ["model=ace", "nu=4", "model.edge_lmax=1", "model.n_radial=3", "P=16", "device=cuda"]
    ended = command(root, folder, *words)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count(f"model=ace: {no_gpu}") == 1
    assert "force_mae" in ended.stdout
    return RunStore(folder / "store")


def test_table(store: RunStore) -> None:
    table = run_table(store)
    rows = table[table["metric"] == "force_mae"].sort_values(["architecture", "nu"])
    nothing = None
    expected = [
        # architecture, L, nu, edge_lmax, n_layers, channels
        ["ace", nothing, 4, 1, nothing, nothing],
        ["krr", nothing, nothing, nothing, nothing, nothing],
        ["nearest", nothing, nothing, nothing, nothing, nothing],
        ["ntk-mace", 0, 1, 1, 2, 2],
        ["ntk-mace", 0, 3, 1, 2, 2],
        ["ntk-nequip", 0, nothing, 1, 3, 2],
    ]
    columns = rows[["L", "nu", "edge_lmax", "n_layers", "channels"]].astype(object)
    found = columns.where(columns.notna(), None).to_numpy().tolist()
    assert [[a, *values] for a, values in zip(rows["architecture"], found, strict=True)] == expected
    assert rows["converged"].all()
    assert rows["n_steps"].isna().all()
    assert rows["training.max_steps"].isna().all()
    error = dict(zip(rows["architecture"], rows["error"], strict=True))
    assert error["nearest"] > 2 * max(error["krr"], error["ace"])
    assert table[(table["architecture"] == "nearest")]["train_error"].max() < 1e-6  # meV


def runs(store: RunStore) -> dict[str, Run]:
    found = {}
    for run, result in store.results():
        found[f"{result['architecture']} {result['nu']}"] = run
    return found


def test_evaluate_gives_the_runs_own_errors(store: RunStore, capsys: pytest.CaptureFixture[str]) -> None:
    for run in runs(store).values():
        assert evaluate.main([str(run.path)]) == 0
        assert "force_mae" in capsys.readouterr().out
        (path,) = (run.path / "evaluations").glob("*.json")
        result = run.result()
        assert result is not None
        for metric, error in json.loads(path.read_text())["metrics"].items():
            # energies of 3000 eV in float64, summed by coefficients that cancel
            assert error == pytest.approx(result["metrics"][metric], rel=1e-8, abs=1e-9)
        assert (run.path / "frame_errors.parquet").exists()
        assert set(result["fit"]) >= ({"ridge", "criterion"} if result["architecture"] != "nearest" else set())


def test_calculator(store: RunStore) -> None:
    """One molecule at a time, moved away: the errors of the result; others than the training molecule by the rules."""
    frames = molecules(8, seed=1)
    for name, run in runs(store).items():
        calculator = EquilawCalculator(run.path)
        errors = []
        for f in range(len(frames)):
            atoms = ase.Atoms(frames.numbers[f], frames.positions[f] + [5.0, 0.0, -3.0], calculator=calculator)
            errors.append(np.abs(atoms.get_forces() - frames.forces[f]).mean())
        result = run.result()
        assert result is not None
        assert np.mean(errors) == pytest.approx(result["metrics"]["force_mae"], rel=1e-6)
        water = ase.Atoms("OH2", [[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]], calculator=calculator)
        if name.split()[0] in ("krr", "nearest"):
            with pytest.raises(InputError, match=r"frame 0 holds O H H: model=\w+ compares frames of one molecule"):
                water.get_forces()
        else:
            assert np.isfinite(water.get_forces()).all()


@pytest.mark.parametrize("model", [KRR, NEAREST], ids=["krr", "nearest"])
def test_one_molecule_is_said_before_anything_is_solved(
    make_config: MakeConfig, folder: Path, tmp_path: Path, model: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = molecules(8, seed=1)
    write_frames(tmp_path / "other.xyz", dataclasses.replace(frames, numbers=frames.numbers[:, ::-1].copy()))
    data = {"source": "extxyz", "train": str(folder / "train.xyz"), "test": str(tmp_path / "other.xyz")}
    run = queued(make_config({"model": model, "L": None, "nu": None, "data": data}))
    monkeypatch.delattr("experiments.regression.krr.Krr.ladder")
    monkeypatch.delattr("experiments.regression.nearest.Nearest.ladder")
    assert execute([run], lambda: False, lambda event: None) == {run.id: "failed"}
    said = run.recorded_state()["message"]
    assert said.startswith(f"frame 0 holds H H H H O C: model={model['architecture']} compares frames of one molecule")
