"""The command line of the sweeps and where they run (`python -m slurm --help`)."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import command
from slurm.cluster import command_line as cluster_cli
from slurm.cluster.cluster import ClusterError
from slurm.jobs import doctor
from slurm.jobs.commands import SlurmError

if TYPE_CHECKING:
    from slurm.jobs.actions import Done
    from slurm.jobs.status import Survey

NAME = "python -m slurm"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns 0 done, 1 a run failed (or a cluster does not run, or the doctor found a fault), 2 bad input, 130 Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    if "store" in arguments and not arguments.store:
        arguments.store = [Path("runs")]
    return command.run(arguments.command, arguments, NAME, failures=(ClusterError, SlurmError))


def status(arguments: argparse.Namespace) -> int:
    """One table of all runs from their directories and the scheduler; exit code 1 where one failed or is lost."""
    from slurm.jobs import table
    from slurm.jobs.status import survey

    stores = [str(store) for store in arguments.store]

    def look() -> Survey:
        return survey(arguments.store)

    if arguments.json:
        found = look()
        scheduler = {"reachable": found.scheduler.reachable, "message": found.scheduler.message}
        content = {"time": time.time(), "counts": found.counts(), "scheduler": scheduler}
        print(json.dumps({**content, "runs": [run.as_dict() for run in found.runs]}, ensure_ascii=False))
    elif arguments.watch:
        found = table.watch(look, stores, arguments.every, arguments.all)
    else:
        found = look()
        table.console().print(table.show(found, stores, arguments.all))
    return 1 if found.of("failed") or found.of("lost") else 0


def cancel(arguments: argparse.Namespace) -> int:
    """End runs by ending their jobs."""
    from slurm.jobs.actions import cancel

    return _report(cancel(arguments.store, arguments.run))


def retry(arguments: argparse.Namespace) -> int:
    """Queue runs again."""
    from slurm.jobs.actions import retry

    return _report(retry(arguments.store, arguments.run))


def _report(done: Done) -> int:
    for line in done.said:
        print(line)
    for line in done.problems:
        command.say(line, NAME)
    return 1 if done.problems else 0


def logs(arguments: argparse.Namespace) -> int:
    """Print them."""
    from slurm.jobs.actions import logs

    for text in logs(arguments.store, arguments.run, arguments.lines):
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.Parser(prog=NAME, description="Sweeps, and where they run.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, text: str, carry_out: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=carry_out)
        one.add_argument(
            "--store",
            type=Path,
            nargs="+",
            action="extend",
            metavar="DIR",
            help="stores of the runs, as store= of the sweeps (default runs)",
        )
        return one

    shown = add("status", "all runs: from their directories and the scheduler", status)
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--watch", action="store_true", help="again and again, until all has ended")
    form.add_argument("--json", action="store_true", help="everything, for programs")
    shown.add_argument("--every", type=_seconds, default=5.0, metavar="SECONDS", help="with --watch (default 5)")
    shown.add_argument("--all", action="store_true", help="a row for every run, those that are done too")
    ended = add("cancel", "end runs (all that are queued or running, where none is named) by ending their jobs", cancel)
    again = add("retry", "queue failed, lost and cancelled runs again (all, where none is named)", retry)
    for one in (ended, again):
        one.add_argument("run", nargs="*", metavar="RUN", help="beginning of a run's id")
    said = add("logs", "what a run and its job said last", logs)
    said.add_argument("run", metavar="RUN", help="beginning of a run's id")
    said.add_argument("--lines", type=int, default=40, metavar="N", help="of each log (default 40)")
    cluster = commands.add_parser("cluster", help="a real Slurm on this machine, to try things on")
    cluster_cli.add_to(cluster)
    text = "whether this machine has what a sweep needs: torch, GPU, compiler, Slurm, a place for runs"
    doctor.add_to(commands.add_parser("doctor", help=text, description=text))
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"must be 0.1 to 86400 seconds, got {text}")
    return value
