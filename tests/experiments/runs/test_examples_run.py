"""Runs on examples that are no molecules: identity, verdicts, interruption, packs, tables, fits."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from analysis.curve import curves
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.table import check_table
from experiments.config.parse import parse
from experiments.core.errors import InputError
from experiments.data.examples import Examples
from experiments.data.load import load_any
from experiments.data.sources import voxels
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import subset
from experiments.interop.calculator import EquilawCalculator
from experiments.models.networks import example_network
from experiments.runs import evaluate
from experiments.runs.execute import execute
from experiments.runs.problems import TaskSettings, problem_of
from experiments.runs.store import WEIGHTS, RunStore
from experiments.runs.table import run_table
from experiments.tasks.task import LossTerms, LossWeights
from experiments.training import checkpoint
from experiments.training.pack import Interrupted
from tests.conftest import TRAINING
from tests.experiments.finished import finished, queued

pytest.importorskip("sklearn", reason="digits need the extra groups: pip install --editable '.[groups]'")

SHA = "0" * 64
DIGITS = {"source": "digits", "change": "shifted", "canvas": 10, "holdout": 20, "test": 60, "seed": 0,
          "disjoint_seeds": 5, "subset_seed": None}  # fmt: skip
CNN = {"architecture": "cnn", "n_layers": 1, "channels": 4, "kernel": 3, "copies": 1}


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A composed configuration of a tiny run on digits."""

    def config(changes: dict[str, Any] | None = None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "P": 20, "L": None, "nu": None, "seed": 0, "data": dict(DIGITS), "model": dict(CNN),
            "training": {**TRAINING, "max_steps": 48}, "store": str(tmp_path / "store"), "device": "cpu",
        }  # fmt: skip
        for key, value in (changes or {}).items():
            section, _, own = key.rpartition(".")
            (made[section] if section else made)[own] = value
        return made

    return config


def test_a_run_leaves_what_the_table_needs(make: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    run = finished(make())
    result = run.result()
    assert result is not None
    assert result["primary"] == "error_rate"
    assert set(result["metrics"]) == {"error_rate", "cross_entropy"}
    frames = pd.read_parquet(run.path / "frame_errors.parquet")
    assert frames["error_rate"].mean() == pytest.approx(result["metrics"]["error_rate"])
    assert frames["cross_entropy"].mean() == pytest.approx(result["metrics"]["cross_entropy"])
    for seed in (1, 2):
        for P in (10, 20):
            finished(make({"P": P, "seed": seed}))
    table = run_table(RunStore(tmp_path / "store"))
    assert set(table["metric"]) == {"error_rate", "cross_entropy"}
    assert set(table["n_test"]) == {60}
    assert set(table["group"]) == {"translations"}
    assert table["L"].isna().all()


def test_identity_holds_what_counts_and_no_more(make: Callable[..., dict[str, Any]]) -> None:
    """Weights of energies and forces are no settings of a classification."""
    made = parse(make())
    assert parse(make({"training.energy_weight": 2.0, "training.force_weight": 0.5})).run_id(SHA) == made.run_id(SHA)
    changes: dict[str, Any] = {"model.n_layers": 2, "model.channels": 5, "model.kernel": 5, "model.copies": 2}
    ids = {made.model_id(SHA)} | {parse(make({key: value})).model_id(SHA) for key, value in changes.items()}
    assert len(ids) == 1 + len(changes)
    assert made.model_id("1" * 64) not in ids


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"architecture": "mace"}, "L": 0},
         "model=mace: learns from molecules, and data.source=digits holds images; accepted: cnn | gcnn | "),
        ({"data": {"source": "star", "subset_seed": None}},
         "model=cnn: learns from series and images and voxels, and data.source=star holds molecules; accepted: ace | "),
        ({"model.kernel": 4}, "model: kernel=4: accepted: an odd number of pixels, which has a centre"),
        ({"L": 1}, "L=1: model=cnn has no L; accepted: null or 0"),
        ({"training.augment": True}, "training.augment=true: rotates molecules; accepted: false"),
        ({"match": "weights", "reference": {"channels": 8}}, "match: counts weights of networks of molecules"),
    ],
)  # fmt: skip
def test_bad_input_has_one_line(make: Callable[..., dict[str, Any]], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        parse(make(changes))
    assert str(error.value).startswith(message)


def test_an_interrupted_run_ends_as_if_it_were_not(make: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    whole = finished(make({"model.copies": 4}))
    run = queued(make({"model.copies": 4, "store": str(tmp_path / "other")}))
    asked = iter([False] * 3 + [True] * 100)
    with pytest.raises(Interrupted):
        execute([run], lambda: next(asked), lambda event: None)
    assert run.result() is None
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    assert _errors(run) == _errors(whole)


def test_a_pack_is_its_runs(make: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    alone = [finished(make({"seed": seed, "P": 10 + seed})) for seed in (0, 1)]
    pack = [queued(make({"seed": seed, "P": 10 + seed, "store": str(tmp_path / "packs")})) for seed in (0, 1)]
    assert set(execute(pack, lambda: False, lambda event: None).values()) == {"done"}
    for one, other in zip(pack, alone, strict=True):
        assert _errors(one)["cross_entropy"]["error"] == pytest.approx(
            _errors(other)["cross_entropy"]["error"], rel=1e-9
        )


def _errors(run: Any) -> dict[str, Any]:
    result = run.result()
    assert result is not None
    found: dict[str, Any] = result["by_metric"]
    return found


def test_the_compiled_step_is_the_eager_one(make: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    """Tracing is what could go wrong: the traced gradient of one update, without a compiler."""
    config = parse(make())
    dataset = load_any(config.data)
    problem = problem_of(dataset)
    task, model = problem.task(TaskSettings(None, 1), torch.float64, torch.device("cpu")), problem.network(config.model)
    prepared = task.prepare(np.arange(6))
    targets = task.targets([prepared], [LossWeights(1.0, 1.0)])
    picked = torch.arange(4)[None]
    weights = {name: value[None] for name, value in model.init(0, torch.float64).items()}

    def gradient(*values: torch.Tensor) -> list[torch.Tensor]:
        named = {k: v.detach().requires_grad_() for k, v in zip(weights, values, strict=True)}
        loss = task.loss(model, named, task.batch(targets, picked), LossTerms(True, True))
        return list(torch.autograd.grad(loss.sum(), list(named.values())))

    gradient(*weights.values())  # once plainly, as in training: what models cache must not be a tracer's
    traced = make_fx(gradient)(*weights.values())
    doubled = [2 * value for value in weights.values()]
    for found, expected in zip(traced(*doubled), gradient(*doubled), strict=True):
        assert torch.allclose(found, expected, atol=1e-12)


def test_voxels_regress_energies_of_frames(
    make: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From frames to errors in eV an atom, by the table's own names; the frames' energies are the labels."""
    frames = star(StarConfig(pool=40, holdout=4, test=12))
    monkeypatch.setattr(voxels, "xtb", lambda config: frames)
    section = {"source": "voxels", "molecules": ["ethanol"], "target": "energy", "side": 6, "spacing": 0.8, "pool": 40,
               "holdout": 4, "test": 12}  # fmt: skip
    model = {"architecture": "steerable3d", "n_layers": 2, "channels": 2, "kernel": 3, "n_rings": 2}
    run = finished(make({"data": {**section, "subset_seed": None}, "model": model, "L": 1, "training.max_steps": 24}))
    result = run.result()
    assert result is not None
    assert result["primary"] == "energy_mae"
    assert {name: values["unit"] for name, values in result["by_metric"].items()} == {
        "energy_mae": "eV/atom", "energy_rmse": "eV/atom"
    }  # fmt: skip
    mean = frames.pool.energies[subset(40, 20, 0, 5)].mean()
    expected = np.abs(frames.test.energies - mean).mean() / 5  # five atoms
    assert result["by_metric"]["energy_mae"]["mean_error"] == pytest.approx(expected)
    assert result["group"] == "SE(3)"
    own, _ = evaluate.evaluate(run, evaluate.section_of(run, []))
    assert own["metrics"] == pytest.approx(result["metrics"], rel=1e-9)


def test_evaluation_of_own_and_of_other_examples(make: Callable[..., dict[str, Any]]) -> None:
    """On its own test images a run's own result; on others what its weights say of them, applied by hand."""
    run = finished(make())
    result = run.result()
    assert result is not None
    own, _ = evaluate.evaluate(run, evaluate.section_of(run, []))
    assert own["metrics"] == pytest.approx(result["metrics"], rel=1e-9)
    assert own["by_metric"]["cross_entropy"]["unit"] == "nat"
    turned, path = evaluate.evaluate(run, evaluate.section_of(run, ["data.change=rot90"]))
    assert path.name.startswith("digits_rot90_test-")
    stored, test = (
        checkpoint.load(run.path / "checkpoint" / WEIGHTS),
        load_any({key: value for key, value in {**DIGITS, "change": "rot90"}.items() if key != "subset_seed"}).test,
    )
    assert stored is not None
    assert isinstance(test, Examples)
    weights = {name: value[None] for name, value in stored.tensors.items()}
    model = example_network(parse(make()).model, (1, 10, 10), 10)
    scores = model.outputs(weights, torch.as_tensor(test.inputs, dtype=torch.float64)[None])[0]
    wrong = (scores.argmax(1).numpy() != test.labels).astype(float)
    assert turned["metrics"]["error_rate"] == wrong.mean()
    assert (pd.read_parquet(path.with_suffix(".frame_errors.parquet"))["error_rate"] == wrong).all()
    assert turned["metrics"]["cross_entropy"] != own["metrics"]["cross_entropy"]


def test_evaluation_says_what_does_not_fit(
    make: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(make({"training.max_steps": 4}))
    learned = "accepted: digits"
    for words, message in (
        (["data=star"], f"data.source=star: holds molecules, and {run.path} learned from images; {learned}"),
        (["data=tetris"], f"data.source=tetris: holds clouds, and {run.path} learned from images; {learned}"),
        (["data.canvas=12"], "digits_shifted: inputs of shape [1, 12, 12], and the run learned from [1, 10, 10]; "),
    ):
        assert evaluate.main([str(run.path), *words]) == 2
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert said.err.startswith(f"equilaw: {message}")
    with pytest.raises(InputError, match="the run learned no energies and forces; accepted: a run on molecules"):
        EquilawCalculator(run.path)


def test_zero_errors_are_counts_not_mistakes() -> None:
    """No wrong answer among 500: the binomial likelihood knows what to do, the logarithm does not."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(5):
        for P in (10, 20, 40, 80, 160):
            wrong = rng.binomial(500, min(1.0, 10.0 * P**-1.8))
            rows.append({"dataset": "d", "architecture": "cnn", "metric": "error_rate", "P": P, "seed": seed,
                         "error": wrong / 500, "n_test": 500, "converged": True})  # fmt: skip
    assert any(row["error"] == 0 for row in rows)
    table = check_table(pd.DataFrame(rows), "made")
    assert not table.dropped
    ((fit, judged),) = analyse(curves(table), forms=(Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL))
    assert fit.recommended is Form.BINOMIAL
    assert fit.best.beta.low < 1.8 < fit.best.beta.high
    assert "zero_error" in [str(flag) for flag in judged.flags]


def test_the_table_of_symmetries_is_made_from_a_store(
    make: Callable[..., dict[str, Any]], tmp_path: Path, root: Path
) -> None:
    """A CNN of 110 weights and a perceptron of 121: twins."""
    for model in (CNN, {"architecture": "mlp", "n_layers": 1, "channels": 1}):
        for P, seed in ((10, 0), (20, 0), (10, 1), (20, 1)):
            finished(make({"model": dict(model), "P": P, "seed": seed}))
    command = [sys.executable, "-m", "benchmarks.groups", "--store", str(tmp_path / "store")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    _, _, row, _, time = done.stdout.splitlines()
    assert row.startswith("| CNN (translations) / perceptron (none) | digits_shifted | error_rate | ")
    assert row.count("|") == 9
    assert time.startswith("8 runs, ")
