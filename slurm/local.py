"""Worker processes on this machine, one thread each; runs of one shape go to one worker, which compiles once."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from slurm.plan import PlannedRun

ROOT = Path(__file__).resolve().parent.parent
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""A worker that was asked to stop gets this long for its update and its checkpoint."""


class Listener(Protocol):
    """Hears of events: ``progress``, ``finished``."""

    def event(self, event: Mapping[str, Any]) -> None:
        """One event."""
        ...

    def state(self, run_id: str, state: str) -> None:
        """A run is now running, done, failed or waiting."""
        ...


class Worker:
    """A process of ``experiments.worker``; its events arrive in ``inbox`` as (worker, event or None at its end)."""

    def __init__(self, inbox: queue.Queue[tuple[Worker, dict[str, Any] | None]], log: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.worker", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment,
                start_new_session=True,  # a Ctrl-C in the terminal is the driver's to pass on
            )
        self.current: PlannedRun | None = None
        self.previous: str | None = None
        self.log = log
        threading.Thread(target=self._listen, args=(inbox,), daemon=True).start()

    def _listen(self, inbox: queue.Queue[tuple[Worker, dict[str, Any] | None]]) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                inbox.put((self, json.loads(line)))
            except ValueError:  # a library printed something
                continue
        self.process.wait()
        inbox.put((self, None))

    def give(self, planned: PlannedRun) -> None:
        """Hand over a run."""
        assert self.process.stdin is not None
        self.current, self.previous = planned, planned.model_id
        try:
            self.process.stdin.write(json.dumps([str(planned.run.path.resolve())]) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:  # its end arrives in the inbox
            pass

    def stop(self) -> None:
        """Ask it to write its checkpoint and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for its end, and enforce it."""
        try:
            if self.process.stdin is not None:
                self.process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self.process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.returncode == 0:
            self.log.unlink(missing_ok=True)  # what it said of its runs lies in their own logs


class Pool:
    """Computes runs on ``size`` workers.

    A run that another driver has taken is waited for, and taken over if that one dies. A worker that dies (out of
    memory, a crash of a library) fails its run after a second try and is replaced.
    """

    def __init__(self, size: int, listener: Listener) -> None:
        self.size = size
        self.listener = listener
        self.inbox: queue.Queue[tuple[Worker, dict[str, Any] | None]] = queue.Queue()
        self.workers: list[Worker] = []
        self.waiting: list[PlannedRun] = []
        self.elsewhere: list[PlannedRun] = []
        self.failed: list[PlannedRun] = []
        self.deaths: dict[str, int] = {}
        self.started = 0

    def compute(self, planned: Sequence[PlannedRun]) -> list[PlannedRun]:
        """Compute all; the ones that failed come back. A KeyboardInterrupt or SIGTERM leaves checkpoints."""
        self.waiting = list(planned)
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            while self.waiting or self.elsewhere or any(w.current for w in self.workers):
                self._look_elsewhere()
                self._hand_out()
                self._hear()
        except KeyboardInterrupt:
            for worker in self.workers:
                worker.stop()
            raise
        finally:
            for worker in self.workers:
                worker.end()
            signal.signal(signal.SIGTERM, before)
        return self.failed

    def _hand_out(self) -> None:
        busy = {w.previous for w in self.workers if w.current}
        for worker in self.workers:
            if worker.current is None and self.waiting:
                worker.give(self._choose(worker.previous, busy))
                busy.add(worker.previous)
        if len(self.workers) < min(self.size, len(self.waiting) + len(self.workers)):
            self.started += 1
            logs = Path(self.waiting[0].config.store) / "workers"
            logs.mkdir(exist_ok=True)
            self.workers.append(Worker(self.inbox, logs / f"{socket.gethostname()}-{os.getpid()}-{self.started}.log"))

    def _choose(self, previous: str | None, busy: set[str | None]) -> PlannedRun:
        """A run of the shape the worker has compiled, else of one that nobody compiles just now."""
        for wanted in (lambda p: p.model_id == previous, lambda p: p.model_id not in busy, lambda p: True):
            for place, planned in enumerate(self.waiting):
                if wanted(planned):
                    chosen = self.waiting.pop(place)
                    self.listener.state(chosen.run.id, "running")
                    return chosen
        raise AssertionError("asked for a run where none waits")

    def _hear(self) -> None:
        try:
            worker, event = self.inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        if event is None:
            self._died(worker)
        elif event["event"] == "finished":
            current, worker.current = worker.current, None
            assert current is not None
            self._settle(current, event["outcome"][current.run.id])
        else:
            self.listener.event(event)

    def _settle(self, planned: PlannedRun, outcome: str) -> None:
        if outcome == "taken":
            self.elsewhere.append(planned)
            self.listener.state(planned.run.id, "elsewhere")
            return
        if outcome == "failed":
            self.failed.append(planned)
        self.listener.state(planned.run.id, outcome)

    def _died(self, worker: Worker) -> None:
        self.workers.remove(worker)
        current = worker.current
        if current is None:
            return
        self.deaths[current.run.id] = self.deaths.get(current.run.id, 0) + 1
        if current.run.state() == "done":
            self._settle(current, "done")
        elif self.deaths[current.run.id] < 2:
            self.waiting.insert(0, current)
        else:
            code = worker.process.returncode
            current.run.set_state("failed", message=f"its worker ended with exit code {code} twice, see {worker.log}")
            self._settle(current, "failed")

    def _look_elsewhere(self) -> None:
        for planned in list(self.elsewhere):
            state = planned.run.state()
            if state == "running":
                continue
            self.elsewhere.remove(planned)
            if state in ("done", "failed"):
                self._settle(planned, state)
            else:
                self.waiting.append(planned)
        if self.elsewhere and not any(w.current for w in self.workers):
            time.sleep(POLL_SECONDS)


def _terminate(*_: object) -> None:
    raise KeyboardInterrupt
