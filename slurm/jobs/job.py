"""One element of a job array: it computes the runs of its pack that are left, and asks to be requeued if need be.

`python -m slurm.jobs.job <submission>/packs/0-3.json` is started by the batch script (`slurm.jobs.script`). It reads
only that file and the run directories. Whatever happened to an earlier start of this element (a preemption, its time
limit, the loss of its GPU, or of a node with or without its processes), it skips runs that are done, waits for those
that another living process computes, and goes on from the checkpoints of the rest. Exit codes: 0 all done, 1 a run
failed, the disk is full or the GPU is missing, 2 the file is unusable, 85 asks to be requeued, 143 ended for good by
the scheduler.
"""

from __future__ import annotations

import datetime
import math
import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.core.errors import DeviceLost, RunsFailed
from experiments.core.files import DISK
from experiments.core.interrupt import StopRequest, Terminated
from experiments.runs.store import ORIGIN, STEPS, STOPPED, Run, RunStore
from slurm.jobs.commands import SlurmError, ask
from slurm.jobs.script import REQUEUE
from slurm.local import Pool, visible_gpus
from slurm.worker import STOP_SECONDS

NEAR_SECONDS = 60.0
"""A warning may come this much early: Slurm looks at time limits about twice a minute."""
PATIENCE_WITH_SLURM = 5.0
"""Seconds to wait for the controller's answer why the job is stopped: it only names the cause, and a grace time may be
short."""


@dataclass(frozen=True)
class JobState:
    """The state of this job, as the controller has it."""

    state: str
    """Slurm's word: RUNNING, COMPLETING, …"""
    restarts: int
    preempted: bool
    """Whether it is in the grace time of a preemption."""
    seconds_left: float
    """Seconds until its time limit (or the end of the grace time)."""


def ask_controller(name: str) -> JobState | None:
    """Ask for the state of the element `name` (`123_4`); None if there is no answer, or no scontrol in a container."""
    try:
        output = ask("scontrol", "show", "job", "-o", name, seconds=PATIENCE_WITH_SLURM)
    except SlurmError:
        return None
    facts = dict(re.findall(r"(\w+)=(\S*)", output))
    try:
        end = datetime.datetime.fromisoformat(facts["EndTime"]).timestamp()
    except (KeyError, ValueError):
        end = math.inf
    preempted = facts.get("PreemptTime", "None") not in ("None", "Unknown", "")
    restarts = int(facts.get("Restarts", "0") or 0)
    return JobState(facts.get("JobState", ""), restarts, preempted, end - time.time())


def cause_of(answer: JobState | None, restarts: int, cancelled: bool, seconds_left: float, warning: float) -> str:
    """Return why the scheduler stops us: cancelled, preemption, timeout, requeued (by Slurm or a person), or signal.

    Args:
        answer: of the controller.
        restarts: of this start (`SLURM_RESTART_COUNT`).
        cancelled: whether the ledger has the element as cancelled.
        seconds_left: until the time limit, by our own clock.
        warning: seconds before the limit at which Slurm was asked to warn.
    """
    near = seconds_left <= warning + NEAR_SECONDS
    if cancelled:
        return "cancelled"
    if answer is None:
        return "timeout" if near else "signal"
    if answer.restarts > restarts:
        return "requeued"
    if answer.preempted or answer.state == "PREEMPTED":
        return "preemption"
    if answer.state == "NODE_FAIL":
        return "requeued"
    if answer.state not in ("RUNNING", "SUSPENDED", "CONFIGURING"):  # COMPLETING hides why it ends
        return "timeout" if near or answer.state == "TIMEOUT" else "cancelled"
    return "timeout" if near else "signal"


class Log:
    """The job's log as the listener of its pool: a line for each new state of a run."""

    def __init__(self, count: int) -> None:
        self.left = count

    def event(self, event: Mapping[str, Any]) -> None:
        """Ignore the event: progress is in the run directories."""

    def state(self, run_id: str, state: str) -> None:
        """Write the new state of a run, with the number of runs left if it has ended."""
        self.left -= state in ("done", "failed")
        say(f"run {run_id}: {state}" + (f"; {self.left} left" if state in ("done", "failed") else ""))

    def note(self, text: str) -> None:
        """Write a line."""
        say(text)


def say(text: str) -> None:
    """Write a line of the log with its time."""
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}", flush=True)


@dataclass(frozen=True)
class AssignedRun:
    """A run of the pack."""

    run: Run
    shape_id: str


class Element:
    """The array element that this process is.

    Args:
        file: of its pack.
        environment: Slurm's variables.
    """

    def __init__(self, file: Path, environment: Mapping[str, str]) -> None:
        self.content = files.read_json(file)
        if not isinstance(self.content, dict):
            raise ValueError(f"{file}: not a pack file; accepted: packs/*.json of a submission")
        self.file = file
        self.records = file.with_suffix("")
        store = RunStore(self.content["store"])
        self.assigned = [AssignedRun(store.run(run_id), shape) for run_id, shape in self.content["runs"]]
        array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
        self.name = f"{array}_{index}" if array and index else environment.get("SLURM_JOB_ID", "")
        self.job = environment.get("SLURM_JOB_ID")
        self.restarts = int(environment.get("SLURM_RESTART_COUNT") or 0)
        self.began, self._clock = time.time(), time.monotonic()
        machine = f"{socket.gethostname()}-{os.getpid()}"
        self.record = self.records / f"start-{self.restarts:04d}-{machine}.json"

    @property
    def cancelled(self) -> bool:
        """Whether a person cancelled this element."""
        return self.file.with_suffix(".cancelled").exists()

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit, by our own clock."""
        return 60.0 * float(self.content["minutes"]) - (time.monotonic() - self._clock)

    def left(self) -> list[AssignedRun]:
        """Return the runs that are neither done nor failed nor cancelled."""
        return [a for a in self.assigned if a.run.state() not in ("done", "failed", "cancelled")]

    def failed(self) -> list[AssignedRun]:
        """Return the runs that failed, in this start or an earlier one."""
        return [a for a in self.assigned if a.run.state() == "failed"]

    def write(self, **how: Any) -> None:
        """Record this start and, with further entries, how it ended."""
        self.records.mkdir(exist_ok=True)
        facts = {"job": self.name, "restarts": self.restarts, "host": socket.gethostname(), "pid": os.getpid()}
        node = os.environ.get("SLURMD_NODENAME")
        files.write_json(self.record, {**facts, "node": node, "began": self.began, **how})

    def progress(self) -> list[int]:
        """Return the number of runs that have ended, and of updates that checkpoints hold: both grow with the work."""
        left = self.left()
        furthest = (max(map(_update, a.run.path.glob(f"attempt-*/{STEPS}")), default=0) for a in left)
        return [len(self.assigned) - len(left), sum(furthest)]

    def stalls(self, progress: list[int], cause: str = "timeout") -> int:
        """Count the starts in a row, with this one, that ended by the same `cause` with the same `progress`."""
        count = 1
        for earlier in sorted(self._starts(), key=lambda s: s.get("began", 0.0), reverse=True):
            if earlier.get("cause") != cause or earlier.get("progress") != progress:
                break
            count += 1
        return count

    def _starts(self) -> Iterator[dict[str, Any]]:
        for path in self.records.glob("start-*.json"):
            content = files.read_json(path)
            if path != self.record and isinstance(content, dict):
                yield content

    def own_attempts(self) -> Iterator[tuple[Run, Path]]:
        """Yield the runs left whose latest attempt is by a worker of this start, with that attempt's directory."""
        for assigned in self.left():
            path = assigned.run.path / f"attempt-{assigned.run.latest_attempt()}"
            origin = files.read_json(path / ORIGIN)
            variables = origin.get("environment", {}) if isinstance(origin, dict) else {}
            job = variables.get("SLURM_JOB_ID")
            if job and job == self.job and int(variables.get("SLURM_RESTART_COUNT") or 0) == self.restarts:
                yield assigned.run, path


def _update(checkpoint: Path) -> int:
    number = checkpoint.name.removeprefix("step-").partition(".")[0]
    return int(number) if number.isdigit() else 0


def stopped(element: Element, controller: Callable[[str], JobState | None]) -> int:
    """Record why the scheduler stopped this element, after the workers' checkpoints, and return the exit code.

    Runs that are left are cancelled if the job was, and fail after `max_stalls` time limits without an update kept.
    """
    warning = float(element.content["warning_seconds"])
    cause = cause_of(controller(element.name), element.restarts, element.cancelled, element.seconds_left, warning)
    for _, attempt in element.own_attempts():
        files.write_json(attempt / STOPPED, {"cause": cause, "time": time.time()})
    progress = element.progress()
    element.write(ended=time.time(), cause=cause, progress=progress)
    say(f"stopped: {cause}; {len(element.left())} of {len(element.assigned)} runs are left")
    if not element.left():
        return 1 if element.failed() else 0
    if cause == "cancelled":
        for assigned in element.left():
            if assigned.run.state() != "running":  # elsewhere
                assigned.run.set_state("cancelled", message="its job was cancelled")
        return 143
    if cause == "timeout" and element.stalls(progress) >= element.content["max_stalls"]:
        limit = f"{element.content['minutes']} min"
        message = (
            f"no update was kept in {element.content['max_stalls']} time limits of {limit} in a row; "
            "raise hydra.launcher.time, then hydra.launcher.retry=true"
        )
        for assigned in element.left():
            if assigned.run.state() != "running":
                assigned.run.set_state("failed", message=message)
        say(message)
        return 1
    return REQUEUE if element.content["requeue"] else 143


def without_device(element: Element, problem: DeviceLost) -> int:
    """Record that this job's device is lost, and return the exit code. Its runs stay as they are; none has failed."""
    progress = element.progress()
    again = element.content["requeue"] and element.stalls(progress, "device") < element.content["max_stalls"]
    element.write(ended=time.time(), cause="device", progress=progress)
    if problem.absent:
        say(f"node {socket.gethostname()} has no GPU for this job: {problem}; python -m slurm doctor --device cuda")
        return 1
    say(f"GPU lost on node {socket.gethostname()}: {problem}{'' if again else '; submit the sweep again'}")
    return REQUEUE if again else 1


def environments(gpus: Sequence[str], cores: int | None) -> list[dict[str, str]]:
    """Return the variables of the worker on each of `gpus`: its GPU, and the number of processes that compile for it.

    That number is its share of the job's `cores` (None: a job submitted before these were recorded), unless the user
    has set it.
    """
    variable = "TORCHINDUCTOR_COMPILE_THREADS"
    share = {} if cores is None or variable in os.environ else {variable: str(max(1, cores // max(1, len(gpus))))}
    return [{"CUDA_VISIBLE_DEVICES": name, **share} for name in gpus]


def compute(
    element: Element, stop: Callable[[], bool], controller: Callable[[str], JobState | None] = ask_controller
) -> int:
    """Compute the runs that are left, and return the exit code (see the module).

    Args:
        element: this process's.
        stop: called twice a second; True stops the work.
        controller: answers for an element's name with its state.
    """
    left = element.left()
    element.write()
    say(f"job {element.name}, start {element.restarts + 1}: {len(left)} of {len(element.assigned)} runs to compute")
    if element.cancelled:
        return stopped(element, controller)
    content = element.content
    kind = content["kind"]
    gpus = visible_gpus() if kind == "cuda" else []
    places = environments(gpus, content.get("cores")) or [{}]
    workers = max(1, min(len(gpus) or content["workers"], len(left)))
    pool = Pool(workers, Log(len(left)), None, content["patience"], places, stop, kind)
    pool.stop_seconds = min(STOP_SECONDS, content["warning_seconds"] / 2)  # the rest is for asking to be requeued
    try:
        pool.compute(left)
    except Terminated:
        return stopped(element, controller)
    except DeviceLost as error:
        return without_device(element, error)
    except RunsFailed as error:
        say(f"{error}; nothing is lost, submit the sweep again")
        element.write(ended=time.time(), cause="workers")
        return 1
    except OSError as error:
        if error.errno not in DISK:
            raise
        say(f"{error.filename or 'a file'}: {os.strerror(error.errno or 0)}; nothing is lost, submit the sweep again")
        element.write(ended=time.time(), cause="disk")
        return 1
    failed = element.failed()
    element.write(ended=time.time(), cause="failed" if failed else "done")
    for assigned in failed:
        say(f"run {assigned.run.id} failed: {assigned.run.recorded_state().get('message', 'no message')}")
    return 1 if failed else 0


def main() -> int:
    """Compute the element whose pack file is the first argument; return the exit code (see the module)."""
    stop = StopRequest().install()
    try:
        element = Element(Path(sys.argv[1]), os.environ)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        print(f"equilaw: {error}", file=sys.stderr)
        return 2
    return compute(element, stop)


if __name__ == "__main__":
    sys.exit(main())
