"""A run's errors on its test and training frames: the record, and how it is made from predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from experiments.tasks.metrics import MetricValue, frame_errors, metrics_of
from experiments.tasks.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """Errors of one set of weights by metric; `frames` holds those of every test frame (null after a resume), and
    `energy_offset` (eV an atom) is the constant that energies were given (see `MoleculeEvaluator`)."""

    test: dict[str, MetricValue]
    train: dict[str, MetricValue]
    frames: pd.DataFrame | None = None
    energy_offset: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The errors alone."""
        return {
            split: {name: asdict(value) for name, value in errors.items()}
            for split, errors in (("test", self.test), ("train", self.train))
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Evaluation:
        """Inverse of `to_json`."""
        test, train = ({k: MetricValue(**v) for k, v in content[split].items()} for split in ("test", "train"))
        return Evaluation(test, train)


def evaluation(test: Predictions, train: Predictions, task_test: Any, task_train: Any) -> Evaluation:
    """From predictions on test and training frames."""
    frames = frame_errors(test, task_test)
    return Evaluation(metrics_of(frames), metrics_of(frame_errors(train, task_train)), frames)
