"""Does training work on this machine's GPU, correctly and how fast (`make gpu-check`)?

`python -m benchmarks.gpu_check --device cuda --minutes 8 --out FILE` prints a line for each check and network and
writes them all after each: a list of `{check, architecture, state, at_s, seconds, …}` with what was found. States:

    ok            it holds; for speeds: it was measured
    FAIL          it does not hold
    error         it could not be carried out (an exception, a crash, no answer in time)
    skipped       it does not apply here (another device, a package that is not given)
    not_measured  the time was up; what had been found by then is in the row

Nothing is downloaded, and the whole ends after the given minutes. Checks run in processes of their own, several side by
side on a GPU; a process that crashes or hangs is replaced, and costs its one row. While one process measures times the
others wait, compilers apart. On the CPU it tells whether the checks themselves work, within a minute.

The exit code is 1 if a row says FAIL or error.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.on_gpu.checker import Lane, serve
from benchmarks.on_gpu.plan import Check, lanes
from experiments.core import command, files

PACKS = (64, 1, 16, 256)
CHANNELS = 32
START_SECONDS = 60.0
"""Time for a process to start (a cold disk), beside that of its first check."""
POLL_SECONDS = 0.2
FIGURES = ("speed", "bases", "peer")
"""Functions of checks that measure times."""
SPAWN = get_context("spawn")


class Table:
    """The rows so far, in a file at any time."""

    def __init__(self, out: Path | None) -> None:
        self.out = out
        self.rows: list[dict[str, Any]] = []
        self.began = time.monotonic()
        self._lock = threading.Lock()

    def keep(self, check: Check, state: str, **facts: Any) -> None:
        """Add a row, print it and write the file."""
        row = {"check": check.name, "architecture": check.architecture, "state": state}
        with self._lock:
            self.rows.append({**row, "at_s": round(time.monotonic() - self.began, 1), **facts})
            if self.out is not None:
                files.write_json(self.out, self.rows)
            print(line(self.rows[-1]), flush=True)

    def bad(self) -> list[str]:
        """Return the names of rows that say FAIL or error."""
        return [f"{r['check']}: {r['architecture']}" for r in self.rows if r["state"] in ("FAIL", "error")]


def line(row: dict[str, Any]) -> str:
    """Return a row in one printed line."""
    hidden = ("check", "architecture", "state", "at_s", "where", "top")
    facts = "  ".join(f"{key} {_short(value)}" for key, value in row.items() if key not in hidden)
    return f"{row['state']:12} {row['check']:28} {row['architecture']:30} {facts}"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "(" + " ".join(f"{key} {_short(inner)}" for key, inner in value.items()) + ")"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


class Process:
    """A process of checks.

    Args:
        lane: what it is told.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.usable = True
        """Whether it can take another check."""
        self.requests, theirs = SPAWN.Pipe()
        # Not a daemon: those may not start processes, as compilers do.
        self.process = SPAWN.Process(target=serve, args=(theirs, lane))
        self.process.start()
        theirs.close()  # the process has its own: when it ends, so do the answers

    def run(self, check: Check, until: float, ended: threading.Event) -> tuple[str, dict[str, Any]]:
        """Carry out a check; return its state and its facts.

        The state is `late` if `until`, of the monotonic clock, came first, or the whole has `ended`.
        """
        facts: dict[str, Any] = {}
        try:
            self.requests.send(check)
            while time.monotonic() < until and not ended.is_set():
                if not self.requests.poll(POLL_SECONDS):
                    continue
                kind, content = self.requests.recv()
                if kind == "end":
                    self.usable = content != "lost"
                    return "error" if content == "lost" else content, facts
                facts |= content
        except (EOFError, OSError):
            self.usable = False
            self.process.join(1)
            tail = self.lane.log.read_text(errors="replace").strip()[-500:] if self.lane.log.exists() else ""
            return "error", {**facts, "message": f"its process ended (code {self.process.exitcode}): {tail}"}
        self.usable = False
        return "late", facts

    def end(self) -> None:
        """Kill it, and what it started."""
        assert self.process.pid is not None
        with contextlib.suppress(ProcessLookupError):  # it has no group of its own before it says so
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join(5)
        self.requests.close()


def reason_not(check: Check, device: str, sites: Mapping[str, str]) -> tuple[str, str] | None:
    """Return state and reason of a check that cannot be carried out here; None if it can."""
    if check.never:
        return "not_measured", check.never
    if check.needs == "cuda" and device != "cuda":
        return ("not_measured", "no GPU here") if check.function in FIGURES else ("skipped", "for a GPU")
    if check.function == "peer" and check.needs not in sites:
        return "skipped", f"no folder is given (--{check.needs})"
    return None


def carry_out(checks: Sequence[Check], lane: Lane, table: Table, until: float, ended: threading.Event) -> None:
    """Carry out a lane's checks in order, in one process as long as it lives; nothing is left of it at the end."""
    process: Process | None = None
    for check in checks:
        reason = reason_not(check, lane.device, lane.sites)
        if reason is None and (time.monotonic() > until or ended.is_set()):
            reason = "not_measured", "the time was up"
        if reason is not None:
            table.keep(check, reason[0], reason=reason[1])
            continue
        began, limit = time.monotonic(), check.seconds
        if process is None:
            process, limit = Process(lane), limit + START_SECONDS
        state, facts = process.run(check, min(until, began + limit), ended)
        if state == "late":
            up = time.monotonic() >= until or ended.is_set()
            state = "not_measured" if up else "error"
            facts["message"] = "the time was up" if up else f"no answer within {limit:.0f} s"
        table.keep(check, state, seconds=round(time.monotonic() - began, 1), **facts)
        if not process.usable:
            process.end()
            process = None
    if process is not None:
        process.end()


def nothing_measured() -> Table:
    """Print the figures that a GPU would give, without one."""
    table = Table(None)
    for check in (check for checks in lanes(CHANNELS, list(PACKS)) for check in checks):
        if check.never or check.function in FIGURES:
            table.keep(check, "not_measured", reason=check.never or "no GPU here")
    return table


def check_device(
    device: str,
    minutes: float,
    out: Path | None,
    packs: Sequence[int] = PACKS,
    channels: int = CHANNELS,
    sites: dict[str, str] | None = None,
) -> Table:
    """Carry out all checks, and return their table.

    Args:
        device: cuda or cpu.
        minutes: after which everything ends.
        out: file of the rows; None: none is written.
        packs: numbers of runs whose speed is measured.
        channels: of the networks for ethanol.
        sites: folders of packages (`mace`, `nequip`) and what they need.
    """
    table = Table(out)
    until = table.began + 60 * minutes
    planned = lanes(channels, list(packs))
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)

        def lane(number: int, checks: Sequence[Check]) -> Lane:
            kinds = {check.function for check in checks}
            compilers = max(1, cores // (4 if "speed" in kinds else 8))
            nice = 10 if "compiled" in kinds else 0  # what is measured and what comes first has precedence
            return Lane(device, root / f"{number}.log", root, sites or {}, nice, compilers)

        every = planned if device == "cuda" else [[check for checks in planned for check in checks]]
        ended = threading.Event()
        threads = [
            threading.Thread(target=carry_out, args=(checks, lane(number, checks), table, until, ended))
            for number, checks in enumerate(every)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            ended.set()  # Ctrl-C: processes are killed before the folder is removed
            for thread in threads:
                thread.join()
    return table


def main() -> int:
    """Run the checks of the command line; return the exit code."""
    parser = command.Parser(
        prog="python -m benchmarks.gpu_check", description="Check training on a device, and time it."
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which everything ends (default: 8)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument(
        "--packs", nargs="*", type=command.integer_from(1), default=PACKS, help="sizes of packs to time"
    )
    parser.add_argument("--channels", type=command.integer_from(1), default=CHANNELS, help="of ethanol's networks")
    parser.add_argument("--mace", metavar="DIR", help="folder with mace-torch and what it needs (pip install --target)")
    parser.add_argument("--nequip", metavar="DIR", help="the same for nequip")
    return command.run(_main, parser.parse_args(), "gpu_check")


def _main(arguments: argparse.Namespace) -> int:
    sites = {name: getattr(arguments, name) for name in ("mace", "nequip") if getattr(arguments, name)}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    table = check_device(arguments.device, arguments.minutes, arguments.out, arguments.packs, arguments.channels, sites)
    bad = table.bad()
    states = [row["state"] for row in table.rows]
    print(f"{len(states)} rows: " + ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states)))
    for name in bad:
        print(f"  {name}")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
