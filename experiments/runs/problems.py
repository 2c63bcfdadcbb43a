"""What execution and record need of a dataset beyond its examples: which task it is, and how its errors are named.

The only place that tells kinds of datasets apart; everything between here and the run table is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from experiments.core.arrays import Ints
from experiments.data.baseline import fit_baseline
from experiments.data.dataset import AnyDataset, Dataset
from experiments.data.examples import ExampleSet
from experiments.models.architectures import ModelConfig, NetworkConfig
from experiments.models.networks import ExampleTrainable, Trainable, example_network, network
from experiments.runs import trained, trained_examples
from experiments.tasks import classification, metrics
from experiments.tasks.classification import ExampleTask
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.predictions import Predictions
from experiments.training.member import Member


@dataclass(frozen=True)
class TaskSettings:
    """Settings of a network that its task depends on; networks that agree in them share a task.

    cutoff  of the neighbours (Å); None for networks of other examples than molecules
    copies  rotated copies of every training example, itself included
    """

    cutoff: float | None
    copies: int


def task_settings(config: ModelConfig) -> TaskSettings:
    """Return the settings of a network that its task depends on."""
    cutoff = config.cutoff if isinstance(config, NetworkConfig) else None
    return TaskSettings(cutoff, getattr(config, "copies", 1))


class Problem(Protocol):
    """A dataset as something to be learned."""

    @property
    def units(self) -> Mapping[str, str]:
        """Metrics with their units, as they are in results."""
        ...

    @property
    def primary(self) -> str:
        """The metric that verdicts on a run rest on."""
        ...

    @property
    def resolution(self) -> Mapping[str, float]:
        """The smallest difference that two errors can have on so many test examples, where there is one."""
        ...

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """Test errors by metric of what knows the labels of the training examples `chosen` and sees no input."""
        ...

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> Any:
        """Return the task for networks with these settings."""
        ...

    def network(self, config: ModelConfig) -> Any:
        """The network of these settings."""
        ...

    def save(self, path: Path, task: Any, member: Member) -> None:
        """Write what predictions need of a run that has ended."""
        ...


class Molecules:
    """Energies and forces of frames of atoms."""

    units = metrics.UNITS
    primary = "force_mae"
    resolution: Mapping[str, float] = {}

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """No forces, and the energy that composition explains (eV per atom, eV/Å)."""
        train, test = self.dataset.pool.take(chosen), self.dataset.test
        baseline = fit_baseline(train.numbers, train.energies, self.dataset.isolated_energies)
        predicted = Predictions(baseline.predict(test.numbers), np.zeros_like(test.forces))
        errors = metrics.metrics_of(metrics.frame_errors(predicted, test))
        return {name: error.value for name, error in errors.items()}

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> MoleculeTask:
        """Return the task of energies and forces with neighbours within the cutoff."""
        assert settings.cutoff is not None
        return MoleculeTask(self.dataset, settings.cutoff, dtype, device)

    def network(self, config: ModelConfig) -> Trainable:
        """A network of atomic energies."""
        return network(config, len(self.dataset.elements()))

    def save(self, path: Path, task: Any, member: Member) -> None:
        """See `experiments.runs.trained.save_network`."""
        assert member.weights is not None
        assert member.full is not None
        offset = member.full.energy_offset
        trained.save_network(path, member.weights, task.elements, member.prepared, offset, self.dataset)


class LabelledExamples:
    """Classes or numbers of other examples."""

    def __init__(self, dataset: ExampleSet) -> None:
        self.dataset = dataset
        self.units = classification.units_of(dataset)
        self.primary = next(iter(self.units))
        self.resolution = {"error_rate": 1 / len(dataset.test)}

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """The mean of the labels, or the frequencies of the classes."""
        predicted = classification.constant_baseline(self.dataset.pool.take(chosen), self.dataset.test, self.dataset)
        errors = classification.example_errors(predicted, self.dataset.test, self.dataset)
        return {name: error.value for name, error in classification.metrics_of(errors, self.dataset).items()}

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> ExampleTask:
        """Return the task of labels, with so many copies of every training example."""
        return ExampleTask(self.dataset, settings.copies, dtype, device)

    def network(self, config: ModelConfig) -> ExampleTrainable:
        """A network of as many outputs as there are classes, or of one."""
        return example_network(config, self.dataset.shape, self.dataset.n_classes or 1)

    def save(self, path: Path, task: Any, member: Member) -> None:
        """See `experiments.runs.trained_examples.save`."""
        assert member.weights is not None
        trained_examples.save(path, member.weights, member.prepared, self.dataset)


def problem_of(dataset: AnyDataset) -> Problem:
    """What kind of problem a dataset is."""
    if isinstance(dataset, Dataset):
        return Molecules(dataset)
    assert isinstance(dataset, ExampleSet)
    return LabelledExamples(dataset)
