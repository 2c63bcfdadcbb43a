"""`python -m experiments.runs.evaluate`: the run's own numbers on its own test frames, honest ones on others."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.core.errors import InputError
from experiments.data.sources.extxyz import write_frames
from experiments.runs import evaluate
from experiments.runs.store import WEIGHTS, Run
from experiments.training import checkpoint
from tests.conftest import ACE, STAR, MakeConfig
from tests.experiments.finished import configuration, finished, molecules, queued

THREE_BPA = Path(__file__).parents[3] / "../shared/data/3bpa"
SINGLE = {"training.precision": "float32"}
FORCES = {"training.energy_weight": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("user")


@pytest.fixture(scope="module")
def ace(folder: Path) -> Run:
    return finished(configuration(folder, "ace"))


def contents(run: Run) -> dict[str, tuple[bytes, int]]:
    """Every file of the run but those of evaluations."""
    found = [p for p in sorted(run.path.rglob("*")) if p.is_file() and "evaluations" not in p.parts]
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str], list[str]]:
    """Exit code and lines of both outputs."""
    code = evaluate.main([str(a) for a in arguments])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err.splitlines()


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("mace", {}),
        ("mace", SINGLE),
        ("mace", FORCES),
        ("ace", {}),
        ("ace", {"model.energy_weight": 0.0}),
        ("ace", {"data.test_frames": 4}),
    ],
    ids=["mace", "float32", "forces alone", "ace", "ace of forces alone", "some frames"],
)
def test_the_runs_own_frames_give_its_own_result(
    folder: Path, capsys: pytest.CaptureFixture[str], model: str, changes: dict[str, Any]
) -> None:
    run = finished(configuration(folder, model, changes))
    before = contents(run)
    code, out, _ = command(capsys, run.path)
    assert code == 0
    assert contents(run) == before
    result = run.result()
    assert result is not None
    (path,) = (run.path / "evaluations").glob("*.json")
    found = json.loads(path.read_text())
    # The same arithmetic, but frames may be padded and batched otherwise: the order of float32 sums
    # (1e-7 of predictions of the size of the labels), and of float64 sums of energies of 3000 eV (5e-13 of them).
    rel = 1e-5 if changes is SINGLE else 1e-9
    for name, error in result["by_metric"].items():
        assert found["by_metric"][name]["error"] == pytest.approx(error["error"], rel=rel)
        assert found["by_metric"][name]["error_test_sem"] == pytest.approx(error["error_test_sem"], rel=10 * rel)
        assert found["metrics"][name] == found["by_metric"][name]["error"]
    shown = [f"  {name:14} {1000 * error:10.3f} m" for name, error in found["metrics"].items()]
    assert [line[: line.index("eV")] for line in out[1:]] == shown
    assert str(path) in out[0]
    assert len(pd.read_parquet(run.path / "frame_errors.parquet")) == result["n_test"] == found["frames"]
    assert result["n_test"] == changes.get("data.test_frames", 15)
    frames = pd.read_parquet(path.with_suffix(".frame_errors.parquet"))
    own = pd.read_parquet(run.path / "frame_errors.parquet")
    assert list(frames.columns) == list(own.columns)
    np.testing.assert_allclose(frames["force_mae"], own["force_mae"], rtol=10 * rel)


def test_other_frames_of_the_same_source(tmp_path: Path, make_config: MakeConfig) -> None:
    """Composed by name from conf/data, and as changes of the run's own section: the same frames and errors."""
    run = finished(make_config(model="ace"))
    keys = [f"data.{k}={v}".replace(" ", "") for k, v in STAR.items() if k not in ("source", "subset_seed", "seed")]
    by_name, first = evaluate.evaluate(run, evaluate.section_of(run, ["data=star", *keys, "data.seed=3"]))
    changed, second = evaluate.evaluate(run, evaluate.section_of(run, ["data.seed=3"]))
    assert first == second
    assert by_name == changed
    own, third = evaluate.evaluate(run, evaluate.section_of(run, []))
    assert third != first
    assert own["metrics"] != changed["metrics"]


def test_files_that_did_not_train_need_not_be_there(
    folder: Path, ace: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_frames(tmp_path / "hot.xyz", molecules(4, ((6, 1, 1, 1), (8, 1)), seed=5))
    arguments = ["data=extxyz", f"data.test={tmp_path / 'hot.xyz'}", "--json", tmp_path / "copy.json"]
    code, out, _ = command(capsys, ace.path, *arguments)
    assert code == 0
    found = json.loads((tmp_path / "copy.json").read_text())
    assert found["frames"] == 8
    assert found["test_set"] == "hot"
    assert str(ace.path / "evaluations" / f"hot-{found['test_sha256'][:12]}.json") in out[0]
    own, path = evaluate.evaluate(ace, evaluate.section_of(ace, [f"data.test={tmp_path / 'hot.xyz'}"]))
    assert own["metrics"] == found["metrics"]
    assert json.loads(path.read_text()) == own


@pytest.mark.skipif(not THREE_BPA.is_dir(), reason=f"no 3BPA at {THREE_BPA}")
def test_3bpa_at_two_temperatures(tmp_path: Path) -> None:
    """Trained at 300 K: mixed temperatures up to 1200 K are harder than the frames of 300 K."""
    files = {name: str((THREE_BPA / f"{name}.xyz").resolve()) for name in ("train_300K", "train_mixedT")}
    data = {"source": "extxyz", "train": files["train_300K"], "test": files["train_mixedT"]}
    changes = {"nu": 1, "P": 20, "data": data, "model": dict(ACE, cutoff=4.0, n_radial=4)}
    run = finished(configuration(tmp_path, "ace", changes))
    errors = {}
    for name, path in files.items():
        found, _ = evaluate.evaluate(run, evaluate.section_of(run, ["data=extxyz", f"data.test={path}"]))
        errors[name] = found["metrics"]["force_mae"]
        assert found["frames"] == 500
    result = run.result()
    assert result is not None
    assert errors["train_mixedT"] == pytest.approx(result["metrics"]["force_mae"], rel=1e-9)  # order of sums
    assert errors["train_300K"] < errors["train_mixedT"]
    assert len(list((run.path / "evaluations").glob("*.json"))) == 2


def test_elements_that_the_model_never_saw(ace: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_frames(tmp_path / "n.xyz", molecules(2, ((7, 1, 1),)))
    code, out, err = command(capsys, ace.path, "data=extxyz", f"data.test={tmp_path / 'n.xyz'}")
    assert (code, out) == (2, [])
    assert err == ["equilaw: elements N: the model never saw them; accepted: H, C, O"]
    assert not list((ace.path / "evaluations").glob("n-*"))


ONE = ((6, 8, 1, 1),)


def test_energies_that_the_training_frames_do_not_determine(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", molecules(20, ONE))
    write_frames(tmp_path / "test.xyz", molecules(5, ONE))
    write_frames(tmp_path / "other.xyz", molecules(5, ((6, 1, 1),)))
    run = finished(configuration(tmp_path, "ace", {"P": 10}))
    with pytest.raises(InputError, match="do not determine its energy baseline"):
        evaluate.evaluate(run, evaluate.section_of(run, [f"data.test={tmp_path / 'other.xyz'}"]))


def test_points(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"source": "sphere", "pool": 60, "holdout": 2, "test": 20, "subset_seed": None}
    model = {"architecture": "point_nearest"}
    run = finished(configuration(tmp_path, "ace", {"nu": None, "P": 30, "data": data, "model": model}))
    result = run.result()
    assert result is not None
    own, _ = evaluate.evaluate(run, evaluate.section_of(run, []))
    assert own["metrics"] == pytest.approx(result["metrics"], rel=1e-12)
    for words, message in (
        (["data=star"], f"data.source=star: holds molecules, and {run.path} learned from points; accepted: sphere, "
                        "torus"),
        (["data=torus"], "points of 4 coordinates: the model learned from 3; accepted: 3"),
    ):  # fmt: skip
        code, out, err = command(capsys, run.path, *words)
        assert (code, out, err) == (2, [], [f"equilaw: {message}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=digits_rotated"], "equilaw: data.source=digits: holds images, and "),
        (["P=3"], "equilaw: P=3: accepted: data=NAME and data.KEY=VALUE"),
        (["data=nowhere"], "equilaw: data=nowhere: no such choice (did you mean sphere?); accepted: "),
        (["data.tset=a.xyz"], "equilaw: data.tset: unknown key (did you mean data.test?)"),
        (["data=extxyz"], "equilaw: data.test: missing; accepted: a text"),
        (["data=extxyz", "data.test=/none.xyz"], "equilaw: data.test=/none.xyz: no such file"),
    ],
)
def test_bad_arguments(ace: Run, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    code, out, err = command(capsys, ace.path, *arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(message)


def test_runs_that_cannot_predict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    accepted = "accepted: <store>/<id> of a run that is done"
    code, _, err = command(capsys, tmp_path / "nothing")
    assert (code, err) == (2, [f"equilaw: {tmp_path}/nothing: no run is there; {accepted}, or a store"])
    run = queued(configuration(tmp_path, "mace"))
    code, _, err = command(capsys, run.path)
    assert (code, err) == (2, [f"equilaw: {run.path}: the run is queued; {accepted}"])
    run = finished(configuration(tmp_path, "mace"))
    path = run.path / "checkpoint" / WEIGHTS
    stored = checkpoint.load(path)
    assert stored is not None
    del stored.facts["baseline"]
    checkpoint.save(path, stored)
    code, _, err = command(capsys, run.path)
    assert code == 2
    assert err[0].startswith(f"equilaw: {path}: lacks the energy baseline; accepted: a run computed by this version")
    path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level(logging.ERROR):
        code, _, err = command(capsys, run.path)
    assert code == 2
    assert err[-1].startswith(f"equilaw: {path}: is damaged")
    path.unlink()
    code, _, err = command(capsys, run.path)
    assert code == 2
    assert err[0].startswith(f"equilaw: {path}: is not there")
