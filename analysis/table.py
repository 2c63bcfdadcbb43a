"""The run table: one row per run and metric, read from a store or from any CSV file, and checked.

A bad row is named by its line and refused, or dropped when the user says so; nothing is repaired silently.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import InputError, RunsFailed
from analysis.files import csv_text, write_text
from analysis.means import are_means, mark_means, split_means
from analysis.protocol import BUDGET, STOP, VALIDATION, by_validation
from analysis.reading import PLAIN, Spelling, read_table
from experiments.core.states import RunState
from experiments.core.wording import per_atom

log = logging.getLogger(__name__)

REQUIRED = ("dataset", "architecture", "metric", "P", "error")
"""Columns without which there is no learning curve (`seed` may be absent: a table without seeds is flagged)."""

IDENTIFYING = ("group", "L", "edge_lmax", "nu", "n_layers", "channels", "cutoff")
"""Columns that tell models of one architecture apart if the table has no `model_id`."""

NUMERIC = (
    *("P", "error", "error_test_sem", "train_error", "error_half_budget", "error_quarter_budget", "error_stopped"),
    *("error_stopped_half_budget", "stopped_steps", "n_validation", "L", "edge_lmax", "nu", "n_layers"),
    *(
        "channels",
        "cutoff",
        "n_parameters",
        "n_steps",
        "seconds",
        "cpu_seconds",
        "n_test",
        "pool_size",
        "mean_error",
        "holdout_error",
    ),
    *("error_sd", "n_runs"),
)
AT_FLOOR = "ridge_at_floor"
"""Column of fits whose ridge parameter would be smaller if the arithmetic had more digits: their errors are too large,
and a curve with them bends for that reason alone."""
FLAGS = ("converged", "too_short", "learned", AT_FLOOR)
TUNED, RATE = "training.tuned", "training.learning_rate"
"""Column naming the source of a looked-up learning rate (the rate then follows from model and P), and the rate."""
MATCH = "match.target"
"""The size (weights or feature components) that a run's channels were chosen for."""

ERROR_RATES = frozenset({"error_rate", "classification_error", "misclassification_rate", "top1_error", "top5_error"})
"""Metrics that count wrong answers: zero is accepted if `n_test` gives the number of test examples."""

STANDARD = frozenset({"dataset", "architecture", "test_set", *IDENTIFYING, "model_id", "metric"})
"""Columns that name a curve without being asked to."""

_MEASURED = frozenset({
    *("line", "run_id", "error", "error_test_sem", "train_error", "error_half_budget", "error_quarter_budget"),
    *("error_stopped", "error_stopped_half_budget", "stopped_steps", "n_validation", "verdict", "seconds"),
    *("cpu_seconds", "n_steps", "mean_error", "holdout_error", "data_limited", "error_sd", "n_runs", *FLAGS),
})  # fmt: skip
"""Results and bookkeeping: columns that differ between repetitions of one run and so do not explain a duplicate."""
_WITHIN = _MEASURED | {"P", "seed", "subset_seed", "init_seed", "subsets_disjoint"}
"""Columns that differ within one curve."""
_TRUE, _FALSE = frozenset({"true", "1", "1.0", "yes"}), frozenset({"false", "0", "0.0", "no"})
_SHOWN = 5  # bad rows spelled out in a message; the rest are counted


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line and the reason."""

    line: int
    """Line of the CSV (the header is line 1); row number + 1 for a table that came from a store."""
    reason: str


@dataclass(frozen=True)
class RunTable:
    """A checked run table."""

    rows: pd.DataFrame
    """Good rows; all columns of the source plus `line` (int); error in the unit of its row's `unit` column."""
    curve_columns: tuple[str, ...]
    """Columns whose values together name one learning curve."""
    has_seeds: bool
    """Whether the source has a column `seed`."""
    settings: tuple[str, ...] = ()
    """Further columns by which curves may be compared: settings of a run (`group.key`), and those asked for."""
    dropped: tuple[BadRow, ...] = ()
    """Rows left out because the user asked for it, and those whose ridge parameter is at its floor."""
    lost_curves: tuple[str, ...] = ()
    """Curves that had rows in the source, none of them usable."""
    zero_curves: frozenset[str] = frozenset()
    """Curves (by `curve_name`) that lost rows whose error was exactly zero."""


def read_store(store: Path) -> pd.DataFrame:
    """Read the run table of a store of runs; `line` counts its rows from 2, as in its CSV.

    Raises InputError for a missing store or one without a finished run, RunsFailed if all its runs have failed.
    """
    if not store.is_dir():
        raise InputError(f"{store}: no such store; give a directory of runs")
    from experiments.runs.store import RunStore  # only a store needs the other room
    from experiments.runs.table import run_table

    frame = run_table(RunStore(store))
    if frame.empty and (failed := failed_runs(store)):
        raise RunsFailed(f"{store}: all {len(failed)} run(s) that ended have failed, so there is no table")
    if frame.empty:
        raise InputError(f"{store}: no finished run in this store, so there is no table")
    return frame.assign(line=np.arange(len(frame)) + 2)


def failed_runs(store: Path) -> list[str]:
    """Return the ids of the failed runs of a store: their points are missing from its table."""
    from experiments.runs.store import RunStore

    return [run.id for run in RunStore(store).runs() if run.state() == RunState.FAILED]


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a run table (without the bookkeeping column `line`), whole or not at all."""
    write_text(path, csv_text(frame.drop(columns="line", errors="ignore")))


def check_table(
    frame: pd.DataFrame,
    source: str,
    *,
    drop_bad: bool = False,
    curve_by: Sequence[str] = (),
    compare_by: Sequence[str] = (),
) -> RunTable:
    """Type, validate and group a raw run table.

    Args:
        frame: rows of any CSV; needs the columns `REQUIRED`, uses as many of the others as there are.
        source: name of the source in messages.
        drop_bad: leave bad rows out (and log each) instead of refusing the table.
        curve_by: further columns that tell curves apart.
        compare_by: columns to compare curves by; one that varies within curves tells them apart, too.

    Raises InputError for missing columns, for bad rows when not dropping, and when no row is left.
    """
    missing = [name for name in (*REQUIRED, *curve_by) if name not in frame.columns]
    if missing:
        raise InputError(
            f"{source}: no column {missing[0]!r}; a run table needs {', '.join(REQUIRED)} and seed "
            f"(found: {', '.join(str(name) for name in frame.columns if name != 'line')}; "
            f"--columns {missing[0]}=NAME takes another column for it)"
        )
    for name in compare_by:
        if name in _WITHIN:
            raise InputError(
                f"--by {name}: differs between the runs of a curve; accepted: a column that models differ in"
            )
    frame = _filled(frame, source)
    compare_by = [setting_column(name, frame.columns) for name in compare_by]
    settings = [str(name) for name in frame.columns if "." in str(name) or name in compare_by]
    rows, bad = _typed(frame, (*settings, *curve_by))
    if "unit" in rows.columns:
        rows["unit"] = [per_atom(*both) for both in zip(rows["metric"], rows["unit"], strict=True)]
    if STOP in rows.columns and (rows[STOP] == VALIDATION).any():  # two protocols never share a curve
        rows[STOP] = rows[STOP].replace("", BUDGET)
        curve_by = (*curve_by, STOP)
    has_seeds = "seed" in rows.columns
    key = curve_columns(rows, curve_by)
    key = (*key, *(name for name in settings if name in compare_by and _varies(rows, name, key)))
    names_before = set(_names(rows, key))
    zero = _zero_rows(rows, bad)
    _mark_values(rows, bad)
    mark_means(rows, bad, key)
    _mark_units(rows, bad)
    _mark_duplicates(rows, bad, key, has_seeds)
    _mark_single_p(rows, bad, key)
    if bad and not drop_bad:
        raise InputError(f"{source}: {_summary(bad)}; correct the table or pass --drop-bad to leave such rows out")
    for line, reason in sorted(bad.items()):
        log.warning("%s, line %d dropped: %s", source, line, reason)
    floored, kept = _at_floor(rows, bad, key)
    for line in floored:
        log.warning("%s, line %d left out: %s", source, line, FLOORED)
    if kept:
        log.warning("%s: %s, kept: fewer than two P would be left of %s", source, FLOORED, "; ".join(kept))
    bad |= dict.fromkeys(floored, FLOORED)
    good = rows[~rows["line"].isin(list(bad))].reset_index(drop=True)
    if good.empty:
        raise InputError(f"{source}: {_summary(bad)}; no usable row is left")
    left = set(_names(good, key))
    return RunTable(
        rows=good,
        curve_columns=key,
        has_seeds=has_seeds,
        settings=tuple(
            name for name in settings if name not in key and not (name.startswith("model.") and _same(good, name))
        ),
        dropped=tuple(BadRow(line, reason) for line, reason in sorted(bad.items())),
        lost_curves=tuple(sorted(names_before - left)),
        zero_curves=frozenset(_names(rows[rows["line"].isin(zero)], key)) & left,
    )


def _filled(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return the rows with an error of a table that `experiments.data ladder` made and somebody is filling in."""
    if "subset_sha256" not in frame.columns:
        return frame
    empty = frame["error"].isna() | (frame["error"].astype(str).str.strip() == "")
    if empty.any():
        log.warning("%s: %d of %d rows have no error yet and are left out", source, int(empty.sum()), len(frame))
    return frame[~empty]


def load(
    table: Path | None,
    store: Path | None,
    *,
    drop_bad: bool = False,
    curve_by: Sequence[str] = (),
    compare_by: Sequence[str] = (),
    spelling: Spelling = PLAIN,
    stop: str | None = None,
) -> RunTable:
    """Read and check the run table from a file or a store, whichever is given; with `stop`, by validation.

    Raises InputError if neither is given, and as `read_table`, `read_store` and `check_table` do.
    """
    if table is not None:
        frame, source = read_table(table, spelling), str(table)
    elif store is not None:
        frame, source = read_store(store), str(store)
    else:
        raise InputError("no run table: give --table FILE.csv or --store DIR")
    frame = by_validation(frame, source) if stop == VALIDATION else frame
    return check_table(frame, source, drop_bad=drop_bad, curve_by=curve_by, compare_by=compare_by)


def curve_columns(rows: pd.DataFrame, curve_by: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns that name a curve: everything but P and seed, with `model_id` if the table has it."""
    optional = ["test_set", *IDENTIFYING, "model_id"] if "model_id" in rows.columns else ["test_set", *IDENTIFYING]
    wanted = ["dataset", "architecture", *optional, "metric", *curve_by]
    return tuple(dict.fromkeys(name for name in wanted if name in rows.columns))


def setting_column(name: str, columns: Iterable[object]) -> str:
    """Return the column of a setting that may be named without its section: `n_radial` is `model.n_radial`."""
    return next((full for full in (name, f"model.{name}", f"training.{name}") if full in set(columns)), name)


def _same(rows: pd.DataFrame, name: str) -> bool:
    return rows[name].nunique(dropna=False) < 2


def _varies(rows: pd.DataFrame, name: str, key: Sequence[str]) -> bool:
    """Return whether a column takes several values within some curve, apart from learning rates tuned for each P."""
    if name in key:
        return False
    own = rows[rows[TUNED] == ""] if name == RATE and TUNED in rows.columns else rows
    return bool((own.groupby(list(key), dropna=False)[name].nunique(dropna=False) > 1).any())


def curve_name(values: Sequence[object], columns: Sequence[str]) -> str:
    """Name a curve in messages by its identifying columns: `dataset=…, architecture=…`, without empty cells."""
    return ", ".join(
        f"{name}={_plain(value)}"
        for name, value in zip(columns, values, strict=True)
        if not pd.isna(value) and value != ""  # type: ignore[call-overload]  # cells are scalars
    )


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _names(rows: pd.DataFrame, key: Sequence[str]) -> list[str]:
    return [curve_name(values, key) for values in rows[list(key)].drop_duplicates().itertuples(index=False, name=None)]


def _typed(frame: pd.DataFrame, settings: Sequence[str] = ()) -> tuple[pd.DataFrame, dict[int, str]]:
    """Convert numbers to float64, flags to True/False/None and the rest to str; also return the bad rows by line.

    A column of `settings` becomes a number if every cell that is not empty is one.
    """
    rows = frame.reset_index(drop=True).copy()
    if "line" not in rows.columns:
        rows["line"] = np.arange(len(rows)) + 2
    bad: dict[int, str] = {}
    rows = split_means(rows)
    for name in rows.columns.intersection(list(NUMERIC)):
        text = rows[name]
        values = pd.to_numeric(text, errors="coerce")
        unreadable = values.isna() & text.notna() & ~text.astype(str).str.lower().isin(["", "nan", "none", "null"])
        for line, cell in zip(rows.loc[unreadable, "line"], text[unreadable], strict=True):
            bad.setdefault(int(line), f"{name} is {cell!r}, not a number")
        rows[name] = values.astype(float)
    for name in rows.columns.intersection(list(FLAGS)):
        rows[name] = [_flag(cell) for cell in rows[name]]
    if "seed" in rows.columns:
        rows["seed"] = [_seed(cell) for cell in rows["seed"]]
        for line in rows.loc[(rows["seed"] == "") & ~are_means(rows), "line"]:
            bad.setdefault(int(line), "seed is empty")
    for name in rows.columns.difference([*NUMERIC, *FLAGS, "seed", "line"]):
        cells = rows[name].astype(object)
        rows[name] = cells.where(cells.notna(), "").astype(str)
        numbers = pd.to_numeric(rows[name], errors="coerce")
        if name in settings and numbers.notna().any() and bool((numbers.notna() | (rows[name] == "")).all()):
            rows[name] = numbers.astype(float)
    return rows, bad


def _flag(cell: object) -> bool | None:
    text = str(cell).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _seed(cell: object) -> str:
    """Return the label of a seed: 3, "3" and 3.0 are the same seed; empty for an empty cell."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    text = str(cell).strip()
    return text[:-2] if text.endswith(".0") else text


FLOORED = "its ridge parameter is at the floor of the arithmetic"


def _at_floor(rows: pd.DataFrame, bad: Mapping[int, str], key: Sequence[str]) -> tuple[list[int], list[str]]:
    """Return the lines to leave out, of runs whose ridge is at its floor, and the curves that keep theirs.

    A curve keeps them if fewer than two P would be left: its errors are those of the arithmetic throughout.
    """
    if AT_FLOOR not in rows.columns:
        return [], []
    good = rows[~rows["line"].isin(list(bad))]
    lines: list[int] = []
    kept: list[str] = []
    for values, part in good.groupby(list(key), dropna=False, sort=False):
        floor = part[AT_FLOOR].map(lambda value: value is True)
        if floor.any() and part.loc[~floor, "P"].nunique() < 2:
            kept.append(curve_name(values, key))
        else:
            lines += [int(line) for line in part.loc[floor, "line"]]
    return sorted(lines), kept


def _zero_rows(rows: pd.DataFrame, bad: dict[int, str]) -> list[int]:
    zero = (rows["error"] == 0) & ~_counts(rows) & ~rows["line"].isin(list(bad))
    return [int(line) for line in rows.loc[zero, "line"]]


def _counts(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are error rates with a known number of test examples, for which an error of zero is valid."""
    rate = rows["metric"].isin(ERROR_RATES)
    return rate & (rows["n_test"] > 0) if "n_test" in rows.columns else rate & False


def _mark_values(rows: pd.DataFrame, bad: dict[int, str]) -> None:
    counts = _counts(rows)
    for line, size, error, rate in zip(rows["line"], rows["P"], rows["error"], counts, strict=True):
        if not np.isfinite(size) or size <= 0:
            bad.setdefault(int(line), f"P is {size:g}, must be a number > 0")
        elif not np.isfinite(error):
            bad.setdefault(int(line), f"error is {error:g}, must be a finite number > 0")
        elif error < 0 or (error == 0 and not rate):
            bad.setdefault(int(line), f"error is {error:g}, must be > 0 (zero only for error rates with n_test)")
        elif rate and error > 1:
            bad.setdefault(int(line), f"error rate is {error:g}, must lie in [0, 1]")


def _mark_units(rows: pd.DataFrame, bad: dict[int, str]) -> None:
    if "unit" not in rows.columns:
        return
    good = rows[~rows["line"].isin(list(bad))]
    for (dataset, metric), part in good.groupby(["dataset", "metric"], sort=False):
        counts = part["unit"].value_counts()
        if len(counts) > 1:
            common = counts.index[0]
            for line, unit in zip(part["line"], part["unit"], strict=True):
                if unit != common:
                    bad.setdefault(int(line), f"unit is {unit!r}, but most of {dataset}/{metric} is in {common!r}")


def _mark_duplicates(rows: pd.DataFrame, bad: dict[int, str], key: Sequence[str], has_seeds: bool) -> None:
    if not has_seeds:
        return
    good = rows[~rows["line"].isin(list(bad))]
    for _, part in good.groupby([*key, "P", "seed"], dropna=False, sort=False):
        if len(part) > 1:
            first = part.iloc[0]
            varying = [str(name) for name in part.columns if name not in _MEASURED and part[name].nunique() > 1]
            hint = f" (they differ in {', '.join(varying)}: --curve-by)" if varying else ""
            for line in part["line"].iloc[1:]:
                bad.setdefault(
                    int(line), f"same curve, P={first['P']:g} and seed={first['seed']} as line {first['line']}{hint}"
                )


def _mark_single_p(rows: pd.DataFrame, bad: dict[int, str], key: Sequence[str]) -> None:
    good = rows[~rows["line"].isin(list(bad))]
    for _, part in good.groupby(list(key), dropna=False, sort=False):
        if part["P"].nunique() < 2:
            for line in part["line"]:
                bad.setdefault(int(line), f"its curve has only P={part['P'].iloc[0]:g}; a curve needs two values of P")


def _summary(bad: dict[int, str]) -> str:
    shown = [f"line {line}: {reason}" for line, reason in sorted(bad.items())[:_SHOWN]]
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} bad row{'s' if len(bad) > 1 else ''} ({'; '.join(shown)}{more})"
