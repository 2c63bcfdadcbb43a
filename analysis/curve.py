"""A learning curve: the errors of one model on one dataset and metric, by seed and training-set size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.columns import RATE, STANDARD, TUNED, curve_name
from analysis.table import RunTable

FEWEST_UPDATES = 8
"""Updates of a run below which errors of shorter schedules say nothing of training."""


@dataclass(frozen=True)
class Curve:
    """One learning curve; arrays over seeds and training-set sizes hold NaN where a run is missing."""

    key: Mapping[str, object]
    """The identifying columns and their values (L, nu, ... as float or None)."""
    sizes: FloatArray
    """Training-set sizes P, ascending, frames. [K]"""
    seeds: tuple[str, ...]
    """Labels of the seeds; running numbers if the table has none. [S]"""
    error: FloatArray
    """Test error, in `unit`. [S, K]"""
    train_error: FloatArray
    """Training error, in `unit`; all NaN if the table has none. [S, K]"""
    half_budget: FloatArray
    """Test error after the complete schedule of half the updates, in `unit`; all NaN if there is none. [S, K]"""
    quarter_budget: FloatArray
    """The same after a quarter of the updates. [S, K]"""
    sem: FloatArray
    """Standard error of the test error from the finite test set, in `unit`; all NaN if unknown. [S, K]"""
    n_test: FloatArray
    """Number of test examples; all NaN if unknown. [S, K]"""
    converged: tuple[tuple[bool | None, ...], ...]
    """Whether each run's training converged; None if not known. [S][K]"""
    n_parameters: float
    """Number of weights; NaN if unknown."""
    seconds: FloatArray
    """Wall time of each run, s; all NaN if unknown. [S, K]"""
    unit: str
    """Unit of the errors; empty if the table does not say."""
    has_seeds: bool
    """Whether its runs have seeds (means ± sd have none): runs of one seed then share nested training subsets."""
    versions: frozenset[str] = frozenset()
    """Code versions of the runs."""
    devices: frozenset[str] = frozenset()
    """Devices of the runs."""
    overlapping: bool | None = None
    """Whether the seeds' training subsets overlap; None if the table does not say."""
    shared_subsets: bool = False
    """Whether several seeds drew the very same training subset."""
    runs: tuple[tuple[str, ...], ...] = ()
    """Name of each run, empty if the table does not say or the run is missing. [S][K]"""
    lost_zeros: bool = False
    """Whether rows with an error of exactly zero were dropped."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """Further columns to compare by and their values (float or str); None if empty or if runs differ in it."""
    too_short: bool = False
    """Whether some run was too short to have trained."""
    learned_nothing: bool = False
    """Whether no run at the largest P beats the mean of the labels; False if the table does not say."""
    pool: float = np.inf
    """Frames of the pool from which subsets are drawn; infinite if the table does not say."""
    error_sd: FloatArray | None = None
    """Standard deviation of the error over the runs behind each mean, in `unit`; None for single runs. [S, K]"""
    cpu_seconds: FloatArray | None = None
    """Processor time of each run, s; None if the table does not say. [S, K]"""
    n_runs: FloatArray | None = None
    """Number of these runs; None for single runs. [S, K]"""

    @property
    def log_sizes(self) -> FloatArray:
        """Natural logarithm of P, shape [K]."""
        return np.log(self.sizes)

    @property
    def log_error(self) -> FloatArray:
        """Natural logarithm of the error, shape [S, K]; −∞ for an error rate of zero."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.error))

    @property
    def mean_error(self) -> FloatArray:
        """Geometric mean of the error over seeds, in `unit`, shape [K]; arithmetic if an error rate is zero."""
        if np.any(self.error == 0):
            return nanmean(self.error)
        return np.asarray(np.exp(nanmean(self.log_error)))

    def at(self, keep: NDArray[np.bool_]) -> Curve:
        """Return the curve at some of its sizes: [K]."""
        budgets = ("error", "half_budget", "quarter_budget")
        arrays = (*budgets, "train_error", "sem", "n_test", "seconds", "cpu_seconds", "error_sd", "n_runs")
        whole = {name: getattr(self, name) for name in arrays}
        values: dict[str, Any] = {name: None if array is None else array[:, keep] for name, array in whole.items()}
        return replace(
            self,
            sizes=self.sizes[keep],
            converged=tuple(tuple(v for v, k in zip(row, keep, strict=True) if k) for row in self.converged),
            runs=tuple(tuple(v for v, k in zip(row, keep, strict=True) if k) for row in self.runs),
            **values,
        )

    @property
    def name(self) -> str:
        """Name of the curve in messages."""
        return curve_name([np.nan if value is None else value for value in self.key.values()], list(self.key))

    @property
    def told_apart_by(self) -> tuple[str, ...]:
        """Further columns of its key: those of --curve-by, and the protocol in tables of two."""
        return tuple(name for name in self.key if name not in STANDARD)

    @property
    def n_averaged(self) -> int:
        """Median number of runs behind a mean ± sd; zero for single runs."""
        return 0 if self.n_runs is None else int(np.nanmedian(self.n_runs))

    def number(self, name: str) -> float | None:
        """Return a numeric identifying column (`L`, `nu`, `edge_lmax`, ...); None if absent or empty."""
        value = self.key.get(name)
        return float(value) if isinstance(value, int | float) else None

    def value(self, name: str) -> object:
        """Return an identifying column or a setting; None if absent or empty.

        The learning rate is None for a curve whose rates were tuned for each P: they then follow from the model.
        """
        if name == RATE and self.settings.get(TUNED) is not None:
            return None
        return self.key.get(name, self.settings.get(name))

    def text(self, name: str) -> str:
        """Return a text identifying column; empty if absent."""
        value = self.key.get(name)
        return value if isinstance(value, str) else ""


def nanmean(values: FloatArray) -> FloatArray:
    """Return the mean over the first axis without NaN; NaN, without a warning, if nothing is left."""
    present = ~np.isnan(values)
    count = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def curves(table: RunTable) -> list[Curve]:
    """Split a run table into its learning curves, in order of first appearance."""
    columns = list(table.curve_columns)
    return [
        _curve(dict(zip(columns, values, strict=True)), part, table)
        for values, part in table.rows.groupby(columns, dropna=False, sort=False)
    ]


def _curve(key: dict[str, object], part: pd.DataFrame, table: RunTable) -> Curve:
    plain = {name: (None if pd.isna(value) else value) for name, value in key.items()}  # type: ignore[call-overload]
    means = "error_sd" in part.columns and bool(part["error_sd"].notna().any())
    seeded = table.has_seeds and not means
    labels = (part["seed"] if seeded else part.groupby("P").cumcount()).astype(str)
    seeds = tuple(sorted(labels.unique(), key=_seed_order))
    sizes = np.sort(part["P"].unique()).astype(float)
    row = labels.map({label: index for index, label in enumerate(seeds)}).to_numpy(dtype=int)
    column = np.searchsorted(sizes, part["P"].to_numpy(dtype=float))

    def grid(name: str) -> FloatArray:
        values = np.full((len(seeds), len(sizes)), np.nan)
        if name in part.columns:
            values[row, column] = part[name].to_numpy(dtype=float)
        return values

    def shorter(name: str) -> FloatArray:
        return np.where(grid("n_steps") < FEWEST_UPDATES, np.nan, grid(name))

    converged: list[list[bool | None]] = [[None] * len(sizes) for _ in seeds]
    if "converged" in part.columns:
        for s, k, value in zip(row, column, part["converged"], strict=True):
            converged[s][k] = value if isinstance(value, bool) else None
    runs = [[""] * len(sizes) for _ in seeds]
    if "run_id" in part.columns:
        for s, k, name in zip(row, column, part["run_id"], strict=True):
            runs[s][k] = str(name)
    return Curve(
        key=plain,
        sizes=sizes,
        seeds=seeds,
        error=grid("error"),
        train_error=grid("train_error"),
        half_budget=shorter("error_half_budget"),
        quarter_budget=shorter("error_quarter_budget"),
        sem=grid("error_test_sem"),
        n_test=grid("n_test"),
        runs=tuple(map(tuple, runs)),
        converged=tuple(tuple(line) for line in converged),
        n_parameters=float(part["n_parameters"].median()) if "n_parameters" in part.columns else np.nan,
        seconds=grid("seconds"),
        unit=str(part["unit"].iloc[0]) if "unit" in part.columns else "",
        has_seeds=seeded,
        error_sd=grid("error_sd") if means else None,
        n_runs=grid("n_runs") if means else None,
        cpu_seconds=grid("cpu_seconds") if "cpu_seconds" in part.columns else None,
        versions=_labels(part, "code_version"),
        devices=_labels(part, "device"),
        overlapping=_overlapping(part, sizes, len(seeds)),
        shared_subsets=_shared(part, seeds),
        settings={name: _single(part[name]) for name in table.settings},
        too_short="too_short" in part.columns and any(value is True for value in part["too_short"]),
        learned_nothing=_learned_nothing(part, sizes),
        pool=_pool(part, sizes),
        lost_zeros=curve_name([np.nan if v is None else v for v in plain.values()], list(plain)) in table.zero_curves,
    )


def _single(column: pd.Series[Any]) -> object:
    """Return the only value of a column; None if it is empty or there are several."""
    values = column.unique()
    return values[0] if len(values) == 1 and values[0] != "" and not pd.isna(values[0]) else None


def _learned_nothing(part: pd.DataFrame, sizes: FloatArray) -> bool:
    if "learned" not in part.columns:
        return False
    learned = list(part.loc[part["P"] == sizes[-1], "learned"])
    return bool(learned) and all(value is False for value in learned)


def _seed_order(label: str) -> tuple[int, float, str]:
    try:
        return 0, float(label), label
    except ValueError:
        return 1, 0.0, label


def _labels(part: pd.DataFrame, name: str) -> frozenset[str]:
    return frozenset(str(value) for value in part[name] if value != "") if name in part.columns else frozenset()


def _overlapping(part: pd.DataFrame, sizes: FloatArray, n_seeds: int) -> bool | None:
    """Return whether training subsets of different seeds overlap; None if the table does not say.

    A column `subsets_disjoint` decides; else subsets are disjoint as long as P_max ≤ pool_size / seeds.
    """
    if "subsets_disjoint" in part.columns and (part["subsets_disjoint"] != "").any():
        return bool(part["subsets_disjoint"].astype(str).str.lower().isin(["false", "0", "0.0"]).any())
    if "pool_size" in part.columns and part["pool_size"].notna().any():
        return bool(sizes[-1] * n_seeds > part["pool_size"].min())
    return None


def _pool(part: pd.DataFrame, sizes: FloatArray) -> float:
    """Return the number of frames that subsets are drawn from; infinite if the table does not say."""
    if "pool_size" not in part.columns or not part["pool_size"].notna().any():
        return np.inf
    return float(max(part["pool_size"].min(), sizes[-1]))


def _shared(part: pd.DataFrame, seeds: tuple[str, ...]) -> bool:
    if "subset_seed" not in part.columns or len(seeds) < 2:
        return False
    subsets = part.loc[part["subset_seed"] != "", "subset_seed"]
    return bool(0 < subsets.nunique() < len(seeds))
