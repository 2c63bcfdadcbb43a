"""The command line for runs of sweeps, on this machine or a cluster (`python -m slurm --help`)."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.core import command
from experiments.core.states import RunState
from slurm.cluster import command_line as cluster_cli
from slurm.cluster.cluster import ClusterError
from slurm.jobs import doctor
from slurm.jobs.commands import SlurmError

if TYPE_CHECKING:
    from slurm.jobs.actions import ActionReport
    from slurm.jobs.status import Survey

NAME = "python -m slurm"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 done, 1 a run failed (or a cluster is not running, or the doctor found a fault), 2 bad input,
        130 Ctrl-C.
    """
    arguments = _parser().parse_args(argv)
    if "store" in arguments and not arguments.store:
        arguments.store = [Path("runs")]
    return command.run(arguments.command, arguments, NAME, failures=(ClusterError, SlurmError))


def plan(arguments: argparse.Namespace) -> int:
    """Print the runs of a sweep and what they will cost, and start nothing."""
    from experiments.__main__ import main as experiments

    probe = ["hydra.launcher.probe=true"] if arguments.probe else []
    sys.argv = ["python -m experiments", "-m", *arguments.word, "hydra.launcher.submit=false", *probe]
    return experiments()


def status(arguments: argparse.Namespace) -> int:
    """Print a table of all runs, from their directories and the scheduler; return 1 if one failed or is lost."""
    from slurm.jobs import table
    from slurm.jobs.status import survey

    stores = [str(store) for store in arguments.store]

    def look() -> Survey:
        return survey(arguments.store)

    if arguments.json:
        latest = look()
        scheduler = {"reachable": latest.scheduler.reachable, "message": latest.scheduler.message}
        content = {"time": time.time(), "counts": latest.counts(), "scheduler": scheduler}
        print(json.dumps({**content, "runs": [run.as_dict() for run in latest.runs]}, ensure_ascii=False))
    elif arguments.watch:
        latest = table.watch(look, stores, arguments.every, arguments.all)
    else:
        latest = look()
        table.console().print(table.show(latest, stores, arguments.all))
    return 1 if latest.of(RunState.FAILED) or latest.of(RunState.LOST) else 0


def cancel(arguments: argparse.Namespace) -> int:
    """End runs by ending their jobs; return 1 if one could not be ended."""
    from slurm.jobs.actions import cancel

    return _print_report(cancel(arguments.store, arguments.run))


def retry(arguments: argparse.Namespace) -> int:
    """Queue failed, lost and cancelled runs again; return 1 if one could not be queued."""
    from slurm.jobs.actions import retry

    return _print_report(retry(arguments.store, arguments.run))


def _print_report(report: ActionReport) -> int:
    for line in report.messages:
        print(line)
    for line in report.problems:
        command.say(line, NAME)
    return 1 if report.problems else 0


def logs(arguments: argparse.Namespace) -> int:
    """Print the last lines of the logs of a run and of its job."""
    from slurm.jobs.actions import logs

    for text in logs(arguments.store, arguments.run, arguments.lines):
        print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = command.Parser(
        prog=NAME, description="Look at the runs of sweeps and act on them, on this machine or a cluster."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def add(name: str, text: str, carry_out: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=carry_out)
        one.add_argument(
            "--store",
            type=command.path,
            nargs="+",
            action="extend",
            metavar="DIR",
            help="stores of the runs, as store= of the sweeps (default runs)",
        )
        return one

    of_status = add("status", "show the state of all runs, from their directories and the scheduler", status)
    form = of_status.add_mutually_exclusive_group()
    form.add_argument("--watch", action="store_true", help="repeat until all runs have ended")
    form.add_argument("--json", action="store_true", help="print everything as JSON, for programs")
    of_status.add_argument(
        "--every", type=_seconds, default=5.0, metavar="SECONDS", help="time between looks of --watch (default 5)"
    )
    of_status.add_argument("--all", action="store_true", help="show a row for every run, also for those that are done")
    of_cancel = add("cancel", "end runs by ending their jobs (all queued and running ones if none is named)", cancel)
    of_retry = add("retry", "queue failed, lost and cancelled runs again (all of them if none is named)", retry)
    for one in (of_cancel, of_retry):
        one.add_argument("run", nargs="*", metavar="RUN", help="beginning of a run's id")
    of_logs = add("logs", "print the last lines of the logs of a run and of its job", logs)
    of_logs.add_argument("run", metavar="RUN", help="beginning of a run's id")
    of_logs.add_argument("--lines", type=int, default=40, metavar="N", help="lines of each log (default 40)")
    text = "print the runs of a sweep, its packs and its hours by shape, and start nothing"
    of_plan = commands.add_parser("plan", help=text, description=text)
    of_plan.set_defaults(command=plan)
    of_plan.add_argument(
        "--probe", action="store_true", help="compute shapes of unknown cost for half a minute each, eager"
    )
    of_plan.add_argument("word", nargs="+", metavar="KEY=VALUE", help="as of `python -m experiments -m`")
    cluster = commands.add_parser("cluster", help="run a real Slurm on this machine, to try things on")
    cluster_cli.add_to(cluster)
    text = "check whether this machine has what a sweep needs: torch, GPU, compiler, Slurm, a place for runs"
    doctor.add_to(commands.add_parser("doctor", help=text, description=text))
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"{text}: accepted: 0.1 to 86400 seconds")
    return value
