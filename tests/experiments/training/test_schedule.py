"""Three complete schedules that share their stable phase: every factor is that of its schedule alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.training.schedule import Schedule

SCHEDULES = st.builds(
    Schedule, st.integers(2, 400), st.integers(0, 300), st.floats(0.0, 1.0, exclude_min=True, allow_subnormal=False)
)


def alone(budget: int, warmup: int, cooldown: float, step: int) -> float:
    """Warm-up, stable, linear decay to zero over the last `cooldown` of `budget`: the definition."""
    decay = max(1, round(cooldown * budget))
    rise = min(1.0, (step + 1) / warmup) if warmup else 1.0
    fall = (budget - step) / decay if step >= budget - decay else 1.0
    return rise * min(1.0, fall)


@given(SCHEDULES)
def test_steps_walk_the_stable_phase_and_its_branches(schedule: Schedule) -> None:
    """A branch is the end of its schedule; what remains is the long schedule, each step once."""
    counts = range(schedule.total)
    for branch in schedule.branches:
        steps = [schedule.step(c) for c in counts if schedule.branch(c) is branch]
        assert steps == list(range(schedule.decay_start(branch.budget), branch.budget))
    assert [schedule.step(c) for c in counts if schedule.branch(c) is None] == list(range(schedule.max_steps))


def factors(schedule: Schedule) -> dict[int, list[float]]:
    """Factors of every schedule by its budget: of the stable phase before it, then of its branch."""
    found: dict[int, list[float]] = {}
    stable: list[float] = []
    for steps_done in range(schedule.total):
        branch = schedule.branch(steps_done)
        if branch is None:
            stable.append(schedule.factor(steps_done))
        else:
            found.setdefault(branch.budget, stable[: branch.leaves]).append(schedule.factor(steps_done))
    return {**found, schedule.max_steps: stable}


@given(SCHEDULES)
def test_each_schedule_is_the_definition(schedule: Schedule) -> None:
    budgets = [budget for budget in (schedule.quarter, schedule.half) if budget is not None]
    assert list(factors(schedule)) == [*budgets, schedule.max_steps]
    for budget, found in factors(schedule).items():
        expected = [alone(budget, schedule.warmup, schedule.cooldown, step) for step in range(budget)]
        assert found == pytest.approx(expected, rel=1e-12)  # round-off of another order of operations


@given(SCHEDULES)
def test_a_shorter_one_is_bit_for_bit_that_of_its_budget(schedule: Schedule) -> None:
    for budget, found in factors(schedule).items():
        if budget >= 2:
            assert found == factors(Schedule(budget, schedule.warmup, schedule.cooldown))[budget]


@given(st.integers(8, 100_000), st.floats(0.0, 0.5, exclude_min=True))
def test_all_three_cost_little_more_than_the_long_one(steps: int, cooldown: float) -> None:
    """Half of each in its decay: T + T/4 + T/8, and a rounding up of one update a branch."""
    assert Schedule(steps, 0, cooldown).total <= 1.375 * steps + 2


@given(SCHEDULES)
def test_rates_are_positive_and_end_low(schedule: Schedule) -> None:
    factors = [schedule.factor(c) for c in range(schedule.total)]
    assert all(0 < f <= 1 for f in factors)
    assert factors[-1] <= 1 / max(1, round(schedule.cooldown * schedule.max_steps)) + 1e-12  # round-off of the division


def test_known_values() -> None:
    schedule = Schedule(8, 2, 0.5)
    assert [(one.budget, one.leaves, one.start, one.end) for one in schedule.branches] == [(2, 1, 1, 2), (4, 2, 3, 5)]
    assert (schedule.cooldown_start, schedule.total) == (7, 11)
    assert [schedule.factor(c) for c in range(11)] == [0.5, 1, 1, 1, 0.5, 1, 1, 1, 0.75, 0.5, 0.25]


def test_a_budget_without_a_quarter() -> None:
    """Seven updates: T and T/2 alone, as before there was a quarter."""
    schedule = Schedule(7, 0, 0.5)
    assert schedule.quarter is None
    assert [(one.budget, one.leaves, one.start, one.end) for one in schedule.branches] == [(3, 1, 1, 3)]
