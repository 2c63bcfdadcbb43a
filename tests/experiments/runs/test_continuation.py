"""A larger budget asked for in the same store goes on from the stable phase of the smaller one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.data.load import dataset_of
from experiments.runs.execute import execute
from experiments.runs.record import Result
from experiments.runs.store import Run, RunStore
from tests.conftest import MakeConfig


def computed(make_config: MakeConfig, store: Path, **changes: Any) -> Run:
    """A finished run."""
    config = parse(make_config({f"training.{key}": value for key, value in changes.items()}))
    run = RunStore(store).run(config.run_id(dataset_of(config.data).sha256()))
    run.create(config.as_dict())
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    return run


def result(run: Run) -> Result:
    found = run.result()
    assert found is not None
    return found


@pytest.mark.parametrize("factor", [2, 4])
def test_a_run_with_more_budget_continues_and_is_the_same_run(
    make_config: MakeConfig, tmp_path: Path, factor: int
) -> None:
    computed(make_config, tmp_path / "store", max_steps=24)
    again = result(computed(make_config, tmp_path / "store", max_steps=24 * factor))
    whole = result(computed(make_config, tmp_path / "fresh", max_steps=24 * factor))
    assert again["run_id"] == whole["run_id"]
    assert again["by_metric"] == whole["by_metric"]
    # T + T/4 + T/8 updates from nothing; after the smaller run's stable phase, of 12 updates, that and its own branch
    # of 12 less, and (at twice) the one of T/4 of 6, which was its T/2
    assert whole["n_updates"] == 33 * factor
    assert again["n_updates"] == 33 * factor - (30 if factor == 2 else 24)


def test_without_trunks_everything_is_computed(make_config: MakeConfig, tmp_path: Path) -> None:
    small = computed(make_config, tmp_path, max_steps=24, keep="weights")
    assert not (small.path / "checkpoint" / "trunk.safetensors").exists()
    assert (small.path / "checkpoint" / "model.safetensors").exists()
    assert result(computed(make_config, tmp_path, max_steps=48))["n_updates"] == 66


@pytest.mark.parametrize("other", [{"learning_rate": 1e-3}, {"cooldown": 0.25}, {"ema_decay": 0.5}])
def test_a_trunk_of_another_training_is_none(make_config: MakeConfig, tmp_path: Path, other: dict[str, float]) -> None:
    computed(make_config, tmp_path, max_steps=24)
    whole = result(computed(make_config, tmp_path, max_steps=48, **other))
    assert whole["n_updates"] == result(computed(make_config, tmp_path / "fresh", max_steps=48, **other))["n_updates"]
