"""What every test shares: one thread for torch, generated data in a directory of the test session, tiny runs."""

from __future__ import annotations

import copy
import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from experiments.core.interrupt import ASKING, StopRequest
from tests import selections

ROOT = Path(__file__).resolve().parent.parent
STAR = {
    "source": "star", "n_neighbours": 3, "coefficients": [1.0], "noise": 0.0, "pool": 60, "holdout": 6, "test": 16,
    "seed": 0, "disjoint_seeds": 5, "subset_seed": None,
}  # fmt: skip
"""Three neighbours, a dipole teacher: milliseconds to make."""
MACE = {
    "architecture": "mace", "edge_lmax": 1, "n_layers": 1, "channels": 4, "cutoff": 2.0, "n_bessel": 3,
    "cutoff_power": 5, "radial_hidden": [6], "readout_hidden": 4,
}  # fmt: skip
ACE = {
    "architecture": "ace", "edge_lmax": 1, "n_radial": 2, "cutoff": 2.0, "energy_weight": 1.0, "force_weight": 1.0,
}  # fmt: skip
TRAINING = {
    "max_steps": 24, "batch_size": 4, "optimizer": "soap", "learning_rate": 3e-3, "warmup_steps": 4, "cooldown": 0.5,
    "ema_decay": 0.9, "clip": 10.0, "energy_weight": 1.0, "force_weight": 1.0, "precision": "float64",
    "compile": False, "checkpoint_seconds": 60.0, "init_seed": None,
}  # fmt: skip
"""Eager and in double precision; some ten milliseconds an update."""

# No timing decides a test here: the machine may be busy with anything.
settings.register_profile("equilaw", deadline=None)
settings.load_profile("equilaw")

MakeConfig = Callable[..., dict[str, Any]]


def pytest_addoption(parser: pytest.Parser) -> None:
    """An option for `make selections`."""
    parser.addoption("--record-costs", metavar="FILE", help="append [test, seconds] of every test to FILE, as JSON")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what tests/selections.txt lists, and tests on a real Slurm, which not every machine can measure."""
    marker = selections.listed()
    for item in items:
        on_slurm = "cluster" in getattr(item, "fixturenames", ())
        if name := marker.get(selections.function(item.nodeid), "slow" if on_slurm else None):
            item.add_marker(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Record what a test costs, with the fixtures that it is the first to use."""
    clock = selections.Clock()
    outcome = yield
    if path := item.config.getoption("--record-costs"):
        with open(path, "a") as file:
            file.write(json.dumps([item.nodeid, clock.cost()]) + "\n")
    return outcome


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts what it puts in the background with SIGINT ignored, and processes of ours would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A command that runs in the test's process takes over its signals, and the next test would not get its Ctrl-C."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    StopRequest.installed = None


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Networks this small lose by more threads, and tests run in several processes."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _data_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Generated data never goes into the user's own cache."""
    before = os.environ.get("EQUILAW_DATA")
    os.environ["EQUILAW_DATA"] = str(tmp_path_factory.mktemp("data"))
    yield
    if before is None:
        del os.environ["EQUILAW_DATA"]
    else:
        os.environ["EQUILAW_DATA"] = before


@pytest.fixture
def star_section() -> dict[str, Any]:
    """The `data` section of a tiny star teacher."""
    return copy.deepcopy(STAR)


@pytest.fixture
def make_config(tmp_path: Path) -> MakeConfig:
    """A composed configuration of a tiny run on the star, with `section.key=value` changes as a mapping."""

    def make(changes: Mapping[str, Any] | None = None, model: str = "mace") -> dict[str, Any]:
        config: dict[str, Any] = {
            "P": 8, "L": 1 if model == "mace" else None, "nu": 2, "seed": 0, "data": copy.deepcopy(STAR),
            "model": copy.deepcopy(MACE if model == "mace" else ACE), "training": copy.deepcopy(TRAINING),
            "store": str(tmp_path / "store"), "device": "cpu",
        }  # fmt: skip
        for key, value in (changes or {}).items():
            section, _, name = key.rpartition(".")
            (config[section] if section else config)[name] = value
        return config

    return make


@pytest.fixture
def tiny_arguments() -> list[str]:
    """The same tiny runs on the command line of `python -m experiments`; eager, in single precision."""
    sections = {"data": STAR, "model": MACE, "training": {**TRAINING, "precision": "float32"}}
    arguments = ["data=star"]
    for section, values in sections.items():
        for key, value in values.items():
            if key not in ("source", "architecture") and value is not None:
                shown = str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
                arguments.append(f"{section}.{key}={shown}")
    return arguments


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root, where commands are run."""
    return ROOT
