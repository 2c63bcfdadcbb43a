"""Two complete schedules that share their stable phase: every factor is that of its schedule alone."""

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
def test_clock_walks_trunk_branch_trunk(schedule: Schedule) -> None:
    """The branch is the end of the short schedule; what remains is the long schedule, each step once."""
    counts = range(schedule.total)
    branch = [schedule.step(c) for c in counts if schedule.on_branch(c)]
    stable = [schedule.step(c) for c in counts if not schedule.on_branch(c)]
    assert branch == list(range(schedule.branch_point, schedule.half))
    assert stable == list(range(schedule.max_steps))


def both(schedule: Schedule) -> tuple[list[float], list[float]]:
    """Factors of the short and of the long schedule, in the order of the updates."""
    short, long = [], []
    for steps_done in range(schedule.total):
        if not schedule.on_branch(steps_done):
            long.append(schedule.factor(steps_done))
        if steps_done < schedule.half:
            short.append(schedule.factor(steps_done))
    return short, long


@given(SCHEDULES)
def test_each_schedule_is_the_definition(schedule: Schedule) -> None:
    for factors, budget in zip(both(schedule), (schedule.half, schedule.max_steps), strict=True):
        expected = [alone(budget, schedule.warmup, schedule.cooldown, step) for step in range(budget)]
        assert factors == pytest.approx(expected, rel=1e-12)  # round-off of another order of operations


@given(SCHEDULES)
def test_the_short_one_is_bit_for_bit_that_of_half_the_budget(schedule: Schedule) -> None:
    if schedule.half >= 2:
        assert both(schedule)[0] == both(Schedule(schedule.half, schedule.warmup, schedule.cooldown))[1]


@given(SCHEDULES)
def test_rates_are_positive_and_end_low(schedule: Schedule) -> None:
    factors = [schedule.factor(c) for c in range(schedule.total)]
    assert all(0 < f <= 1 for f in factors)
    assert factors[-1] <= 1 / max(1, round(schedule.cooldown * schedule.max_steps)) + 1e-12  # round-off of the division


def test_known_values() -> None:
    schedule = Schedule(8, 2, 0.5)
    assert (schedule.half, schedule.branch_point, schedule.total) == (4, 2, 10)
    assert [schedule.factor(c) for c in range(10)] == [0.5, 1, 1, 0.5, 1, 1, 1, 0.75, 0.5, 0.25]
