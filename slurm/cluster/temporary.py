"""Clusters that live as long as a test."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from experiments.core import files
from experiments.core.processes import Process
from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings

TEMPORARY = Path("/tmp")
"""Folder of temporary clusters; its path is short, for sockets lie below it."""
OWNER = "owner.json"


@contextmanager
def temporary(settings: Settings | None = None) -> Iterator[Cluster]:
    """Start a cluster, and stop and delete it at the end; first delete those that killed processes left behind.

    Args:
        settings: of the cluster; None: the defaults.
    """
    remove_abandoned()
    directory = Path(tempfile.mkdtemp(prefix="equilaw-", dir=TEMPORARY))
    files.write_json(directory / OWNER, asdict(Process.this()))
    cluster = Cluster(directory / "cluster", settings)
    try:
        with cluster:
            yield cluster
    finally:
        cluster.down()
        shutil.rmtree(directory, ignore_errors=True)


def remove_abandoned() -> None:
    """Stop and delete temporary clusters of this user whose process is gone."""
    for owned in TEMPORARY.glob(f"equilaw-*/{OWNER}"):
        with suppress(FileNotFoundError):  # its owner is just removing it
            owner = Process.read(files.read_json(owned)) if owned.stat().st_uid == os.geteuid() else None
            if owner is not None and not daemons.lives(owner):
                Cluster(owned.parent / "cluster").down()
                shutil.rmtree(owned.parent, ignore_errors=True)
