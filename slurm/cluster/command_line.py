"""`python -m slurm cluster up | down | status`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from slurm.cluster import pointer
from slurm.cluster.cluster import Cluster


def add_to(parser: argparse.ArgumentParser) -> None:
    """The sub-commands with their options."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command, text in (
        ("up", up, "start it, or what of it does not run"),
        ("down", down, "stop what was started, and the jobs on it; pending jobs go on at the next up"),
        ("status", status, "say whether it runs (exit code 1: not, or not whole)"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        one.add_argument(
            "--dir",
            type=Path,
            default=pointer.default_directory(),
            metavar="DIR",
            help="where all of it lies (default %(default)s); each directory is a cluster of its own",
        )
        if name == "up":
            one.add_argument("--nodes", type=int, metavar="N", help="nodes of 2 pretended GPUs each (default 4)")
            one.add_argument(
                "--accounting",
                action=argparse.BooleanOptionalAction,
                help="with a database, so that sacct answers (default: without)",
            )
            one.add_argument(
                "--exposed",
                action=argparse.BooleanOptionalAction,
                help="allow it where this machine's own name is not an address of the loopback",
            )


def up(arguments: argparse.Namespace) -> int:
    """Start it."""
    given = {
        name: value for name in ("nodes", "accounting", "exposed") if (value := getattr(arguments, name)) is not None
    }
    made = Cluster(arguments.dir)
    cluster = Cluster(arguments.dir, replace(made.settings, **given))
    living = made.status().state
    started = cluster.up()
    pointer.point_to(cluster.layout.slurm_conf)
    if living in ("absent", "down"):
        print(f"started {cluster.status().line()}")
    elif started:
        print(f"started again {', '.join(started)}; {cluster.status().line()}")
    else:
        print(f"was up already: {cluster.status().line()}")
    if os.environ.get("SLURM_CONF") not in (None, "", str(cluster.layout.slurm_conf)):
        print(f"SLURM_CONF is set to {os.environ['SLURM_CONF']}: launcher and commands use that cluster, not this one")
    else:
        print(f"for squeue, sbatch, …: export SLURM_CONF={cluster.layout.slurm_conf}")
    return 0


def down(arguments: argparse.Namespace) -> int:
    """Stop it."""
    cluster = Cluster(arguments.dir)
    print(f"cluster {cluster.directory}: {'stopped' if cluster.down() else 'nothing ran'}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Look at it."""
    found = Cluster(arguments.dir).status()
    print(found.line())
    return 0 if found.state == "up" else 1
