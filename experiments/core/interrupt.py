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

from experiments.core.compiler import compiles, end_descendants, stop_compiling

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)
"""Signals that ask to stop: TERM of a scheduler or shell, Ctrl-C, and the warning that submitit asks Slurm for."""


STOPPING = "stopping after this step; again to stop at once"
STOPPED = "stopped, nothing is lost; the same command continues"


AGAIN_SECONDS = 0.3
"""Python drops an exception that a signal's handler raises inside a callback (a finaliser, an import in C): then the
handler raises again."""


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
        signal.signal(signal.SIGALRM, self._insist)
        StopRequest.installed = self
        return self

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.signal = number
        if compiles() or StopRequest.abandonable:
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
            self._end_work()
        if self.answer is not None and number == signal.SIGINT:
            os.write(2, f"equilaw: {self.answer}\n".encode())  # print may be what the signal interrupted

    @staticmethod
    def _end_work() -> None:
        """End the work of which nothing is kept, if there is any."""
        stop_compiling()
        if StopRequest.abandonable:
            raise Abandoned

    def _insist(self, *_: object) -> None:
        self._end_work()
        signal.setitimer(signal.ITIMER_REAL, 0.0)  # it has ended

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


@contextmanager
def ending_at_once(say: bool = True) -> Iterator[None]:
    """Let a signal end the whole process inside the context, in which nothing is held yet: imports, loading data.

    An exception would do, if no import dropped it. Nothing changes outside the main thread.

    Args:
        say: whether to tell on standard error that it stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> NoReturn:
        end_descendants()
        if say:
            os.write(2, f"equilaw: {STOPPED}\n".encode())
        os._exit(128 + number)

    before = {number: signal.signal(number, end) for number in ASKING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    signal.setitimer(signal.ITIMER_REAL, 0.0)  # Python's end takes its handler away
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
