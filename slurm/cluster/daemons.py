"""Processes that outlive the command which started them, known by pid and start time, so that no other is ended."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.processes import Process, boot_id, start_time

SYSTEM = "/usr/sbin:/sbin:/usr/local/sbin"
"""Folders of daemons, which are often not on the path of an ordinary user."""
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurm-wlm",
    "slurmd": "slurm-wlm",
    "sinfo": "slurm-wlm",
    "slurmdbd": "slurmdbd",
    "mariadbd": "mariadb-server-core",
    "mariadb-install-db": "mariadb-server-core",
}
"""Debian's package of each program."""
POLL_SECONDS = 0.05


def program(name: str) -> str:
    """Return the path of a program.

    Raises:
        InputError: it is not installed.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")
    if path is None:
        raise InputError(f"{name} is not installed; accepted: make slurm (Debian package {PACKAGES.get(name, name)})")
    return path


def missing(accounting: bool) -> list[str]:
    """Return the programs that a cluster needs and this machine lacks; with `accounting` also those of the database."""
    with_database = ("slurmdbd", "mariadbd", "mariadb-install-db")
    needed = [name for name in PACKAGES if accounting or name not in with_database]
    return [name for name in needed if shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}") is None]


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a daemon in a session of its own, with its output in `log`, and do not wait for it."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        pid = os.posix_spawn(
            program(command[0]),
            list(command),
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGUSR2],
        )
    finally:
        os.close(output)
    return identified(pid)


def identified(pid: int) -> Process:
    """Return the identity of a process of this machine: pid, start time and boot."""
    me = Process.this()
    return Process(me.host, me.boot, pid, start_time(pid))


def lives(process: Process) -> bool:
    """Return whether a process is running on this machine; one of an earlier boot is not."""
    return process.is_here() and process.lives()


def end(processes: Iterable[Process], seconds: float, number: int = signal.SIGTERM) -> None:
    """Ask each process to end by a signal, kill those that still run after `seconds`, and return when all are gone."""
    asked = [process for process in processes if lives(process)]
    for process in asked:
        _signal(process, number)
    deadline = time.monotonic() + seconds
    while left := [process for process in asked if lives(process)]:
        if time.monotonic() > deadline:
            for process in left:
                _signal(process, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    for process in asked:
        _reap(process)


def _signal(process: Process, number: int) -> None:
    try:
        if lives(process):
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass


def _reap(process: Process) -> None:
    """Ask for the exit code of a child of ours that ended, which is a zombie until then."""
    with suppress(ChildProcessError):  # of an earlier command, whose children init has
        os.waitpid(process.pid, os.WNOHANG)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, for at most `seconds`, and return whether it does."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@dataclass(frozen=True)
class RunningProcess:
    """A process of this machine that this user may look at."""

    process: Process
    program: str
    """The program as it was called."""
    environment: Mapping[str, str]


def running() -> Iterator[RunningProcess]:
    """Yield every process of this user (of everybody for root) with its environment, except zombies."""
    host, boot = Process.this().host, boot_id()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            tail = (entry / "stat").read_text().rpartition(")")[2].split()
            raw = (entry / "environ").read_bytes().decode(errors="replace")
            program = (entry / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
        except OSError:  # gone, or somebody else's
            continue
        if tail[0] in "ZX":
            continue
        # psutil would stop at the first empty entry, and slurmstepd, which changes its title, leaves such
        pairs = (pair.partition("=") for pair in raw.split("\0") if "=" in pair)
        process = Process(host, boot, int(entry.name), tail[19])
        yield RunningProcess(process, program, {key: value for key, _, value in pairs})


class Registry:
    """The file with the daemons of a cluster, which `down` ends."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Process]:
        """Return the daemons by name, also those that ended and are not forgotten yet."""
        content = files.read_json(self.path)
        known = {name: Process.read(entry) for name, entry in content.items()} if isinstance(content, dict) else {}
        return {name: process for name, process in known.items() if process is not None}

    def remember(self, name: str, process: Process) -> None:
        """Add a daemon that was started."""
        files.write_json(self.path, {n: asdict(p) for n, p in {**self.read(), name: process}.items()})

    def forget(self, name: str) -> None:
        """Remove a daemon that was ended."""
        files.write_json(self.path, {n: asdict(p) for n, p in self.read().items() if n != name})
