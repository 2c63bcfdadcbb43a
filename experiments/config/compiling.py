"""When the step of a training is compiled, and what it costs, in words: a rule of settings alone, torch-free.

A run's digits depend on how its step was made. So the choice must be known before the run, and must not depend on what
lies in a cache, what other runs there are, or what a machine is like.
"""

from __future__ import annotations

from experiments.core.wording import counted

REPAID = 1500
"""Updates (`max_steps`) that repay the compilation of their step. Time to compile and time saved are both in proportion
to the number of a step's operations, so that what balances them depends little on the network: about 2,000 updates
(docs/speed.md), which the three schedules of 1,500 are. Other runs of a curve have the compiled step for nothing."""
TAKES = "about a minute of one core"
"""Time to compile a step (docs/speed.md)."""


def in_words(compiled: bool, settings_say: bool) -> str:
    """Return in one line what makes a training's updates, and how long it takes until they begin.

    Args:
        compiled: whether the step is compiled.
        settings_say: whether it would be by the settings (`TrainingConfig.compiles`).
    """
    if compiled:
        return f"the step is compiled before the first update, in {TAKES}; runs of this shape then start in seconds"
    if settings_say:
        return "the step is not compiled, as before the interruption or for what it lacks"
    return f"the step is not compiled, which takes {TAKES} and pays from training.max_steps={REPAID} on"


def of_a_sweep(shapes: int, datasets: int, short: int) -> str:
    """Return in one line what a sweep compiles, and what that costs; empty if there is nothing to say.

    Args:
        shapes: shapes that are compiled.
        datasets: data sets of their runs; those with equal numbers of atoms and neighbours share shapes.
        short: runs whose step is not compiled because they have too few updates.
    """
    parts = []
    if shapes:
        most = "at most " if datasets > 1 else ""
        each = "" if shapes == 1 else " each"
        parts.append(f"compiles {most}{counted(shapes, 'shape')}, once a machine, in {TAKES}{each}")
    if short:
        parts.append(f"trains {counted(short, 'run')} without compiling, which pays from max_steps={REPAID} on")
    return "; ".join(parts)
