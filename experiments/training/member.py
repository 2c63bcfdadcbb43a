"""A run in a pack: its own frames, seeds and settings, its progress, and the state that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.config.run import TrainingConfig
from experiments.tasks.evaluation import Evaluation
from experiments.tasks.task import LossWeights
from experiments.training import checkpoint
from experiments.training.checkpoint import Checkpoint
from experiments.training.history import History
from experiments.training.schedule import Schedule

STABLE_PHASE = "trunk.safetensors"
"""File of the state at the end of the stable phase, from which a larger budget continues."""


@dataclass
class Member:
    """A run in a pack.

    Members of one pack have shapes and operations in common (`RunConfig.shape_id`); every number of their
    settings may differ.
    """

    name: str
    path: Path
    """Directory of its attempt."""
    earlier: Sequence[Path]
    """Directories in which to look for a checkpoint, latest attempt first."""
    seed: int
    init_seed: int
    settings: TrainingConfig
    prepared: Any
    """The task's `PreparedData` of its training frames."""
    stable_phase: Checkpoint | None = None
    """The end of the stable phase of a run of a smaller budget, to start from; see `usable_stable_phase`."""
    steps_done: int = 0
    """Updates computed, the branch's included (`Schedule`); stored as `clock`."""
    start: int = 0
    """Steps done when its own updates began: 0, unless it continues another run's stable phase."""
    seconds: float = 0.0
    """Wall time of its own updates; compiling, evaluations and checkpoints apart."""
    cpu_seconds: float = 0.0
    """The processor's time of the same."""
    half: Evaluation | None = None
    full: Evaluation | None = None
    branch_state: dict[str, Tensor] | None = None
    """State kept at the branch point, to come back to after the branch, and at the cooldown start, for `STABLE_PHASE`;
    stored as `aside/…`."""
    weights: dict[str, Tensor] | None = None
    """Averaged parameters and constants, once it has ended."""
    failure: str | None = None
    history: History = field(init=False)
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.path)
        self.schedule = Schedule(self.settings.max_steps, self.settings.warmup_steps, self.settings.cooldown)

    @property
    def weighting(self) -> LossWeights:
        """Weights of the loss's terms of energies and of forces."""
        return LossWeights(self.settings.energy_weight, self.settings.force_weight)

    def restart(self) -> None:
        """Forget all progress: a pack that did not fit into memory may have left some that is in no checkpoint."""
        self.steps_done = self.start = 0
        self.seconds = self.cpu_seconds = 0.0
        self.half = self.full = self.branch_state = self.weights = self.failure = None
        self.history.restart()

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Set the progress to that of a checkpoint, from its `facts`."""
        self.steps_done, self.start = int(facts["clock"]), int(facts["start"])
        self.seconds, self.cpu_seconds = float(facts["seconds"]), float(facts["cpu_seconds"])
        self.half = None if facts["half"] is None else Evaluation.from_json(facts["half"])
        self.history.resume(facts["history"])

    def facts(self) -> dict[str, Any]:
        """Return the JSON facts of a checkpoint, which `resume` reads."""
        return {
            "clock": self.steps_done,
            "start": self.start,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "half": None if self.half is None else self.half.to_json(),
            "history": self.history.records,
        }

    def continue_stable_phase(self, facts: Mapping[str, Any]) -> None:
        """Start where a run of a smaller budget left the stable phase.

        If that is this run's branch point, then that run is this run's branch, and its errors are those of half the
        budget.
        """
        step = int(facts["step"])
        if step == self.schedule.branch_point:
            self.half = Evaluation.from_json(facts["full"])
            self.steps_done = self.schedule.half
        else:
            self.steps_done = step
        self.start = self.steps_done

    def save_stable_phase(self) -> None:
        """Write the file `STABLE_PHASE` for a larger budget to continue."""
        assert self.branch_state is not None
        assert self.full is not None
        facts = {"step": self.schedule.decay_start(self.schedule.max_steps), "full": self.full.to_json()}
        checkpoint.save(self.path / STABLE_PHASE, Checkpoint(self.branch_state, facts))


def usable_stable_phase(path: Path, schedule: Schedule) -> Checkpoint | None:
    """Load the end of a stable phase; return None if it is absent, damaged or beyond the schedule's branch point."""
    stored = checkpoint.load(path) if path.exists() else None
    return stored if stored is not None and stored.facts["step"] <= schedule.branch_point else None
