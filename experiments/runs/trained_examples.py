"""The trained network of a finished run on images, clouds, voxels, …: classes or numbers of any such inputs.

`checkpoint/model.safetensors` holds the averaged weights, and as its facts the shapes and the labels' normalisation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from experiments.config.parse import parse
from experiments.core.errors import InputError
from experiments.data.examples import ExampleSet
from experiments.models.networks import example_network
from experiments.runs import trained
from experiments.runs.store import Run
from experiments.tasks.classification import ExampleTask, Network, PreparedData, example_errors
from experiments.training import checkpoint
from experiments.training.arithmetic import arithmetic


@dataclass(frozen=True)
class TrainedExampleModel:
    """A trained network of classes or numbers.

    shape      of an input
    n_classes  None if labels are numbers, whose training mean and deviation `prepared` holds
    weights    without a pack axis
    """

    shape: tuple[int, ...]
    n_classes: int | None
    network: Network
    weights: Mapping[str, Tensor]
    prepared: PreparedData
    dtype: torch.dtype
    tf32: bool
    device: torch.device

    def errors(self, dataset: ExampleSet) -> pd.DataFrame:
        """Return one row a test example (`experiments.tasks.classification.example_errors`).

        Raises:
            InputError: inputs of another shape, or another number of classes, than it was trained on.
        """
        for quantity, value, known in (
            ("inputs of shape", list(dataset.shape), list(self.shape)),
            ("number of classes", dataset.n_classes, self.n_classes),
        ):
            if value != known:
                raise InputError(
                    f"{dataset.name}: {quantity} {value}, and the run learned from {known}; accepted: {known}"
                )
        task = ExampleTask(dataset, 1, self.dtype, self.device)
        with arithmetic(self.tf32):
            predicted = task.predict(self.network, self.weights, self.prepared, task.test)
        return example_errors(predicted, dataset.test, dataset)


def save(path: Path, weights: Mapping[str, Tensor], prepared: PreparedData, dataset: ExampleSet) -> None:
    """Write a network's averaged weights, and the shapes and normalisation of its data."""
    facts = {
        "shape": list(dataset.shape),
        "n_classes": dataset.n_classes,
        "mean": prepared.mean,
        "scale": prepared.scale,
    }
    checkpoint.save(path, checkpoint.Checkpoint(dict(weights), facts))


def load(run: Run, device: torch.device) -> TrainedExampleModel:
    """Load the network of a finished run, in the precision it was trained in.

    Raises:
        InputError: no such run, not done, or without an undamaged model.
    """
    stored, config = trained.stored_of(run), parse(run.config())
    facts: Mapping[str, Any] = stored.facts
    assert config.training is not None
    shape, n_classes, empty = tuple(facts["shape"]), facts["n_classes"], np.zeros(0, np.int64)
    return TrainedExampleModel(
        shape=shape,
        n_classes=n_classes,
        network=example_network(config.model, shape, n_classes or 1),
        weights={name: value.to(device) for name, value in stored.tensors.items()},
        prepared=PreparedData(empty, empty, facts["mean"], facts["scale"]),
        dtype=getattr(torch, config.training.precision),
        tf32=config.training.tf32,
        device=device,
    )
