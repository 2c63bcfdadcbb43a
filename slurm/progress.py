"""Progress of a sweep on the screen: how many runs are done, those under way with their errors, and the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.core.states import RunState
from experiments.core.wording import duration, validation_error
from slurm.plan import PlannedRun

SHOWN = 20
"""Most running runs in the table; a pack has thousands."""


class Progress:
    """A live table in a terminal; one line per ten percent elsewhere (a log file)."""

    def __init__(self, planned: Sequence[PlannedRun]) -> None:
        self.planned = {p.run.id: p for p in planned}
        self.states = {p.run.id: p.run.state() for p in planned}
        self.latest: dict[str, Mapping[str, Any]] = {}
        self.began = time.monotonic()
        self.done_before = sum(state == RunState.DONE for state in self.states.values())
        self.console = Console(stderr=True)
        self.live: Live | None = None
        if sys.stderr.isatty():  # drawn twice a second, however many events there are
            self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2)
        self._printed_tenth = -1

    def __enter__(self) -> Progress:
        if self.live:
            self.live.__enter__()
        else:
            self._print_summary()
        return self

    def __exit__(self, *arguments: Any) -> None:
        self._show()
        if self.live:
            self.live.__exit__(*arguments)

    def event(self, event: Mapping[str, Any]) -> None:
        """Show a worker's `progress` event in the row of its run; ignore other events."""
        if event["event"] == "progress":
            self.latest[event["run"]] = event
            self._show()

    def state(self, run_id: str, state: RunState) -> None:
        """Show the new state of a run."""
        self.states[run_id] = state
        self._show()

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self.live:
            self.console.print(f"equilaw: {text}", markup=False, highlight=False)
        else:
            print(f"equilaw: {text}", file=sys.stderr, flush=True)

    def _show(self) -> None:
        if not self.live:
            self._print_summary()

    def summary(self) -> str:
        """Return a line such as `12 of 80 runs done, 2 running, about 14 min left`."""
        counts = Counter(self.states.values())
        text = f"{counts[RunState.DONE]} of {len(self.states)} runs done"
        text += "".join(
            f", {counts[s]} {s}" for s in (RunState.RUNNING, RunState.ELSEWHERE, RunState.FAILED) if counts[s]
        )
        new = counts[RunState.DONE] - self.done_before
        left = len(self.states) - counts[RunState.DONE] - counts[RunState.FAILED]
        if new and left:
            minutes = (time.monotonic() - self.began) / new * left / 60
            text += f", about {minutes:.0f} min left" if minutes >= 1 else ", less than a minute left"
        return text

    def _print_summary(self) -> None:
        tenth = 10 * sum(s == RunState.DONE for s in self.states.values()) // max(1, len(self.states))
        if tenth != self._printed_tenth:
            self._printed_tenth = tenth
            print(self.summary(), file=sys.stderr, flush=True)

    def _table(self) -> Table:
        table = Table(title=self.summary(), title_justify="left", box=None)
        for column in ("run", "model", "P", "seed", "updates", "updates/s", "validation"):
            table.add_column(column, justify="left" if column in ("run", "model") else "right")
        running = [run_id for run_id, state in self.states.items() if state == RunState.RUNNING]
        for run_id in running[:SHOWN]:
            c, seen = self.planned[run_id].config, self.latest.get(run_id)
            name = f"{c.architecture} L={c.L} ν={c.nu}"
            if seen is None:
                table.add_row(run_id, name, str(c.P), str(c.seed), "starting", "", "")
                continue
            if "share" in seen:  # of the one pass that a ladder is
                left = seen.get("seconds_left")
                told = "" if left is None else f"about {duration(left)} left"
                table.add_row(run_id, name, str(c.P), str(c.seed), f"{seen['share']:.0%}", "", told)
                continue
            speed = seen["clock"] / seen["seconds"] if seen["seconds"] else 0.0
            _, shown = validation_error(seen)
            table.add_row(
                run_id, name, str(c.P), str(c.seed), f"{seen['clock']}/{seen['total']}", f"{speed:.0f}", shown
            )
        if len(running) > SHOWN:
            table.caption = f"and {len(running) - SHOWN} more"
        return table
