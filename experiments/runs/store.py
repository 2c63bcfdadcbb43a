"""The run store: one directory a run, attempts that cannot both win, and the run table (torch-free).

`<store>/<id>/`
    config.yaml             the resolved configuration
    state.json              queued, running, done, failed or cancelled, with host, attempt and time
    attempt-1/, attempt-2/  one a process that took the run: alive.json (its lease), origin.json (machine, commit,
                            environment), log.txt, history.jsonl, checkpoint files, and at its end result.json,
                            or stopped.json if a scheduler ended it (why)
    result.json             hard link to the winning attempt's result: the run is done if it exists
    frame_errors.parquet, history.parquet, checkpoint/model.safetensors   the winner's, put here after it

Taking a run is renaming a directory to `attempt-n`, which only one process can do; while the latest attempt's
process lives nobody takes the run. An orphan that outlives its lease can go on writing into its own attempt, but
cannot disturb another's, and only one result can be linked.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.leases import LEASES, lease_lives
from experiments.core.paths import moved
from experiments.core.processes import Process
from experiments.core.schema import as_json
from experiments.core.states import RunState
from experiments.runs.record import VERSION, Result

logger = logging.getLogger(__name__)
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: type[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's if it is installed, ten times as fast; both read and write plain values only."""
PUBLISHED = ("frame_errors.parquet", "history.parquet")
WEIGHTS = "model.safetensors"
LASTING = (WEIGHTS, "trunk.safetensors")
"""Files of the winning attempt that a finished run keeps in `checkpoint/`."""
CONVERTED = "converted.json"
"""Replaces configuration and result if the network is another package's (`experiments.interop.convert`)."""
DIVERGED = "diverged.json"
ORIGIN = "origin.json"
PROGRESS = "progress.json"
"""Of a fit in closed form that is under way: `share` of its pass that is done, `seconds` so far, `seconds_left`."""
STOPPED = "stopped.json"
STEPS = "step-*.safetensors"
KEPT = 2
"""Checkpoints kept of all earlier attempts together: the furthest, and one before it in case that is damaged."""


class Attempt:
    """One process's hold on a run. Use as a context manager: the lease is renewed inside and given up at the end."""

    def __init__(self, run: Run, number: int) -> None:
        self.run = run
        self.number = number
        self.path = run.path / f"attempt-{number}"
        self.won = False

    def __enter__(self) -> Attempt:
        LEASES.hold(self.path / "alive.json")
        return self

    def __exit__(self, *_: object) -> None:
        LEASES.give_up(self.path / "alive.json")
        if not self.won and self.run.result() is not None:  # another attempt's: our checkpoints are no longer needed
            self.run.settle()

    def earlier(self) -> Iterator[Path]:
        """Yield the directories of this and earlier attempts, latest first, in which to look for a checkpoint.

        An attempt that diverged (`diverged`) and those before it, from which it started, are left out: going on
        from their checkpoints would diverge again, so a retry starts afresh.
        """
        for number in range(self.number, 0, -1):
            attempt = self.run.path / f"attempt-{number}"
            if (attempt / DIVERGED).exists():
                return
            yield attempt

    def note(self, name: str, content: Mapping[str, Any]) -> None:
        """Write `content` as a file of this attempt."""
        files.write_json(self.path / name, dict(content))

    def diverged(self, message: str) -> None:
        """Note that this attempt's numbers are no longer finite, so that none goes on from its checkpoints."""
        self.note(DIVERGED, {"message": message})

    def prune(self) -> None:
        """Drop the checkpoints of earlier attempts that will not be needed; only the run's holder may call this."""
        useful = [step for attempt in self.earlier() for step in attempt.glob(STEPS)]
        useful = sorted(useful, key=lambda step: step.name)[-KEPT:]
        for step in self.run.path.glob(f"attempt-*/{STEPS}"):
            if step not in useful:
                step.unlink(missing_ok=True)

    def publish(self, result: Mapping[str, Any]) -> bool:
        """Make this attempt's result the run's; return False if another attempt was first."""
        path = self.path / "result.json"
        files.write_json(path, as_json(Result.parse({**result, "attempt": self.number, "version": VERSION}, str(path))))
        self.won = files.link_once(self.path / "result.json", self.run.path / "result.json")
        self.run.settle()
        return self.won


@dataclass(frozen=True)
class Run:
    """A run's directory."""

    path: Path

    @property
    def id(self) -> str:
        """Id of the run, twelve hex digits."""
        return self.path.name

    def sibling(self, run_id: str) -> Run:
        """Return another run of the same store, which need not exist."""
        return Run(self.path.parent / run_id)

    def config(self) -> dict[str, Any]:
        """Return the resolved configuration; of data files that are gone, the place beside the store if they moved too.

        Raises:
            InputError: the file is damaged.
        """
        try:
            content = yaml.load((self.path / "config.yaml").read_text(), LOADER)
        except (OSError, ValueError, yaml.YAMLError):
            content = None
        if not isinstance(content, dict):
            raise InputError(f"{self.path / 'config.yaml'} is damaged; delete the directory and start the run again")
        data, old, new = content.get("data"), str(content.get("store", "")), os.path.abspath(self.path.parent)
        if isinstance(data, dict) and old != new:
            content["data"] = {k: _moved(v, old, new) for k, v in data.items()}
        return content

    def converted(self) -> dict[str, Any] | None:
        """Return the record of another package's network; None if the directory holds none."""
        content = files.read_json(self.path / CONVERTED)
        return content if isinstance(content, dict) else None

    def result(self) -> Result | None:
        """Return the published result; None if there is none, or only a damaged one.

        Raises:
            InputError: a later version of the program wrote it, or another program; it is not computed again.
        """
        path = self.path / "result.json"
        content = files.read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("attempt"), int):
            return None
        return Result.parse(content, str(path))

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the directory with its configuration and state `queued`; if it is there, add its new test sets."""
        if (self.path / "config.yaml").exists():
            self._add_tests((config.get("data") or {}).get("tests"))
            return
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.dump(dict(config), Dumper=DUMPER, sort_keys=False, allow_unicode=True)
        # A sync takes up to ten milliseconds, and a sweep has thousands of runs: `repair` rewrites what a loss of
        # power damaged, and a run without a state is queued.
        files.write_bytes(self.path / "config.yaml", text.encode(), durable=False)
        files.create_json(self.path / "state.json", self._record(RunState.QUEUED), durable=False)  # unless there is one

    def _add_tests(self, tests: Mapping[str, str] | None) -> None:
        """Add test sets to the configuration: they are no part of the identity. `repair` mends a damaged one."""
        if not tests:
            return
        try:
            content = self.config()
        except InputError:
            return
        known = content["data"].get("tests") or {}
        if known == {**known, **tests}:
            return
        content["data"]["tests"] = {**known, **tests}
        text = yaml.dump(content, Dumper=DUMPER, sort_keys=False, allow_unicode=True)
        files.write_bytes(self.path / "config.yaml", text.encode())

    def repair(self, config: Mapping[str, Any]) -> None:
        """Write `config.yaml` anew if it is damaged; the run's id is a hash of `config`."""
        try:
            self.config()
        except InputError:
            self._put_aside(self.path / "config.yaml", "it is written anew")
            self.create(config)

    def set_state(self, state: RunState, **details: Any) -> None:
        """Record `state` for people and messages; `state` itself goes by the result and the lease."""
        path = self.path / "state.json"
        try:
            files.write_json(path, self._record(state, **details))
        except IsADirectoryError:
            self._put_aside(path, "it is no file and is written anew")
            files.write_json(path, self._record(state, **details))

    def _put_aside(self, path: Path, meaning: str) -> None:
        """Rename a damaged file with a warning; nothing that somebody else put there is deleted."""
        damaged = path.with_name(f"damaged-{uuid.uuid4().hex[:8]}-{path.name}")
        logger.warning("%s is damaged; %s (the old one is %s)", path, meaning, damaged.name)
        path.rename(damaged)

    @staticmethod
    def _record(state: RunState, **details: Any) -> dict[str, Any]:
        return {"state": state, "time": time.time(), "host": socket.gethostname(), "pid": os.getpid(), **details}

    def recorded_state(self) -> dict[str, Any]:
        """Return the last recorded state; an empty dict if it is absent or damaged."""
        content = files.read_json(self.path / "state.json")
        return content if isinstance(content, dict) else {}

    def state(self) -> RunState:
        """Return the state by result and lease; if they say nothing, the recorded one."""
        if self.result() is not None:
            return RunState.DONE
        latest = self.latest_attempt()
        if latest and self._alive(latest):
            return RunState.RUNNING
        recorded = RunState.of(self.recorded_state().get("state"))
        return RunState.INTERRUPTED if recorded in (RunState.RUNNING, RunState.DONE) else recorded

    def latest_attempt(self) -> int:
        """Return the number of the latest attempt, 0 if there was none."""
        try:
            names = os.listdir(self.path)  # several times as fast as a glob, and a store has thousands of runs
        except (FileNotFoundError, NotADirectoryError):
            return 0
        return max((int(n[8:]) for n in names if n.startswith("attempt-") and n[8:].isdigit()), default=0)

    def stops(self) -> Counter[str]:
        """Count the attempts that a scheduler ended, by cause (preemption, timeout, …)."""
        contents = [files.read_json(path) for path in self.path.glob(f"attempt-*/{STOPPED}")]
        return Counter(
            str(content["cause"]) for content in contents if isinstance(content, dict) and "cause" in content
        )

    def claim(self) -> Attempt | None:
        """Take the run; return None if it is done or another living process has it."""
        while self.result() is None:
            latest = self.latest_attempt()
            if latest and self._alive(latest):
                return None
            # The lease must be inside the directory before the directory has its name.
            prepared = files.temporary_for(self.path / "claim")
            try:
                prepared.mkdir(parents=True)
                files.write_json(prepared / "alive.json", vars(Process.this()))
                prepared.rename(self.path / f"attempt-{latest + 1}")
            except OSError as error:
                shutil.rmtree(prepared, ignore_errors=True)
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                continue  # another process was faster: look again
            attempt = Attempt(self, latest + 1)
            if self.result() is not None:  # published between the look and the claim
                (attempt.path / "alive.json").unlink()
                break
            self._set_damaged_aside(attempt)
            files.remove_abandoned(self.path)
            attempt.prune()
            return attempt
        self.settle()
        return None

    def _set_damaged_aside(self, attempt: Attempt) -> None:
        """Move an unreadable result into the attempt, so that it does not prevent the next one."""
        damaged = self.path / "result.json"
        if damaged.exists():
            logger.warning("%s is damaged; the run is computed again", damaged)
            os.replace(damaged, attempt.path / "damaged-result.json")

    def _alive(self, number: int) -> bool:
        return lease_lives(self.path / f"attempt-{number}" / "alive.json")

    def settle(self) -> None:
        """Link the winner's files beside a published result and drop checkpoints; safe to repeat."""
        result = self.result()
        if result is None:
            return
        winner = self.path / f"attempt-{result.attempt}"
        for name in PUBLISHED:
            if (winner / name).exists() and not (self.path / name).exists():
                files.link_once(winner / name, self.path / name)
        kept = self.path / "checkpoint"
        for name in LASTING:
            if (winner / name).exists() and not (kept / name).exists():
                kept.mkdir(exist_ok=True)
                files.link_once(winner / name, kept / name)
        for number in range(1, self.latest_attempt() + 1):
            if number == result.attempt or not self._alive(number):
                for checkpoint in (self.path / f"attempt-{number}").glob(STEPS):
                    checkpoint.unlink(missing_ok=True)
            lease = self.path / f"attempt-{number}" / "alive.json"
            if not self._alive(number) and not lease.is_dir():
                lease.unlink(missing_ok=True)
        files.remove_abandoned(self.path)
        if self.recorded_state().get("state") != RunState.DONE:
            self.set_state(RunState.DONE, attempt=result.attempt)


def _moved(value: Any, old: str, new: str) -> Any:
    """Return a setting of data; if it is an absolute path, or several by name, where `paths.moved` finds them."""
    if isinstance(value, Mapping):
        return {name: _moved(one, old, new) for name, one in value.items()}
    return moved(value, old, new) if isinstance(value, str) and os.path.isabs(value) else value


class RunStore:
    """A directory of runs."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def run(self, run_id: str) -> Run:
        """Return the run with this id, whose directory need not exist yet."""
        return Run(self.path / run_id)

    def runs(self) -> list[Run]:
        """Return every run in the store, ordered by id."""
        if not self.path.is_dir():
            return []
        entries = sorted(entry.path for entry in os.scandir(self.path) if entry.is_dir())
        return [Run(Path(entry)) for entry in entries if os.path.exists(os.path.join(entry, "config.yaml"))]

    def results(self) -> Iterator[tuple[Run, Result]]:
        """Yield every finished run with its result."""
        for run in self.runs():
            result = run.result()
            if result is not None:
                yield run, result


def tail(path: Path, lines: int = 1) -> str:
    """Return the last lines of a log, or "" if there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").rstrip().splitlines()[-lines:])
    except OSError:
        return ""


def read_history(path: Path) -> list[dict[str, Any]]:
    """Return the records of a `history.jsonl`; damaged lines are left out."""
    records = []
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
