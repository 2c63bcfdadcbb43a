"""The interface between training and a kind of problem (molecules; images, voxels, jets, …).

A *frame* is one example. A task holds the pool, the validation set and the test frames as tensors. It prepares a run's
training frames, computes the loss on a batch, and evaluates weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from experiments.core.arrays import Ints

if TYPE_CHECKING:
    from experiments.tasks.evaluation import Evaluation

Tensors = Mapping[str, Tensor]


class LossTerms(NamedTuple):
    """Which terms of the loss are trained on; tasks with a loss of one term ignore it."""

    energy: bool
    force: bool


class LossWeights(NamedTuple):
    """Weights of the terms of a run's loss (`training.energy_weight`, `training.force_weight`)."""

    energy: float
    force: float
    by_atoms: bool = False
    """Whether the weight of a frame's energy is `energy` times its number of atoms."""

    @staticmethod
    def of(energy: float | None, force: float) -> LossWeights:
        """Return the weights of settings; without one of the energy it is a third of the number of atoms."""
        return LossWeights(1 / 3 if energy is None else energy, force, energy is None)


class Model(Protocol):
    """A network whose parameters carry the pack axis first; how it is called otherwise is up to the task."""

    def init(self, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Draw the parameters of one run, without a pack axis; names that begin with `constant.` are not trained."""
        ...


class PreparedData(Protocol):
    """A run's training frames and the numbers derived from them, and from no others."""

    @property
    def subset(self) -> Ints:
        """Indices of the training frames in the pool, `[P]`."""
        ...

    @property
    def constants(self) -> Mapping[str, float]:
        """Values for entries `constant.*` of the model's parameters."""
        ...


class Evaluator(Protocol):
    """Errors of runs' weights (by name, without a pack axis)."""

    def full(self, weights: Sequence[Tensors], prepared: Sequence[Any]) -> list[Evaluation]:
        """Evaluate runs with equally many training frames on all test frames and on those, all at once."""
        ...

    def validation(self, weights: Sequence[Tensors], prepared: Sequence[Any]) -> list[dict[str, float]]:
        """Evaluate runs on the validation set, all at once: errors of each as `holdout_<metric>`, for history and
        progress; nothing if the set is empty."""
        ...


class Task(Protocol):
    """A problem with its data on a device."""

    dtype: torch.dtype
    device: torch.device
    traced: dict[Any, Any]
    """Compiled functions that the engine keeps for as long as the task lives."""

    def targets(self, runs: Sequence[Any], weights: Sequence[LossWeights]) -> Tensors:
        """Return the labels of a pack, all `[p, ...]`, normalised by each run's own training frames.

        The weights of the loss's two terms are among them.
        """
        ...

    def batch(self, targets: Tensors, picked: Tensor) -> Tensors:
        """Return what `loss` needs of a batch: of the pool and of `targets` the frames that are picked.

        No shape of it depends on the length of the pool, so that a step that is compiled for it serves other data too.

        Args:
            targets: from `targets`.
            picked: `[p, B]` indices into the pool.
        """
        ...

    def loss(self, model: Any, params: Tensors, batch: Tensors, terms: LossTerms) -> Tensor:
        """Return the loss of every run `[p]` on its batch; traceable and twice differentiable.

        Args:
            model: the network of all runs.
            params: of all runs, `[p, ...]`.
            batch: from `batch`.
            terms: those of the loss whose weight is above zero.
        """
        ...

    def evaluator(self, model: Any, terms: LossTerms) -> Evaluator:
        """Return the evaluator of runs that are trained on these terms of the loss."""
        ...
