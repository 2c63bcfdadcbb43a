"""Errors of the three schedules by either protocol, the verdict on one run, and both in result and table."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.config.parse import parse
from experiments.config.suits import check_data
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.load import dataset_of
from experiments.runs.execute import execute
from experiments.runs.schedules import Schedules, by_budget, by_validation, verdict
from experiments.runs.store import RunStore
from experiments.runs.table import rows_of, run_table
from experiments.tasks.evaluation import Evaluation, stopping_frames
from experiments.training.schedule import Schedule
from tests.conftest import MakeConfig


def powers(kappa: float, left: float) -> tuple[float, float, float]:
    """Errors of T/4, T/2 and T with an excess of ln ε of `left` at T that falls as T^−κ."""
    return tuple(math.exp(left * f**kappa) for f in (4.0, 2.0, 1.0))  # type: ignore[return-value]


@pytest.mark.parametrize("kappa", [0.5, 0.7, 1.0])
@pytest.mark.parametrize(("left", "told"), [(0.09, "converged"), (0.11, "not_converged")])
def test_three_schedules_tell_what_is_left(kappa: float, left: float, told: str) -> None:
    """The law of the remainder is exact here, and the margin is .10."""
    assert verdict(powers(kappa, left)) == told


@pytest.mark.parametrize(
    ("gain", "told"),
    [(0.02, "converged"), (0.06, "cannot_tell"), (0.2, "cannot_tell"), (0.4, "not_converged"), (-0.02, "converged")],
)
def test_two_schedules_leave_kappa_open(gain: float, told: str) -> None:
    """What is left is between d/(4 − 1) and d/(√2 − 1): .10 is beyond both at d = .4, within both at .02."""
    assert verdict((None, math.exp(gain), 1.0)) == told


@given(st.floats(0.5, 2.0), st.floats(1.04, 3.0))
def test_a_rise_is_overfitting_and_never_converged(before: float, rise: float) -> None:
    assert verdict((None, before, before * rise)) == "overfitting"
    assert verdict((before, 1.2 * before, before * rise)) == "overfitting"


def test_error_rates_of_neighbouring_counts_are_equal() -> None:
    assert verdict((None, 0.02, 0.03), 0.01 * (1 + 1e-9)) == "converged"
    assert verdict((None, 0.02, 0.03)) == "overfitting"
    assert verdict((0.0, 0.0, 0.0)) == "converged"
    assert verdict((0.0, 0.0, 0.3)) == "overfitting"


def test_closed_forms_have_none() -> None:
    assert verdict((None, None, 1.0)) is None


def test_the_two_protocols() -> None:
    schedule = Schedule(24, 4, 0.5)
    found = {b: Evaluation({}, {}, validation=v, n_validation=3) for b, v in ((6, 0.2), (12, 0.1), (24, 0.3))}
    assert by_budget(found, schedule) == Schedules(found[24], found[12], found[6], 24)
    assert by_validation(found, schedule) == Schedules(found[12], found[12], found[6], 12, 3)
    assert by_validation({24: Evaluation({}, {}), 12: Evaluation({}, {})}, schedule) is None


@given(st.integers(1, 5000), st.integers(0, 300))
def test_validation_frames_are_an_eighth_and_spread(P: int, available: int) -> None:
    chosen = stopping_frames(P, available)
    assert len(chosen) == min(available, math.ceil(P / 8))
    assert len(np.unique(chosen)) == len(chosen)
    assert all(0 <= i < available for i in chosen)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same run by either protocol, in one store."""
    from tests.conftest import MACE, STAR, TRAINING

    store = RunStore(tmp_path_factory.mktemp("protocols"))
    found: dict[str, Any] = {"store": store}
    for stop in ("budget", "validation"):
        training = {**TRAINING, "max_steps": 80, "stop": stop}
        config = parse({
            "P": 16, "L": 1, "nu": 2, "seed": 0, "data": dict(STAR), "model": dict(MACE), "training": training,
            "store": str(store.path), "device": "cpu",
        })  # fmt: skip
        run = store.run(config.run_id(dataset_of(config.data).sha256()))
        run.create(config.as_dict())
        assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
        found[stop] = run.result()
    return found


def test_both_protocols_are_in_every_result(results: dict[str, Any]) -> None:
    budget, validation = results["budget"], results["validation"]
    assert budget["run_id"] != validation["run_id"]
    assert budget["model_id"] != validation["model_id"]
    assert budget["stopped_steps"] == validation["stopped_steps"] in (20, 40, 80)
    for metric, values in budget["by_metric"].items():
        other = validation["by_metric"][metric]
        assert values["error_stopped"] == other["error_stopped"] == other["error"]
        by_steps = {20: "error_quarter_budget", 40: "error_half_budget", 80: "error"}
        assert values[by_steps[budget["stopped_steps"]]] == other["error"]
        assert values["error_quarter_budget"] == other["error_quarter_budget"]
        assert values["verdict"] in ("converged", "not_converged", "cannot_tell", "overfitting")
        assert values["converged"] is (values["verdict"] == "converged")


def test_validation_frames_count_in_the_table(results: dict[str, Any]) -> None:
    """Two frames, an eighth of 16."""
    table = run_table(results["store"])
    assert set(table["P"][table["training.stop"] == "budget"]) == {16}
    assert set(table["P"][table["training.stop"] == "validation"]) == {18}
    assert set(table["n_validation"]) == {2}
    assert table["error_quarter_budget"].notna().all()
    assert table["verdict"].notna().all()


def test_results_of_two_schedules_stay_readable(results: dict[str, Any]) -> None:
    """What an earlier version left has neither a quarter nor a verdict of its own nor a protocol but the budget."""
    new = {"error_quarter_budget", "error_stopped", "verdict"}
    old = {k: v for k, v in results["budget"].items() if k not in ("training.stop", "stopped_steps", "n_validation")}
    old["by_metric"] = {
        metric: {k: v for k, v in values.items() if k not in new} for metric, values in old["by_metric"].items()
    }
    for row, now in zip(rows_of(old), rows_of(results["budget"]), strict=True):
        assert {row[name] for name in new} == {None}
        assert row["training.stop"] == "budget"
        assert (row["P"], row["error"], row["error_half_budget"]) == (now["P"], now["error"], now["error_half_budget"])


def test_seven_updates_have_no_verdict(make_config: MakeConfig, tmp_path: Path) -> None:
    for steps, told in ((7, {None}), (8, {"not_converged", "overfitting"})):
        config = parse(make_config({"training.max_steps": steps}))
        run = RunStore(tmp_path).run(config.run_id(dataset_of(config.data).sha256()))
        run.create(config.as_dict())
        execute([run], lambda: False, lambda event: None)
        result = run.result()
        assert result is not None
        assert {values["verdict"] for values in result["by_metric"].values()} <= told
        assert not result["converged"]


def test_without_validation_frames_nothing_stops_by_them(make_config: MakeConfig) -> None:
    config = parse(make_config({"training.stop": "validation"}))
    dataset = dataset_of(config.data)
    assert isinstance(dataset, Dataset)
    check_data(config, dataset)
    with pytest.raises(InputError, match="no validation frames; accepted: budget"):
        check_data(config, replace(dataset, holdout=dataset.holdout.take(slice(0, 0))))
