"""A worker process as its driver sees it: it is sent runs, returns events, and its seconds of silence are counted."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from experiments.core.paths import importable
from experiments.runs.store import Run

COMMAND = (sys.executable, "-m", "experiments.runs.worker")
STOP_SECONDS = 60.0
"""A worker that was asked to stop gets this long for its update and its checkpoint."""


class Task(Protocol):
    """A run to compute."""

    @property
    def run(self) -> Run:
        """Its directory, with its configuration in it."""
        ...

    @property
    def shape_id(self) -> str:
        """Shared by the runs that can train in one pack."""
        ...


Inbox = queue.Queue[tuple["Worker", dict[str, Any] | None]]


class Worker:
    """A process of `experiments.runs.worker`; its events arrive in `inbox` as (worker, event or None at its end).

    Args:
        inbox: queue that its driver reads.
        place: index of the pool's place that it fills.
        log: file for its standard error, and that of its libraries.
        environment: variables beside the driver's own.
        device: the kind of device it computes on, cpu or cuda; None: the one that its runs ask for.
    """

    def __init__(
        self, inbox: Inbox, place: int, log: Path, environment: Mapping[str, str], device: str | None = None
    ) -> None:
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, str(os.getpid()), *([] if device is None else [device])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, **importable(), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **environment},
                start_new_session=True,  # a Ctrl-C in the terminal is the driver's to pass on
            )
        self.place = place
        self.log = log
        self.busy = False
        self.alone = False
        """Whether it was given a single run on purpose, so that a death is that run's own."""
        self.current: dict[str, Task] = {}
        """Runs of its pack that have not ended, by id."""
        self.shape: str | None = None
        """The shape of its last runs, whose kernels it has compiled."""
        self.phase: str | None = None
        """What it last said it was at with its runs."""
        self.silent = 0.0
        """Seconds without a sign of life while it was busy."""
        self.hung = False
        self.ready = False
        """Whether it said that it waits for runs."""
        self.device_lost: str | None = None
        """Why it can no longer use its device, in its own words; None while it can."""
        self.device_absent = False
        """Whether it never could use it."""
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def _listen(self, inbox: Inbox) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:  # a library printed something
                continue
            if isinstance(event, dict) and "event" in event:
                inbox.put((self, event))
        self.process.wait()
        inbox.put((self, None))

    def give(self, runs: Sequence[Task], alone: bool) -> None:
        """Send it a pack: runs of one shape. `alone`: see the attribute."""
        assert self.process.stdin is not None
        self.busy, self.alone, self.silent, self.phase = True, alone, 0.0, None
        self.current, self.shape = {p.run.id: p for p in runs}, runs[0].shape_id
        try:
            self.process.stdin.write(json.dumps([str(p.run.path.resolve()) for p in runs]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # its end arrives in the inbox
            pass

    def stop(self) -> None:
        """Ask it to write its checkpoint and end; one that is not ready holds nothing, and imports heed no signal."""
        if not self.ready:
            self._kill()
        elif self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End a worker that no longer shows that it lives; its end arrives in the inbox."""
        self.hung = True
        self._kill()

    def _kill(self) -> None:
        """Kill it with the compilers that it started: its process group is its own (`start_new_session`)."""
        if self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def ends(self, seconds: float) -> bool:
        """Return whether it ends within `seconds`."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self, seconds: float = STOP_SECONDS) -> None:
        """Wait until it ends, and kill it after `seconds`; delete its log, for its runs have logs of their own."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except BrokenPipeError:
            pass
        if not self.ends(seconds):
            self._kill()
            self.process.wait()
        self.log.unlink(missing_ok=True)

    def how_it_ended(self) -> str:
        """Return how it ended, for messages: `ended with exit code -9`."""
        return "showed no sign of life" if self.hung else f"ended with exit code {self.process.returncode}"
