"""Processes that outlive the command which started them: known by pid and start time, so that no other is ended."""

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
"""Where daemons lie; the path of an ordinary user often lacks it."""
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
    """Path of a program.

    Raises:
        InputError: it is not installed.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}")
    if found is None:
        raise InputError(f"{name} is not installed; accepted: make slurm (Debian package {PACKAGES.get(name, name)})")
    return found


def missing(accounting: bool) -> list[str]:
    """Programs that a cluster needs and this machine lacks."""
    with_database = ("slurmdbd", "mariadbd", "mariadb-install-db")
    wanted = [name for name in PACKAGES if accounting or name not in with_database]
    return [name for name in wanted if shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM}") is None]


def start(command: Sequence[str], log: Path, environment: Mapping[str, str]) -> Process:
    """Start a daemon in a session of its own that says to `log` what it says; it is not waited for."""
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
    """A process of this machine by its pid."""
    me = Process.this()
    return Process(me.host, me.boot, pid, start_time(pid))


def lives(process: Process) -> bool:
    """Whether it runs, here; one of an earlier boot does not."""
    return process.is_here() and process.lives()


def end(processes: Iterable[Process], seconds: float, number: int = signal.SIGTERM) -> None:
    """Ask each to end by a signal, and kill those that still run after `seconds`; returns when all are gone."""
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
    """A child of ours that ended stays a zombie until somebody asks for its exit code."""
    with suppress(ChildProcessError):  # of an earlier command, whose children init has
        os.waitpid(process.pid, os.WNOHANG)


def wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


@dataclass(frozen=True)
class Seen:
    """A process of this machine that this user may look at."""

    process: Process
    program: str
    """As it was called."""
    environment: Mapping[str, str]


def running() -> Iterator[Seen]:
    """Every process of this user (of everybody for root) with its environment, zombies left out."""
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
        pairs = (pair.partition("=") for pair in raw.split("\0") if "=" in pair)
        process = Process(host, boot, int(entry.name), tail[19])
        yield Seen(process, program, {key: value for key, _, value in pairs})


class Registry:
    """The daemons of a cluster in a file: what `down` may end."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Process]:
        """By name; daemons that ended are in it until they are forgotten."""
        content = files.read_json(self.path)
        found = {name: Process.read(entry) for name, entry in content.items()} if isinstance(content, dict) else {}
        return {name: process for name, process in found.items() if process is not None}

    def remember(self, name: str, process: Process) -> None:
        """Note a daemon that was started."""
        files.write_json(self.path, {n: asdict(p) for n, p in {**self.read(), name: process}.items()})

    def forget(self, name: str) -> None:
        """It was ended."""
        files.write_json(self.path, {n: asdict(p) for n, p in self.read().items() if n != name})
