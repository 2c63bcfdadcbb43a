"""Progress of a sweep on the screen: how many runs are done, those under way with their errors, and the time left."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from experiments.core.spoken import Spoken
from experiments.core.states import RunState
from experiments.core.wording import duration, validation_error
from slurm.estimate import Estimates
from slurm.plan import PlannedRun

SHOWN = 20
"""Most running runs in the table; a pack has thousands."""


class Progress:
    """A live table in a terminal; elsewhere (a log file) a line at every ten percent and at least every half minute.

    Args:
        planned: the runs.
        workers: processes that compute them, by which the time left is told; None: others than this program's.
        ended: called with the id of each run that is done.
    """

    def __init__(
        self,
        planned: Sequence[PlannedRun],
        workers: int | None = None,
        ended: Callable[[str], None] | None = None,
    ) -> None:
        self.planned = {p.run.id: p for p in planned}
        self.states = {p.run.id: p.run.state() for p in planned}
        self.latest: dict[str, Mapping[str, Any]] = {}
        self.phases: dict[str, str] = {}
        """What each run is at: loading data, compiling, training, fitting, evaluating."""
        self._phases_seen: set[str] = set()
        self.began = time.monotonic()
        self.done_before = sum(state == RunState.DONE for state in self.states.values())
        self.console = Console(stderr=True)
        self.live: Live | None = None
        if sys.stderr.isatty():  # drawn twice a second, however many events there are
            self.live = Live(get_renderable=self._table, console=self.console, refresh_per_second=2)
        self.workers, self.ended = workers, ended
        finished = planned if workers is not None else ()  # results are read only where they tell the time left
        self._costs = Estimates(result for p in finished if (result := p.run.result()) is not None)
        self._spoken = Spoken(self.summary, self._stage)

    def __enter__(self) -> Progress:
        (self.live or self._spoken).__enter__()
        return self

    def __exit__(self, *arguments: Any) -> None:
        (self.live or self._spoken).__exit__(*arguments)

    def event(self, event: Mapping[str, Any]) -> None:
        """Show a worker's `progress` or `phase` event in the row of its run; ignore other events."""
        if event["event"] == "progress":
            self.latest[event["run"]] = event
        elif event["event"] == "phase":
            self.phases[event["run"]] = event["phase"]
            self._phases_seen.add(event["phase"])

    def state(self, run_id: str, state: RunState) -> None:
        """Show the new state of a run."""
        self.states[run_id] = state
        if self.workers is None or state != RunState.DONE:
            return
        if (result := self.planned[run_id].run.result()) is not None:
            self._costs.learn(result)
        if self.ended is not None:
            self.ended(run_id)

    def note(self, text: str) -> None:
        """Print a line that stays."""
        if self.live:
            self.console.print(f"equilaw: {text}", markup=False, highlight=False)
        else:
            print(f"equilaw: {text}", file=sys.stderr, flush=True)

    def summary(self) -> str:
        """Return a line such as `12 of 80 runs done, 2 running, about 14 min left`."""
        counts = Counter(self.states.values())
        text = f"{counts[RunState.DONE]} of {len(self.states)} runs done"
        for state in (RunState.RUNNING, RunState.ELSEWHERE, RunState.FAILED):
            if counts[state]:
                text += f", {counts[state]} {state}" + (self._at() if state == RunState.RUNNING else "")
        left = len(self.states) - counts[RunState.DONE] - counts[RunState.FAILED]
        return text + (self._time_left(counts[RunState.DONE] - self.done_before, left) if left else "")

    def _at(self) -> str:
        """Describe the phases of running runs: ` (1 compiling, 1 training)`; empty while none is known."""
        running = [run_id for run_id, state in list(self.states.items()) if state == RunState.RUNNING]
        at = Counter(self.phases.get(run_id, "starting") for run_id in running)
        if len(at) == 1 and "starting" not in at:
            return f" ({next(iter(at))})"
        return "" if set(at) == {"starting"} else f" ({', '.join(f'{n} {name}' for name, n in sorted(at.items()))})"

    def _time_left(self, new: int, left: int) -> str:
        """Describe the time left by what passes under way tell of it, and by finished runs of the same kind.

        With workers elsewhere, by the pace so far.
        """
        if self.workers is None:
            return f", about {duration((time.monotonic() - self.began) / new * left)} left" if new else ""
        known, unknown = 0.0, 0
        passes: set[float] = set()  # the runs of a ladder share one pass, and tell the same time
        for run_id, state in list(self.states.items()):
            if state in (RunState.DONE, RunState.FAILED):
                continue
            planned, seen = self.planned[run_id], self.latest.get(run_id, {})
            if seen.get("seconds_left") is not None:
                passes.add(seen["seconds_left"])
                continue
            share = seen["share"] if "share" in seen else seen["clock"] / seen["total"] if seen.get("total") else 0.0
            kind = "cpu" if planned.config.device == "cpu" else "cuda"
            cost = self._costs.of(planned.config, planned.data_sha256, kind).seconds
            if cost is None and kind == "cuda":  # device=auto may have become a CPU
                cost = self._costs.of(planned.config, planned.data_sha256, "cpu").seconds
            known, unknown = known + (1 - share) * (cost or 0.0), unknown + (cost is None)
        if not known and not passes:
            return ""
        seconds = max([*passes, (known + sum(passes)) / max(1, min(self.workers, left))])
        return f", {'at least' if unknown else 'about'} {duration(seconds)} left"

    def _stage(self) -> object:
        """Return what gets a line as soon as it changes: every ten percent, and the first run in each phase."""
        done = sum(state == RunState.DONE for state in self.states.values())
        return len(self._phases_seen), 10 * done // max(1, len(self.states))

    def _table(self) -> Table:
        table = Table(title=self.summary(), title_justify="left", box=None)
        for column in ("run", "model", "P", "seed", "updates", "updates/s", "validation"):
            table.add_column(column, justify="left" if column in ("run", "model") else "right")
        running = [run_id for run_id, state in self.states.items() if state == RunState.RUNNING]
        for run_id in running[:SHOWN]:
            c, seen = self.planned[run_id].config, self.latest.get(run_id)
            name = f"{c.architecture} L={c.L} ν={c.nu}"
            if seen is None:
                table.add_row(run_id, name, str(c.P), str(c.seed), self.phases.get(run_id, "starting"), "", "")
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
