"""The errors of a run's complete schedules (T, T/2 and T/4), by either protocol of stopping, and a verdict on them.

Protocols (`training.stop`): by *budget*, the result of T updates is that of the schedule of T. By *validation*, it is
that of the schedule of up to T updates with the lowest error on the run's own validation frames, as published trainings
stop; these frames count as P. Every run has both; the setting says which one its result and its weights are.

A verdict follows the law of the remainder: with an excess of ln ε over its limit ∝ T^(−κ), what T updates leave is
d/(2^κ − 1), where d is what the last doubling brought, and 2^κ the ratio of the last two doublings' gains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from experiments.tasks.evaluation import Evaluation
from experiments.training.member import best_budget
from experiments.training.schedule import Schedule

CONVERGED_WITHIN = 0.10
"""Share of its error that further training may still take off a converged run: over P in 16…256 a larger excess at the
largest P alone shifts β by more than ln(1.1)/ln(16) ≈ 0.03. The verdict on a curve, which has intervals over seeds, is
the analysis's."""
SLOWEST, FASTEST = 0.5, 2.0
"""Range of κ where three schedules do not tell it: gradient noise gives ½ to 1, a quadratic bowl more."""
RISE = 0.03
"""Rise of ln ε with more training above which a run overfits; branches scatter by .5 to 1.5 % (measured)."""

CONVERGED, NOT_CONVERGED, CANNOT_TELL, OVERFITTING = "converged", "not_converged", "cannot_tell", "overfitting"


@dataclass(frozen=True)
class Schedules:
    """Errors by one protocol.

    full           of T updates
    half, quarter  of T/2 and T/4; None if there are none
    steps          updates of the schedule that `full` is of; None for a fit in closed form
    n_validation   labels of validation frames that were used
    """

    full: Evaluation
    half: Evaluation | None = None
    quarter: Evaluation | None = None
    steps: int | None = None
    n_validation: int = 0


def by_budget(evaluations: Mapping[int, Evaluation], schedule: Schedule) -> Schedules:
    """Return the errors of the schedules of T, T/2 and T/4 updates."""
    quarter = None if schedule.quarter is None else evaluations.get(schedule.quarter)
    return Schedules(evaluations[schedule.max_steps], evaluations.get(schedule.half), quarter, schedule.max_steps)


def by_validation(evaluations: Mapping[int, Evaluation], schedule: Schedule) -> Schedules | None:
    """Return the errors of the best schedules of up to T, T/2 and T/4 updates; None without validation frames."""

    def best(limit: int) -> int | None:
        return best_budget({budget: one for budget, one in evaluations.items() if budget <= limit})

    budgets = [
        None if limit is None else best(limit) for limit in (schedule.max_steps, schedule.half, schedule.quarter)
    ]
    full, half, quarter = (None if budget is None else evaluations[budget] for budget in budgets)
    return None if full is None else Schedules(full, half, quarter, budgets[0], full.n_validation)


def verdict(errors: tuple[float | None, float | None, float], step: float = 0.0) -> str | None:
    """Return the verdict on a training from the errors of T/4, T/2 and T updates; None without T/2.

    Args:
        errors: of T/4, T/2 (None if there are none) and T updates.
        step: smallest difference that two errors can have; such neighbours count as equal.
    """
    quarter, half, full = errors
    if half is None:
        return None
    if any(before is not None and _gain(before, full, step) < -RISE for before in (half, quarter)):
        return OVERFITTING
    gain = _gain(half, full, step)
    earlier = math.nan if quarter is None else _gain(quarter, half, step)
    slowest, fastest = SLOWEST, FASTEST
    if gain > 0 and earlier > gain:
        slowest = fastest = min(max(math.log2(earlier / gain), SLOWEST), FASTEST)
    if abs(gain) / (2**slowest - 1) <= CONVERGED_WITHIN:
        return CONVERGED
    return NOT_CONVERGED if gain / (2**fastest - 1) > CONVERGED_WITHIN else CANNOT_TELL


def _gain(before: float, after: float, step: float) -> float:
    """Return by how much ln ε fell; zero for neighbouring values."""
    if abs(before - after) <= step:
        return 0.0
    if before == 0 or after == 0:
        return math.inf if after == 0 else -math.inf
    return math.log(before / after)
