"""Identity of a process: enough to tell a living one from a dead one, and from another that got its pid."""

from __future__ import annotations

import hashlib
import os
import pwd
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.core.errors import InputError
from experiments.core.schema import read


@dataclass(frozen=True)
class Process:
    """A process: machine, boot of that machine (and pid namespace), pid, and its start in clock ticks since the boot.

    None of it comes from the wall clock, which may be set at any time.
    """

    host: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def this() -> Process:
        """Identify the calling process."""
        return Process(socket.gethostname(), boot_id(), os.getpid(), start_time(os.getpid()))

    @staticmethod
    def read(content: Any) -> Process | None:
        """Parse JSON content; return None if it is absent or damaged."""
        try:
            return read(Process, content)
        except InputError:
            return None

    @property
    def machine(self) -> str:
        """Eight hex digits for the machine since its last boot."""
        return hashlib.sha256(f"{self.host}|{self.boot}".encode()).hexdigest()[:8]

    def is_here(self) -> bool:
        """Return whether it ran on this machine since its last boot."""
        return self.host == socket.gethostname() and self.boot == boot_id()

    def lives(self) -> bool:
        """Return whether it still runs; only for a process that `is_here`."""
        return start_time(self.pid) == self.started != ""


def boot_id() -> str:
    """Return Linux's name for this boot and our pid namespace (a container has its own), or `unknown`."""
    try:
        space = os.readlink("/proc/self/ns/pid")
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {space}"
    except OSError:
        return "unknown"


def start_time(pid: int) -> str:
    """Return the start time in clock ticks since boot, or "" if the process is gone or a zombie."""
    try:
        tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if tail[0] in "ZX" else tail[19]


def user_name() -> str:
    """Return the user's name as Slurm has it: that of the process, not `LOGNAME`, which su keeps."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container without an entry for the user
        return str(os.geteuid())
