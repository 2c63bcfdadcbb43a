"""Error intervals over seeds and test frames, on a store written for the purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons.frame_errors import error_intervals
from analysis.curve import curves
from analysis.errors import InputError
from analysis.table import RunTable, check_table


def write_store(store: Path, seed_spread: float, n_seeds: int = 6, n_frames: int = 300) -> RunTable:
    """Runs whose frame errors are gamma-distributed about a·P^(−1/2), times a factor per seed."""
    rng = np.random.default_rng(0)
    shape = rng.gamma(2.0, 0.5, size=n_frames)
    rows = []
    for seed in range(n_seeds):
        for size in (16, 64):
            run = f"run{seed}-{size}"
            (store / run).mkdir(parents=True)
            frames = size**-0.5 * np.exp(seed_spread * rng.normal()) * shape
            atoms = np.full(n_frames, 9)
            pd.DataFrame(
                {"frame": range(n_frames), "atoms": atoms, "force_mae": frames, "force_mse": frames**2}
            ).to_parquet(store / run / "frame_errors.parquet")
            common = {"run_id": run, "dataset": "a", "architecture": "b", "P": size, "seed": seed}
            rows.append({**common, "metric": "force_mae", "unit": "meV/Å", "error": 1e3 * frames.mean()})
            rows.append({**common, "metric": "force_rmse", "unit": "meV/Å", "error": 1e3 * np.sqrt((frames**2).mean())})
    return check_table(pd.DataFrame(rows), "store")


def test_frames_alone_when_seeds_agree(tmp_path: Path) -> None:
    table = write_store(tmp_path, seed_spread=0.0)
    first = error_intervals(table, curves(table), tmp_path)[0]
    frames = pd.read_parquet(tmp_path / "run0-16" / "frame_errors.parquet")["force_mae"]
    half = 1.96 * frames.std() / frames.mean() / np.sqrt(len(frames))
    # 2,000 replicates know a percentile to about 4 % of the half width; the log adds below 2 %
    assert np.log(first.high_frames / first.low_frames) / 2 == pytest.approx(half, rel=0.1)
    assert first.low < first.low_frames < first.error < first.high_frames < first.high


def test_seeds_widen_the_interval(tmp_path: Path) -> None:
    table = write_store(tmp_path, seed_spread=0.3)
    intervals = error_intervals(table, curves(table), tmp_path)
    assert {interval.curve.text("metric") for interval in intervals} == {"force_mae", "force_rmse"}
    for interval in intervals:
        assert np.log(interval.high / interval.low) > 1.5 * np.log(interval.high_frames / interval.low_frames)


def test_missing_and_foreign_frame_errors_are_refused(tmp_path: Path) -> None:
    table = write_store(tmp_path, seed_spread=0.1)
    foreign = tmp_path / "run0-16" / "frame_errors.parquet"
    pd.read_parquet(foreign).assign(force_mae=lambda f: f["force_mae"] * 2).to_parquet(foreign)
    with pytest.raises(InputError, match="do not add up"):
        error_intervals(table, curves(table), tmp_path)
    foreign.unlink()
    with pytest.raises(InputError, match="cannot read the errors per frame"):
        error_intervals(table, curves(table), tmp_path)
