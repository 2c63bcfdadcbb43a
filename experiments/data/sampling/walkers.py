"""Walkers (sampling chains) in worker processes: the saved progress of each, and the pool of processes."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from experiments.core import files
from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.paths import importable
from experiments.core.spoken import Spoken
from experiments.data.sampling.sampler import State

logger = logging.getLogger(__name__)

BLOCK, NESTED_BLOCK = 250, 5  # links of a chain between progress reports before the stride is known
SETTLE, SPACING = 100, 25  # steps of Langevin dynamics before the first explored frame, and between the others
ROUNDS = 3  # in which a surrogate proposes, and is fitted again to the frames that it predicted worst


@dataclass(frozen=True)
class Walk:
    """The walk of a walker in a stage so far.

    Its `state`, the number of steps `warmed` up, the pilot's observables `observed` `[steps, observables]`, and its
    frames: `positions` `[f, N, 3]` in Å, `energies` `[f]` in eV, `forces` `[f, N, 3]` in eV/Å.
    """

    state: State
    warmed: int
    observed: Floats
    positions: Floats
    energies: Floats
    forces: Floats

    def save(self, path: Path) -> None:
        """Write the walk to `path`, completely or not at all."""
        chain = asdict(self.state)
        arrays = {name: getattr(self, name) for name in ("warmed", "observed", "positions", "energies", "forces")}
        arrays |= {f"chain_{name}": chain.pop(name) for name in ("positions", "velocities")}
        files.write_npz(path, **arrays, chain=json.dumps(chain))

    @staticmethod
    def read(path: Path) -> Walk | None:
        """Read a walk; None if there is no file."""
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as saved:
            state = State(saved["chain_positions"], saved["chain_velocities"], **json.loads(str(saved["chain"])))
            rest = (saved[name] for name in ("observed", "positions", "energies", "forces"))
            return Walk(state, int(saved["warmed"]), *rest)


def walk_path(directory: Path, walker: int, stage: str = "walker") -> Path:
    """Return the file of a walker's walk in a stage."""
    return directory / f"{stage}_{walker:03d}.npz"


def read_walks(directory: Path, count: int, stage: str = "walker") -> list[Walk]:
    """Read the walks of `count` walkers in a stage, leaving out those without a file."""
    walks = [Walk.read(walk_path(directory, walker, stage)) for walker in range(count)]
    return [walk for walk in walks if walk is not None]


class Crew:
    """Processes that carry out tasks on the walkers of `directory`, with a progress bar; a context manager.

    `workers` processes (None: one for each core that this process may use), one thread each. Leaving the context
    ends them; the walkers' files stay complete whatever the reason.
    """

    def __init__(self, directory: Path, workers: int | None, title: str) -> None:
        self._directory = directory
        self._count = workers or len(os.sched_getaffinity(0))
        self._title = title
        self._processes: list[subprocess.Popen[str]] = []
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._spoken = None if console.is_terminal else Spoken(self._said, self._stage)

    def _said(self) -> str:
        task = self._progress.tasks[-1] if self._progress.tasks else None
        return f"{self._title}: starting" if task is None else f"{task.description}, {task.percentage:.0f} %"

    def _stage(self) -> str:
        return self._progress.tasks[-1].description if self._progress.tasks else ""

    def __enter__(self) -> Crew:
        self._progress.start()
        if self._spoken is not None:
            self._spoken.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.communicate()
        if self._spoken is not None:
            self._spoken.__exit__()
        self._progress.stop()

    def run(self, task: str, arguments: Sequence[tuple[int, ...]], steps: int) -> None:
        """Carry out `task` once for each tuple of `arguments`; `steps` is the total for the progress bar.

        Raises `InputError` if a walker does, `RuntimeError` if a process ends unexpectedly.
        """
        bar = self._progress.add_task(f"{self._title}: {task}", total=steps or None)
        todo: queue.SimpleQueue[tuple[int, ...]] = queue.SimpleQueue()
        for argument in arguments:
            todo.put(argument)
        needed = min(self._count, len(arguments))
        while len(self._processes) < needed:
            self._processes.append(self._start())
        failed = threading.Event()

        def work(process: subprocess.Popen[str]) -> None:
            while not failed.is_set():
                try:
                    argument = todo.get_nowait()
                except queue.Empty:
                    return
                try:
                    self._do(process, " ".join([task, *map(str, argument)]), bar)
                except BaseException:
                    failed.set()
                    raise

        with ThreadPoolExecutor(needed) as threads:
            try:
                for future in [threads.submit(work, process) for process in self._processes[:needed]]:
                    future.result()
            except BaseException:
                failed.set()
                for process in self._processes:
                    process.kill()  # ends the threads, which wait for answers
                raise
        self._progress.update(bar, completed=steps or 1, total=steps or 1)

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "experiments.data.sampling.xtb_walker", str(self._directory.resolve())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | importable()
            | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
        )  # fmt: skip

    def _do(self, process: subprocess.Popen[str], line: str, bar: TaskID) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended: the error is raised below
            process.stdin.write(line + "\n")
            process.stdin.flush()
        for answer in process.stdout:
            word, _, rest = answer.strip().partition(" ")
            if word == "done":
                return
            if word == "steps":
                self._progress.advance(bar, int(rest))
            elif word == "input":
                raise InputError(rest)
            else:
                logger.info("%s", answer.rstrip())  # output of a library
        raise RuntimeError(f"xtb_walker ended with status {process.wait()} in '{line}'; its output is above")
