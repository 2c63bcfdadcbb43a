"""A run's errors: on the test frames (each of them), on its own training frames, and on the diagnostic holdout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from experiments.data.dataset import Ints
from experiments.tasks.metrics import MetricValue, frame_errors, metrics_of
from experiments.tasks.molecules import MoleculeTask, Network, Prepared, Resident
from experiments.tasks.predictions import Predictions


@dataclass(frozen=True)
class Evaluation:
    """Errors of one set of weights by metric; ``frames`` holds those of every test frame (null after a resume), and
    ``energy_offset`` (eV an atom) is the constant that energies were given (see :class:`Evaluator`)."""

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
        """Inverse of :meth:`to_json`."""
        test, train = ({k: MetricValue(**v) for k, v in content[split].items()} for split in ("test", "train"))
        return Evaluation(test, train)


def evaluation(test: Predictions, train: Predictions, task_test: Any, task_train: Any) -> Evaluation:
    """From predictions on test and training frames."""
    frames = frame_errors(test, task_test)
    return Evaluation(metrics_of(frames), metrics_of(frame_errors(train, task_train)), frames)


class Evaluator:
    """Evaluates the averaged weights of single runs.

    Args:
        energy_offset: give energies their best constant on the training frames (for training on forces alone,
            which leaves it undetermined); part of the fit, and it uses training labels only.
    """

    def __init__(self, task: MoleculeTask, model: Network, energy_offset: bool) -> None:
        self.task = task
        self.model = model
        self.energy_offset = energy_offset

    def full(self, weights: Mapping[str, Tensor], prepared: Prepared) -> Evaluation:
        """Errors on all test frames and on the run's training frames."""
        task = self.task
        pool, test = task.dataset.pool.take(prepared.subset), task.dataset.test
        train_predictions = self._predict(weights, prepared, task.pool, prepared.subset)
        test_predictions = self._predict(weights, prepared, task.test, np.arange(len(test)))
        offset = 0.0
        if self.energy_offset:
            atoms = (pool.numbers > 0).sum(1)
            offset = float(((pool.energies - train_predictions.energies) / atoms).mean())
            train_predictions = _shifted(train_predictions, offset * atoms)
            test_predictions = _shifted(test_predictions, offset * (test.numbers > 0).sum(1))
        return replace(evaluation(test_predictions, train_predictions, test, pool), energy_offset=offset)

    def glance(self, weights: Mapping[str, Tensor], prepared: Prepared) -> dict[str, float]:
        """Errors on the holdout, for history and progress."""
        holdout = self.task.dataset.holdout
        if len(holdout) == 0:
            return {}
        found = self._predict(weights, prepared, self.task.holdout, np.arange(len(holdout)))
        errors = metrics_of(frame_errors(found, holdout))
        return {f"holdout_{name}": errors[name].value for name in errors}

    def _predict(self, weights: Mapping[str, Tensor], prepared: Prepared, split: Resident, picked: Ints) -> Predictions:
        params = {name: value[None] for name, value in weights.items()}
        return self.task.predict(self.model, params, [prepared], split, [picked])[0]


def _shifted(predictions: Predictions, energies: Any) -> Predictions:
    return Predictions(predictions.energies + energies, predictions.forces)
