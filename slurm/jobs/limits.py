"""Limits of a cluster, asked of its controller: sizes of job arrays, jobs at a time, parts of GPUs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from experiments.core.errors import InputError
from slurm.jobs.commands import SlurmError, ask

Ask = Callable[..., str]


@dataclass(frozen=True)
class Limits:
    """Limits of one cluster for one user."""

    cluster: str
    array_size: int
    """Most elements of a job array (the largest index + 1)."""
    jobs: int | None
    """Elements that may still be submitted; None: no limit is known."""


def limits(account: str | None = None, ask: Ask = ask) -> Limits:
    """Ask the controller, and the accounting if there is one, for this user's limits.

    Args:
        account: that the jobs are charged to; None: any of the user's.
        ask: calls a command of Slurm.

    Raises:
        SlurmError: the controller does not answer.
    """
    config = configuration(ask)
    most = [int(config["MaxJobCount"])] if config.get("MaxJobCount", "").isdigit() else []
    if "slurmdbd" in config.get("AccountingStorageType", ""):
        try:
            asked = ("sacctmgr", "-nP", "show", "assoc", "where", "user=" + user(ask), "format=Account,MaxSubmitJobs")
            rows = [row.strip().partition("|") for row in ask(*asked).splitlines() if "|" in row]
            mine = [most_jobs for name, _, most_jobs in rows if account in (None, name)]
            # a user of several accounts, one of them closed (0), still has the others
            if mine and all(most_jobs.isdigit() for most_jobs in mine):
                most.append(max(int(most_jobs) for most_jobs in mine))
        except SlurmError:
            pass  # sbatch will refuse what is too much
    size = config.get("MaxArraySize", "")
    return Limits(
        cluster=config.get("ClusterName", "unknown"),
        array_size=max(1, int(size) if size.isdigit() else 1001),
        jobs=max(0, min(most) - len(_ids(ask("squeue", "--me", "-h", "-r", "-o", "%i")))) if most else None,
    )


def configuration(ask: Ask = ask) -> dict[str, str]:
    """Return the controller's configuration by key; sites print banners around it, and values may be empty.

    Raises:
        SlurmError: the controller does not answer.
    """
    return dict(re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", ask("scontrol", "show", "config"), re.MULTILINE))


def user(ask: Ask = ask) -> str:
    """Return the calling user's name."""
    return ask("id", "-un").strip()


def _ids(output: str) -> list[str]:
    """Return the lines that are job ids; sites print banners beside them."""
    return [line for line in output.splitlines() if re.match(r"\s*\d+(_|$|\s*$)", line)]


def part_of_gpu(packs_per_gpu: int, partition: str | None, ask: Ask = ask) -> str:
    """Return the `--gres` that lets `packs_per_gpu` jobs share a GPU: parts of it by `shard` or by MPS.

    Raises:
        InputError: the cluster has neither, or the GPU has fewer parts.
        SlurmError: the controller does not answer.
    """
    if packs_per_gpu == 1:
        return "gpu:1"
    where = () if partition is None else ("-p", partition)
    offered = ask("sinfo", "-h", *where, "-o", "%G")
    gpus = sum(int(n) for n in re.findall(r"gpu(?::[^:,()\s]+)*:(\d+)", offered))
    for name in ("shard", "mps"):
        parts = sum(int(n) for n in re.findall(rf"{name}(?::[^:,()\s]+)*:(\d+)", offered))
        if not parts or not gpus:
            continue
        each = parts // gpus
        if each < packs_per_gpu:
            raise InputError(
                f"hydra.launcher.packs_per_gpu={packs_per_gpu}: a GPU has {each} parts ({name}) here; "
                f"accepted: an integer from 1 to {each}"
            )
        return f"{name}:{each // packs_per_gpu}"
    raise InputError(
        f"hydra.launcher.packs_per_gpu={packs_per_gpu}: this cluster has neither shard nor MPS to share a GPU by "
        f"(sinfo -o %G says {' '.join(sorted(set(offered.split()))) or 'nothing'}); accepted: 1"
    )
