"""The ledger of submissions: the runs handed to a cluster, by whom, and under which job names (torch-free).

`<store>/slurm/<submission>/`
    submission.json         user, time and settings; the job arrays and their packs, each with its runs
    array-0.sh, …           the sbatch files, one a job array
    packs/0-3.json          all that the job of element 3 of array 0 knows, beside the run directories
    packs/0-3.cancelled     mark: a person cancelled this element; a job that finds it does not ask to be requeued
    packs/0-3/start-*.json  one file a start of that element: when, where, how it ended and how far it had come
    logs/%A_%a.log          the logs of the jobs

A Slurm job id alone does not identify a job: ids start again when a controller loses its state, and each cluster has
its own. The job's *name* is unique (`equilaw-<submission>-<array>`); an id counts only together with it. The name is
written down before `sbatch` is called and the id after it, so that the job of a driver that was killed in between is
found by its name.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.leases import exclusive as exclusively
from experiments.core.processes import Process, user_name
from experiments.core.schema import read
from experiments.core.states import ArrayState

FOLDER = "slurm"
FILE = "submission.json"
VERSION = 1


@dataclass(frozen=True)
class Pack:
    """One element of a job array: runs that one job computes."""

    index: int
    """Index of the element in its array (`SLURM_ARRAY_TASK_ID`)."""
    file: str
    """Its file, relative to the submission: `packs/0-3.json`."""
    runs: tuple[str, ...]
    """Run ids."""
    seconds: float | None = None
    """Estimated duration of the job; None: unknown."""


@dataclass(frozen=True)
class JobArray:
    """One call of sbatch."""

    name: str
    """Unique job name: `equilaw-<submission>-<array>`."""
    state: ArrayState
    script: str
    """The sbatch file, relative to the submission."""
    log: str
    """Pattern of the log files, relative to the submission: `logs/%A_%a.log`."""
    packs: tuple[Pack, ...]
    job: str | None = None
    """Slurm's id of the array (`123`; an element is `123_4`); None until it is known."""
    message: str | None = None
    """Why sbatch refused."""

    def log_of(self, index: int) -> str | None:
        """Return the log file of an element, relative to the submission; None until the job id is known."""
        return None if self.job is None else self.log.replace("%A", self.job).replace("%a", str(index))


@dataclass(frozen=True)
class Submission:
    """Job arrays that one driver handed to a cluster for one store."""

    path: Path
    """Its directory."""
    id: str
    created: float
    """Seconds since 1970."""
    driver: Process
    user: str
    command: tuple[str, ...]
    """The command line that submitted it."""
    cluster: str
    """Slurm's ClusterName; ids and names mean nothing on another one."""
    settings: Mapping[str, Any]
    """`hydra.launcher` as it was."""
    arrays: tuple[JobArray, ...]
    after: Mapping[str, Any] | None = None
    """The dependent job, if any: name, job, state, script, log, commands."""

    @property
    def host(self) -> str:
        """The machine that it was submitted from."""
        return self.driver.host

    @property
    def dry(self) -> bool:
        """Whether it was only written, never to be submitted."""
        return all(array.state == ArrayState.DRY for array in self.arrays)

    def elements(self) -> Iterator[tuple[JobArray, Pack]]:
        """Yield every pack with its array."""
        for array in self.arrays:
            for pack in array.packs:
                yield array, pack

    def cancelled(self, pack: Pack) -> Path:
        """Return the file that marks this pack as cancelled by a person; it is made before scancel is called."""
        return self.path / pack.file.replace(".json", ".cancelled")

    def write(self) -> None:
        """Write `submission.json`, whole."""
        content = asdict(self)
        content.pop("path")
        files.write_json(self.path / FILE, {"version": VERSION, **content})

    def with_array(self, array: JobArray) -> Submission:
        """Replace the array of the same name, write `submission.json`, and return the changed submission."""
        changed = replace(self, arrays=tuple(array if a.name == array.name else a for a in self.arrays))
        changed.write()
        return changed

    @staticmethod
    def read(path: Path) -> Submission | None:
        """Read a submission from its directory; return None if there is none or it is damaged."""
        try:
            return read(Submission, files.read_json(path / FILE), path=path)
        except InputError:
            return None


def new(store: Path, cluster: str, settings: Mapping[str, Any], command: Sequence[str]) -> Submission:
    """Make the directory of a new submission without arrays; `submission.json` does not exist until `write`."""
    created = time.time()
    name = f"{time.strftime('%Y%m%d-%H%M%S', time.localtime(created))}-{uuid.uuid4().hex[:6]}"
    path = store / FOLDER / name
    (path / "packs").mkdir(parents=True)
    (path / "logs").mkdir()
    return Submission(path, name, created, Process.this(), user_name(), tuple(command), cluster, dict(settings), ())


def submissions(store: Path) -> list[Submission]:
    """Return every submission of a store, oldest first."""
    ledger = [Submission.read(path) for path in sorted((store / FOLDER).glob("*-*")) if path.is_dir()]
    return sorted((s for s in ledger if s is not None), key=lambda s: (s.created, s.id))


def exclusive(store: Path, patience: float = 600.0) -> AbstractContextManager[None]:
    """Hold the lock under which one driver at a time, on whatever machine, plans and submits for `store`.

    Raises, on entering:
        TimeoutError: another driver held it for `patience` seconds.
    """
    refusal = "driver {pid} on {host} has been submitting for long"
    return exclusively(store / FOLDER / "driver", patience, refusal)


def job_name(submission: Submission, array: int) -> str:
    """Return the unique name of an array's jobs."""
    return f"equilaw-{submission.id}-{array}"


def driver_lives(submission: Submission) -> bool | None:
    """Return whether the driver that made it still runs; None: unknown, for it ran on another machine."""
    return submission.driver.lives() if submission.driver.is_here() else None
