"""The learning problem that a dataset poses: its task, its networks, and the names and units of its errors.

This is the only place that tells kinds of datasets apart; everything from here to the run table is the same for all.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from experiments.config.run import RunConfig
from experiments.core.arrays import Ints
from experiments.data.baseline import fit_baseline
from experiments.data.dataset import AnyDataset, Dataset
from experiments.data.examples import ExampleSet
from experiments.data.shared_graph import shared_neighbours
from experiments.models.contract import ModelConfig
from experiments.models.networks import ExampleTrainable, Trainable, example_network, network
from experiments.models.networks.probe import examine
from experiments.models.registry import is_network_of_molecules
from experiments.runs import trained, trained_examples
from experiments.tasks import classification, metrics
from experiments.tasks.classification import ExampleTask
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.predictions import Predictions
from experiments.training.member import Member


@dataclass(frozen=True)
class TaskSettings:
    """Settings of a network that its task depends on; networks that agree in them share a task."""

    cutoff: float | None
    """Of the neighbours (Å); None for networks of other examples than molecules."""
    copies: int
    """Rotated copies of every training example, itself included."""


def task_settings(config: ModelConfig) -> TaskSettings:
    """Return the settings of a network that its task depends on."""
    cutoff = getattr(config, "cutoff", None) if is_network_of_molecules(config) else None
    return TaskSettings(cutoff, getattr(config, "copies", 1))


def check_network(config: RunConfig, dataset: AnyDataset) -> None:
    """Try a user's network on a few atoms; nothing is done for the program's own.

    Raises:
        InputError: its file breaks the contract (`experiments.models.networks.probe`).
    """
    if config.plugins is not None and isinstance(dataset, Dataset):
        precision = "float64" if config.training is None else config.training.precision
        _examined(getattr(config.model, "network", config.model), tuple(dataset.elements()), precision)


@functools.lru_cache(maxsize=256)
def _examined(model: ModelConfig, species: tuple[int, ...], precision: str) -> None:
    examine(model, species, precision)


def mean_neighbours(dataset: Dataset, config: Any) -> float:
    """Return the mean number of neighbours of an atom of the pool within the model's cutoff.

    Geometry alone, so no label of a frame that a run does not train on enters. All runs of a curve share it: a constant
    that changed with P would be one more difference between its points. It is rounded to what single precision holds.
    """
    mask = shared_neighbours(dataset.pool, config.cutoff).mask
    return float(np.float32(mask.sum() / (dataset.pool.numbers > 0).sum()))


class Problem(Protocol):
    """A dataset as something to be learned."""

    @property
    def units(self) -> Mapping[str, str]:
        """Metrics with their units, as they are in results."""
        ...

    @property
    def primary(self) -> str:
        """The metric by which a run is called converged, data-limited or learned."""
        ...

    @property
    def resolution(self) -> Mapping[str, float]:
        """By metric, the smallest difference that two test errors can have; metrics without one are absent."""
        ...

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """Return the test errors by metric of the input-independent baseline.

        Args:
            chosen: indices `[P]` of the training examples (`splits.training_subset`).
        """
        ...

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> Any:
        """Return the task for networks with these settings."""
        ...

    def network(self, config: ModelConfig) -> Any:
        """Return the network with these settings."""
        ...

    def save(self, path: Path, task: Any, member: Member) -> None:
        """Write the weights and constants of a finished run, from which it predicts."""
        ...


class Molecules:
    """The problem of energies and forces of frames of atoms."""

    units = metrics.UNITS
    primary = "force_mae"
    resolution: Mapping[str, float] = {}

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """Return the test errors of zero forces and the energies that composition explains (eV per atom, eV/Å)."""
        train, test = self.dataset.labelled.take(chosen), self.dataset.test
        baseline = fit_baseline(train.numbers, train.energies, self.dataset.isolated_energies)
        predicted = Predictions(baseline.predict(test.numbers), np.zeros_like(test.forces))
        errors = metrics.metrics_of(metrics.frame_errors(predicted, test))
        return {name: error.value for name, error in errors.items()}

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> MoleculeTask:
        """Return the task of energies and forces with neighbours within the cutoff."""
        assert settings.cutoff is not None
        return MoleculeTask(self.dataset, settings.cutoff, dtype, device)

    def network(self, config: ModelConfig) -> Trainable:
        """Return a network of atomic energies."""
        return network(config, self.dataset.elements(), lambda: mean_neighbours(self.dataset, config))

    def save(self, path: Path, task: Any, member: Member) -> None:
        """Write the network; see `experiments.runs.trained.save_network`."""
        assert member.weights is not None
        offset = member.outcome.energy_offset
        trained.save_network(path, member.weights, task.elements, member.prepared, offset, self.dataset)


class LabelledExamples:
    """The problem of classes or numbers of other examples than molecules."""

    def __init__(self, dataset: ExampleSet) -> None:
        self.dataset = dataset
        self.units = classification.units_of(dataset)
        self.primary = next(iter(self.units))
        self.resolution = {"error_rate": 1 / len(dataset.test)}

    def mean_errors(self, chosen: Ints) -> dict[str, float]:
        """Return the test errors of the labels' mean, or of the classes' frequencies."""
        predicted = classification.constant_baseline(self.dataset.pool.take(chosen), self.dataset.test, self.dataset)
        errors = classification.example_errors(predicted, self.dataset.test, self.dataset)
        return {name: error.value for name, error in classification.metrics_of(errors, self.dataset).items()}

    def task(self, settings: TaskSettings, dtype: torch.dtype, device: torch.device) -> ExampleTask:
        """Return the task of labels, with so many copies of every training example."""
        return ExampleTask(self.dataset, settings.copies, dtype, device)

    def network(self, config: ModelConfig) -> ExampleTrainable:
        """Return a network with as many outputs as there are classes, or with one."""
        return example_network(config, self.dataset.shape, self.dataset.n_classes or 1)

    def save(self, path: Path, task: Any, member: Member) -> None:
        """Write the network; see `experiments.runs.trained_examples.save`."""
        assert member.weights is not None
        trained_examples.save(path, member.weights, member.prepared, self.dataset)


def problem_of(dataset: AnyDataset) -> Problem:
    """Return the problem that a dataset poses."""
    if isinstance(dataset, Dataset):
        return Molecules(dataset)
    assert isinstance(dataset, ExampleSet)
    return LabelledExamples(dataset)
