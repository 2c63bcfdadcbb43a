"""Slurm's answers about jobs: about many at a time, within a time limit, and with the fact that there was no answer.

While the controller (`squeue`) holds a job, its answer counts, not that of the database (`sacct`, if there is one):
there a job which the controller has put back into the queue is NODE_FAIL or PREEMPTED. A job is known by its *name*,
which is unique (`slurm.jobs.ledger`); ids start again when a controller loses its state. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from slurm.jobs.commands import ENDED, NoAnswer, SlurmError, ask

SECONDS = 10.0
"""Time limit of each question."""
AT_ONCE = 400
"""Most job ids or names in one command line."""
QUEUE_FORMAT = "%j|%F|%K|%A|%T|%N|%L|%M|%P|%u|%r"
PAST_FORMAT = "JobID,JobIDRaw,State,ExitCode,NodeList,ElapsedRaw,Partition,User,JobName"

Key = tuple[str, int]
"""Name of a job and the index of the element in its array (0 if the job is no array)."""


@dataclass(frozen=True)
class Job:
    """A job, or one element of a job array."""

    name: str
    array: str
    """Id of the array (of the job, if it is none)."""
    index: int | None
    """Index of the element; None if the job is no array."""
    state: str
    """Slurm's word: PENDING, RUNNING, COMPLETED, NODE_FAIL, …"""
    held: bool
    """Whether the controller will run it, runs it or ends it just now. One that is not held will not run again."""
    reason: str = ""
    """Why it waits."""
    node: str = ""
    seconds: float | None = None
    """Seconds that it has been running."""
    seconds_left: float | None = None
    """Seconds until its time limit; None if it has none."""
    partition: str = ""
    user: str = ""
    exit_code: str | None = None
    """`code:signal` as the database has it."""

    @property
    def id(self) -> str:
        """The id that `scancel` and `scontrol` take: `123_4`."""
        return self.array if self.index is None else f"{self.array}_{self.index}"

    @property
    def key(self) -> Key:
        """Its key in an `Answer`."""
        return self.name, self.index or 0

    def how_it_ended(self) -> str:
        """Return how it ended, for messages: `FAILED, exit code 0:9`."""
        code = self.exit_code
        return self.state if code in (None, "0:0") else f"{self.state}, exit code {code}"


@dataclass(frozen=True)
class Answer:
    """Slurm's answer about the jobs asked for."""

    jobs: Mapping[Key, Job]
    reachable: bool
    """Whether the controller answered: only then is a job that is absent gone."""
    message: str = ""
    """Why it did not answer."""


NOT_ASKED = Answer({}, reachable=True)
"""The answer for a store without submissions."""


def look(names: Iterable[str], users: Iterable[str] = (), seconds: float = SECONDS) -> Answer:
    """Ask the controller for every job with one of these names, also for those that ended and are still known.

    Args:
        names: of jobs.
        users: owners of the jobs, so that the controller need not send everybody's. Empty: everybody's.
        seconds: time limit of each question.
    """
    wanted = set(names)
    if not wanted:
        return NOT_ASKED
    try:
        rows = _queue(sorted(set(users)), seconds)
    except SlurmError as error:
        return Answer({}, reachable=False, message=str(error))
    jobs: dict[Key, Job] = {}
    for job in (job for row in rows for job in _queued(row)):
        if job.name in wanted and (job.key not in jobs or job.held):
            jobs[job.key] = job
    return Answer(jobs, reachable=True)


def _queue(users: Sequence[str], seconds: float) -> list[str]:
    command = ("squeue", "--noheader", "--array", "--states=all", f"--format={QUEUE_FORMAT}")
    if users:
        try:
            return ask(*command, f"--user={','.join(users)}", seconds=seconds).splitlines()
        except SlurmError as error:
            if "nvalid user" not in str(error):  # one who submitted from a machine that knows other users
                raise
    return ask(*command, seconds=seconds).splitlines()


def _queued(row: str) -> Iterator[Job]:
    fields = row.split("|", 10)
    if len(fields) < 11:
        return
    name, array, index, _, state, node, left, run_time, partition, user, reason = fields
    common = (name, array)
    for element in _indices(index):
        yield Job(
            *common, element, state, state not in ENDED,
            reason="" if reason == "None" else reason, node=node, seconds=_seconds(run_time),
            seconds_left=_seconds(left), partition=partition, user=user,
        )  # fmt: skip


def past(jobs: Mapping[str, Iterable[str]], since: float, seconds: float = SECONDS) -> dict[Key, Job]:
    """Ask the database for jobs that the controller no longer holds.

    Args:
        jobs: names with the ids (of arrays) that they had.
        since: seconds since 1970 before which none was submitted.
        seconds: time limit of each question.

    Returns:
        The jobs that it knows; none if there is no database or it does not answer in time.
    """
    ids = sorted({job for of_name in jobs.values() for job in of_name})
    ended: dict[Key, Job] = {}
    for start in range(0, len(ids), AT_ONCE):
        options = ("--noheader", "--parsable2", "--allocations", f"--format={PAST_FORMAT}")
        chunk = f"--jobs={','.join(ids[start : start + AT_ONCE])}"
        try:
            # A day more than needed: clocks of machines, and zones of time, differ.
            rows = ask("sacct", *options, chunk, f"--starttime=uts{max(0, int(since) - 86400)}", seconds=seconds)
        except SlurmError:
            return ended
        for row in rows.splitlines():
            for job in _finished(row):
                if job.array in jobs.get(job.name, ()):
                    ended[job.key] = job
    return ended


def _finished(row: str) -> Iterator[Job]:
    fields = row.split("|", 8)
    if len(fields) < 9:
        return
    job, _, state, code, node, elapsed, partition, user, name = fields
    array, _, index = job.partition("_")
    state = (state.split() or ["UNKNOWN"])[0]  # CANCELLED by 1000
    for element in _indices(index or "N/A"):
        yield Job(
            name, array, element, state, False,
            node="" if node == "None assigned" else node, seconds=_seconds(elapsed), partition=partition, user=user,
            exit_code=code,
        )  # fmt: skip


def _indices(text: str) -> Iterator[int | None]:
    """Yield the elements that `7`, `[2-5,9%2]` or `N/A` stands for."""
    if text == "N/A":
        yield None
    for part in text.strip("[]").partition("%")[0].split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part):
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            yield from range(first, last + 1, step)


def _seconds(text: str) -> float | None:
    """Read `1-02:03:04`, `3:04` or plain seconds as seconds; None for UNLIMITED and the like."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", text)
    if match is None:
        return None
    days, second, minute = int(match[1] or 0), int(match[4]), 0
    hours = 0
    if match[3] is not None:
        hours, minute = int(match[2]), int(match[3])
    elif match[2] is not None:
        minute = int(match[2])
    return 86400.0 * days + 3600 * hours + 60 * minute + second


def cluster_name(seconds: float = SECONDS) -> str | None:
    """Return the name of the cluster that answers; None if none does."""
    try:
        config = ask("scontrol", "show", "config", seconds=seconds)
    except SlurmError:
        return None
    match = re.search(r"^ClusterName\s*=\s*(\S+)", config, re.MULTILINE)
    return match[1] if match else None


def cancel(name: str, job: str, indices: Sequence[int] | None = None, seconds: float = 60.0) -> None:
    """Cancel an array, or some of its elements, if the id still belongs to a job of that name.

    That is looked up first: `scancel --name=… 123_4` would end every element of array 123 that waits (Slurm 22.05).

    Raises:
        SlurmError: scancel failed, or did not answer (then it is unknown whether it cancelled).
    """
    held = _held(name, job, seconds)
    chosen = held if indices is None else held.intersection(indices)
    if not chosen:
        return  # all has ended, or the id is another job's by now
    target = job if chosen == held else f"{job}_[{ranges(sorted(index for index in chosen if index is not None))}]"
    try:
        ask("scancel", target, seconds=seconds)
    except NoAnswer:
        raise
    except SlurmError:
        if chosen.intersection(_held(name, job, seconds)):
            raise  # else they ended by themselves meanwhile


def _held(name: str, job: str, seconds: float) -> set[int | None]:
    """Return the elements of a job (None if it is no array) that Slurm holds under this name."""
    answer = look([name], seconds=seconds)
    if not answer.reachable:
        raise SlurmError(answer.message)
    return {j.index for j in answer.jobs.values() if j.held and j.array == job}


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as Slurm writes them: `0-3,7`."""
    starts = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n - 1]
    ends = [n for i, n in enumerate(numbers) if i == len(numbers) - 1 or numbers[i + 1] != n + 1]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
