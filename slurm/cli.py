"""The command line of the sweeps and where they run (`python -m slurm --help`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from experiments.errors import InputError
from slurm.cluster import cli as cluster_cli
from slurm.cluster.cluster import ClusterError

Command = Callable[[argparse.Namespace], int]


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 a run failed (or a cluster does not run), 2 bad input, 130 Ctrl-C."""
    arguments = _parser().parse_args(argv)
    command: Command = arguments.command
    try:
        return command(arguments)
    except InputError as error:
        sys.stderr.write(f"python -m slurm: {error}\n")
        return 2
    except ClusterError as error:
        sys.stderr.write(f"python -m slurm: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m slurm", description="Sweeps, and where they run.")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    cluster = commands.add_parser("cluster", help="a real Slurm on this machine, to try things on")
    cluster_cli.add_to(cluster)
    return parser
