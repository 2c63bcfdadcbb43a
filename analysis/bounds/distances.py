"""Distances of test frames to training frames, and the dimension of the data that they imply.

They come from `python -m experiments.runs.measure_distances` (`distances.parquet` in a store), from a file of frames,
or from another program: a table with `dataset, space, P, d1` (distance to the nearest of P training frames; one row per
test frame and subset) and, as far as known, `unit, test_set, subset_seed, d2 … dk, label_gap`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.bounds.dimension import Distances, levina_bickel_from, two_nn_from
from analysis.errors import InputError
from analysis.fits.jsonable import Record, ends
from analysis.fits.record import UNDETERMINED, plus_minus
from analysis.fits.uncertainty import Interval, t_interval

DISTANCES_FILE = "distances.parquet"
"""File name of the table of distances in a store."""
REQUIRED = ("dataset", "space", "P", "d1")
_SPACES = {
    "descriptor": "descriptor (inverse distances, sorted within each pair of elements)",
    "aligned_rmsd": "aligned RMSD (best rotation and permutation of like atoms)",
}


@dataclass(frozen=True)
class DimensionEstimate:
    """The dimension of one dataset in one metric; intervals over subsets, NaN for a single subset."""

    dataset: str
    """Dataset."""
    test_set: str
    """Test set."""
    space: str
    """`descriptor`, `aligned_rmsd` or another program's."""
    unit: str
    """Unit of the distances."""
    distances: Distances
    """δ(P)."""
    two_nn: Interval
    """TwoNN at the largest P."""
    levina_bickel: Interval
    """Levina–Bickel at the largest P."""
    neighbours: int
    """Neighbours that Levina–Bickel used."""


def read_distances(path: Path) -> pd.DataFrame:
    """Read a table of distances from a parquet or CSV file.

    Raises InputError for a file that cannot be read, lacks a column, or has a distance that is not a number ≥ 0.
    """
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except FileNotFoundError:
        hint = (
            "python -m experiments.runs.measure_distances --store DIR writes it"
            if path.name == DISTANCES_FILE
            else "give a table"
        )
        raise InputError(f"{path}: no such file; {hint}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot read distances ({error}); give parquet or CSV") from error
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; distances need {', '.join(REQUIRED)}")
    for name in ("P", "d1"):
        values = pd.to_numeric(frame[name], errors="coerce")
        wrong = ~(np.isfinite(values) & (values > 0 if name == "P" else values >= 0))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(f"{path}, row {row + 1}: {name} is {frame[name].iloc[row]!r}, must be a number")
        frame[name] = values.astype(float)
    for name, value in (("test_set", ""), ("unit", ""), ("subset_seed", 0)):
        if name not in frame.columns:
            frame[name] = value
    return frame


def spaces(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Yield the parts of a table of distances by dataset, test set and metric."""
    for (dataset, test_set, space), part in frame.groupby(["dataset", "test_set", "space"], sort=False, dropna=False):
        yield (str(dataset), str(test_set), str(space)), part


def delta(part: pd.DataFrame) -> Distances:
    """Return δ(P) of each subset, on the P that all subsets have.

    Raises InputError if they have none in common.
    """
    means = part.groupby(["subset_seed", "P"])["d1"].mean().unstack("P").dropna(axis=1)
    if means.empty:
        raise InputError("distances: the subsets have no P in common")
    return Distances(means.columns.to_numpy(dtype=float), means.to_numpy(dtype=float))


def estimate_dimension(key: tuple[str, str, str], part: pd.DataFrame) -> DimensionEstimate:
    """Estimate the dimension of one dataset from its distances in one metric.

    By the slope of δ(P), and by TwoNN and Levina–Bickel from the neighbours of the test frames at the largest P.

    Args:
        key: dataset, test set and metric, as `spaces` yields them.
        part: the distances.
    """
    distances = delta(part)
    largest = part[part["P"] == distances.sizes[-1]]
    columns = sorted(
        (str(name) for name in part.columns if str(name)[:1] == "d" and str(name)[1:].isdigit()),
        key=lambda name: int(name[1:]),
    )
    columns = [name for name in columns if largest[name].notna().all()]
    subsets = [group[columns].to_numpy(dtype=float) for _, group in largest.groupby("subset_seed")]
    two = [two_nn_from(rows[:, 0], rows[:, 1]) if len(columns) >= 2 else np.nan for rows in subsets]
    many = [levina_bickel_from(rows) if len(columns) >= 3 else np.nan for rows in subsets]
    unit = str(part["unit"].iloc[0])
    return DimensionEstimate(*key, unit, distances, t_interval(np.array(two)), t_interval(np.array(many)), len(columns))


def dimension_text(one: DimensionEstimate) -> str:
    """Describe an estimate in lines of text."""
    sizes, means = one.distances.sizes, np.exp(np.log(np.maximum(one.distances.mean, 1e-300)).mean(axis=0))
    place = f"{one.dataset}, {one.test_set}" if one.test_set else one.dataset
    listed = ", ".join(f"{size:g}: {mean:.4g}" for size, mean in zip(sizes, means, strict=True))
    lines = [f"{place}: {_SPACES.get(one.space, one.space)}", f"  δ(P) in {one.unit or 'its unit'}: {listed}"]
    if len(sizes) >= 3 and (one.distances.mean > 0).all():
        lines.append(f"  1/slope of δ(P): d_eff = {dimension_interval(one.distances.d_eff)}")
    else:
        lines.append("  no slope: this needs three values of P and frames that differ")
    at = f"at P = {sizes[-1]:g}"
    lines.append(f"  TwoNN {at}: {dimension_interval(one.two_nn)}")
    lines.append(f"  Levina–Bickel {at}, {one.neighbours} neighbours: {dimension_interval(one.levina_bickel)}")
    return "\n".join(lines)


def dimension_interval(interval: Interval) -> str:
    """Format a dimension with its interval, `4.91 ± 0.50`; `not determined` where zero cannot be excluded."""
    if interval.low <= 0:
        return UNDETERMINED
    return plus_minus(interval.value, interval.low, interval.high, untold=np.inf)


def dimension_record(one: DimensionEstimate) -> Record:
    """Return the JSON record of an estimate."""
    return {
        "dataset": one.dataset,
        "test_set": one.test_set,
        "space": one.space,
        "unit": one.unit,
        "P": [float(size) for size in one.distances.sizes],
        "delta": [float(value) for value in one.distances.mean.mean(axis=0)],
        **ends("d_eff", one.distances.d_eff),
        **ends("two_nn", one.two_nn),
        **ends("levina_bickel", one.levina_bickel),
        "neighbours": one.neighbours,
        "n_subsets": len(one.distances.mean),
    }
