"""Signals that ask to stop: a run finishes its update, writes a checkpoint and ends; a driver passes it on."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""A scheduler's or a shell's TERM, Ctrl-C, and the warning that submitit asks Slurm for."""


class StopRequest:
    """Callable: whether a signal asked to stop. A second Ctrl-C interrupts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def install(self) -> StopRequest:
        """Handle the signals from now on."""
        for number in ASKING:
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self.signal or signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """A SIGTERM where a Ctrl-C would raise KeyboardInterrupt: handled alike, told apart by the exit code."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Inside, a SIGTERM raises `Terminated`; outside the main thread, where no handler can be set, nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated


def die_with_parent(parent: int) -> None:
    """Ask Linux for a SIGTERM when the process `parent` ends, however it ends; elsewhere nothing happens."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)
