"""Marks uninterrupted work that may take minutes or hours, during which a worker must still report that it is alive.

A mark may name its phase (loading data, compiling, fitting, evaluating), which the display shows.

Training asks after each chunk of updates whether to stop, and the worker's heartbeat is sent then. Nothing asks while a
shape is compiled, weights are evaluated or a fit is solved in closed form: such work is marked here, and a thread of
the worker (`experiments.runs.worker.Heartbeat`) sends the heartbeat instead. Torch-free.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 7200.0
"""A piece of work that takes longer no longer counts as alive, so that a compiler that hangs is noticed. The limit is
some twenty times the longest compilation known (six minutes, one shape on one core)."""

_until = -math.inf
_phase: str | None = None


@contextmanager
def lengthy(name: str | None = None) -> Iterator[None]:
    """Mark the main thread as busy with one piece of work that may take long.

    Used as a context manager or as a decorator.

    Args:
        name: of the phase; None: that of the work around it.
    """
    global _until, _phase
    before, _until = (_until, _phase), time.monotonic() + LONGEST_SECONDS
    _phase = name or _phase
    try:
        yield
    finally:
        _until, _phase = before  # such work may lie within such work


def phase() -> str | None:
    """Return the name of the lengthy work at hand; None while a network is trained, and between runs."""
    return _phase


def go_on() -> None:
    """Start the time of the work at hand anew: it has just shown that it does not hang."""
    global _until
    if at_work():
        _until = time.monotonic() + LONGEST_SECONDS


def at_work() -> bool:
    """Return whether the main thread is inside `lengthy`, and has been for at most `LONGEST_SECONDS`."""
    return time.monotonic() < _until
