"""The state of every run of some stores, from the run directories and the scheduler together (torch-free).

A run directory decides if it holds a result, a living process's lease or a recorded failure. For other runs the ledger
tells which job has them, and the scheduler whether it still holds that job: then they are queued, else lost. Slurm is
asked *before* the directories are read: a run whose job ends in between is then seen as done, not as lost.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.processes import start_time
from experiments.core.states import ArrayState, RunState
from experiments.runs.store import PROGRESS, Run, RunStore, tail
from slurm.jobs import scheduler
from slurm.jobs.ledger import JobArray, Pack, Submission, driver_lives, submissions
from slurm.jobs.scheduler import Answer, Job, Key

STATES = (
    RunState.RUNNING,
    RunState.QUEUED,
    RunState.FAILED,
    RunState.LOST,
    RunState.UNKNOWN,
    RunState.CANCELLED,
    RunState.DONE,
)
"""States of runs, in the order of the table. Unknown: the scheduler does not answer."""
LOG_LINE = 200
"""Most characters of a log's line in a message."""


@dataclass(frozen=True)
class Place:
    """An element of a job array, to which a run was sent."""

    submission: Submission
    array: JobArray
    pack: Pack

    @property
    def job(self) -> str | None:
        """`123_4`; None if the driver was killed before it wrote the id down."""
        return None if self.array.job is None else f"{self.array.job}_{self.pack.index}"

    @property
    def log(self) -> Path | None:
        """The job's log file."""
        name = self.array.log_of(self.pack.index)
        return None if name is None else self.submission.path / name


@dataclass(frozen=True)
class RunStatus:
    """One row of the table."""

    run_id: str
    store: str
    state: RunState
    why: str = ""
    """One line: what a queued run waits for, why one failed or is lost."""
    architecture: str | None = None
    L: int | None = None
    nu: int | None = None
    P: int | None = None
    seed: int | None = None
    updates: int | None = None
    """Updates of the optimiser made so far (of all attempts)."""
    total: int | None = None
    """Updates that it will have made."""
    share: float | None = None
    """Share that is done of the pass of a fit in closed form."""
    errors: Mapping[str, float] = field(default_factory=dict)
    """Latest errors on the validation set, eV and eV/Å: `{"force_mae": 0.012}`."""
    seconds_left: float | None = None
    """Time left at the speed so far."""
    attempt: int = 0
    host: str | None = None
    """Machine of the latest attempt."""
    job: str | None = None
    """Slurm's id of the job that has it or had it last."""
    submission: str | None = None
    log: str | None = None
    """That job's log file."""
    place: Place | None = field(default=None, repr=False)
    """That job in the ledger."""

    def as_dict(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return {name: value for name, value in vars(self).items() if name != "place"}


@dataclass(frozen=True)
class Survey:
    """The states of all runs, and the scheduler's answer."""

    runs: tuple[RunStatus, ...]
    scheduler: Answer

    def counts(self) -> Counter[RunState]:
        """Count the runs by state."""
        return Counter(run.state for run in self.runs)

    def of(self, state: RunState) -> list[RunStatus]:
        """Return the runs in a state."""
        return [run for run in self.runs if run.state == state]

    @property
    def ended(self) -> bool:
        """Whether no run will change its state by itself."""
        return not any(run.state in (RunState.RUNNING, RunState.QUEUED, RunState.UNKNOWN) for run in self.runs)


@dataclass(frozen=True)
class _RunDirectory:
    """A run directory as it was when it was read."""

    run: Run
    state: RunState
    """The state that `experiments.runs.store.Run.state` returned."""
    places: Sequence[Place]
    """Elements of job arrays that it was sent to, latest first."""
    driven: bool | None
    """Whether a driver on this machine works on its store; None if one of another machine may."""

    @property
    def settled(self) -> bool:
        return self.state in (RunState.DONE, RunState.RUNNING, RunState.FAILED)


@dataclass(frozen=True)
class _Slurm:
    """The scheduler's answers about the jobs of the ledger."""

    answer: Answer
    cluster: str | None
    """The cluster that answered."""
    past: Mapping[Key, Job]
    """Jobs that the controller forgot and the database knows."""

    def reaches(self, place: Place) -> bool:
        """Return whether the scheduler that has this job answered, so that a job it does not list is gone."""
        return self.answer.reachable and place.submission.cluster == self.cluster

    def why_not(self, place: Place) -> str:
        """Explain why `reaches` is false."""
        if not self.answer.reachable:
            return "the scheduler does not answer"
        return f"it was sent to cluster {place.submission.cluster}; the one that answers here is {self.cluster}"

    def job(self, place: Place) -> Job | None:
        """Return the job as the controller has it."""
        return self.answer.jobs.get((place.array.name, place.pack.index)) if self.reaches(place) else None

    def holds(self, place: Place) -> bool:
        """Return whether the job will run, runs or is being ended."""
        job = self.job(place)
        return job is not None and job.held

    def ended(self, place: Place) -> Job | None:
        """Return the job that ended; None if neither controller nor database knows it."""
        return self.job(place) or self.past.get((place.array.name, place.pack.index))


def survey(stores: Sequence[Path]) -> Survey:
    """Find the state of every run of some stores.

    Raises:
        InputError: a store is no directory.
    """
    for store in stores:
        if not store.is_dir():
            raise InputError(f"--store {store}: no such directory; accepted: the store= of a sweep")
    ledgers = {store: [s for s in submissions(store) if not s.dry] for store in stores}
    sent = [s for ledger in ledgers.values() for s in ledger]
    answer = scheduler.look((array.name for s in sent for array in s.arrays), {s.user for s in sent})
    cluster = scheduler.cluster_name() if sent and answer.reachable else None
    directories = [one for store in stores for one in _read(store, ledgers[store])]
    slurm = _Slurm(answer, cluster, {})
    gone = [p for one in directories if not one.settled for p in one.places if slurm.reaches(p) and not slurm.ended(p)]
    if gone:
        slurm = replace(slurm, past=_past(gone))
    return Survey(tuple(_status(one, slurm) for one in directories), answer)


def _read(store: Path, ledger: Sequence[Submission]) -> Iterator[_RunDirectory]:
    places: dict[str, list[Place]] = {}
    for submission in reversed(ledger):
        for array, pack in submission.elements():
            for run_id in pack.runs:
                places.setdefault(run_id, []).append(Place(submission, array, pack))
    driven = _driven(store)
    for run in RunStore(store).runs():
        yield _RunDirectory(run, run.state(), places.get(run.id, ()), driven)


def _driven(store: Path) -> bool | None:
    """Return whether a driver works on a store, by its workers' logs: `<machine>-<pid>-<start>-<number>.log`.

    None: only drivers of other machines left logs, and may work.
    """
    driven: bool | None = False
    for log in (store / "workers").glob("*.log"):
        host, pid, started, *_ = [*log.stem.rsplit("-", 3), "", "", ""]
        if host != socket.gethostname():
            driven = None
        elif pid.isdigit() and start_time(int(pid)) == started:
            return True
    return driven


def _past(places: Iterable[Place]) -> dict[Key, Job]:
    wanted: dict[str, set[str]] = {}
    since = time.time()
    for place in places:
        if place.array.job is not None:
            wanted.setdefault(place.array.name, set()).add(place.array.job)
            since = min(since, place.submission.created)
    return scheduler.past(wanted, since) if wanted else {}


def _status(directory: _RunDirectory, slurm: _Slurm) -> RunStatus:
    """Return the row of a run; progress, which is costly to read, only if the run is not done."""
    run, places = directory.run, directory.places
    place = next((p for p in places if slurm.holds(p)), places[0] if places else None)
    state, why = directory.state, ""
    if state == RunState.FAILED:
        why = _why_failed(run)
    elif state == RunState.RUNNING:
        if place is not None and slurm.reaches(place) and not slurm.holds(place):
            why = f"job {place.job} is gone, but the process goes on"
    elif state != RunState.DONE:
        state, why = _elsewhere(directory, place, slurm) if place is not None else _local(directory)
    row = RunStatus(run.id, str(run.path.parent), state, why, **_headline(run))
    if place is not None:
        job, log = slurm.job(place), None if place.log is None else str(place.log)
        known = place.job if job is None else job.id
        row = replace(row, job=known, submission=place.submission.id, log=log, place=place)
    return row if state == RunState.DONE else replace(row, **_progress(run, state))


def _local(directory: _RunDirectory) -> tuple[RunState, str]:
    """Return the state of a run that is in no ledger and that no process computes, and why."""
    if directory.state == RunState.CANCELLED:
        return RunState.CANCELLED, ""
    if directory.driven:
        return RunState.QUEUED, ""
    recorded = directory.run.recorded_state()
    if directory.state == RunState.INTERRUPTED:
        return RunState.LOST, f"its process on {recorded.get('host', 'some machine')} is gone"
    message = str(recorded.get("message", ""))
    waiting = "no driver works on it" if directory.driven is False else "whether a driver works on it is unknown here"
    return RunState.QUEUED, f"{message}; {waiting}" if message else waiting


def _elsewhere(directory: _RunDirectory, place: Place, slurm: _Slurm) -> tuple[RunState, str]:
    """Return the state of a run that was sent to a cluster and that no process computes, and why."""
    if place.submission.cancelled(place.pack).exists():
        return RunState.CANCELLED, "its job is being ended" if slurm.holds(place) else ""
    job = slurm.job(place)
    if job is not None and job.held:
        return RunState.QUEUED, _waits_for(job)
    if directory.state == RunState.CANCELLED:
        return RunState.CANCELLED, ""
    if place.array.state == ArrayState.REFUSED:
        return RunState.LOST, f"sbatch refused it: {place.array.message}"
    if not slurm.reaches(place):
        return RunState.UNKNOWN, slurm.why_not(place)
    if place.array.job is None and job is None:
        if driver_lives(place.submission):
            return RunState.QUEUED, "it is being submitted"
        return RunState.LOST, "its driver ended before it was submitted"
    return RunState.LOST, _how_lost(place, slurm.ended(place))


def _waits_for(job: Job) -> str:
    if job.state == "PENDING":
        return f"job {job.id} waits{f' ({job.reason})' if job.reason else ''}"
    if job.state in ("RUNNING", "CONFIGURING"):
        return f"job {job.id} on {job.node} begins, or is at other runs of its pack"
    return f"job {job.id} is {job.state}"


def _how_lost(place: Place, ended: Job | None) -> str:
    how = "the scheduler does not know it any more" if ended is None else f"it ended: {ended.how_it_ended()}"
    # srun ends the log with the exit code; the job's own last line, or what killed it, stands before that.
    lines = tail(place.log, 5).splitlines() if place.log is not None else []
    last = next((line[:LOG_LINE].strip() for line in reversed(lines) if not line.startswith("srun: ")), "")
    return f"job {place.job} is gone, {how}" + (f"; it last said: {last}" if last else "")


def _why_failed(run: Run) -> str:
    """Return the recorded message, else the last line of the traceback, as one line."""
    recorded = run.recorded_state()
    message = str(recorded.get("message") or "")
    if not message:
        message = tail(run.path / f"attempt-{recorded.get('attempt')}" / "error.txt")
    return " ".join(message.split()) or "no message"


HEADLINE = re.compile(rb"^(P|L|nu|seed): (\d+)$", re.MULTILINE)
ARCHITECTURE = re.compile(rb"^ +architecture: (\w+)$", re.MULTILINE)


def _headline(run: Run) -> dict[str, Any]:
    """Read architecture, L, ν, P and seed of a run; nothing if its configuration is damaged.

    The lines are matched as the store writes them: there may be thousands of files, and reading one as YAML takes half
    a millisecond.
    """
    try:
        content = (run.path / "config.yaml").read_bytes()
    except OSError:
        return {}
    headline: dict[str, Any] = {name.decode(): int(value) for name, value in HEADLINE.findall(content)}
    architecture = ARCHITECTURE.search(content)
    return headline if architecture is None else {**headline, "architecture": architecture[1].decode()}


def _progress(run: Run, state: str) -> dict[str, Any]:
    """Return updates, errors and time left of a run, from the latest attempt that recorded anything."""
    latest = run.latest_attempt()
    recorded = run.recorded_state()
    progress: dict[str, Any] = {"attempt": latest, "host": recorded.get("host") if latest else None}
    if state == RunState.RUNNING and (of_pass := files.read_json(run.path / f"attempt-{latest}" / PROGRESS)):
        return {**progress, "share": of_pass.get("share"), "seconds_left": of_pass.get("seconds_left")}
    for number in range(latest, 0, -1):
        try:
            first, last = _ends(run.path / f"attempt-{number}" / "history.jsonl")
            progress["updates"], progress["total"] = int(last["clock"]), int(last["total"])
            errors = {k.removeprefix("holdout_"): float(v) for k, v in last.items() if k.startswith("holdout_")}
            progress["errors"] = errors
            if state == RunState.RUNNING and last["clock"] > first["clock"]:
                pace = (last["seconds"] - first["seconds"]) / (last["clock"] - first["clock"])
                progress["seconds_left"] = pace * (last["total"] - last["clock"])
            break
        except (OSError, IndexError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return progress


def _ends(history: Path) -> tuple[Any, Any]:
    """Return the first and the last record of a history; a last line that is half written is skipped."""
    lines = history.read_text(errors="replace").splitlines()
    try:
        last = json.loads(lines[-1])
    except ValueError:
        last = json.loads(lines[-2])
    return json.loads(lines[0]), last
