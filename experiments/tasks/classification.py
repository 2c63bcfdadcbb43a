"""The tasks "which class" and "which number" of examples: loss, predictions, errors.

Classes: the loss is the cross-entropy, errors are the share of wrong answers and the cross-entropy. Numbers: the loss
is the mean square of what is left after the mean of the run's own training labels, in units of their deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.core.arrays import Floats, Ints
from experiments.data.examples import Examples, ExampleSet
from experiments.data.image_transforms import rotated_copies
from experiments.tasks.metrics import MetricValue
from experiments.tasks.task import Evaluates, Tensors

EVALUATION_NUMBERS = {"cpu": 1 << 14, "cuda": 1 << 18}
"""Numbers of inputs evaluated at once: bounds the memory of an evaluation; on a processor what its caches hold is 1.3
to 2 times as fast (measured on the networks of images, voxels and jets)."""


class Network(Protocol):
    """What the task needs of a model (experiments/models)."""

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Scores of classes or one number: `[p, B, …]` → `[p, B, o]`."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A run's training examples: `examples` `[P]` in the pool, `subset` `[P · copies]` in the augmented pool;
    mean and deviation of their labels (0 and 1 for classes)."""

    examples: Ints
    subset: Ints
    mean: float
    scale: float

    @property
    def constants(self) -> dict[str, float]:
        """Nothing of a network follows from them."""
        return {}


def units_of(dataset: ExampleSet) -> dict[str, str]:
    """Metrics with their units."""
    if dataset.n_classes is not None:
        return {"error_rate": "", "cross_entropy": "nat"}
    return {f"{dataset.quantity}_mae": dataset.unit, f"{dataset.quantity}_rmse": dataset.unit}


def example_errors(predicted: Floats, examples: Examples, dataset: ExampleSet) -> pd.DataFrame:
    """One row an example: 1 for a wrong class and the cross-entropy, or absolute and squared error.

    Args:
        predicted: `[n, classes]` logarithms of probabilities, or `[n]` numbers.
    """
    rows: dict[str, Any] = {"frame": np.arange(len(examples))}
    if dataset.n_classes is not None:
        labels = examples.labels.astype(np.int64)
        rows["error_rate"] = (predicted.argmax(1) != labels).astype(np.float64)
        rows["cross_entropy"] = -predicted[np.arange(len(labels)), labels]
    else:
        left = predicted - examples.labels
        rows[f"{dataset.quantity}_mae"] = np.abs(left)
        rows[f"{dataset.quantity}_mse"] = left**2
    return pd.DataFrame(rows)


def metrics_of(errors: pd.DataFrame, dataset: ExampleSet) -> dict[str, MetricValue]:
    """The metrics of `units_of` with the standard errors that the number of examples gives them."""
    found = {}
    for name in units_of(dataset):
        column, root = (name.replace("_rmse", "_mse"), True) if name.endswith("_rmse") else (name, False)
        values = errors[column].to_numpy(np.float64)
        mean = float(values.mean())
        sem = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        value = math.sqrt(mean) if root else mean
        found[name] = MetricValue(value, sem / (2 * value) if root and value > 0 else sem)
    return found


def ignorant(train: Examples, examples: Examples, dataset: ExampleSet) -> Floats:
    """Predictions for `examples` of what sees labels alone: their mean, or the frequencies of the classes (one added
    to every count, so that a class which `train` lacks is not impossible)."""
    if dataset.n_classes is None:
        return np.full(len(examples), float(train.labels.mean()))
    counts = np.bincount(train.labels.astype(np.int64), minlength=dataset.n_classes) + 1.0
    return np.tile(np.log(counts / counts.sum()), (len(examples), 1))


class ExampleTask:
    """Classes or numbers of the examples of one dataset.

    Args:
        copies: what training sees in place of an image: itself and so many less one turned copies.
    """

    def __init__(self, dataset: ExampleSet, copies: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dataset = dataset
        self.dtype = dtype
        self.device = device
        self.copies = copies
        self.traced: dict[Any, Any] = {}
        self.pool = self._resident(rotated_copies(dataset.pool.inputs, copies))
        self.holdout, self.test = self._resident(dataset.holdout.inputs), self._resident(dataset.test.inputs)

    def _resident(self, inputs: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(inputs, dtype=self.dtype, device=self.device)

    @property
    def inputs(self) -> Tensors:
        """The pool, every example followed by its copies."""
        return {"inputs": self.pool}

    def prepare(self, subset: Ints) -> Prepared:
        """What a run derives from its own training examples, and from no others."""
        labels = self.dataset.pool.labels[subset]
        mean, scale = 0.0, 1.0
        if self.dataset.n_classes is None:
            mean, scale = float(labels.mean()), float(labels.std()) or 1.0
        seen = (subset[:, None] * self.copies + np.arange(self.copies)).ravel()
        return Prepared(subset, seen, mean, scale)

    def targets(self, runs: Sequence[Prepared], weights: Sequence[tuple[float, float]]) -> Tensors:
        """Labels `[p, F]` of the augmented pool, given on each run's own subset (zero elsewhere)."""
        classes = self.dataset.n_classes is not None
        labels = np.zeros((len(runs), len(self.pool)), np.int64 if classes else np.float64)
        for row, run in zip(labels, runs, strict=True):
            own = self.dataset.pool.labels[run.subset // self.copies]
            row[run.subset] = own if classes else (own - run.mean) / run.scale
        return {"labels": torch.as_tensor(labels, dtype=None if classes else self.dtype, device=self.device)}

    def loss(
        self,
        model: Network,
        params: Tensors,
        targets: Tensors,
        inputs: Tensors,
        picked: Tensor,
        terms: tuple[bool, bool],
    ) -> Tensor:
        """Mean over the batch `picked` `[p, B]` of every run, `[p]`; it has one term only."""
        found = model.outputs(params, inputs["inputs"][picked])  # [p, B, o]
        wanted = targets["labels"].gather(1, picked)
        if self.dataset.n_classes is None:
            return ((found[..., 0] - wanted) ** 2).mean(1)
        return -found.log_softmax(-1).gather(2, wanted[..., None])[..., 0].mean(1)

    def evaluator(self, model: Network, terms: tuple[bool, bool]) -> Evaluates:
        """How runs are judged."""
        return _Evaluator(self, model)

    def predict(self, model: Network, weights: Tensors, prepared: Prepared, inputs: Tensor) -> Floats:
        """Logarithms of probabilities `[n, classes]` or numbers `[n]` (in the labels' unit) from one run's weights
        (without a pack axis)."""
        params = {name: value[None] for name, value in weights.items()}
        chunk = max(1, EVALUATION_NUMBERS[self.device.type] // max(1, inputs[0].numel()))
        with torch.no_grad():
            found = torch.cat([model.outputs(params, part[None])[0] for part in torch.split(inputs, chunk)]).double()
        if self.dataset.n_classes is not None:
            return np.asarray(found.log_softmax(-1).cpu().numpy())
        return np.asarray(prepared.mean + prepared.scale * found[:, 0].cpu().numpy())


class _Evaluator:
    def __init__(self, task: ExampleTask, model: Network) -> None:
        self.task = task
        self.model = model

    def full(self, weights: Mapping[str, Tensor], prepared: Prepared) -> Any:
        """Errors on all test examples and on the run's training examples (themselves, not their copies)."""
        from experiments.tasks.evaluation import Evaluation

        task, dataset = self.task, self.task.dataset
        own = task.pool[torch.as_tensor(prepared.examples * task.copies, device=task.device)]
        test = self._errors(weights, prepared, task.test, dataset.test)
        train = self._errors(weights, prepared, own, dataset.pool.take(prepared.examples))
        return Evaluation(metrics_of(test, dataset), metrics_of(train, dataset), test)

    def glance(self, weights: Mapping[str, Tensor], prepared: Prepared) -> dict[str, float]:
        """Errors on the holdout, for history and progress."""
        dataset = self.task.dataset
        if len(dataset.holdout) == 0:
            return {}
        errors = metrics_of(self._errors(weights, prepared, self.task.holdout, dataset.holdout), dataset)
        return {f"holdout_{name}": error.value for name, error in errors.items()}

    def _errors(self, weights: Tensors, prepared: Prepared, inputs: Tensor, examples: Examples) -> pd.DataFrame:
        return example_errors(self.task.predict(self.model, weights, prepared, inputs), examples, self.task.dataset)
