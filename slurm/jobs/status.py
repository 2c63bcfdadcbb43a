"""The truth about every run of some stores, from the run directories and the scheduler together (torch-free).

What a run directory proves goes first: a result, a living process, a recorded failure. Of the others the ledger says
which job has them, and the scheduler whether it still holds that job: then they are queued, else lost. Slurm is asked
*before* the directories are read, so that a job which ends meanwhile is seen done, and none is called lost for it.
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

from experiments.core.errors import InputError
from experiments.core.processes import start_time
from experiments.runs.store import Run, RunStore, tail
from slurm.jobs import scheduler
from slurm.jobs.ledger import JobArray, Pack, Submission, driver_lives, submissions
from slurm.jobs.scheduler import Answer, Job, Key

STATES = ("running", "queued", "failed", "lost", "unknown", "cancelled", "done")
"""In the order in which a person wants to see them. Unknown: nobody could be asked."""
LOG_LINE = 200
"""Most characters of a log's line in a message."""


@dataclass(frozen=True)
class Place:
    """Where a run was sent: an element of a job array."""

    submission: Submission
    array: JobArray
    pack: Pack

    @property
    def job(self) -> str | None:
        """`123_4`, None where the driver was killed before it wrote the id down."""
        return None if self.array.job is None else f"{self.array.job}_{self.pack.index}"

    @property
    def log(self) -> Path | None:
        """What the job says."""
        name = self.array.log_of(self.pack.index)
        return None if name is None else self.submission.path / name


@dataclass(frozen=True)
class RunStatus:
    """One row of the table."""

    run_id: str
    store: str
    state: str
    """One of `STATES`."""
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
    errors: Mapping[str, float] = field(default_factory=dict)
    """Latest holdout errors, eV and eV/Å: `{"force_mae": 0.012}`."""
    seconds_left: float | None = None
    """At the speed so far."""
    attempt: int = 0
    host: str | None = None
    """Where the latest attempt ran."""
    job: str | None = None
    """Slurm's name of the job that has it or had it last."""
    submission: str | None = None
    log: str | None = None
    """What that job says."""
    place: Place | None = field(default=None, repr=False)
    """Where the ledger has that job."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: value for name, value in vars(self).items() if name != "place"}


@dataclass(frozen=True)
class Survey:
    """All runs, and what could be asked."""

    runs: tuple[RunStatus, ...]
    scheduler: Answer

    def counts(self) -> Counter[str]:
        """Runs by state."""
        return Counter(run.state for run in self.runs)

    def of(self, state: str) -> list[RunStatus]:
        """Runs in a state."""
        return [run for run in self.runs if run.state == state]

    @property
    def ended(self) -> bool:
        """Whether nothing will happen by itself any more."""
        return not any(run.state in ("running", "queued", "unknown") for run in self.runs)


@dataclass(frozen=True)
class _Seen:
    """A run directory as it was when we looked."""

    run: Run
    state: str
    """Of `experiments.runs.store.Run.state`."""
    places: Sequence[Place]
    """Where it was sent, latest first."""
    driven: bool | None
    """Whether a driver on this machine works on its store; None where one of another machine may."""

    @property
    def settled(self) -> bool:
        return self.state in ("done", "running", "failed")


@dataclass(frozen=True)
class _Slurm:
    """What the scheduler says, with what the ledger knows of it."""

    answer: Answer
    cluster: str | None
    """The one that answered."""
    past: Mapping[Key, Job]
    """What the database says of jobs that the controller forgot."""

    def reaches(self, place: Place) -> bool:
        """Whether a job that is absent from the answer is gone."""
        return self.answer.reachable and place.submission.cluster == self.cluster

    def why_not(self, place: Place) -> str:
        """Why it does not."""
        if not self.answer.reachable:
            return "the scheduler does not answer"
        return f"it was sent to cluster {place.submission.cluster}; the one that answers here is {self.cluster}"

    def job(self, place: Place) -> Job | None:
        """As the controller has it."""
        return self.answer.jobs.get((place.array.name, place.pack.index)) if self.reaches(place) else None

    def holds(self, place: Place) -> bool:
        """Whether it will run, runs or is being ended."""
        job = self.job(place)
        return job is not None and job.held

    def ended(self, place: Place) -> Job | None:
        """How it ended, where anybody knows."""
        return self.job(place) or self.past.get((place.array.name, place.pack.index))


def survey(stores: Sequence[Path]) -> Survey:
    """Look at everything once.

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
    seen = [one for store in stores for one in _look(store, ledgers[store])]
    slurm = _Slurm(answer, cluster, {})
    gone = [p for one in seen if not one.settled for p in one.places if slurm.reaches(p) and not slurm.ended(p)]
    if gone:
        slurm = replace(slurm, past=_past(gone))
    return Survey(tuple(_status(one, slurm) for one in seen), answer)


def _look(store: Path, ledger: Sequence[Submission]) -> Iterator[_Seen]:
    places: dict[str, list[Place]] = {}
    for submission in reversed(ledger):
        for array, pack in submission.elements():
            for run_id in pack.runs:
                places.setdefault(run_id, []).append(Place(submission, array, pack))
    driven = _driven(store)
    for run in RunStore(store).runs():
        yield _Seen(run, run.state(), places.get(run.id, ()), driven)


def _driven(store: Path) -> bool | None:
    """Whether a driver works on a store, told by the logs of its workers: `<machine>-<pid>-<start>-<number>.log`."""
    found: bool | None = False
    for log in (store / "workers").glob("*.log"):
        host, pid, started, *_ = [*log.stem.rsplit("-", 3), "", "", ""]
        if host != socket.gethostname():
            found = found or None
        elif pid.isdigit() and start_time(int(pid)) == started:
            return True
    return found


def _past(places: Iterable[Place]) -> dict[Key, Job]:
    wanted: dict[str, set[str]] = {}
    since = time.time()
    for place in places:
        if place.array.job is not None:
            wanted.setdefault(place.array.name, set()).add(place.array.job)
            since = min(since, place.submission.created)
    return scheduler.past(wanted, since) if wanted else {}


def _status(seen: _Seen, slurm: _Slurm) -> RunStatus:
    """The row of a run; what is costly to read only where it is of use."""
    run, places = seen.run, seen.places
    place = next((p for p in places if slurm.holds(p)), places[0] if places else None)
    state, why = seen.state, ""
    if state == "failed":
        why = _why_failed(run)
    elif state == "running":
        if place is not None and slurm.reaches(place) and not slurm.holds(place):
            why = f"job {place.job} is gone, but the process goes on"
    elif state != "done":
        state, why = _elsewhere(seen, place, slurm) if place is not None else _local(seen)
    row = RunStatus(run.id, str(run.path.parent), state, why, **_headline(run))
    if place is not None:
        job, log = slurm.job(place), None if place.log is None else str(place.log)
        known = place.job if job is None else job.id
        row = replace(row, job=known, submission=place.submission.id, log=log, place=place)
    return row if state == "done" else replace(row, **_progress(run, state))


def _local(seen: _Seen) -> tuple[str, str]:
    """State of a run that no ledger knows and no process has."""
    if seen.state == "cancelled":
        return "cancelled", ""
    if seen.driven:
        return "queued", ""
    recorded = seen.run.recorded_state()
    if seen.state == "interrupted":
        return "lost", f"its process on {recorded.get('host', 'some machine')} is gone"
    message = str(recorded.get("message", ""))
    waiting = "no driver works on it" if seen.driven is False else "whether a driver works on it is unknown here"
    return "queued", f"{message}; {waiting}" if message else waiting


def _elsewhere(seen: _Seen, place: Place, slurm: _Slurm) -> tuple[str, str]:
    """State of a run that was sent to a cluster and that no process has."""
    if place.submission.cancelled(place.pack).exists():
        return "cancelled", "its job is being ended" if slurm.holds(place) else ""
    job = slurm.job(place)
    if job is not None and job.held:
        return "queued", _waits_for(job)
    if seen.state == "cancelled":
        return "cancelled", ""
    if place.array.state == "refused":
        return "lost", f"sbatch refused it: {place.array.message}"
    if not slurm.reaches(place):
        return "unknown", slurm.why_not(place)
    if place.array.job is None and job is None:
        if driver_lives(place.submission):
            return "queued", "it is being submitted"
        return "lost", "its driver ended before it was submitted"
    return "lost", _how_lost(place, slurm.ended(place))


def _waits_for(job: Job) -> str:
    if job.state == "PENDING":
        return f"job {job.id} waits{f' ({job.reason})' if job.reason else ''}"
    if job.state in ("RUNNING", "CONFIGURING"):
        return f"job {job.id} on {job.node} begins, or is at other runs of its pack"
    return f"job {job.id} is {job.state}"


def _how_lost(place: Place, ended: Job | None) -> str:
    how = "the scheduler does not know it any more" if ended is None else f"it ended: {ended.how_it_ended()}"
    # Last of all srun repeats the exit code; what the job itself said, or what killed it, stands before that.
    lines = tail(place.log, 5).splitlines() if place.log is not None else []
    said = next((line[:LOG_LINE].strip() for line in reversed(lines) if not line.startswith("srun: ")), "")
    return f"job {place.job} is gone, {how}" + (f"; it last said: {said}" if said else "")


def _why_failed(run: Run) -> str:
    """What was recorded, else the last line of the traceback; one line."""
    recorded = run.recorded_state()
    message = str(recorded.get("message") or "")
    if not message:
        message = tail(run.path / f"attempt-{recorded.get('attempt')}" / "error.txt")
    return " ".join(message.split()) or "no message"


HEADLINE = re.compile(rb"^(P|L|nu|seed): (\d+)$", re.MULTILINE)
ARCHITECTURE = re.compile(rb"^ +architecture: (\w+)$", re.MULTILINE)


def _headline(run: Run) -> dict[str, Any]:
    """What names a run for a person; nothing where its configuration is damaged.

    Lines as the store writes them, for there are thousands of files, and reading one as YAML takes half a millisecond.
    """
    try:
        content = (run.path / "config.yaml").read_bytes()
    except OSError:
        return {}
    found: dict[str, Any] = {name.decode(): int(value) for name, value in HEADLINE.findall(content)}
    architecture = ARCHITECTURE.search(content)
    return found if architecture is None else {**found, "architecture": architecture[1].decode()}


def _progress(run: Run, state: str) -> dict[str, Any]:
    """How far it is, from the latest attempt that recorded anything."""
    latest = run.latest_attempt()
    recorded = run.recorded_state()
    found: dict[str, Any] = {"attempt": latest, "host": recorded.get("host") if latest else None}
    for number in range(latest, 0, -1):
        try:
            first, last = _ends(run.path / f"attempt-{number}" / "history.jsonl")
            found["updates"], found["total"] = int(last["clock"]), int(last["total"])
            errors = {k.removeprefix("holdout_"): float(v) for k, v in last.items() if k.startswith("holdout_")}
            found["errors"] = errors
            if state == "running" and last["clock"] > first["clock"]:
                pace = (last["seconds"] - first["seconds"]) / (last["clock"] - first["clock"])
                found["seconds_left"] = pace * (last["total"] - last["clock"])
            break
        except (OSError, IndexError, KeyError, TypeError, ValueError, AttributeError):
            continue
    return found


def _ends(history: Path) -> tuple[Any, Any]:
    """First and last record; a torn last line is passed over."""
    lines = history.read_text(errors="replace").splitlines()
    try:
        last = json.loads(lines[-1])
    except ValueError:
        last = json.loads(lines[-2])
    return json.loads(lines[0]), last
