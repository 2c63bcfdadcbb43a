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

from experiments.core.compiler import stop_compiling

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Signals that ask to stop: TERM of a scheduler or shell, Ctrl-C, and the warning that submitit asks Slurm for."""


class StopRequest:
    """Callable that returns whether a signal asked to stop; a second Ctrl-C, or one while a step is compiled,
    interrupts at once."""

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
        stop_compiling()

    def __call__(self) -> bool:
        """Return whether a signal asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self.signal or signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """A SIGTERM, handled like the KeyboardInterrupt of a Ctrl-C but with an exit code of its own."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Make a SIGTERM raise `Terminated` inside the context.

    Nothing changes outside the main thread, for only the main thread can set handlers.
    """
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
    """Ask Linux to send SIGTERM when the process `parent` ends, however it ends; do nothing on other systems."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)
