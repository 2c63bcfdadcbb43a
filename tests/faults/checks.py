"""What must hold after any fault: every run done once, the undisturbed numbers, nothing left over."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from safetensors.numpy import load_file

from experiments.core import files
from experiments.runs.store import RunStore
from experiments.runs.table import run_table

TIMING = ["seconds", "cpu_seconds", "code_version"]
"""What may differ: how long it took, and the commit where somebody commits meanwhile."""


def table_of(store: Path) -> pd.DataFrame:
    """The run table without what may differ."""
    return run_table(RunStore(store)).drop(columns=TIMING)


def assert_clean(store: Path, count: int) -> None:
    """Every run done once; no temporary files, no checkpoints, no leases."""
    runs = RunStore(store).runs()
    assert len(runs) == count
    for run in runs:
        assert run.state() == "done"
        assert run.recorded_state()["state"] == "done"
        result = run.result()
        assert result is not None
        winner = run.path / f"attempt-{result['attempt']}" / "result.json"
        assert os.path.samefile(winner, run.path / "result.json")
        for name in ("frame_errors.parquet", "history.parquet", "checkpoint/model.safetensors"):
            assert (run.path / name).exists(), name
        assert not list(run.path.rglob("alive.json"))
    assert not list(store.rglob(f"{files.TEMPORARY}*"))
    assert not list(store.rglob("step-*"))


def assert_same(store: Path, other: Path) -> None:
    """Same runs, same numbers, bit for bit, and the same weights."""
    pd.testing.assert_frame_equal(table_of(store), table_of(other), check_exact=True)
    for run in RunStore(store).runs():
        twin = RunStore(other).run(run.id)
        pd.testing.assert_frame_equal(
            pd.read_parquet(run.path / "frame_errors.parquet"), pd.read_parquet(twin.path / "frame_errors.parquet"),
            check_exact=True,
        )  # fmt: skip
        weights, others = (load_file(r.path / "checkpoint" / "model.safetensors") for r in (run, twin))
        assert weights.keys() == others.keys()
        for name, tensor in weights.items():  # not the files: the order of their metadata is random
            assert tensor.tobytes() == others[name].tobytes(), name
