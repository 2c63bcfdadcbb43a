"""Worker processes on this machine. A pack, runs of one shape, goes to one worker, which compiles that shape once."""

from __future__ import annotations

import math
import os
import queue
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

from experiments.config.run import LADDER
from experiments.core.errors import DeviceLost, RunsFailed
from experiments.core.interrupt import STOPPING, Terminated, sigterm_raises
from experiments.core.processes import start_time
from experiments.core.states import RunOutcome, RunState
from experiments.core.wording import counted
from experiments.runs.store import tail
from slurm.worker import STOP_SECONDS, Inbox, Task, Worker

POLL_SECONDS = 0.5
ANSWER_SECONDS = 0.7
"""Longest time between Ctrl-C and an answer."""
STILLBORN = 5
"""Workers that may end in a row before they are ready; then it is no accident, but the machine."""
WHOLE = 1_000_000
"""More runs than any ladder has."""
TRIES = 2
"""Deaths of workers over a pack after which its runs go on one by one, and then over a single run until it fails."""


class Listener(Protocol):
    """Receiver of a pool's news: a progress display or a job's log."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Take an event of a worker (`progress`, `ended`, `alive`, …)."""
        ...

    def state(self, run_id: str, state: RunState) -> None:
        """Take the new state of a run: running, done, failed, queued, or elsewhere."""
        ...

    def note(self, text: str) -> None:
        """Take a line that a person should read."""
        ...


class Pool:
    """Pool of worker processes that computes runs.

    A run that another driver has taken is waited for, and taken over if that driver dies. A worker that dies (out of
    memory, a crash of a library) or hangs is replaced, and the runs of its pack that are not done go back to the
    queue; after a second death they go on one by one, so that only a run that kills two workers by itself fails.

    A worker that lost its device ends, and no run fails for it: its runs go on with another worker (most such errors
    go away with a new process), one by one after the second loss. A run during which alone two devices were lost is
    left in the queue. A place whose device is absent is given up; when none is left, the pool ends.

    Args:
        size: number of workers.
        listener: receiver of events, states and notes.
        pack: most runs handed to a worker at a time; they have one shape. None: `most_together`.
        patience: seconds without a sign of life after which a busy worker counts as hung. Loading data, compiling,
            evaluating and fitting show it, each for two hours at most.
        environments: variables of the worker in each place (which GPU it has); none beside the driver's own by default.
        stop: called twice a second; True stops the pool. For callers that handle signals; without it SIGTERM stops.
        device: kind of device of the workers, cpu or cuda, whatever the runs ask for; None: what they ask for. On a GPU
            a worker that hangs has lost its device.
    """

    def __init__(
        self,
        size: int,
        listener: Listener,
        pack: int | None = 1,
        patience: float = 1800.0,
        environments: Sequence[Mapping[str, str]] = ({},),
        stop: Callable[[], bool] | None = None,
        device: str | None = None,
    ) -> None:
        self.size = size
        self.device = device
        self.listener = listener
        self.pack = pack
        self.patience = patience
        self.environments = environments
        self.stop = stop
        self.stop_seconds = STOP_SECONDS
        """Time for the workers to end an update and write their checkpoints when the pool stops."""
        self.inbox: Inbox = queue.Queue()
        self.workers: list[Worker] = []
        self.waiting: list[Task] = []
        self.elsewhere: list[Task] = []
        self.failed: list[Task] = []
        self.deaths: Counter[str] = Counter()
        """Workers that died, or lost their device, over a pack with this run in it."""
        self.deaths_alone: Counter[str] = Counter()
        self.losses_alone: Counter[str] = Counter()
        """Workers that lost their device over this run alone."""
        self.given_up: set[int] = set()
        """Places that have no device."""
        self.left: list[Task] = []
        """Runs that are neither done nor failed because devices were lost; they stay in the queue."""
        self.losses: dict[str, None] = {}
        """Why devices were lost, each once."""
        self.started = 0
        self._worked = False
        """Whether a worker found its device in order."""
        self._stillborn = 0
        """Workers in a row that ended before they were ready."""
        self._looked = self._counted = time.monotonic()

    def compute(self, planned: Sequence[Task]) -> list[Task]:
        """Compute the runs, and return those that failed; a signal leaves checkpoints.

        Raises:
            KeyboardInterrupt: a signal; `Terminated` if it was SIGTERM.
            OSError: the disk is full, read-only or broken.
            RunsFailed: workers cannot start on this machine; no run failed for it.
            DeviceLost: runs are left because devices were lost, or (`absent`) because there was none from the
                beginning; all others are computed.
        """
        self.waiting = list(planned)
        with sigterm_raises() if self.stop is None else nullcontext():
            try:
                while self.waiting or self.elsewhere or any(w.busy for w in self.workers):
                    if self.stop is not None and self.stop():
                        raise Terminated
                    self._look_elsewhere()
                    self._hand_out()
                    self._hear()
                    self._count_silence()
            except (KeyboardInterrupt, OSError, RunsFailed) as error:
                for worker in self.workers:
                    worker.stop()
                try:
                    self._answer(error)
                except KeyboardInterrupt:
                    self.stop_seconds = 0.0
                    raise
                raise
            finally:
                self._end_workers()
        if self.left:
            never = len(self.given_up) == self.size and not self._worked
            raise DeviceLost(f"{counted(len(self.left), 'run')} left: {'; '.join(self.losses)}", absent=never)
        return self.failed

    def _answer(self, error: BaseException) -> None:
        """Tell who pressed Ctrl-C that it was heard, unless all workers end at once (those that compile do)."""
        if isinstance(error, KeyboardInterrupt) and not isinstance(error, Terminated):
            until = time.monotonic() + ANSWER_SECONDS
            ended = [worker.ends(until - time.monotonic()) for worker in self.workers]
            if not all(ended):
                self.listener.note(STOPPING)

    def _end_workers(self) -> None:
        """Wait until the workers have ended, `stop_seconds` for all of them together; a second signal kills them."""
        until = time.monotonic() + self.stop_seconds
        try:
            for worker in self.workers:
                worker.end(until - time.monotonic())
        except KeyboardInterrupt:
            for worker in self.workers:
                worker.end(0.0)
            raise

    def _hand_out(self) -> None:
        for worker in self.workers:
            if not worker.busy and self.waiting:
                runs = self._choose(worker.shape)
                for planned in runs:
                    self.listener.state(planned.run.id, RunState.RUNNING)
                worker.give(runs, self._is_alone(runs[0]))
        if len(self.given_up) == self.size and not self.workers:
            self.left += self.waiting
            self.waiting = []
        if self.waiting and len(self.workers) < self.size - len(self.given_up):
            self.started += 1
            place = min(set(range(self.size)) - {w.place for w in self.workers} - self.given_up)
            logs = self.waiting[0].run.path.parent / "workers"
            logs.mkdir(exist_ok=True)
            log = logs / f"{_log_prefix()}{self.started}.log"
            environment = self.environments[place % len(self.environments)]
            self.workers.append(Worker(self.inbox, place, log, environment, self.device))

    def _is_alone(self, planned: Task) -> bool:
        return self._most(planned) == 1 or self.deaths[planned.run.id] >= TRIES

    def _most(self, planned: Task) -> int:
        return most_together(planned.shape_id, self.device or "cpu") if self.pack is None else self.pack

    def _choose(self, compiled: str | None) -> list[Task]:
        """Take a fair share of runs from the queue, of the shape `compiled` or else of one that no worker is at."""
        busy = {w.shape for w in self.workers if w.busy}
        shapes = dict.fromkeys(p.shape_id for p in self.waiting)
        fresh = next((shape for shape in shapes if shape not in busy), next(iter(shapes)))
        shape = compiled if compiled in shapes else fresh
        of_shape = [p for p in self.waiting if p.shape_id == shape]
        if self._is_alone(of_shape[0]):
            chosen = of_shape[:1]
        else:
            free = self.size - sum(w.busy for w in self.workers)
            share = math.ceil(len(self.waiting) / max(1, free))  # no worker stays idle while another has it all
            most = self._most(of_shape[0])
            whole = is_ladder(shape) and self.pack is None  # cheaper than its parts on several workers
            chosen = [p for p in of_shape if not self._is_alone(p)][: most if whole else min(most, share)]
        ids = {p.run.id for p in chosen}
        self.waiting = [p for p in self.waiting if p.run.id not in ids]
        return chosen

    def _hear(self) -> None:
        try:
            worker, event = self.inbox.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return
        worker.silent = 0.0
        if event is None:
            self._died(worker)
            return
        if event["event"] == "ended":
            self._ended(worker, event["run"], RunOutcome(event["outcome"]))
        elif event["event"] == "finished":
            for run_id, outcome in event["outcome"].items():
                self._ended(worker, run_id, RunOutcome(outcome))
            worker.busy = False
        elif event["event"] == "alive" and event.get("phase") != worker.phase:
            worker.phase = event.get("phase")
            for run_id in worker.current:
                self.listener.event({"event": "phase", "run": run_id, "phase": worker.phase})
        elif event["event"] == "ready":
            self._worked = worker.ready = True
            self._stillborn = 0
        elif event["event"] == "device":
            worker.device_lost, worker.device_absent = event["reason"], event["absent"]
        elif event["event"] == "disk":
            raise OSError(event["errno"], event["reason"], event["path"] or None)
        self.listener.event(event)

    def _ended(self, worker: Worker, run_id: str, outcome: RunOutcome) -> None:
        planned = worker.current.pop(run_id, None)
        if planned is not None:
            self._settle(planned, outcome)

    def _settle(self, planned: Task, outcome: RunOutcome) -> None:
        if outcome is RunOutcome.TAKEN:
            self.elsewhere.append(planned)
            self.listener.state(planned.run.id, RunState.ELSEWHERE)
            return
        if outcome is RunOutcome.FAILED:
            self.failed.append(planned)
        self.listener.state(planned.run.id, RunState(outcome))

    def _count_silence(self) -> None:
        """Kill workers that hang. Time during which the driver itself slept (a suspended machine) does not count."""
        now = time.monotonic()
        passed, self._counted = min(now - self._counted, 2 * POLL_SECONDS), now
        for worker in self.workers:
            if worker.busy and not worker.hung:
                worker.silent += passed
                if worker.silent > self.patience:
                    worker.kill()

    def _died(self, worker: Worker) -> None:
        self.workers.remove(worker)
        how = worker.how_it_ended() + (f" for {self.patience:g} s and was killed" if worker.hung else "")
        if worker.device_lost is None and worker.hung and self.device == "cuda":
            worker.device_lost = how
        if worker.device_lost is not None:
            self._lost(worker, worker.device_lost)
            worker.end()
            return
        if not worker.ready:
            self._not_started(worker, how)
            return
        left = []
        for planned in self._unfinished(worker):
            run_id = planned.run.id
            (self.deaths_alone if worker.alone else self.deaths)[run_id] += 1
            if self.deaths_alone[run_id] < TRIES:
                left.append(planned)
                self.listener.state(run_id, RunState.QUEUED)
                continue
            log = planned.run.path / "worker.log"
            shutil.copyfile(worker.log, log)
            planned.run.set_state(RunState.FAILED, message=f"its worker {how} {TRIES} times, see {log}")
            self._settle(planned, RunOutcome.FAILED)
        self.waiting[:0] = left
        if left:
            one_by_one = " one by one" if not worker.alone and self._is_alone(left[0]) else ""
            self.listener.note(f"a worker {how}; {len(left)} of its runs go back to the queue{one_by_one}")
        worker.end()

    def _unfinished(self, worker: Worker) -> list[Task]:
        """Settle the runs of a worker that ended which are done, and return the others."""
        unfinished = []
        for planned in worker.current.values():
            if planned.run.state() == RunState.DONE:
                self._settle(planned, RunOutcome.DONE)
            else:
                unfinished.append(planned)
        return unfinished

    def _not_started(self, worker: Worker, how: str) -> None:
        """Try again after a worker ended before it was ready; its runs had no part in that, and none counts it."""
        back = self._unfinished(worker)
        self.waiting[:0] = back
        for planned in back:
            self.listener.state(planned.run.id, RunState.QUEUED)
        reason = tail(worker.log)
        worker.end()
        self._stillborn += 1
        if self._stillborn >= STILLBORN:
            message = f"workers cannot start here: {self._stillborn} in a row {how}"
            raise RunsFailed(f"{message}; the last one said: {reason}" if reason else message)

    def _lost(self, worker: Worker, reason: str) -> None:
        """Go on after a worker lost its device; no run fails for it."""
        self.losses[reason] = None
        if worker.device_absent:
            self.given_up.add(worker.place)
        back: list[Task] = []
        for planned in self._unfinished(worker):
            run_id = planned.run.id
            if not worker.device_absent:
                (self.losses_alone if worker.alone else self.deaths)[run_id] += 1
            (self.left if self.losses_alone[run_id] >= TRIES else back).append(planned)
            self.listener.state(run_id, RunState.QUEUED)
        self.waiting[:0] = back
        what = "has no device" if worker.device_absent else "lost its device"
        then = f"{counted(len(back), 'run')} back in the queue" if back else "its run is left for another time"
        self.listener.note(f"a worker {what} ({reason}); {then}")

    def _look_elsewhere(self) -> None:
        """Look up the states of runs that other drivers have; twice a second at most, for a pack may have thousands."""
        if self.elsewhere and not any(w.busy for w in self.workers):
            time.sleep(POLL_SECONDS)
        now = time.monotonic()
        if now - self._looked < POLL_SECONDS:
            return
        self._looked = now
        still = []
        for planned in self.elsewhere:
            state = planned.run.state()
            if state == RunState.RUNNING:
                still.append(planned)
            elif state.ended:
                self._settle(planned, RunOutcome(state))
            else:
                self.waiting.append(planned)
        self.elsewhere = still


def is_ladder(shape_id: str) -> bool:
    """Return whether runs of this shape are a ladder (`RunConfig.shape_id`)."""
    return shape_id.startswith(LADDER)


def most_together(shape_id: str, device: str) -> int:
    """Return the default for the most runs of a shape that a worker computes together: a ladder is whole."""
    return WHOLE if is_ladder(shape_id) else largest_pack(device)


def largest_pack(device: str) -> int:
    """Return the default for the most runs of one shape that train together: on a GPU as many as its memory holds; on a
    CPU one, which is fastest there (measured)."""
    return 1 if device == "cpu" else 4096


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by their names for `CUDA_VISIBLE_DEVICES`."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    if named:
        return named
    import torch  # takes seconds, and a process that only waits for workers needs it for nothing else

    return [str(number) for number in range(torch.cuda.device_count())]


def remove_old_logs(store: Path) -> None:
    """Delete logs in `<store>/workers` that were left by drivers of this machine which are dead."""
    prefix = f"{socket.gethostname()}-"
    for log in (store / "workers").glob(f"{prefix}*.log"):
        pid, started = [*log.name.removeprefix(prefix).split("-"), "", ""][:2]
        if pid.isdigit() and start_time(int(pid)) != started:
            log.unlink(missing_ok=True)


def _log_prefix() -> str:
    """Return the beginning of the names of this driver's logs: machine, pid and start of the process."""
    return f"{socket.gethostname()}-{os.getpid()}-{start_time(os.getpid())}-"
