"""Work of one piece that may take long, and that a worker shows to be alive meanwhile (torch-free).

Training asks after each leg whether to stop, which is where a worker says that it lives. While a shape is compiled,
weights are evaluated or a fit is solved in closed form nothing asks for minutes or hours: such work is marked here, and
a thread of the worker (`experiments.runs.worker.Heartbeat`) says it instead.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_SECONDS = 7200.0
"""After this long a piece of work no longer counts as alive, so that a compiler that hangs is found all the same. It is
some twenty times the longest compilation known (six minutes, one shape on one core)."""

_until = -math.inf


@contextmanager
def lengthy() -> Iterator[None]:
    """Inside (as `with lengthy():` or `@lengthy()`), the main thread is at one piece of work that may take long."""
    global _until
    before, _until = _until, time.monotonic() + LONGEST_SECONDS
    try:
        yield
    finally:
        _until = before  # such work may lie within such work


def at_work() -> bool:
    """Whether the main thread is inside `lengthy`, and has not been for longer than `LONGEST_SECONDS`."""
    return time.monotonic() < _until
