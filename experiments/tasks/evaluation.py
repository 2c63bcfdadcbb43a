"""A run's errors on its test and training frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from experiments.core.schema import read
from experiments.tasks.metrics import MetricValue, frame_errors, metrics_of
from experiments.tasks.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """Errors of one set of weights.

    test, train    by metric
    frames         of every test frame; None after a resume
    energy_offset  constant that was added to the energies (eV an atom); see `MoleculeEvaluator`
    """

    test: dict[str, MetricValue]
    train: dict[str, MetricValue]
    frames: pd.DataFrame | None = None
    energy_offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Return the errors by metric, without those of single frames."""
        return {
            split: {name: asdict(value) for name, value in errors.items()}
            for split, errors in (("test", self.test), ("train", self.train))
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Evaluation:
        """Read what `to_json` returned."""
        return read(Evaluation, content)


def evaluation(test: Predictions, train: Predictions, task_test: Any, task_train: Any) -> Evaluation:
    """Return the errors of predictions on the frames `task_test` and `task_train`."""
    frames = frame_errors(test, task_test)
    return Evaluation(metrics_of(frames), metrics_of(frame_errors(train, task_train)), frames)
