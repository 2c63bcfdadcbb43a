"""The learning rate over two complete schedules that share a trunk: warm-up, stable, decay to zero.

The schedule of T updates and the one of T/2 coincide until the shorter one begins to decay. So the trunk is walked
once: at the fork it is put aside, the short schedule decays on a branch and gives the result of half the budget,
then the trunk goes on as if nothing had been. Each result is exactly that of its schedule run alone.

Two counters: the *clock* counts the updates that were computed; the *step* is the place in a schedule.
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
    def fork(self) -> int:
        """Clock (and step) at which the branch leaves the trunk."""
        return self.decay_start(self.half)

    @property
    def total(self) -> int:
        """Updates to compute in all: the long schedule and the branch."""
        return self.max_steps + self.half - self.fork

    @property
    def departure(self) -> int:
        """Clock at which the long schedule leaves the trunk; a larger budget would go on from there."""
        return self.decay_start(self.max_steps) + self.half - self.fork

    def on_branch(self, clock: int) -> bool:
        """Whether the update at `clock` belongs to the branch."""
        return self.fork <= clock < self.half

    def step(self, clock: int) -> int:
        """Place in its schedule of the update at `clock`."""
        return clock if clock < self.half else clock - (self.half - self.fork)

    def factor(self, clock: int) -> float:
        """Learning rate of the update at `clock` in units of the peak's."""
        budget = self.half if self.on_branch(clock) else self.max_steps
        step, start = self.step(clock), self.decay_start(budget)
        return self.rise(clock) * (1.0 if step < start else (budget - step) / (budget - start))

    def rise(self, clock: int) -> float:
        """The warm-up alone: the learning rate of an optimiser that does not anneal."""
        return min(1.0, (self.step(clock) + 1) / self.warmup) if self.warmup else 1.0
