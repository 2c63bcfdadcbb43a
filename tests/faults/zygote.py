"""Forks processes that compute runs, with everything imported once: hundreds of kills would else be as many imports.

Lines of JSON come in, and each has an answer: `{"spawn": [run directories]}` → `{"pid": …}` of a process that
computes these runs; `{"drive": [arguments], "log": file}` → `{"pid": …}` of a `python -m experiments` whose
workers are forked too; `{"poll": pid}` → `{"code": …}`, null while it runs, negative: the signal that killed it;
`{"wait": pid}` → the same at its end.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

import experiments.runs.worker
import slurm.launcher
import slurm.worker
from experiments.__main__ import main as command
from experiments.core.interrupt import StopRequest
from experiments.runs.execute import execute
from experiments.runs.store import Run
from experiments.training.pack import Interrupted


def work(paths: list[str]) -> int:
    """Compute every run that is not done, waiting for those that others have; as a driver and its worker would."""
    stop = StopRequest().install()
    torch.set_num_threads(1)
    runs = [Run(Path(path)) for path in paths]
    while any(run.state() != "done" for run in runs):
        for run in runs:
            try:
                outcome = execute([run], stop, lambda event: None)
            except Interrupted:
                return stop.exit_code
            if outcome[run.id] == "failed":
                return 1
            if stop():
                return stop.exit_code
    for run in runs:
        run.settle()
    return 0


def fork(task: Callable[[], int]) -> int:
    """Run `task` in a child, whose exit code is its answer."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = task()
            sys.stdout.flush()
        finally:
            os._exit(code)
    return pid


def onto(target: int, *sources: int) -> None:
    """Make file descriptor `target` the first source, and close all."""
    os.dup2(sources[0], target)
    for source in sources:
        os.close(source)


class ForkedWorker:
    """What `slurm.worker` uses of `subprocess.Popen`: the same process of `experiments.runs.worker`, but
    forked."""

    def __init__(self, command: list[str], *, stderr: Any, **_: Any) -> None:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()

        def task() -> int:
            os.setsid()
            onto(0, read_in, write_in)
            onto(1, write_out, read_out)
            os.dup2(stderr.fileno(), 2)
            sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115 - for its life
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sys.argv = command[2:]  # the module, the parent and the device
            return experiments.runs.worker.main()

        self.pid = fork(task)
        os.close(read_in)
        os.close(write_out)
        self.stdin, self.stdout = open(write_in, "w"), open(read_out)  # noqa: SIM115 - as Popen's
        self.returncode: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        with self._lock:  # a thread listens and waits while the driver asks
            if self.returncode is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                self.returncode = os.waitstatus_to_exitcode(status) if pid else None
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code at its end; TimeoutExpired where that is later than `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("experiments.runs.worker", timeout or 0.0)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def drive(arguments: list[str], log: str) -> int:
    """`python -m experiments` with `arguments`, its output in `log`."""
    os.setsid()
    logging.getLogger().handlers.clear()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    onto(0, os.open(os.devnull, os.O_RDONLY))
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(out, 1)
    onto(2, out)
    forking = SimpleNamespace(Popen=ForkedWorker, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    slurm.worker.subprocess = forking  # type: ignore[assignment,attr-defined]
    sys.argv = ["experiments", *arguments]
    return command()


def main() -> None:
    """Serve until the input ends."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    for line in sys.stdin:
        request = json.loads(line)
        if "spawn" in request:
            answer: dict[str, Any] = {"pid": fork(lambda: work(request["spawn"]))}  # noqa: B023 - forked at once
        elif "drive" in request:
            answer = {"pid": fork(lambda: drive(request["drive"], request["log"]))}  # noqa: B023
        else:
            pid = request.get("poll") or request["wait"]
            ended, status = os.waitpid(pid, os.WNOHANG if "poll" in request else 0)
            answer = {"code": os.waitstatus_to_exitcode(status) if ended else None}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
