"""The learning rate over two complete schedules that share a trunk: warm-up, stable, decay to zero.

The schedule of T updates and the one of T/2 coincide until the shorter one begins to decay. So the trunk is walked
once: at the fork it is put aside, the short schedule decays on a branch and gives the result of half the budget,
then the trunk goes on as if nothing had been. Each result is exactly that of its schedule run alone.

Two counters: the *steps_done* counts the updates that were computed; the *step* is the place in a schedule.
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
        """First step of a schedule of `budget` updates that decays."""
        return budget - max(1, round(self.cooldown * budget))

    @property
    def branch_point(self) -> int:
        """Clock (and step) at which the branch leaves the trunk."""
        return self.decay_start(self.half)

    @property
    def total(self) -> int:
        """Updates to compute in all: the long schedule and the branch."""
        return self.max_steps + self.half - self.branch_point

    @property
    def cooldown_start(self) -> int:
        """Clock at which the long schedule leaves the trunk; a larger budget would go on from there."""
        return self.decay_start(self.max_steps) + self.half - self.branch_point

    def on_branch(self, steps_done: int) -> bool:
        """Whether the update at `steps_done` belongs to the branch."""
        return self.branch_point <= steps_done < self.half

    def step(self, steps_done: int) -> int:
        """Place in its schedule of the update at `steps_done`."""
        return steps_done if steps_done < self.half else steps_done - (self.half - self.branch_point)

    def factor(self, steps_done: int) -> float:
        """Learning rate of the update at `steps_done` in units of the peak's."""
        budget = self.half if self.on_branch(steps_done) else self.max_steps
        step, start = self.step(steps_done), self.decay_start(budget)
        return self.rise(steps_done) * (1.0 if step < start else (budget - step) / (budget - start))

    def rise(self, steps_done: int) -> float:
        """The warm-up alone: the learning rate of an optimiser that does not anneal."""
        return min(1.0, (self.step(steps_done) + 1) / self.warmup) if self.warmup else 1.0
