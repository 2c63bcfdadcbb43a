"""A user's architecture and source in jobs of a real Slurm: found by the absolute path that each run's file has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from experiments.core.plugins import VARIABLE
from experiments.runs.store import RunStore
from slurm.cluster.cluster import Cluster
from tests.test_contributing import environment, written

SWEEP = ("model=radial", "data=morse", "P=4", "seed=0,1", "training.max_steps=8", "training.warmup_steps=2")


def test_jobs_find_a_users_files(on_cluster: Cluster, tmp_path: Path) -> None:
    """The command names the folder by a relative path; jobs start elsewhere, and without the variable of the shell."""
    written(tmp_path)
    command = [sys.executable, "-m", "experiments", "-m", "plugins=mine", *SWEEP, "training.compile=false"]
    launcher = ["hydra/launcher=slurm", "hydra.launcher.detach=false", "hydra.launcher.sbatch={chdir: /}"]
    python = f"hydra.launcher.python='env -u {VARIABLE} {sys.executable}'"
    ended = subprocess.run(
        [*command, *launcher, python], cwd=tmp_path, env={**environment(), **on_cluster.environment()},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    runs = RunStore(tmp_path / "runs").runs()
    assert [run.state() for run in runs] == ["done", "done"]
    for run in runs:
        result = run.result()
        assert result is not None
        assert (result["architecture"], result["dataset"]) == ("radial", "morse")


def test_a_faulty_file_submits_nothing(on_cluster: Cluster, tmp_path: Path) -> None:
    """By the variable instead of the key; the message is one line, before a directory of a run is made."""
    path = written(tmp_path) / "mine" / "models" / "radial.py"
    path.write_text(path.read_text().replace(".squeeze(1)", ""))
    ended = subprocess.run(
        [sys.executable, "-m", "experiments", "-m", *SWEEP, "hydra/launcher=slurm"], cwd=tmp_path,
        env={**environment(), **on_cluster.environment(), VARIABLE: "mine"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr == (
        f"equilaw: {path}: forward returned a tensor of shape [4, 1] for 4 atoms; accepted: shape [4], an energy of "
        "each atom\n"
    )
    assert not (tmp_path / "runs").exists()
