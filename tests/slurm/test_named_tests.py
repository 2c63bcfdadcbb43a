"""Test sets added to a sweep that is done: its runs are evaluated on them, and not trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.data.dataset import Dataset
from experiments.data.load import dataset_of
from experiments.data.sources.extxyz import write_frames
from experiments.runs.store import RunStore
from experiments.runs.table import run_table
from slurm.jobs.submit import submit_missing
from slurm.launcher import run_missing
from slurm.plan import PlannedRun
from slurm.settings import LocalSettings, SlurmSettings
from tests.experiments.finished import configuration, finished, molecules


@pytest.fixture
def hot(tmp_path: Path) -> str:
    write_frames(tmp_path / "hot.xyz", molecules(4, seed=7))
    return str(tmp_path / "hot.xyz")


def planned(folder: Path, P: int, **changes: Any) -> PlannedRun:
    config = parse(configuration(folder, "ace", {"P": P, **changes}))
    dataset = dataset_of(config.data)
    assert isinstance(dataset, Dataset)
    return PlannedRun.of(config, dataset.sha256(), dataset.further_sha256)


def test_workers_evaluate_what_is_done_and_compute_the_rest(tmp_path: Path, hot: str) -> None:
    done = finished(configuration(tmp_path, "ace", {"P": 10}))
    before = (done.path / "result.json").read_bytes()
    runs = [planned(tmp_path, P, **{"data.tests": {"600K": hot}}) for P in (10, 20)]
    assert [p.lacks_tests for p in runs] == [["600K"], ["600K"]]
    run_missing(runs, LocalSettings(workers=1))
    assert [p.lacks_tests for p in runs] == [[], []]
    assert (done.path / "result.json").read_bytes() == before
    assert done.latest_attempt() == 1
    table = run_table(RunStore(tmp_path / "store"))
    assert table.groupby("test_set")["P"].unique().map(sorted).to_dict() == {"600K": [10, 20], "test": [10, 20]}


def test_slurm_says_how_to_evaluate_what_is_done(tmp_path: Path, hot: str) -> None:
    done = finished(configuration(tmp_path, "ace", {"P": 10}))
    outcome = submit_missing([planned(tmp_path, 10, **{"data.tests": {"600K": hot}})], SlurmSettings(submit=False))
    assert [p.run.id for p in outcome.done] == [done.id]
    (note,) = outcome.notes
    assert "1 of the runs that are done lack errors on further test sets" in note
    assert note.endswith(f"python -m experiments.runs.evaluate {tmp_path / 'store'}")
    assert done.config()["data"]["tests"] == {"600K": hot}  # so that this command knows the set
