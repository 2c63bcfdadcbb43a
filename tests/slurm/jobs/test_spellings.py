"""Every spelling of GPUs and memory, on a real Slurm whose GPUs have types and parts: accepted, and jobs run."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs.script import array_script
from slurm.requests import gpu_count
from slurm.settings import SlurmSettings
from tests.slurm.conftest import skip_without_slurm

SPELLINGS: list[dict[str, Any]] = [
    {"gres": "gpu:1"}, {"gres": "gpu:a100:1"}, {"gres": "gpu:1g.5gb:1"}, {"gres": "shard:2"}, {"gres": "gpu"},
    {"gpus": 1}, {"gpus": "a100:1"}, {"gpus": "1g.5gb:2"}, {"gpus-per-node": 2}, {"gpus_per_node": "a100:1"},
    {"gpus-per-task": 1}, {"gpus-per-task": "a100:1"}, {"gpus": "a100:1", "mem-per-gpu": "200M"}, {"mem": "400M"},
    {"mem-per-cpu": "200M"}, {"gpus-per-node": 1, "mem_per_gpu": "200M"}, {"gpus-per-task": 1, "mem-per-gpu": "200M"},
    {"gres": "gpu:a100:1", "exclusive": ""}, {},
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes, each with two whole GPUs of a type and two parts of one (MIG)."""
    skip_without_slurm()
    types = {"a100": 2, "1g.5gb": 2}
    with temporary(Settings(nodes=2, gpus=4, gpu_types=types, exposed=True)) as made:
        yield made


def script_of(folder: Path, sbatch: dict[str, Any]) -> Path:
    """Write the sbatch file of a pack whose program prints the GPUs that it got."""
    program = folder / "program"
    program.write_text("#!/bin/sh\necho gpus=$CUDA_VISIBLE_DEVICES\n")
    program.chmod(0o755)
    settings = SlurmSettings(sbatch=sbatch, python=str(program), time=5)
    (folder / "logs").mkdir()
    script = folder / "array.sh"
    script.write_text(array_script(folder, "name", settings, 1, 1, None, None, 0))
    return script


@pytest.mark.parametrize("sbatch", SPELLINGS, ids=str)
def test_sbatch_takes_every_spelling(cluster: Cluster, sbatch: dict[str, Any], tmp_path: Path) -> None:
    script = script_of(tmp_path, sbatch)
    tested = subprocess.run(
        ["sbatch", "--test-only", str(script)], env=cluster.environment(), capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stderr
    job = cluster.run("sbatch", "--parsable", str(script)).strip()
    log = tmp_path / "logs" / f"{job}_0.log"
    assert daemons.wait(lambda: log.exists() and "gpus=" in log.read_text(), 60), cluster.run("squeue")
    gpus = log.read_text().split("gpus=")[1].split("\n")[0]
    if "shard" not in str(sbatch):  # a part of a GPU is one device, however many parts
        assert len(list(filter(None, gpus.split(",")))) == gpu_count(sbatch), log.read_text()
    while cluster.run("squeue", "--noheader", "--job", job, check=False).strip():
        time.sleep(0.2)
    assert "JobState=COMPLETED" in cluster.run("scontrol", "show", "job", job)


def test_a_type_that_no_node_has_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    script = script_of(tmp_path, {"gres": "gpu:h100:1"})
    tested = subprocess.run(
        ["sbatch", "--test-only", str(script)], env=cluster.environment(), capture_output=True, text=True
    )
    assert tested.returncode != 0
