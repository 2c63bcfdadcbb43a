"""Intervals of the errors themselves: hierarchical bootstrap over seeds and test frames, from a store.

The t interval over seeds says nothing about the test set, which all runs share. Test frames are resampled whole,
because the forces within a frame are correlated, and the same draw serves every run of a curve.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.comparisons.bootstrap import resample_frames
from analysis.curve import Curve, nanmean
from analysis.errors import InputError
from analysis.sources import run_file
from analysis.table import RunTable
from experiments.core.files import read_json
from experiments.runs.evaluations import DIGITS, FOLDER

COLUMNS = {
    "force_mae": ("force_mae", False),
    "force_rmse": ("force_mse", True),
    "energy_mae": ("energy_mae", False),
    "energy_rmse": ("energy_mse", True),
    "cross_entropy": ("cross_entropy", False),
}
"""Metric → column of `frame_errors.parquet`, and whether it is a mean square."""
REPLICATES = 2000


@dataclass(frozen=True)
class ErrorInterval:
    """The error of one curve at one P."""

    curve: Curve
    """The curve."""
    size: float
    """P, frames."""
    error: float
    """Geometric mean over seeds, in the curve's unit."""
    low: float
    """Lower end of the 95 % interval over seeds and test frames."""
    high: float
    """Upper end."""
    low_frames: float
    """Lower end of the interval over test frames alone, which a larger test set would narrow."""
    high_frames: float
    """Upper end of the interval over test frames alone."""


def error_intervals(table: RunTable, curves: list[Curve], *stores: Path) -> list[ErrorInterval]:
    """Bootstrap every curve whose metric has errors per frame.

    Percentile intervals over S seeds are too narrow by about √((S − 1)/S); they are widened by its inverse.

    Raises InputError if a run's frame errors are missing, or if their mean is not its error in the table.
    """
    result: list[ErrorInterval] = []
    for curve in curves:
        complete = int(np.isfinite(curve.error).all(axis=1).sum())
        if curve.text("metric") in COLUMNS and curve.has_seeds and complete >= 2:
            result += _intervals(curve, _frames(table, curve, stores))
    if not result:
        raise InputError(
            f"{', '.join(map(str, stores))}: no curve with two seeds at all P and a metric among {', '.join(COLUMNS)}"
        )
    return result


def _frames(table: RunTable, curve: Curve, stores: Sequence[Path]) -> FloatArray:
    """Return the errors per frame of complete seeds in the unit of the table (squared for mean squares): [S, K, F]."""
    column, squared = COLUMNS[curve.text("metric")]
    rows = table.rows
    mine = np.ones(len(rows), dtype=bool)
    for name, value in curve.key.items():
        mine &= (rows[name].isna() if value is None else rows[name] == value).to_numpy(dtype=bool)
    part = rows[mine]
    runs = {(str(s), float(p)): str(run) for s, p, run in zip(part["seed"], part["P"], part["run_id"], strict=True)}
    complete = [s for s, row in zip(curve.seeds, curve.error, strict=True) if np.isfinite(row).all()]
    frames = []
    for s in complete:
        row = [_read(_file(stores, runs[s, float(p)], curve.text("test_set"))) for p in curve.sizes]
        frames.append(np.stack([_weighted(frame, column) for frame in row]))
    values = np.stack(frames)  # [S, K, F], in eV or eV/Å (squared if `squared`)
    means = np.sqrt(values.mean(axis=2)) if squared else values.mean(axis=2)
    expected = curve.error[[curve.seeds.index(s) for s in complete]]
    factor = float(np.median(expected / means))  # the table may be in meV
    if not np.allclose(means * factor, expected, rtol=1e-4):
        raise InputError(f"{stores[0]}: the frame errors of {curve.name} do not add up to the errors in the run table")
    return values * (factor**2 if squared else factor)


def _file(stores: Sequence[Path], run: str, test_set: str) -> Path:
    """Return the file of a run's errors per frame: on its own test set, or on a further one of that name."""
    own = run_file(stores, run, "frame_errors.parquet")
    name, _, digest = test_set.partition("@")
    pattern = f"{glob.escape(name)}-{digest}{'?' * (DIGITS - len(digest))}.{own.name}"
    further = sorted(own.parent.glob(f"{FOLDER}/{pattern}"))
    result = read_json(own.parent / "result.json") if further else {}
    return further[0] if further and (result or {}).get("test_set") != test_set else own


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read the errors per frame ({error})") from error


def _weighted(frame: pd.DataFrame, column: str) -> FloatArray:
    """Return errors per frame [F] whose plain mean is the metric: all force components have the same weight."""
    values = frame[column].to_numpy(dtype=float)
    if not column.startswith("force"):
        return values
    atoms = frame["atoms"].to_numpy(dtype=float)
    return np.asarray(values * atoms / atoms.mean())


def _intervals(curve: Curve, frames: FloatArray) -> list[ErrorInterval]:
    _, squared = COLUMNS[curve.text("metric")]
    n_seeds = len(frames)
    both = resample_frames(frames, REPLICATES, squared=squared)  # [R, K]
    # One pseudo-seed with the seeds' mean: resampling it leaves only the frames to vary.
    only = resample_frames(frames.mean(axis=0, keepdims=True), REPLICATES, squared=squared)
    middle = nanmean(np.log(curve.error))
    wide = np.sqrt(n_seeds / (n_seeds - 1))
    result = []
    for k, size in enumerate(curve.sizes):
        low, high = (middle[k] + wide * (q - both[:, k].mean()) for q in np.quantile(both[:, k], [0.025, 0.975]))
        first, last = (middle[k] + (q - only[:, k].mean()) for q in np.quantile(only[:, k], [0.025, 0.975]))
        ends = (float(np.exp(value)) for value in (middle[k], low, high, first, last))
        result.append(ErrorInterval(curve, float(size), *ends))
    return result


def error_table(intervals: list[ErrorInterval], labels: list[str]) -> str:
    """Return a line of text for each interval."""
    lines = []
    for interval, label in zip(intervals, labels, strict=True):
        lines.append(
            f"{label}  P={interval.size:g}: {interval.error:.4g} [{interval.low:.4g}, {interval.high:.4g}] "
            f"(test frames alone [{interval.low_frames:.4g}, {interval.high_frames:.4g}]) {interval.curve.unit}"
        )
    return "\n".join(lines)


def error_record(interval: ErrorInterval) -> dict[str, object]:
    """Return the JSON record of an interval."""
    return {
        **interval.curve.key,
        "unit": interval.curve.unit,
        "P": interval.size,
        "error": interval.error,
        "error_low": interval.low,
        "error_high": interval.high,
        "error_low_frames": interval.low_frames,
        "error_high_frames": interval.high_frames,
    }
