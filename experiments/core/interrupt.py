"""Signals that ask to stop: a run finishes its step, writes a checkpoint and ends; a driver passes it on.

Work of which nothing is kept anyway ends at once: compiling (`experiments.core.compiler.compiling`), and loading data
and fitting, which are marked with `abandonable`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from experiments.core.compiler import stop_compiling

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Signals that ask to stop: TERM of a scheduler or shell, Ctrl-C, and the warning that submitit asks Slurm for."""


STOPPING = "stopping after this step; again to stop at once"
STOPPED = "stopped, nothing is lost; the same command continues"


class Abandoned(KeyboardInterrupt):
    """A request to stop that came during `abandonable` work."""


class StopRequest:
    """Callable that returns whether a signal asked to stop.

    A second Ctrl-C interrupts at once, and so does the first one while a step is compiled.

    Args:
        answer: line for standard error as soon as Ctrl-C has asked; none by default.
    """

    installed: StopRequest | None = None
    """The one that handles the signals of this process."""
    abandonable = 0
    """Depth of the work at hand in `abandonable` contexts."""

    def __init__(self, answer: str | None = None) -> None:
        self.signal: int | None = None
        self.answer = answer

    def install(self) -> StopRequest:
        """Handle the signals from now on."""
        for number in ASKING:
            signal.signal(number, self._receive)
        StopRequest.installed = self
        return self

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number
        stop_compiling()
        if StopRequest.abandonable:
            raise Abandoned
        if self.answer is not None and number == signal.SIGINT:
            os.write(2, f"equilaw: {self.answer}\n".encode())  # print may be what the signal interrupted

    def __call__(self) -> bool:
        """Return whether a signal asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells have it."""
        return 128 + (self.signal or signal.SIGTERM)


@contextmanager
def abandonable() -> Iterator[None]:
    """Let a request to stop end the work inside at once: nothing of it is kept, and it may take minutes.

    Raises:
        Abandoned: a request came, before or inside.
    """
    if StopRequest.installed is not None and StopRequest.installed():
        raise Abandoned
    StopRequest.abandonable += 1
    try:
        yield
    finally:
        StopRequest.abandonable -= 1


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


def leave(code: int) -> NoReturn:
    """End the process with an exit code, and at once if a signal stopped it (128 and more).

    After torch and a compilation Python's own end, which frees what the operating system frees anyway, takes longer
    than everything else that follows a Ctrl-C.
    """
    if code > 128:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # the reader has gone, or nothing was ever open
                stream.flush()
        os._exit(code)
    sys.exit(code)


def die_with_parent(parent: int) -> None:
    """Ask Linux to send SIGTERM when the process `parent` ends, however it ends; do nothing on other systems."""
    if sys.platform == "linux":
        PR_SET_PDEATHSIG = 1
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        os.kill(os.getpid(), signal.SIGTERM)
