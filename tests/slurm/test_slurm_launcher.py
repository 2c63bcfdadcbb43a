"""`hydra/launcher=slurm` on a real Slurm: a sweep, the same again, a failing run, a preemption."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments.core import files
from experiments.runs.execute import execute
from experiments.runs.store import RunStore
from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs import ledger
from tests.slurm.conftest import skip_without_slurm

SECONDS = 240.0
"""Longest wait; the machine may be busy with anything."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One node; its administrator did not set that jobs hear of a preemption by the signal that they asked for."""
    skip_without_slurm()
    with temporary(Settings(nodes=1, exposed=True, user_signal=False)) as made:
        yield made


@pytest.fixture
def sweep(on_cluster: Cluster, root: Path, tiny_arguments: list[str], tmp_path: Path) -> Callable[..., Any]:
    """`python -m experiments -m … hydra/launcher=slurm` to its end."""

    def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments", "-m", *tiny_arguments, f"store={tmp_path / 'store'}"]
        ended = subprocess.run(
            [*command, "hydra/launcher=slurm", *arguments],
            cwd=root, env=on_cluster.environment(), capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended

    return run


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "store")


def until(condition: Callable[[], Any]) -> None:
    assert daemons.wait(lambda: bool(condition()), SECONDS)


def job_of(store: RunStore) -> str:
    """Of the first element of the latest submission."""
    array = ledger.submissions(store.path)[-1].arrays[0]
    return f"{array.job}_0"


def log(store: RunStore) -> str:
    return "\n".join(path.read_text() for path in sorted((store.path / "slurm").glob("*/logs/*.log")))


def state_of(cluster: Cluster, job: str) -> str:
    return cluster.run("squeue", "--noheader", "--format=%T", f"--jobs={job}", "--states=all", check=False).strip()


def test_a_sweep_with_a_run_that_fails(sweep: Callable[..., Any], store: RunStore, on_cluster: Cluster) -> None:
    """Slurm's job fails with it and the others of its pack are kept; the same command submits nothing, twice."""
    arguments = ("P=4,8", "seed=0", "hydra.launcher.pack=2")
    dry = sweep(*arguments, "hydra.launcher.submit=false")
    good, bad = (store.run(line.split()[0]) for line in dry.stdout.splitlines())
    assert dry.stderr.startswith("2 runs: 2 to submit in 1 job\n")
    assert not good.path.exists()

    first = sweep(*arguments, "hydra.launcher.sbatch={hold: true}")
    assert first.stdout.startswith("2 runs: 2 submitted in 1 job\n")
    assert f"python -m slurm status --store {store.path}" in first.stdout
    (bad.path / "config.yaml").write_text("P: [1")
    assert sweep(*arguments).stdout.startswith("2 runs: 2 queued or running, 0 submitted in 0 jobs\n")
    on_cluster.run("scontrol", "release", job_of(store))
    until(lambda: state_of(on_cluster, job_of(store)) == "FAILED")
    assert (good.state(), bad.state()) == ("done", "failed")
    assert "1 left" in log(store)
    origin = files.read_json(good.path / "attempt-1" / "origin.json")
    assert origin["environment"]["SLURM_JOB_NAME"] == ledger.submissions(store.path)[-1].arrays[0].name
    assert origin["code_version"]

    again = sweep(*arguments, code=1)
    assert again.stdout.startswith("2 runs: 1 done, 1 failed, 0 submitted in 0 jobs\n")
    assert "1 of 2 runs failed; run them again with hydra.launcher.retry=true" in again.stderr
    awaited = sweep(*arguments, "hydra.launcher.retry=true", "hydra.launcher.detach=false")
    assert "2 of 2 runs done" in awaited.stderr
    assert bad.state() == "done"
    assert len([s for s in ledger.submissions(store.path) if not s.dry]) == 2


def test_a_preempted_run_goes_on_and_comes_to_the_same(
    sweep: Callable[..., Any], store: RunStore, on_cluster: Cluster, tmp_path: Path
) -> None:
    """Bit for bit, on a cluster that tells of a preemption by SIGTERM alone."""
    arguments = ("P=4", "seed=0", "training.max_steps=300")
    sweep(*arguments, "hydra.launcher.sbatch={nodelist: n1}", "hydra.launcher.time=5")
    (run,) = store.runs()
    history = run.path / "attempt-1" / "history.jsonl"
    until(lambda: history.exists() and history.stat().st_size)
    on_cluster.run("sbatch", "--partition=preempt", "--nodelist=n1", "--exclusive", "--output=/dev/null", "--wrap=true")
    until(lambda: run.stops() == {"preemption": 1})
    until(lambda: run.state() == "done")
    result = run.result()
    assert result is not None
    assert result["attempt"] == 2
    until(lambda: state_of(on_cluster, job_of(store)) == "COMPLETED")
    (submission,) = ledger.submissions(store.path)
    starts = [files.read_json(path) for path in sorted((submission.path / "packs" / "0-0").iterdir())]
    assert [(s["restarts"], s["cause"]) for s in starts] == [(0, "preemption"), (1, "done")]
    assert starts[0]["progress"][1] > 0

    undisturbed = RunStore(tmp_path / "undisturbed").run(run.id)
    undisturbed.create(run.config())
    assert execute([undisturbed], lambda: False, lambda event: None) == {run.id: "done"}
    expected = undisturbed.result()
    assert expected is not None
    assert result["by_metric"] == expected["by_metric"]
