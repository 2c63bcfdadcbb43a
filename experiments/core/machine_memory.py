"""The memory that a computation may plan with: the machine's, or the limit of the job or container that it runs in.

Not what is free at the moment, which changes while one looks: the same command is then refused today and not tomorrow.
"""

from __future__ import annotations

import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def memory_limit() -> float:
    """Return the bytes that this process may take at most, by the machine, its control groups and its Slurm job."""
    limits = [float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")), *_of_job()]
    for path in _limit_files():
        try:
            limits.append(float(path.read_text()))
        except (OSError, ValueError):
            continue  # no such group, or "max": no limit
    return min(limits)


def free_memory() -> float | None:
    """Return the bytes of the machine that nobody uses at the moment; None where that is not told."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None


def _limit_files() -> list[Path]:
    """Return the files with the limits of the process's control group and of those around it, of version 2 and 1."""
    found = [_GROUPS / "memory.max", _GROUPS / "memory/memory.limit_in_bytes"]
    try:
        lines = _OWN_GROUPS.read_text().splitlines()
    except OSError:
        return found
    for line in lines:  # hierarchy:controllers:path
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root, name = (_GROUPS, "memory.max") if controllers == "" else (_GROUPS / "memory", "memory.limit_in_bytes")
        group = root / path.lstrip("/")
        found += [each / name for each in (group, *group.parents) if each.is_relative_to(root)]
    return found


def _of_job() -> list[float]:
    """Return the limit that a Slurm job was given by `--mem` or `--mem-per-cpu`, which are in MiB."""
    value = os.environ.get
    per_node, per_cpu, cpus = (value(f"SLURM_{name}", "") for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"))
    if per_node.isdigit() and int(per_node) > 0:  # 0 is all of the node
        return [2.0**20 * int(per_node)]
    return [2.0**20 * int(per_cpu) * int(cpus)] if per_cpu.isdigit() and cpus.isdigit() else []
