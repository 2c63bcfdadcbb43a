"""The learning rate over three complete schedules that share their stable phase: warm-up, constant, decay to zero.

The schedules of T, T/2 and T/4 updates coincide until a shorter one begins to decay. So the stable phase is computed
once: at a branch point its state is kept, the shorter schedule decays on a branch and gives the result of its budget,
and then the stable phase goes on from the kept state. Each result is exactly that of its schedule run alone, and the
branches change no digit of the long schedule's. With half of each budget in its decay, all three cost 1.375 T.

Two counters: `steps_done` counts the updates that were computed, branches included; `step` is the place in a schedule.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

FEWEST_UPDATES = 8
"""A budget of fewer updates has no schedule of a quarter, which would be one update or none, and no verdict."""


@dataclass(frozen=True)
class Branch:
    """A shorter complete schedule that leaves the stable phase."""

    budget: int
    """Its updates."""
    leaves: int
    """Step at which it leaves the stable phase."""
    start: int
    """Steps done at which it begins."""

    @property
    def end(self) -> int:
        """Steps done at which it has ended, and the stable phase goes on."""
        return self.start + self.budget - self.leaves


@dataclass(frozen=True)
class Schedule:
    """Warm-up over `warmup` updates, then constant, then linear to zero over the last `cooldown` of each budget."""

    max_steps: int
    warmup: int
    cooldown: float

    @property
    def half(self) -> int:
        """Updates of the schedule of half the budget."""
        return self.max_steps // 2

    @property
    def quarter(self) -> int | None:
        """Updates of the schedule of a quarter of the budget; None for fewer than `FEWEST_UPDATES` in all."""
        return self.max_steps // 4 if self.max_steps >= FEWEST_UPDATES else None

    def decay_start(self, budget: int) -> int:
        """Return the first step of a schedule of `budget` updates that decays."""
        return budget - max(1, round(self.cooldown * budget))

    @cached_property
    def branches(self) -> tuple[Branch, ...]:
        """The shorter schedules in the order in which they are computed."""
        branches: list[Branch] = []
        added = 0
        for budget in (self.quarter, self.half):
            if budget is not None:
                leaves = self.decay_start(budget)
                branches.append(Branch(budget, leaves, leaves + added))
                added += budget - leaves
        return tuple(branches)

    @property
    def branch_point(self) -> int:
        """Step at which the branch of half the budget, the last one, leaves the stable phase."""
        return self.branches[-1].leaves

    @property
    def total(self) -> int:
        """Updates to compute in all: the long schedule and the branches."""
        return self.max_steps + self._on_branches(self.max_steps)

    @property
    def cooldown_start(self) -> int:
        """Steps done at which the long schedule leaves the stable phase; a larger budget would go on from there."""
        return self.decay_start(self.max_steps) + self._on_branches(self.max_steps)

    @property
    def marks(self) -> Iterator[int]:
        """Steps done at which something happens: the ends of all phases."""
        for branch in self.branches:
            yield from (branch.start, branch.end)
        yield from (self.cooldown_start, self.total)

    def _on_branches(self, step: int) -> int:
        """Return the updates on branches that leave the stable phase before `step`."""
        return sum(branch.end - branch.start for branch in self.branches if branch.leaves < step)

    def stable(self, step: int) -> int:
        """Return the steps done when the stable phase reaches `step`, before a branch that leaves it there."""
        return step + self._on_branches(step)

    def branch(self, steps_done: int) -> Branch | None:
        """Return the branch that the update after `steps_done` others belongs to; None for the long schedule."""
        return next((one for one in self.branches if one.start <= steps_done < one.end), None)

    def step(self, steps_done: int) -> int:
        """Return the place in its schedule of the update after `steps_done` others."""
        return steps_done - sum(one.end - one.start for one in self.branches if one.end <= steps_done)

    def factor(self, steps_done: int) -> float:
        """Return the learning rate of the update after `steps_done` others, in units of the peak's."""
        branch = self.branch(steps_done)
        budget = self.max_steps if branch is None else branch.budget
        step, start = self.step(steps_done), self.decay_start(budget)
        return self.rise(steps_done) * (1.0 if step < start else (budget - step) / (budget - start))

    def decays(self, steps_done: int) -> bool:
        """Return whether the update after `steps_done` others is one in which the learning rate falls."""
        branch = self.branch(steps_done)
        return self.step(steps_done) >= self.decay_start(self.max_steps if branch is None else branch.budget)

    def rise(self, steps_done: int) -> float:
        """Return the factor of the warm-up alone: the learning rate of an optimiser that does not anneal."""
        return min(1.0, (self.step(steps_done) + 1) / self.warmup) if self.warmup else 1.0
