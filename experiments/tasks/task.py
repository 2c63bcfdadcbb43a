"""What training needs to know of a kind of problem; molecules are the first, images and jets fit the same seam.

A *frame* is one example. A task holds a pool, a holdout and test frames as tensors, and says what follows from a
run's training frames, what the loss is on a batch, and what the errors are, in which units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from experiments.core.arrays import Ints

if TYPE_CHECKING:
    from experiments.tasks.evaluation import Evaluation

Tensors = Mapping[str, Tensor]


class Model(Protocol):
    """A network whose parameters carry the pack axis first; what else it can do is between it and the task."""

    def init(self, seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Parameters of one run, without a pack axis; names that begin with `constant.` are not trained."""
        ...


class PreparedData(Protocol):
    """What a run derives from its own training frames, and from no others."""

    @property
    def subset(self) -> Ints:
        """Indices of the training frames in the pool, `[P]`."""
        ...

    @property
    def constants(self) -> Mapping[str, float]:
        """Values for entries `constant.*` of the model's parameters."""
        ...


class Evaluator(Protocol):
    """Errors of one run's weights (by name, without a pack axis)."""

    def full(self, weights: Tensors, prepared: Any) -> Evaluation:
        """On all test frames and on the run's training frames."""
        ...

    def validation(self, weights: Tensors, prepared: Any) -> dict[str, float]:
        """On the holdout: named numbers for history and progress."""
        ...


class Task(Protocol):
    """A problem with its data on a device."""

    dtype: torch.dtype
    device: torch.device
    traced: dict[Any, Any]
    """Compiled functions that the engine keeps for as long as the task lives."""

    @property
    def inputs(self) -> Tensors:
        """The pool as tensors `[F, ...]`, from which `loss` picks; shared by all runs of a pack."""
        ...

    def targets(self, runs: Sequence[Any], weights: Sequence[tuple[float, float]]) -> Tensors:
        """Labels of a pack, normalised by each run's own training frames, and the weights of the loss's two terms;
        all `[p, ...]`."""
        ...

    def loss(
        self,
        model: Any,
        params: Tensors,
        targets: Tensors,
        inputs: Tensors,
        picked: Tensor,
        terms: tuple[bool, bool],
    ) -> Tensor:
        """Loss of every run `[p]` on its batch `picked` `[p, B]`; traceable and twice differentiable.
        `terms` tells which of the loss's two terms have a weight above zero."""
        ...

    def evaluator(self, model: Any, terms: tuple[bool, bool]) -> Evaluator:
        """How runs trained on these terms of the loss are judged."""
        ...
