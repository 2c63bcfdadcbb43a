"""The learning rate over two complete schedules that share their stable phase: warm-up, constant, decay to zero.

The schedules of T and of T/2 updates coincide until the shorter one begins to decay. So the stable phase is computed
once: at the branch point its state is kept, the short schedule decays on a branch and gives the result of half the
budget, and then the stable phase goes on from the kept state. Each result is exactly that of its schedule run alone.

Two counters: `steps_done` counts the updates that were computed, branch included; `step` is the place in a schedule.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Warm-up over `warmup` updates, then constant, then linear to zero over the last `cooldown` of each budget."""

    max_steps: int
    warmup: int
    cooldown: float

    @property
    def half(self) -> int:
        """Updates of the short schedule."""
        return self.max_steps // 2

    def decay_start(self, budget: int) -> int:
        """Return the first step of a schedule of `budget` updates that decays."""
        return budget - max(1, round(self.cooldown * budget))

    @property
    def branch_point(self) -> int:
        """Steps done (and step) at which the branch leaves the stable phase."""
        return self.decay_start(self.half)

    @property
    def total(self) -> int:
        """Updates to compute in all: the long schedule and the branch."""
        return self.max_steps + self.half - self.branch_point

    @property
    def cooldown_start(self) -> int:
        """Steps done at which the long schedule leaves the stable phase; a larger budget would go on from there."""
        return self.decay_start(self.max_steps) + self.half - self.branch_point

    def on_branch(self, steps_done: int) -> bool:
        """Return whether the update after `steps_done` others belongs to the branch."""
        return self.branch_point <= steps_done < self.half

    def step(self, steps_done: int) -> int:
        """Return the place in its schedule of the update after `steps_done` others."""
        return steps_done if steps_done < self.half else steps_done - (self.half - self.branch_point)

    def factor(self, steps_done: int) -> float:
        """Return the learning rate of the update after `steps_done` others, in units of the peak's."""
        budget = self.half if self.on_branch(steps_done) else self.max_steps
        step, start = self.step(steps_done), self.decay_start(budget)
        return self.rise(steps_done) * (1.0 if step < start else (budget - step) / (budget - start))

    def rise(self, steps_done: int) -> float:
        """Return the factor of the warm-up alone: the learning rate of an optimiser that does not anneal."""
        return min(1.0, (self.step(steps_done) + 1) / self.warmup) if self.warmup else 1.0
