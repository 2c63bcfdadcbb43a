"""Time on a device alone: processes that only compare numbers wait while another one measures times."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

folder: Path | None = None
"""Where the processes' lock files lie; None: nobody else is here."""


@contextmanager
def _held(name: str, kind: int) -> Iterator[None]:
    if folder is None:
        yield
        return
    with open(folder / name, "w") as file:
        fcntl.flock(file, kind)  # the kernel takes it back from a process that is killed
        yield


@contextmanager
def beside() -> Iterator[None]:
    """Use the device beside others that do the same, but not while one is `alone`."""
    with _held("door", fcntl.LOCK_EX):  # held by the one that waits to be alone, so that nobody overtakes it
        pass
    with _held("room", fcntl.LOCK_SH):
        yield


@contextmanager
def alone() -> Iterator[None]:
    """Use the device while all others wait."""
    with _held("door", fcntl.LOCK_EX), _held("room", fcntl.LOCK_EX):
        yield
