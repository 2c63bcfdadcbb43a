"""The cluster, and an undisturbed sweep to compare with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs import commands
from tests.faults.slurm.harness import ROOT, Sweep, arguments
from tests.slurm.conftest import skip_without_slurm


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the same sweep, undisturbed and without Slurm."""
    store = tmp_path_factory.mktemp("reference") / "store"
    subprocess.run(
        [sys.executable, "-m", "experiments", "-m", *arguments(), f"store={store}"],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True, capture_output=True,
    )  # fmt: skip
    return store


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two nodes; administrators who let jobs hear of their preemption."""
    skip_without_slurm()
    with temporary(Settings(nodes=2, exposed=True)) as made:
        yield made


MakeSweep = Callable[..., Sweep]


@pytest.fixture
def sweep(cluster: Cluster, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSweep]:
    """A sweep on the cluster; afterwards nothing of it runs, whatever the test left."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.layout.slurm_conf))
    commands.environment.cache_clear()
    yield lambda *allowed: Sweep(cluster, tmp_path, reference, allowed)
    cluster.run("scancel", "--user=" + commands.ask("id", "-un").strip(), check=False)
    commands.environment.cache_clear()
