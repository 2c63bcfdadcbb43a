"""`python -m slurm cluster up | down | status`."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from slurm.cluster import pointer
from slurm.cluster.cluster import Cluster


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options to a parser."""
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, command, text in (
        ("up", up, "start the cluster, or those of its daemons that are not running"),
        ("down", down, "stop the cluster and the jobs on it; pending jobs go on at the next up"),
        ("status", status, "show whether the cluster is running (exit code 1: it is not, or only in part)"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(command=command)
        one.add_argument(
            "--dir",
            type=Path,
            default=pointer.default_directory(),
            metavar="DIR",
            help="folder for all its files (default %(default)s); each folder is a cluster of its own",
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
                help="allow it even if other machines may reach the address of this machine's name",
            )


def up(arguments: argparse.Namespace) -> int:
    """Start the cluster, or those of its daemons that are not running, and point Slurm's commands to it."""
    given = {
        name: value for name in ("nodes", "accounting", "exposed") if (value := getattr(arguments, name)) is not None
    }
    before = Cluster(arguments.dir)
    cluster = Cluster(arguments.dir, replace(before.settings, **given))
    state = before.status().state
    started = cluster.up()
    pointer.point_to(cluster.layout.slurm_conf)
    if state in ("absent", "down"):
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
    """Stop the cluster and the jobs on it."""
    cluster = Cluster(arguments.dir)
    print(f"cluster {cluster.directory}: {'stopped' if cluster.down() else 'was not running'}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """Print the cluster's state; return 1 unless all of it is running."""
    current = Cluster(arguments.dir).status()
    print(current.line())
    return 0 if current.state == "up" else 1
