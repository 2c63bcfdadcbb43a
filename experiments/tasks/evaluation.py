"""A run's errors on its test and training frames."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from experiments.core.arrays import Ints
from experiments.core.schema import read
from experiments.tasks.metrics import MetricValue, frame_errors, metrics_of
from experiments.tasks.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """Errors of one set of weights.

    test, train    by metric
    frames         of every test frame; None after a resume
    energy_offset  constant that was added to the energies (eV an atom); see `MoleculeEvaluator`
    validation     error on the run's own validation frames (`stopping_frames`) in the primary metric; None without any
    n_validation   number of these frames
    further        by name of further test sets, errors by metric
    """

    test: dict[str, MetricValue]
    train: dict[str, MetricValue]
    frames: pd.DataFrame | None = None
    energy_offset: float = 0.0
    validation: float | None = None
    n_validation: int = 0
    further: dict[str, dict[str, MetricValue]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the errors by metric, without those of single frames."""
        content: dict[str, Any] = {
            "test": _json(self.test),
            "train": _json(self.train),
            "validation": self.validation,
            "n_validation": self.n_validation,
        }
        if self.further:
            content["further"] = {name: _json(errors) for name, errors in self.further.items()}
        return content

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` returned."""
        return read(Evaluation, content)


def _json(errors: Mapping[str, MetricValue]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in errors.items()}


def stopping_frames(P: int, available: int) -> Ints:
    """Return the validation frames by which a run of P training frames chooses its schedule, spread over all of them.

    They are as many as an eighth of P, so that P with them, which counts every label that was used, grows in proportion
    (published trainings keep a twentieth to a fifth apart), and all if there are fewer.
    """
    count = min(available, math.ceil(P / 8))
    return np.arange(count) * available // max(count, 1)


def evaluation(test: Predictions, train: Predictions, task_test: Any, task_train: Any) -> Evaluation:
    """Return the errors of predictions on the frames `task_test` and `task_train`."""
    frames = frame_errors(test, task_test)
    return Evaluation(metrics_of(frames), metrics_of(frame_errors(train, task_train)), frames)
