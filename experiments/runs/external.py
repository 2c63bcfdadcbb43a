"""The errors of a finished run's kept model on further test sets, computed and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch

from experiments.core import files
from experiments.data.baseline import Baseline
from experiments.data.dataset import Dataset, Frames
from experiments.data.examples import Examples, ExampleSet
from experiments.runs import trained, trained_examples
from experiments.runs.evaluations import FRAME_ERRORS, FURTHER_TESTS, is_on_axis, lacking, path_of
from experiments.runs.metric_record import MetricErrors
from experiments.runs.result import code_version, versions
from experiments.runs.schedules import CONVERGED
from experiments.runs.store import Run
from experiments.tasks import classification, metrics
from experiments.tasks.metrics import MetricValue
from experiments.tasks.predictions import Predictions
from experiments.training.lengthy import lengthy


@dataclass(frozen=True)
class ExternalEvaluation:
    """Errors of a finished run on a test set.

    name        of the test set
    test        its examples
    by_example  one row an example
    errors      by metric
    units       by metric
    mean        by metric, the error of the input-independent baseline; empty if unknown
    """

    name: str
    test: Frames | Examples
    by_example: pd.DataFrame
    errors: Mapping[str, MetricValue]
    units: Mapping[str, str]
    mean: Mapping[str, float] = field(default_factory=dict)


def of_predictions(name: str, predicted: Predictions, frames: Frames, baseline: Baseline) -> ExternalEvaluation:
    """Return the errors of predictions on frames; `baseline` is the energy that composition explains in training."""
    by_frame = metrics.frame_errors(predicted, frames)
    nothing = Predictions(baseline.predict(frames.numbers), np.zeros_like(frames.positions))
    mean = metrics.metrics_of(metrics.frame_errors(nothing, frames))
    means = {metric: error.value for metric, error in mean.items()}
    return ExternalEvaluation(name, frames, by_frame, metrics.metrics_of(by_frame), metrics.UNITS, means)


def of_frames(run: Run, name: str, frames: Frames, place: torch.device) -> ExternalEvaluation:
    """Evaluate a finished run's model on frames; see `trained.load` and `TrainedModel.predict` for errors."""
    model = trained.load(run, place)
    return of_predictions(name, model.predict(frames), frames, model.baseline)


def of_examples(run: Run, dataset: ExampleSet, place: torch.device) -> ExternalEvaluation:
    """Evaluate a finished run's network on the test examples of a dataset; see `TrainedExampleModel.errors`."""
    by_example = trained_examples.load(run, place).errors(dataset)
    errors, units = classification.metrics_of(by_example, dataset), classification.units_of(dataset)
    return ExternalEvaluation(f"{dataset.name}_{dataset.test_set}", dataset.test, by_example, errors, units)


@lengthy()
def evaluate_lacking(run: Run, dataset: Dataset, place: torch.device) -> None:
    """Evaluate a finished run on those of the dataset's further test sets that it has no errors on, and write them.

    Raises:
        InputError: the run has no undamaged model, or cannot predict such frames.
    """
    for name in lacking(run, dataset.further_sha256):
        write(run, of_frames(run, name, dataset.further[name], place), place, axis=True)


def write(
    run: Run,
    evaluation: ExternalEvaluation,
    place: torch.device,
    *,
    axis: bool = False,
    data: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a finished run's errors on a test set, and return what was written.

    Args:
        run: the run.
        evaluation: its errors.
        place: device that they were computed on.
        axis: whether the set is one of `data.tests`; one that was stays one.
        data: data section of the test set.
    """
    sha256 = evaluation.test.sha256()
    path = path_of(run, evaluation.name, sha256)
    written = {
        "run_id": run.id,
        "axis": axis or is_on_axis(path),
        "test_set": evaluation.name,
        "test_sha256": sha256,
        "frames": len(evaluation.test),
        "n_atoms": getattr(evaluation.test, "atoms_each", None),
        "data": None if data is None else dict(data),
        "metrics": {metric: error.value for metric, error in evaluation.errors.items()},
        "by_metric": _by_metric(run, evaluation, sha256),
        "device": str(place),
        "code_version": code_version(),
        "versions": versions(),
    }
    path.parent.mkdir(exist_ok=True)
    with files.whole(path.with_suffix(FRAME_ERRORS)) as temporary:
        evaluation.by_example.to_parquet(temporary)
    files.write_json(path, written)
    return written


def _by_metric(run: Run, evaluation: ExternalEvaluation, sha256: str) -> dict[str, dict[str, Any]]:
    """Return the errors by metric as a result has them; what does not depend on the test set is the run's own.

    Errors of shorter schedules are known if the set was named before the training: their weights are not kept.
    """
    result = run.result()
    own = {} if result is None else result.by_metric
    named = {} if result is None else (result.further.get(FURTHER_TESTS) or {}).get(evaluation.name, {})
    shorter = named.get("by_metric", {}) if named.get("sha256") == sha256 else {}
    by_metric: dict[str, dict[str, Any]] = {}
    for metric, unit in evaluation.units.items():
        if metric not in evaluation.errors:
            continue
        known = own.get(metric)
        half, quarter = (shorter.get(metric, {}).get(f"error_{one}_budget") for one in ("half", "quarter"))
        found = MetricErrors(
            unit=unit,
            test=evaluation.errors[metric],
            train=None if known is None else known.train_error,
            half=half,
            quarter=quarter,
            holdout=None if known is None else known.holdout_error,
            mean=evaluation.mean.get(metric),
        )
        told = found.told(too_short=result is not None and bool(result.further.get("too_short")))
        converged = None if result is None else result.converged if known is None else known.converged
        by_metric[metric] = found.record(
            converged=converged if told is None else told == CONVERGED,
            told=None if known is None or known.further.get("verdict") is None else told,
        )
    return by_metric
