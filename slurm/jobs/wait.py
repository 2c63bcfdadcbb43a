"""Wait for submitted runs: their directories tell which have ended, the scheduler's queue which jobs are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.core.states import RunState
from experiments.runs.store import read_history
from slurm.jobs import ledger
from slurm.jobs.scheduler import Answer, look
from slurm.plan import PlannedRun
from slurm.progress import SHOWN, Progress

POLL_SECONDS = 2.0
ASK_SECONDS = 15.0
"""Seconds between questions to the controller, which other users ask too."""
GONE_AFTER = 2
"""Answers in a row without a run's job after which it counts as gone (its result may be a moment late)."""
ENDED = (RunState.DONE, RunState.FAILED, RunState.CANCELLED)


def wait(
    planned: Sequence[PlannedRun],
    progress: Progress,
    look: Callable[[Sequence[str]], Answer] = look,
    ask_seconds: float = ASK_SECONDS,
) -> list[PlannedRun]:
    """Wait until no run is queued or running, and return those whose jobs are gone although they have not ended.

    Args:
        planned: the submitted runs.
        progress: display of their states.
        look: asks the controller for jobs by their names.
        ask_seconds: between questions to it.
    """
    left = {p.run.id: p for p in planned}
    absent: dict[str, int] = {}
    asked = time.monotonic() - ask_seconds
    hangs = False
    while True:
        states = {run_id: p.run.state() for run_id, p in left.items()}
        for run_id, state in states.items():
            progress.state(run_id, state)
            if state in ENDED:
                del left[run_id]
        if not left:
            return []
        _show(progress, [p for p in left.values() if states[p.run.id] == RunState.RUNNING][:SHOWN])
        if time.monotonic() - asked >= ask_seconds:
            asked = time.monotonic()
            held, answer = _held(list(left.values()), look)
            if not answer.reachable:
                if not hangs:
                    progress.note(f"{answer.message}; running jobs go on")
            else:
                for run_id in left:
                    here = run_id in held or states[run_id] == RunState.RUNNING
                    absent[run_id] = 0 if here else absent.get(run_id, 0) + 1
                if all(absent[run_id] >= GONE_AFTER for run_id in left):
                    return list(left.values())
            hangs = not answer.reachable
        time.sleep(POLL_SECONDS)


def _held(planned: Sequence[PlannedRun], look: Callable[[Sequence[str]], Answer]) -> tuple[set[str], Answer]:
    """Return the ids of the runs in jobs that the controller holds, and its answer."""
    ids = {p.run.id for p in planned}
    packs: dict[tuple[str, int], tuple[str, ...]] = {}
    for store in {str(p.run.path.parent) for p in planned}:
        for submission in ledger.submissions(Path(store)):
            for array, pack in submission.elements():
                if array.state.may_have_jobs and ids.intersection(pack.runs):
                    packs[array.name, pack.index] = pack.runs
    answer = look(tuple(dict.fromkeys(name for name, _ in packs)))
    held = (packs.get(key, ()) for key, job in answer.jobs.items() if job.held)
    return {run_id for runs in held for run_id in runs}, answer


def _show(progress: Progress, running: Sequence[PlannedRun]) -> None:
    """Show the last record of each running run's history."""
    for p in running:
        records = read_history(p.run.path / f"attempt-{p.run.latest_attempt()}" / "history.jsonl")
        if records and {"clock", "total", "seconds"} <= records[-1].keys():
            progress.event({"event": "progress", "run": p.run.id, **records[-1]})
