"""The memory to plan with: the machine's, or the least limit of the control groups and the job around a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from experiments.core import machine_memory

VARIABLES = ("SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU", "SLURM_CPUS_ON_NODE")
MACHINE = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an empty folder of control groups and forget the job."""
    monkeypatch.setattr(machine_memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(machine_memory, "_OWN_GROUPS", tmp_path / "own")
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_machine_has_it_all(groups: Path) -> None:
    assert machine_memory.memory_limit() == MACHINE
    (groups / "memory.max").write_text("max\n")
    assert machine_memory.memory_limit() == MACHINE


def test_the_least_limit_of_the_groups_around_it_counts(groups: Path) -> None:
    (groups / "own").write_text("0::/slurm/job_7/step_0\n")
    job = groups / "slurm/job_7"
    (job / "step_0").mkdir(parents=True)
    (job / "step_0/memory.max").write_text("max\n")
    (job / "memory.max").write_text("1048576\n")
    assert machine_memory.memory_limit() == 2.0**20
    (groups / "own").write_text("5:cpu:/other\n4:memory:/job_8\n")
    (groups / "memory/job_8").mkdir(parents=True)
    (groups / "memory/job_8/memory.limit_in_bytes").write_text("4096\n")
    assert machine_memory.memory_limit() == 4096


@pytest.mark.parametrize(
    ("variables", "mebibytes"),
    [
        ({"SLURM_MEM_PER_NODE": "64"}, 64),
        ({"SLURM_MEM_PER_CPU": "16", "SLURM_CPUS_ON_NODE": "2"}, 32),
        ({"SLURM_MEM_PER_NODE": "0"}, None),  # all of the node
        ({"SLURM_MEM_PER_CPU": "16"}, None),
    ],
)
def test_a_jobs_limit(
    groups: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], mebibytes: int | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine_memory.memory_limit() == (MACHINE if mebibytes is None else mebibytes * 2.0**20)
