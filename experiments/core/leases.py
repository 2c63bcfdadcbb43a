"""Leases: files that say which living process, on any machine, holds something; and locks made of them.

A lease is renewed while its holder lives, so that one of a killed process is passed over. flock and fcntl are not
reliable on every network file system that clusters share; hard links and renames are.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.core import files
from experiments.core.processes import Process

LEASE_SECONDS = 120.0
"""A process on another machine counts as dead when its lease was not renewed for this long."""
RENEW_SECONDS = 15.0


class Leases:
    """All leases that this process holds, renewed by one thread (a pack has thousands)."""

    def __init__(self) -> None:
        self._held: set[Path] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def hold(self, lease: Path) -> None:
        """Renew `lease` from now on."""
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._renew, args=(self._stop,), daemon=True)
                self._thread.start()

    def drop(self, lease: Path) -> None:
        """Stop renewing `lease`."""
        with self._lock:
            self._held.discard(lease)
            if not self._held:
                self._stop.set()
                self._thread = None

    def give_up(self, lease: Path) -> None:
        """Stop renewing `lease` and delete it."""
        self.drop(lease)
        lease.unlink(missing_ok=True)

    def _renew(self, stop: threading.Event) -> None:
        while not stop.wait(RENEW_SECONDS):
            with self._lock:
                held = list(self._held)
            for lease in held:
                try:
                    os.utime(lease)
                except OSError:  # a lease that can't be renewed lapses by itself
                    continue


LEASES = Leases()


def lease_lives(lease: Path) -> bool:
    """Return whether the holder of `lease` lives: known on its own machine, judged by the lease's age on others."""
    process = Process.read(files.read_json(lease))
    if process is None:
        return False
    if process.is_here():
        return process.lives()
    try:
        # A lease from the future is no more alive than one from the past: some clock was set back since.
        return abs(files.age(lease)) < LEASE_SECONDS
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(
    lock: Path,
    patience: float = math.inf,
    refusal: str = "process {pid} on {host} holds it",
    waiting: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold `lock` inside the context: only one process and thread at a time does, on any machine.

    The lock is a row of leases `<lock>-<number>.json`, each made by a hard link, which only one maker gets. The
    highest number stays after its end, emptied: if a number were used twice, two processes that saw it at different
    times could both go on.

    Args:
        lock: a path without its ending; its directory is made.
        patience: seconds to wait for another holder.
        refusal: the error's words about the holder.
        waiting: called once, if another holder has to be waited for.

    Raises:
        TimeoutError: another held it for `patience` seconds.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + patience
    announced = False
    while True:
        latest = max(_numbers(lock), default=0)
        held, mine = (lock.with_name(f"{lock.name}-{number}.json") for number in (latest, latest + 1))
        if not lease_lives(held) and files.create_json(mine, vars(Process.this())):
            if max(_numbers(lock), default=0) == latest + 1:
                break
            mine.unlink(missing_ok=True)  # others took this number and higher ones since we looked
            continue
        if time.monotonic() > until:
            who = files.read_json(held) or {}
            raise TimeoutError(f"{held}: {refusal.format(pid=who.get('pid'), host=who.get('host'))}")
        if not announced:
            waiting()
            announced = True
        time.sleep(0.2)
    LEASES.hold(mine)
    try:
        for number in _numbers(lock):
            if number <= latest:
                lock.with_name(f"{lock.name}-{number}.json").unlink(missing_ok=True)
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):  # the directory was removed meanwhile
            os.truncate(mine, 0)  # no holder any more; it needs no room on a disk that is full
        LEASES.drop(mine)


def _numbers(lock: Path) -> list[int]:
    prefix, ending = f"{lock.name}-", ".json"
    names = (path.name for path in lock.parent.iterdir())
    numbers = (name[len(prefix) : -len(ending)] for name in names if name.startswith(prefix) and name.endswith(ending))
    return [int(number) for number in numbers if number.isdigit()]
