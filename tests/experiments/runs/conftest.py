"""What tests of the run store share: a run in an empty store, and writes that wait for no disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from experiments.runs.store import Run, RunStore


@pytest.fixture(scope="module")
def no_power_cut() -> Iterator[None]:
    """Sync no file: no test cuts the power, and syncing takes four fifths of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A queued run in a store of its own."""
    made = RunStore(tmp_path / "store").run("0123456789ab")
    made.create({"P": 8, "seed": 0})
    return made
