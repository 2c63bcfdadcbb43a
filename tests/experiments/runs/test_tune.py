"""Choosing learning rates: by validation errors alone, over all seeds, with a warning at the end of the grid."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from experiments.config.parse import parse
from experiments.config.run import RunConfig
from experiments.core.errors import InputError
from experiments.core.states import RunState
from experiments.runs.store import RunStore
from experiments.runs.tune import main, table

MakeConfig = Callable[..., dict[str, Any]]
Add = Callable[..., RunConfig]
SHA = "0" * 64


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "tuning")


@pytest.fixture
def add(store: RunStore, make_config: MakeConfig) -> Add:
    """Puts a finished run into the store: a rate, its validation error, other settings; without an error it failed."""

    def made(P: int, rate: float, holdout: float | None, seed: int = 0, **changes: Any) -> RunConfig:
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        config = parse(make_config({"P": P, "seed": seed, "training.learning_rate": rate} | dotted))
        run = store.run(config.run_id(SHA))
        run.create(config.as_dict())
        attempt = run.claim()
        assert attempt is not None
        with attempt:
            if holdout is None:
                run.set_state(RunState.FAILED, attempt=1, message="the loss is not finite")
            else:
                values = {"unit": "eV/Å", "error": 1.0 / holdout, "train_error": 0.1, "holdout_error": holdout}
                result = {"dataset": "star-3", "dataset_sha256": SHA, "code_version": "v1", "primary": "force_mae"}
                attempt.publish({**result, "by_metric": {"force_mae": values}})
        return config

    return made


def chosen(store: RunStore) -> dict[int, float]:
    content, _ = table(store)
    (entry,) = content["models"]
    return {point["P"]: point["learning_rate"] for point in entry["points"]}


def corrupted(result: Mapping[str, Any]) -> dict[str, Any]:
    """Every error but that on the validation set is garbage, or in favour of another rate."""
    spoilt = {
        "error": -1e9,
        "error_half_budget": 1e9,
        "train_error": None,
        "error_test_sem": -1.0,
        "mean_error": 0.0,
    }
    by_metric = {metric: values | spoilt for metric, values in result["by_metric"].items()}
    return {**result, "by_metric": by_metric, "metrics": {"force_mae": -1e9}, "converged": None}


def test_the_smallest_mean_holdout_error_for_each_P(store: RunStore, add: Add) -> None:
    for P, errors in {
        8: {0.01: (3, 1), 0.02: (1, 2), 0.04: (5, 6)},
        32: {0.01: (1, 1), 0.02: (2, 2), 0.04: (1, 9)},
    }.items():
        for rate, by_seed in errors.items():
            for seed, error in enumerate(by_seed):
                add(P, rate, float(error), seed)
    assert chosen(store) == {8: 0.02, 32: 0.01}


def test_test_errors_are_not_read(store: RunStore, add: Add) -> None:
    """The test errors of the fixture rank the rates the other way round; spoilt, they change nothing."""
    for rate, error in ((0.01, 3.0), (0.02, 1.0), (0.04, 2.0)):
        add(8, rate, error)
    before = table(store)
    assert chosen(store) == {8: 0.02}
    for run, result in store.results():
        (run.path / "result.json").write_text(json.dumps(corrupted(result)))
    assert table(store) == before


def test_provenance_has_every_rate_and_run(store: RunStore, add: Add) -> None:
    runs = {(rate, seed): add(8, rate, 1.0 + seed + rate, seed).run_id(SHA) for rate in (0.01, 0.02) for seed in (0, 1)}
    content, _ = table(store)
    (entry,) = content["models"]
    assert (entry["metric"], entry["unit"], entry["code_versions"]) == ("force_mae", "eV/Å", ["v1"])
    assert entry["dataset_sha256"] == SHA
    (point,) = entry["points"]
    assert [(tried["learning_rate"], tried["mean"], tried["runs"]) for tried in point["holdout"]] == [
        (rate, pytest.approx(1.5 + rate), {runs[rate, seed]: 1.0 + seed + rate for seed in (0, 1)})
        for rate in (0.01, 0.02)
    ]


@pytest.mark.parametrize(
    ("errors", "warning"),
    [
        ({0.01: 1.0, 0.02: 2.0, 0.04: 3.0}, "the best learning rate, 0.01, is the end of the grid; try more below it"),
        ({0.01: 3.0, 0.02: 2.0, 0.04: 1.0}, "the best learning rate, 0.04, is the end of the grid; try more above it"),
        ({0.01: 3.0}, "only one learning rate was tried, 0.01"),
        ({0.01: 3.0, 0.02: 2.0, 0.04: None}, "learning rate 0.04 has 0 of 1 seeds (1 failed); left out"),
    ],
)
def test_warnings(store: RunStore, add: Add, errors: dict[float, float | None], warning: str) -> None:
    for rate, error in errors.items():
        add(8, rate, error)
    _, said = table(store)
    assert said == [f"star-3, mace L=1 nu=2 edge_lmax=1, P=8: {warning}"]


def test_an_inner_best_needs_no_warning(store: RunStore, add: Add) -> None:
    for rate, error in ((0.01, 3.0), (0.02, 1.0), (0.04, 2.0)):
        add(8, rate, error)
    assert table(store)[1] == []


def test_a_rate_with_missing_seeds_is_not_chosen(store: RunStore, add: Add) -> None:
    """The seed that is missing may be the hard one."""
    for seed, error in enumerate((1.0, 9.0)):
        add(8, 0.02, error, seed)
        add(8, 0.01, error + 1, seed)
    add(8, 0.04, 0.5, 0)
    add(8, 0.04, None, 1)
    assert chosen(store) == {8: 0.02}
    assert any("0.04 has 1 of 2 seeds (1 failed); left out" in warning for warning in table(store)[1])


def test_models_and_problems_are_told_apart(store: RunStore, add: Add) -> None:
    for nu, best in ((1, 0.01), (2, 0.02)):
        for rate in (0.01, 0.02):
            add(8, rate, 1.0 + (rate != best), nu=nu)
    content, _ = table(store)
    assert {entry["model"]["nu"]: entry["points"][0]["learning_rate"] for entry in content["models"]} == {
        1: 0.01,
        2: 0.02,
    }


def test_two_budgets_in_one_store_are_refused(store: RunStore, add: Add) -> None:
    add(8, 0.01, 1.0)
    add(8, 0.01, 1.0, training__max_steps=48)
    with pytest.raises(
        InputError, match=r"differ in training.max_steps \((24, 48|48, 24)\); accepted: a store for each"
    ):
        table(store)


def test_the_command_writes_what_training_tuned_reads(
    store: RunStore, add: Add, make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for P, best in ((4, 0.02), (64, 0.01)):
        for rate in (0.005, 0.01, 0.02, 0.04):
            add(P, rate, 1.0 + (rate != best))
    out = tmp_path / "deep" / "star.yaml"
    assert main(["--store", str(store.path), "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert "P=4  learning rate 0.02  (validation force_mae 1000.000 meV/Å, 1 seeds)" in printed.out
    assert printed.err == ""
    first = out.read_bytes()
    assert main(["--store", str(store.path), "--out", str(out)]) == 0
    assert out.read_bytes() == first
    for P, rate in ((4, 0.02), (8, 0.02), (32, 0.01), (64, 0.01)):
        training = parse(make_config({"P": P, "training.learning_rate": None, "training.tuned": str(out)})).training
        assert training is not None
        assert training.learning_rate == rate
    assert [path.name for path in out.parent.iterdir()] == ["star.yaml"]  # nothing left aside


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "x"], "no finished run with a validation error; accepted: the store of +sweep=tune"),
        ([], "--name None: accepted: a name for conf/tuned/NAME.yaml, or --out FILE.yaml"),
        (["--name", "../x"], "--name ../x: accepted: a name for"),
        (["--out", "x.json"], "--out x.json: accepted: a path that ends in .yaml"),
    ],
)
def test_bad_input(store: RunStore, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    store.path.mkdir()
    assert main(["--store", str(store.path), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert message in said


def test_from_a_sweep_to_a_run_that_uses_it(tiny_arguments: list[str], root: Path, tmp_path: Path) -> None:
    """+sweep=tune on the star, the choice, and a run by name: all by their commands."""

    def command(module: str, *arguments: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-m", module, *arguments], cwd=root, capture_output=True, text=True, timeout=300
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    tiny = [a for a in tiny_arguments if not a.startswith("training.learning_rate")]
    common = [*tiny, "L=0", "nu=2"]
    tuning = tmp_path / "tuning"
    grid = ["P=4,16", "seed=0", "training.learning_rate=1e-3,1e-2", f"store={tuning}", "hydra.launcher.workers=1"]
    command("experiments", "+sweep=tune", *common, *grid)
    out = tmp_path / "star.yaml"
    command("experiments.runs.tune", "--store", str(tuning), "--out", str(out))
    (entry,) = yaml.safe_load(out.read_text())["models"]
    rates = {point["P"]: point["learning_rate"] for point in entry["points"]}
    for point in entry["points"]:
        holdout = {tried["learning_rate"]: tried["mean"] for tried in point["holdout"]}
        assert holdout[rates[point["P"]]] == min(holdout.values())
        for tried in point["holdout"]:
            for run_id, error in tried["runs"].items():
                result = json.loads((tuning / run_id / "result.json").read_text())
                assert result["by_metric"]["force_mae"]["holdout_error"] == error
    command("experiments", *common, "P=5", f"training.tuned={out}", f"store={tmp_path / 'runs'}")
    (run,) = RunStore(tmp_path / "runs").runs()
    assert run.config()["training"]["learning_rate"] == rates[4]
    result = run.result()
    assert result is not None
    assert result["training.tuned"] == str(out)
    assert result["training.learning_rate"] == rates[4]
