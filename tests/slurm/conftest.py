"""Hydra's own configuration loader on the project's conf/, and a real Slurm."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.core.paths import ROOT
from slurm import local, worker
from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.cluster.configuration import Settings
from slurm.cluster.temporary import temporary
from slurm.jobs import commands, scheduler
from tests.slurm.states import HERE, Slurm, Store

MakeConfig = Callable[..., dict[str, Any]]
STUB = Path(__file__).with_name("stub_worker.py")


def skip_without_slurm(accounting: bool = False) -> None:
    """Skip the test where the packages are not installed."""
    if missing := daemons.missing(accounting):
        pytest.skip(f"{', '.join(missing)} not installed: make slurm")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes without accounting, up for the tests of a module."""
    skip_without_slurm()
    with temporary(Settings(nodes=2, exposed=True)) as made:
        yield made


@pytest.fixture
def on_cluster(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Our own commands talk to it."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.layout.slurm_conf))
    commands.environment.cache_clear()
    yield cluster
    commands.environment.cache_clear()


@pytest.fixture
def loader(root: Path) -> Iterator[ConfigLoader]:
    """The loader as `python -m experiments` has it."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(root / "conf"), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()
    GlobalHydra.instance().clear()


@pytest.fixture
def master(loader: ConfigLoader) -> Callable[..., DictConfig]:
    """The configuration of a sweep with its own overrides, before any point."""

    def compose(*overrides: str) -> DictConfig:
        return loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)

    return compose


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Workers that play their part in a tenth of a second; told what to do with which run."""
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, str(STUB)))
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def tell(told: Mapping[str, str]) -> None:
        monkeypatch.setenv("EQUILAW_STUB", json.dumps(dict(told)))

    return tell


@pytest.fixture
def store(tmp_path: Path, make_config: MakeConfig) -> Store:
    """An empty store."""
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store", make_config())


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """In place of the scheduler."""
    made = Slurm()
    monkeypatch.setattr(scheduler, "look", made.look)
    monkeypatch.setattr(scheduler, "cluster_name", lambda: HERE)
    monkeypatch.setattr(scheduler, "past", lambda *_: made.past)
    monkeypatch.setattr(scheduler, "cancel", lambda *told: made.cancelled.append(told))
    return made
