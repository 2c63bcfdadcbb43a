"""The run store: one directory a run, attempts that cannot both win, and the run table (torch-free).

``<store>/<id>/``
    config.yaml             the resolved configuration
    state.json              queued, running, done, failed or cancelled, with host, attempt and time
    attempt-1/, attempt-2/  one a process that took the run: alive.json (its lease), log.txt, history.jsonl,
                            checkpoint files, and at its end result.json
    result.json             hard link to the winning attempt's result: the run is done where it exists
    frame_errors.parquet, history.parquet, checkpoint/model.safetensors   the winner's, put here after it

Taking a run is renaming a directory to ``attempt-n``, which only one process can do; while the latest attempt's
process lives nobody takes the run. An orphan that outlives its lease can go on writing into its own attempt, but
cannot disturb another's, and only one result can be linked.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments import files

LEASE_SECONDS = 120.0
"""A process on another machine counts as dead when its lease was not renewed for this long."""
RENEW_SECONDS = 15.0
PUBLISHED = ("frame_errors.parquet", "history.parquet")
WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Process:
    """Who holds a lease: enough to tell, on the same machine, a living process from a recycled pid."""

    host: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def this() -> Process:
        """The calling process."""
        return Process(socket.gethostname(), _boot_id(), os.getpid(), _start_time(os.getpid()))

    @staticmethod
    def read(content: Any) -> Process | None:
        """From ``alive.json``; None where it is absent or garbage."""
        if not isinstance(content, Mapping):
            return None
        try:
            return Process(str(content["host"]), str(content["boot"]), int(content["pid"]), str(content["started"]))
        except (KeyError, TypeError, ValueError):
            return None

    def is_here(self) -> bool:
        """Whether it ran on this machine (since its last boot)."""
        return self.host == socket.gethostname() and self.boot == _boot_id()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


def _start_time(pid: int) -> str:
    """Start time in clock ticks since boot, or "" where the process is gone or a zombie."""
    try:
        tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if tail[0] in "ZX" else tail[19]


class Attempt:
    """One process's hold on a run. Use as a context manager: the lease is renewed inside and given up at the end."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.number = number
        self.path = run.path / f"attempt-{number}"
        self._stop = threading.Event()
        self._renewal = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> Attempt:
        self._renewal.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._renewal.join()
        (self.path / "alive.json").unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                os.utime(self.path / "alive.json")
            except OSError:  # a lease that can't be renewed lapses by itself
                continue

    def earlier(self) -> Iterator[Path]:
        """The directories of this and earlier attempts, latest first: where to look for a checkpoint."""
        for number in range(self.number, 0, -1):
            yield self.run.path / f"attempt-{number}"

    def publish(self, result: Mapping[str, Any]) -> bool:
        """Make this attempt's result the run's; False where another attempt was first."""
        files.write_json(self.path / "result.json", {**result, "attempt": self.number})
        won = files.link_once(self.path / "result.json", self.run.path / "result.json")
        self.run.settle()
        return won


@dataclass(frozen=True)
class Run:
    """A run's directory."""

    path: Path

    @property
    def id(self) -> str:
        """Twelve hex digits."""
        return self.path.name

    def config(self) -> dict[str, Any]:
        """The resolved configuration."""
        content = yaml.safe_load((self.path / "config.yaml").read_text())
        assert isinstance(content, dict)
        return content

    def result(self) -> dict[str, Any] | None:
        """The published result, or None."""
        content = files.read_json(self.path / "result.json")
        return content if isinstance(content, dict) else None

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the directory with its configuration and state ``queued``, unless it is there."""
        if (self.path / "config.yaml").exists():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        files.write_bytes(self.path / "config.yaml", yaml.safe_dump(dict(config), sort_keys=False).encode())
        self.set_state("queued")

    def set_state(self, state: str, **details: Any) -> None:
        """Record ``state``; the truth is in the result and the lease, this is for people and for messages."""
        record = {"state": state, "time": time.time(), "host": socket.gethostname(), "pid": os.getpid(), **details}
        files.write_json(self.path / "state.json", record)

    def recorded_state(self) -> dict[str, Any]:
        """What was last recorded, or an empty dict where it is absent or garbage."""
        content = files.read_json(self.path / "state.json")
        return content if isinstance(content, dict) else {}

    def state(self) -> str:
        """done, running, failed, cancelled, interrupted (its process is gone) or queued."""
        if (self.path / "result.json").exists():
            return "done"
        latest = self.latest_attempt()
        if latest and self._alive(latest):
            return "running"
        recorded = str(self.recorded_state().get("state", "queued"))
        return "interrupted" if recorded in ("running", "done") else recorded

    def latest_attempt(self) -> int:
        """Number of the latest attempt, 0 where there was none."""
        numbers = [int(p.name[8:]) for p in self.path.glob("attempt-*") if p.name[8:].isdigit()]
        return max(numbers, default=0)

    def claim(self) -> Attempt | None:
        """Take the run, or None where it is done or another living process has it."""
        while not (self.path / "result.json").exists():
            latest = self.latest_attempt()
            if latest and self._alive(latest):
                return None
            # The lease must be inside the directory before the directory has its name.
            prepared = self.path / f"{files.ASIDE}{uuid.uuid4().hex[:12]}"
            prepared.mkdir(parents=True)
            files.write_json(prepared / "alive.json", vars(Process.this()))
            try:
                prepared.rename(self.path / f"attempt-{latest + 1}")
            except OSError:  # another process was faster: look again
                shutil.rmtree(prepared)
                continue
            attempt = Attempt(self, latest + 1)
            if (self.path / "result.json").exists():  # published between the look and the claim
                (attempt.path / "alive.json").unlink()
                break
            self._clean()
            return attempt
        self.settle()
        return None

    def _alive(self, number: int) -> bool:
        lease = self.path / f"attempt-{number}" / "alive.json"
        process = Process.read(files.read_json(lease))
        if process is None:
            return False
        if process.is_here():
            return _start_time(process.pid) == process.started != ""
        return self._age(lease) < LEASE_SECONDS

    def _age(self, lease: Path) -> float:
        """Seconds since the lease was renewed, by the file system's own clock (machines' clocks may disagree)."""
        probe = self.path / f"{files.ASIDE}{uuid.uuid4().hex[:12]}"
        try:
            probe.write_bytes(b"")
            return probe.stat().st_mtime - lease.stat().st_mtime
        except FileNotFoundError:
            return LEASE_SECONDS
        except OSError:  # a store that can't be written to: the local clock must do
            return time.time() - lease.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    def _clean(self) -> None:
        """Delete what killed processes were writing; called by the run's owner."""
        for leftover in self.path.rglob(f"{files.ASIDE}*"):
            if time.time() - leftover.stat().st_mtime > LEASE_SECONDS or self._is_dead_claim(leftover):
                shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)

    @staticmethod
    def _is_dead_claim(leftover: Path) -> bool:
        process = Process.read(files.read_json(leftover / "alive.json")) if leftover.is_dir() else None
        return process is not None and process.is_here() and _start_time(process.pid) != process.started

    def settle(self) -> None:
        """After a result is published: put the winner's files beside it, drop checkpoints; safe to repeat."""
        result = self.result()
        if result is None:
            return
        winner = self.path / f"attempt-{result['attempt']}"
        for name in PUBLISHED:
            if (winner / name).exists() and not (self.path / name).exists():
                files.link_once(winner / name, self.path / name)
        if (winner / WEIGHTS).exists() and not (self.path / "checkpoint" / WEIGHTS).exists():
            (self.path / "checkpoint").mkdir(exist_ok=True)
            files.link_once(winner / WEIGHTS, self.path / "checkpoint" / WEIGHTS)
        for number in range(1, self.latest_attempt() + 1):
            if number == result["attempt"] or not self._alive(number):
                for checkpoint in (self.path / f"attempt-{number}").glob("step-*.safetensors"):
                    checkpoint.unlink(missing_ok=True)
        if self.recorded_state().get("state") != "done":
            self.set_state("done", attempt=result["attempt"])


class RunStore:
    """A directory of runs."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def run(self, run_id: str) -> Run:
        """The run's directory, which need not exist yet."""
        return Run(self.path / run_id)

    def runs(self) -> list[Run]:
        """Every run in the store, by id."""
        if not self.path.is_dir():
            return []
        entries = sorted(entry.path for entry in os.scandir(self.path) if entry.is_dir())
        return [Run(Path(entry)) for entry in entries if os.path.exists(os.path.join(entry, "config.yaml"))]

    def results(self) -> Iterator[tuple[Run, dict[str, Any]]]:
        """Every finished run with its result."""
        for run in self.runs():
            result = run.result()
            if result is not None:
                yield run, result


def tail(path: Path, lines: int = 1) -> str:
    """Last lines of a log, or "" where there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").rstrip().splitlines()[-lines:])
    except OSError:
        return ""


def read_history(path: Path) -> list[dict[str, Any]]:
    """Records of a ``history.jsonl``; a torn last line is left out."""
    records = []
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            continue
    return records
