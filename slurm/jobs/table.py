"""The output of `status`: counts of runs by state, a table of those that are not done, and advice."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from experiments.core.states import RunState
from experiments.core.wording import counted, duration
from slurm.jobs.status import STATES, RunStatus, Survey

SHOWN = 20
"""Most rows of a state; a sweep may have thousands."""
WIDE = 200
"""Characters of a line if the output is no terminal."""
UNITS = {"force_mae": "meV/Å", "force_rmse": "meV/Å", "energy_mae": "meV/atom", "energy_rmse": "meV/atom"}
COLUMNS = ("run", "model", "P", "seed", "state", "updates", "validation", "left", "job", "why")


def summary(survey: Survey) -> str:
    """Return a line such as `80 runs: 4 running, 10 queued, 3 failed, 63 done`."""
    counts = survey.counts()
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    return counted(len(survey.runs), "run") + (f": {', '.join(parts)}" if parts else "")


def show(survey: Survey, stores: Sequence[str], everything: bool = False) -> RenderableType:
    """Return the summary, the table and the advice, to be printed.

    Args:
        survey: states of the runs.
        stores: as the commands in the advice name them.
        everything: a row for every run, instead of `SHOWN` a state and none for those that are done.
    """
    parts: list[RenderableType] = [Text(summary(survey), style="bold")]
    if not survey.scheduler.reachable:
        parts.append(
            Text(f"the scheduler does not answer ({survey.scheduler.message}); runs that depend on it are unknown")
        )
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        right = column in ("P", "seed", "updates", "validation", "left")
        last = column == "why"
        table.add_column(column, justify="right" if right else "left", no_wrap=not last, overflow="fold")
    for state in STATES:
        rows = survey.of(state)
        shown = rows if everything else rows[:SHOWN] if state != RunState.DONE else []
        for run in shown:
            table.add_row(*(Text(cell) for cell in _cells(run)))
        if state != RunState.DONE and len(rows) > len(shown):
            table.add_row("", f"and {len(rows) - len(shown)} more {state} (--all)")
    if table.row_count:
        parts.append(table)
    parts += [Text(line) for line in advice(survey, stores)]
    return Group(*parts)


def advice(survey: Survey, stores: Sequence[str]) -> list[str]:
    """Return a line of advice for each kind of run that will not be done without help."""
    where = " ".join(f"--store {shlex.quote(store)}" for store in stores)
    counts = survey.counts()
    lines = []
    if counts[RunState.FAILED]:
        first = survey.of(RunState.FAILED)[0].run_id
        lines.append(
            f"failed: python -m slurm logs {first} {where} shows why; python -m slurm retry {where} runs them again"
        )
    if counts[RunState.LOST]:
        lines.append(
            f"lost: python -m slurm retry {where} goes on from the last checkpoints; so does the sweep's command"
        )
    if counts[RunState.CANCELLED]:
        lines.append("cancelled: python -m slurm retry RUN or the sweep's command takes them up again")
    if any(run.state == RunState.QUEUED and run.job is None and run.why for run in survey.runs):
        lines.append("queued, but no driver works on it: start the sweep again")
    return lines


def _cells(run: RunStatus) -> tuple[str, ...]:
    model = "?" if run.architecture is None else run.architecture
    model += "".join(f" {name}={value}" for name, value in (("L", run.L), ("ν", run.nu)) if value is not None)
    updates = "" if run.updates is None else f"{run.updates}/{run.total}"
    updates = updates if run.share is None else f"{run.share:.0%}"
    left = "" if run.seconds_left is None else duration(run.seconds_left)
    P, seed = ("" if value is None else str(value) for value in (run.P, run.seed))
    return run.run_id, model, P, seed, run.state, updates, _error(run), left, run.job or "", run.why


def _error(run: RunStatus) -> str:
    for metric, unit in UNITS.items():
        if metric in run.errors:
            return f"{1000 * run.errors[metric]:.3g} {unit}"
    return ""


def console() -> Console:
    """Return a console for standard output: as wide as the terminal, else wide enough for one line a run."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, soft_wrap=False)


def watch(look: Callable[[], Survey], stores: Sequence[str], every: float, everything: bool = False) -> Survey:
    """Show a new survey every so many seconds until all runs have ended, and return the last one.

    Args:
        look: makes a survey.
        stores: see `show`.
        every: seconds between surveys.
        everything: see `show`.
    """
    out = console()
    latest = look()
    if not out.is_terminal:  # a log file: a line whenever something changed
        printed = ""
        while True:
            if (line := summary(latest)) != printed:
                print(line, flush=True)
                printed = line
            if latest.ended:
                out.print(show(latest, stores, everything))
                return latest
            time.sleep(every)
            latest = look()
    with Live(show(latest, stores, everything), console=out, auto_refresh=False) as live:
        while not latest.ended:
            time.sleep(every)
            latest = look()
            live.update(show(latest, stores, everything), refresh=True)
    return latest
