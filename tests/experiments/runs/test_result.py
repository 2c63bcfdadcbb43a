"""The content of a result: too short, learned or not, the mean predictor beside it, validation errors, settings."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.parse import parse
from experiments.core import files
from experiments.data.load import dataset_of
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import subset
from experiments.runs import result
from experiments.runs.execute import execute
from experiments.runs.result import mean_errors, too_short
from experiments.runs.store import RunStore, read_history
from experiments.runs.table import rows_of, run_table
from tests.conftest import MACE, STAR, TRAINING

MakeConfig = Callable[..., dict[str, Any]]

LONG = {"training.max_steps": 240, "training.warmup_steps": 10, "training.learning_rate": 0.02, "P": 16}
CELLS: dict[str, dict[str, Any]] = {
    "A": {"L": 0, "nu": 1},
    "C": {"L": 0, "nu": 3},
    "short": {"L": 0, "nu": 3, "training.max_steps": 4, "training.warmup_steps": 100},
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Results of real runs on the star, by name: a class that cannot learn, one that can, and one of four updates."""
    store = RunStore(tmp_path_factory.mktemp("record"))
    found = {}
    for name, changes in CELLS.items():
        config: dict[str, Any] = {"seed": 0, "store": str(store.path), "device": "cpu"}
        # The teacher stops at l = 1, so the edges may too.
        config |= {"data": dict(STAR), "model": {**MACE, "n_layers": 1}, "training": dict(TRAINING)}
        for key, value in (LONG | changes).items():
            section, _, own = key.rpartition(".")
            (config[section] if section else config)[own] = value
        made = parse(config)
        run = store.run(made.run_id(dataset_of(made.data).sha256()))
        run.create(made.as_dict())
        assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
        result = run.result()
        assert result is not None
        found[name] = {**result, "path": str(run.path), "config": made}
    return found


def test_what_cannot_learn_is_converged_and_has_learned_nothing(results: dict[str, dict[str, Any]]) -> None:
    found = results["A"]
    assert (found["converged"], found["learned"], found["too_short"]) == (True, False, False)
    assert found["verdict"] == "converged; learned nothing: as good as the mean"


def test_what_a_run_was_computed_with(results: dict[str, dict[str, Any]]) -> None:
    for found in results.values():
        assert (found["device"], found["gpu"], found["gpu_driver"]) == ("cpu", None, None)
        assert (found["versions"]["torch"], found["cuda"]) == (metadata.version("torch"), torch.version.cuda)
        assert "torch" not in found  # once is enough
        origin = files.read_json(Path(found["path"]) / "attempt-1" / "origin.json")
        assert {"gpus", "gpu_driver", "cuda", "versions"} <= set(origin)
    store = RunStore(Path(results["A"]["path"]).parent)
    assert not {"gpu", "gpu_driver", "cuda", "torch"} & set(run_table(store).columns)  # the table's are agreed upon


def test_what_can_learn_has_learned(results: dict[str, dict[str, Any]]) -> None:
    found = results["C"]
    assert found["learned"]
    assert not found["too_short"]
    assert "learned nothing" not in found["verdict"]
    primary = found["by_metric"]["force_mae"]
    assert primary["error"] < 0.5 * primary["mean_error"]


def test_four_updates_are_never_converged(results: dict[str, dict[str, Any]]) -> None:
    found = results["short"]
    assert not found["converged"]
    assert found["too_short"]
    assert found["verdict"].startswith("NOT converged, too short: T/2 has 2 updates")
    primary = found["by_metric"]["force_mae"]
    # the premise: the errors alone would have passed
    assert abs(primary["error"] - primary["error_half_budget"]) < 0.1 * primary["error"]


def test_holdout_errors_are_those_of_the_final_weights(results: dict[str, dict[str, Any]]) -> None:
    for found in results.values():
        last = read_history(Path(found["path"]) / "attempt-1" / "history.jsonl")[-1]
        assert last["clock"] == last["total"]
        for metric, values in found["by_metric"].items():
            assert values["holdout_error"] == last[f"holdout_{metric}"]


def test_settings_are_flat_and_reach_the_table(results: dict[str, dict[str, Any]]) -> None:
    store = RunStore(Path(results["A"]["path"]).parent)
    table = run_table(store).set_index(["run_id", "metric"])
    for found in results.values():
        settings = found["config"].training
        row = table.loc[(found["run_id"], "force_mae")]
        assert row["training.max_steps"] == settings.max_steps
        assert row["training.learning_rate"] == settings.learning_rate
        assert row["training.optimizer"] == settings.optimizer
        assert row["training.batch_size"] == settings.batch_size
        assert row["mean_error"] == 1000 * found["by_metric"]["force_mae"]["mean_error"]  # meV/Å
        assert row["learned"] == found["learned"]


def test_results_of_earlier_versions_stay_readable(results: dict[str, dict[str, Any]]) -> None:
    new = {"too_short", "learned", "primary", "verdict"}
    old = {k: v for k, v in results["A"].items() if k not in new and not k.startswith("training.")}
    dropped = ("mean_error", "holdout_error", "learned")
    old["by_metric"] = {
        metric: {k: v for k, v in values.items() if k not in dropped} for metric, values in old["by_metric"].items()
    }
    for row, now in zip(rows_of(old), rows_of(results["A"]), strict=True):
        assert row["error"] == now["error"]
        assert row["training.max_steps"] is None
        assert row["mean_error"] is None


SHORT: list[tuple[dict[str, Any], str | None]] = [
    ({"training.max_steps": 400, "training.warmup_steps": 100}, None),  # cools down from 100 on, not before
    ({"training.max_steps": 396, "training.warmup_steps": 100}, "cools down from update 99 on, within the 100"),
    ({"training.max_steps": 38, "training.warmup_steps": 0}, "has 19 updates, fewer than 20"),
    ({"training.max_steps": 40, "training.warmup_steps": 0}, None),
    ({"training.max_steps": 40, "training.warmup_steps": 0, "P": 80}, None),  # 20 updates of 4 frames
    ({"training.max_steps": 40, "training.warmup_steps": 0, "P": 81}, "sees 80 of the 81 training frames"),
]


@pytest.mark.parametrize(("changes", "said"), SHORT)
def test_too_short(make_config: MakeConfig, changes: dict[str, Any], said: str | None) -> None:
    found = too_short(parse(make_config(changes)))
    assert (found is None) if said is None else (found is not None and said in found)


def test_a_closed_form_has_no_schedule(make_config: MakeConfig) -> None:
    assert too_short(parse(make_config({"training.max_steps": 2}, model="ace"))) is None


def test_the_mean_predictor_by_hand(make_config: MakeConfig) -> None:
    config = parse(make_config({"seed": 2, "P": 5}))
    dataset = star(StarConfig(n_neighbours=3, coefficients=(1.0,), pool=60, holdout=6, test=16))
    train = dataset.pool.take(subset(60, 5, 2, 5))
    off = (dataset.test.energies - train.energies.mean()) / 4  # one composition: the mean; four atoms
    expected = {
        "force_mae": np.abs(dataset.test.forces).mean(),
        "force_rmse": np.sqrt((dataset.test.forces**2).mean()),
        "energy_mae": np.abs(off).mean(),
        "energy_rmse": np.sqrt((off**2).mean()),
    }
    assert mean_errors(config, dataset) == pytest.approx(expected, rel=1e-12)  # sums in another order


def test_copied_files_have_no_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a checkout nor installed: a run is computed all the same."""

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(result, "ROOT", tmp_path)
    monkeypatch.setattr(metadata, "version", not_installed)
    assert result.code_version.__wrapped__() == "unknown"
