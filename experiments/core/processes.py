"""Who a process is: enough to tell a living one from a dead one, and from another one that got its number."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Process:
    """A process: machine, boot of that machine (and space of pids), pid, and its start in clock ticks since the boot.

    None of it comes from the wall clock, which may be set at any time.
    """

    host: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def this() -> Process:
        """The calling process."""
        return Process(socket.gethostname(), boot_id(), os.getpid(), start_time(os.getpid()))

    @staticmethod
    def read(content: Any) -> Process | None:
        """From JSON; None where it is absent or garbage."""
        if not isinstance(content, Mapping):
            return None
        try:
            return Process(str(content["host"]), str(content["boot"]), int(content["pid"]), str(content["started"]))
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def machine(self) -> str:
        """Eight hex digits for the machine since its last boot."""
        return hashlib.sha256(f"{self.host}|{self.boot}".encode()).hexdigest()[:8]

    def is_here(self) -> bool:
        """Whether it ran on this machine (since its last boot)."""
        return self.host == socket.gethostname() and self.boot == boot_id()

    def lives(self) -> bool:
        """Whether it still runs; only for a process that `is_here`."""
        return start_time(self.pid) == self.started != ""


def boot_id() -> str:
    """Linux's name for this boot and the space of pids that we see (a container has its own), or `unknown`."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {space}"
    except OSError:
        return "unknown"


def start_time(pid: int) -> str:
    """Start time in clock ticks since boot, or "" where the process is gone or a zombie."""
    try:
        tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if tail[0] in "ZX" else tail[19]


def user_name() -> str:
    """As Slurm has it: of the process, not of `LOGNAME`, which su keeps; status asks for this user's jobs alone."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for the user
        return str(os.geteuid())
