"""A run in a pack: its own frames, seeds and settings, its progress, and the state that it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from experiments.config.training import TrainingConfig
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
    evaluations: dict[int, Evaluation] = field(default_factory=dict)
    """Errors at the end of each schedule, by its updates (T/4, T/2 and T)."""
    branch_state: dict[str, Tensor] | None = None
    """State kept at a branch point, to come back to after the branch, and at the cooldown start, for `STABLE_PHASE`;
    stored as `aside/…`."""
    best_weights: dict[str, Tensor] | None = None
    """With `training.stop=validation`, the weights of the best schedule so far; stored as `best/…`."""
    weights: dict[str, Tensor] | None = None
    """Averaged parameters and constants that the run keeps, once it has ended."""
    failure: str | None = None
    step_kind: str | None = None
    """What made its updates: `compiled`, `eager`, or `mixed` if an interruption or another pack size changed it."""
    step_reason: str | None = None
    """Why a step that was to be compiled was eager."""
    history: History = field(init=False)
    schedule: Schedule = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.path)
        self.schedule = Schedule(self.settings.max_steps, self.settings.warmup_steps, self.settings.cooldown)

    @property
    def compiles(self) -> bool:
        """Whether its step is to be compiled: as it was before an interruption, else by its settings."""
        latest = checkpoint.latest(self.earlier)
        begun = None if latest is None else latest.facts.get("step_kind")  # none in older files
        return begun == "compiled" if begun in ("compiled", "eager") else self.settings.compiles

    @property
    def weighting(self) -> LossWeights:
        """Weights of the loss's terms of energies and of forces, until the learning rate falls."""
        return LossWeights.of(self.settings.energy_weight, self.settings.force_weight)

    def weighting_at(self, steps_done: int) -> LossWeights:
        """Return the weights of the update after `steps_done` others."""
        late = self.settings.late_energy_weight
        if late is None or not self.schedule.decays(steps_done):
            return self.weighting
        return LossWeights.of(late, self.settings.force_weight)

    @property
    def full(self) -> Evaluation | None:
        """Errors of the whole schedule."""
        return self.evaluations.get(self.schedule.max_steps)

    @property
    def half(self) -> Evaluation | None:
        """Errors of the schedule of half the updates."""
        return self.evaluations.get(self.schedule.half)

    @property
    def outcome(self) -> Evaluation:
        """Errors of the weights that the run keeps."""
        best = best_budget(self.evaluations) if self.stops_by_validation else None
        return self.evaluations[self.schedule.max_steps if best is None else best]

    @property
    def ends_a_schedule(self) -> bool:
        """Whether its last update was the last of a schedule, and it has not failed."""
        ends = {self.schedule.total, *(branch.end for branch in self.schedule.branches)}
        return self.failure is None and self.steps_done in ends

    @property
    def stops_by_validation(self) -> bool:
        """Whether the run's result is that of the schedule with the lowest validation error."""
        return self.settings.stop == "validation"

    @property
    def advice(self) -> str:
        """What to try if its numbers are no longer finite."""
        return f"try a training.learning_rate below {self.settings.learning_rate:g} or a smaller training.clip"

    def restart(self) -> None:
        """Forget all progress: a pack that did not fit into memory may have left some that is in no checkpoint."""
        self.steps_done = self.start = 0
        self.seconds = self.cpu_seconds = 0.0
        self.evaluations = {}
        self.branch_state = self.best_weights = self.weights = self.failure = None
        self.step_kind = self.step_reason = None
        self.history.restart()

    def resume(self, facts: Mapping[str, Any]) -> None:
        """Set the progress to that of a checkpoint, from its `facts`."""
        self.steps_done, self.start = int(facts["clock"]), int(facts["start"])
        self.seconds, self.cpu_seconds = float(facts["seconds"]), float(facts["cpu_seconds"])
        self.evaluations = evaluations_of(facts["ends"]) if "ends" in facts else self._of_two_schedules(facts["half"])
        self.step_kind, self.step_reason = facts.get("step_kind"), facts.get("step_reason")  # none in older files
        self.history.resume(facts["history"])

    def _of_two_schedules(self, half: Mapping[str, Any] | None) -> dict[int, Evaluation]:
        """Adapt the progress of a checkpoint from before there was a schedule of T/4: what is past it goes without."""
        first = self.schedule.branches[0]
        if first.budget == self.schedule.quarter and self.steps_done > first.leaves:
            skipped = first.end - first.start
            self.steps_done, self.start = self.steps_done + skipped, self.start + skipped
        return {} if half is None else {self.schedule.half: Evaluation.from_json(half)}

    def facts(self) -> dict[str, Any]:
        """Return the JSON facts of a checkpoint, which `resume` reads."""
        return {
            "clock": self.steps_done,
            "start": self.start,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "ends": {budget: one.to_json() for budget, one in self.evaluations.items()},
            "step_kind": self.step_kind,
            "step_reason": self.step_reason,
            "history": self.history.records,
        }

    def computed_by(self, kind: str, why: str | None) -> None:
        """Note what makes its updates from now on; `why` it is eager although it was to be compiled, if so."""
        self.step_kind = kind if self.step_kind in (None, kind) else "mixed"
        self.step_reason = why or self.step_reason

    def continue_stable_phase(self, facts: Mapping[str, Any]) -> None:
        """Start where a run of a smaller budget left the stable phase.

        Its schedules that are this run's, too, are not computed again; those of this run that left the stable phase
        before and were not among them stay unknown.
        """
        ends = evaluations_of(facts["ends"])
        branches = self.schedule.branches
        self.evaluations = {one.budget: ends[one.budget] for one in branches if one.budget in ends}
        self.steps_done = self.schedule.stable(int(facts["step"]))
        for one in branches:
            if one.budget in self.evaluations:
                self.steps_done = max(self.steps_done, one.end)
        self.start = self.steps_done

    def save_stable_phase(self) -> None:
        """Write the file `STABLE_PHASE` for a larger budget to continue."""
        assert self.branch_state is not None
        best = best_budget(self.evaluations) if self.stops_by_validation else None
        kept = {} if best is None or self.weights is None else {f"best/{k}": v for k, v in self.weights.items()}
        ends = {budget: one.to_json() for budget, one in self.evaluations.items()}
        facts = {"step": self.schedule.decay_start(self.schedule.max_steps), "ends": ends, "best": best}
        checkpoint.save(self.path / STABLE_PHASE, Checkpoint({**self.branch_state, **kept}, facts))


def evaluations_of(ends: Mapping[str, Any]) -> dict[int, Evaluation]:
    """Read the errors by budget from the facts of a file."""
    return {int(budget): Evaluation.from_json(one) for budget, one in ends.items()}


def best_budget(evaluations: Mapping[int, Evaluation]) -> int | None:
    """Return the updates of the schedule with the lowest validation error, the longest of equals; None if unknown."""
    known = [(one.validation, -budget) for budget, one in evaluations.items() if one.validation is not None]
    return -min(known)[1] if known else None


def usable_stable_phase(path: Path, schedule: Schedule, budget: int, by_validation: bool = False) -> Checkpoint | None:
    """Load the end of a stable phase; return None if it is absent, damaged or of no use.

    Args:
        path: the file.
        schedule: of the run that would continue it; of no use beyond the point where its half leaves.
        budget: updates of the run that left it.
        by_validation: whether the run needs the weights of the best schedule so far, and that schedule is its own.
    """
    stored = checkpoint.load(path) if path.exists() else None
    if stored is None or stored.facts["step"] > schedule.branch_point:
        return None
    if by_validation and stored.facts.get("best") not in {one.budget for one in schedule.branches}:
        return None
    if "ends" in stored.facts:
        return stored
    return Checkpoint(stored.tensors, {**stored.facts, "ends": {str(budget): stored.facts["full"]}})
