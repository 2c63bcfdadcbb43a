"""Classification and regression of examples: loss, predictions, errors.

Classes: the loss is the cross-entropy, the errors are the share of wrong answers and the cross-entropy. Numbers: the
loss is the mean squared error of labels standardised by mean and deviation of the run's own training labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from experiments.tasks.task import Evaluator, LossTerms, LossWeights, Tensors

EVALUATION_NUMBERS = {"cpu": 1 << 14, "cuda": 1 << 18}
"""Numbers of inputs evaluated at once: bounds the memory of an evaluation. On a CPU it is what the caches hold, which
is 1.3 to 2 times as fast (measured on the networks of images, voxels and jets)."""


class Network(Protocol):
    """The part of a model (experiments/models) that the task calls."""

    def outputs(self, params: Tensors, inputs: Tensor) -> Tensor:
        """Return scores of classes or one number: `[p, B, …]` → `[p, B, o]`."""
        ...


@dataclass(frozen=True)
class PreparedData:
    """A run's training examples and the normalisation that follows from them alone.

    examples  `[P]` indices into the pool
    subset    `[P · copies]` indices into the pool with its rotated copies
    mean      of the training labels; 0 for classes
    scale     standard deviation of the training labels; 1 for classes
    """

    examples: Ints
    subset: Ints
    mean: float
    scale: float

    @property
    def constants(self) -> dict[str, float]:
        """Values for entries `constant.*` of the model's parameters: none."""
        return {}


def units_of(dataset: ExampleSet) -> dict[str, str]:
    """Return the dataset's metrics with their units."""
    if dataset.n_classes is not None:
        return {"error_rate": "", "cross_entropy": "nat"}
    return {f"{dataset.quantity}_mae": dataset.unit, f"{dataset.quantity}_rmse": dataset.unit}


def example_errors(predicted: Floats, examples: Examples, dataset: ExampleSet) -> pd.DataFrame:
    """Return one row an example: 1 for a wrong class and the cross-entropy (nat), or absolute and squared error.

    Args:
        predicted: `[n, classes]` logarithms of probabilities, or `[n]` numbers.
        examples: the n examples with their labels.
        dataset: says which of the two, and names the quantity.
    """
    rows: dict[str, Any] = {"frame": np.arange(len(examples))}
    if dataset.n_classes is not None:
        labels = examples.labels.astype(np.int64)
        rows["error_rate"] = (predicted.argmax(1) != labels).astype(np.float64)
        rows["cross_entropy"] = -predicted[np.arange(len(labels)), labels]
    else:
        residuals = predicted - examples.labels
        rows[f"{dataset.quantity}_mae"] = np.abs(residuals)
        rows[f"{dataset.quantity}_mse"] = residuals**2
    return pd.DataFrame(rows)


def metrics_of(errors: pd.DataFrame, dataset: ExampleSet) -> dict[str, MetricValue]:
    """Return the metrics of `units_of` from errors by example, with standard errors over the examples.

    The standard error of a root mean square follows from that of the mean square by the delta method,
    sem(√m) = sem(m)/(2√m).
    """
    metrics = {}
    for name in units_of(dataset):
        column, root = (name.replace("_rmse", "_mse"), True) if name.endswith("_rmse") else (name, False)
        values = errors[column].to_numpy(np.float64)
        mean = float(values.mean())
        sem = float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        value = math.sqrt(mean) if root else mean
        metrics[name] = MetricValue(value, sem / (2 * value) if root and value > 0 else sem)
    return metrics


def constant_baseline(train: Examples, examples: Examples, dataset: ExampleSet) -> Floats:
    """Predict the same for all `examples`, from the labels of `train` alone: the input-independent baseline.

    It predicts the labels' mean, `[n]`, or the logarithms of the classes' frequencies, `[n, classes]`, with one added
    to every count (Laplace's rule), so that a class that `train` lacks is not impossible.
    """
    if dataset.n_classes is None:
        return np.full(len(examples), float(train.labels.mean()))
    counts = np.bincount(train.labels.astype(np.int64), minlength=dataset.n_classes) + 1.0
    return np.tile(np.log(counts / counts.sum()), (len(examples), 1))


class ExampleTask:
    """Classification or regression of the examples of one dataset.

    Args:
        copies: versions of every training example that training sees: itself and `copies` − 1 rotated ones.
    """

    def __init__(self, dataset: ExampleSet, copies: int, dtype: torch.dtype, device: torch.device) -> None:
        self.dataset = dataset
        self.dtype = dtype
        self.device = device
        self.copies = copies
        self.traced: dict[Any, Any] = {}
        self.pool = self._on_device(rotated_copies(dataset.pool.inputs, copies))
        self.validation, self.test = self._on_device(dataset.holdout.inputs), self._on_device(dataset.test.inputs)

    def _on_device(self, inputs: np.ndarray[Any, Any]) -> Tensor:
        return torch.as_tensor(inputs, dtype=self.dtype, device=self.device)

    def prepare(self, subset: Ints) -> PreparedData:
        """Return what a run derives from its own training examples (indices `[P]` into the pool) and no others."""
        labels = self.dataset.pool.labels[subset]
        mean, scale = 0.0, 1.0
        if self.dataset.n_classes is None:
            mean, scale = float(labels.mean()), float(labels.std()) or 1.0
        with_copies = (subset[:, None] * self.copies + np.arange(self.copies)).ravel()
        return PreparedData(subset, with_copies, mean, scale)

    def targets(self, runs: Sequence[PreparedData], weights: Sequence[LossWeights]) -> Tensors:
        """Return the normalised labels `[p, F]` of the pool with its copies; zero outside each run's own subset."""
        classes = self.dataset.n_classes is not None
        labels = np.zeros((len(runs), len(self.pool)), np.int64 if classes else np.float64)
        for row, run in zip(labels, runs, strict=True):
            own = self.dataset.pool.labels[run.subset // self.copies]
            row[run.subset] = own if classes else (own - run.mean) / run.scale
        return {"labels": torch.as_tensor(labels, dtype=None if classes else self.dtype, device=self.device)}

    def batch(self, targets: Tensors, picked: Tensor) -> Tensors:
        """Return the `inputs` `[p, B, ...]` and `labels` `[p, B]` of the examples `picked` `[p, B]` from the pool."""
        return {"inputs": self.pool[picked], "labels": targets["labels"].gather(1, picked)}

    def loss(self, model: Network, params: Tensors, batch: Tensors, terms: LossTerms) -> Tensor:
        """Return the loss of every run `[p]`, its mean over the batch from `batch`; it has one term only."""
        outputs, labels = model.outputs(params, batch["inputs"]), batch["labels"]  # [p, B, o], [p, B]
        if self.dataset.n_classes is None:
            return ((outputs[..., 0] - labels) ** 2).mean(1)
        return -outputs.log_softmax(-1).gather(2, labels[..., None])[..., 0].mean(1)

    def evaluator(self, model: Network, terms: LossTerms) -> Evaluator:
        """Return the evaluator of runs with this model."""
        return _ExampleEvaluator(self, model)

    def predict(self, model: Network, weights: Tensors, prepared: PreparedData, inputs: Tensor) -> Floats:
        """Predict of one run, for `inputs` `[n, ...]`, as `predict_all` does of several."""
        return self.predict_all(model, [weights], [prepared], inputs[None])[0]

    def predict_all(
        self, model: Network, weights: Sequence[Tensors], prepared: Sequence[PreparedData], inputs: Tensor
    ) -> list[Floats]:
        """Predict logarithms of probabilities `[n, classes]` or numbers `[n]` (in the labels' unit) of every run.

        Args:
            model: the network.
            weights: of each run, without a pack axis.
            prepared: of the same runs.
            inputs: of each run `[p, n, ...]`, or of all `[1, n, ...]`.
        """
        p = len(weights)
        if p > 1 and self.device.type == "cpu":  # where at once takes up to 1.4 times as long (measured, cnn and mlp)
            each = zip(weights, prepared, inputs.expand(p, *inputs.shape[1:]), strict=True)
            return [self.predict(model, one, run, own) for one, run, own in each]
        params = {name: torch.stack([one[name] for one in weights]) for name in weights[0]}
        chunk = max(1, EVALUATION_NUMBERS[self.device.type] // (p * max(1, inputs[0, 0].numel())))
        with torch.no_grad():
            parts = [part.expand(p, *part.shape[1:]).contiguous() for part in torch.split(inputs, chunk, 1)]
            outputs = torch.cat([model.outputs(params, part) for part in parts], 1).double()  # [p, n, classes or 1]
        if self.dataset.n_classes is not None:
            return list(np.asarray(outputs.log_softmax(-1).cpu().numpy()))
        numbers = outputs[..., 0].cpu().numpy()
        return [np.asarray(run.mean + run.scale * values) for run, values in zip(prepared, numbers, strict=True)]


class _ExampleEvaluator:
    def __init__(self, task: ExampleTask, model: Network) -> None:
        self.task = task
        self.model = model

    def full(self, weights: Sequence[Tensors], prepared: Sequence[PreparedData]) -> list[Any]:
        """Evaluate runs with equally many training examples on all test examples and on these (not their copies)."""
        from experiments.tasks.evaluation import Evaluation, stopping_frames

        task, dataset = self.task, self.task.dataset
        picked = np.stack([run.examples for run in prepared]) * task.copies
        own = task.pool[torch.as_tensor(picked, device=task.device)]
        test = self._errors(weights, prepared, task.test[None], [dataset.test] * len(prepared))
        train = self._errors(weights, prepared, own, [dataset.pool.take(run.examples) for run in prepared])
        chosen = stopping_frames(len(prepared[0].examples), len(dataset.holdout))
        stopping: list[float | None] = [None] * len(prepared)
        if len(chosen) > 0:
            inputs = task.validation[torch.as_tensor(chosen, device=task.device)]
            errors = self._errors(weights, prepared, inputs[None], [dataset.holdout.take(chosen)] * len(prepared))
            stopping = [next(iter(metrics_of(one, dataset).values())).value for one in errors]
        return [
            Evaluation(metrics_of(a, dataset), metrics_of(b, dataset), a, validation=c, n_validation=len(chosen))
            for a, b, c in zip(test, train, stopping, strict=True)
        ]

    def validation(self, weights: Sequence[Tensors], prepared: Sequence[PreparedData]) -> list[dict[str, float]]:
        """Return errors of runs on the validation set as `holdout_<metric>`; nothing if the set is empty."""
        dataset = self.task.dataset
        if len(dataset.holdout) == 0:
            return [{} for _ in weights]
        frames = self._errors(weights, prepared, self.task.validation[None], [dataset.holdout] * len(prepared))
        return [{f"holdout_{k}": error.value for k, error in metrics_of(one, dataset).items()} for one in frames]

    def _errors(
        self, weights: Sequence[Tensors], prepared: Sequence[PreparedData], inputs: Tensor, examples: Sequence[Examples]
    ) -> list[pd.DataFrame]:
        predicted = self.task.predict_all(self.model, weights, prepared, inputs)
        return [example_errors(one, own, self.task.dataset) for one, own in zip(predicted, examples, strict=True)]
