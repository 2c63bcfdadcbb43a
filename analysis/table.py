"""The run table: one row per run and metric, read from a store or from any CSV file, and checked.

A bad row is named by its line and refused, or dropped when the user says so; nothing is repaired silently.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.columns import (
    FALSE,
    FLAGS,
    IDENTIFYING,
    NUMERIC,
    RATE,
    REQUIRED,
    TRUE,
    TUNED,
    WITHIN,
    curve_name,
)
from analysis.errors import InputError
from analysis.files import csv_text, write_text
from analysis.means import are_means, mark_means, split_means
from analysis.protocol import BUDGET, STOP, VALIDATION
from analysis.reading import PLAIN, Spelling
from analysis.row_checks import (
    FLOORED,
    at_floor,
    left_out,
    mark_duplicates,
    mark_other_data,
    mark_units,
    mark_values,
    single_p,
    summary,
    zero_rows,
)
from analysis.sources import read_sources
from experiments.core.wording import per_atom

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used: its line and the reason."""

    line: int
    """Line of the CSV (the header is line 1); row number + 1 for a table that came from a store."""
    reason: str
    place: str
    """The line in words, with the source if there are several."""


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
    single: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Good rows of curves that have one P so far, which are not fitted: a curve needs two."""
    zero_curves: frozenset[str] = frozenset()
    """Curves (by `curve_name`) that lost rows whose error was exactly zero."""


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """Write a run table (without the bookkeeping column `line`), whole or not at all."""
    write_text(path, csv_text(frame.drop(columns="line", errors="ignore")))


def _line(line: int) -> str:
    return f"line {line}"


def check_table(
    frame: pd.DataFrame,
    source: str,
    *,
    drop_bad: bool = False,
    curve_by: Sequence[str] = (),
    compare_by: Sequence[str] = (),
    place: Callable[[int], str] = _line,
) -> RunTable:
    """Type, validate and group a raw run table.

    Args:
        frame: rows of any CSV; needs the columns `REQUIRED`, uses as many of the others as there are.
        source: name of the source in messages.
        drop_bad: leave bad rows out (and log each) instead of refusing the table.
        curve_by: further columns that tell curves apart.
        compare_by: columns to compare curves by; one that varies within curves tells them apart, too.
        place: says in messages where the row of a line is.

    Curves with a single P so far are set aside (`RunTable.single`), whatever `drop_bad` says.

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
        if name in WITHIN:
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
    zero = zero_rows(rows, bad)
    mark_values(rows, bad)
    mark_means(rows, bad, key)
    mark_units(rows, bad)
    mark_other_data(rows, bad, key, place)
    repeated = mark_duplicates(rows, bad, key, has_seeds, place)
    if repeated:
        log.warning("%s: %d rows are in several of them, and are counted once", source, len(repeated))
        rows = rows[~rows["line"].isin(repeated)]
    if bad and not drop_bad:
        raise InputError(
            f"{source}: {summary(bad, place)}; correct the table or pass --drop-bad to leave such rows out"
        )
    alone = single_p(rows, bad, key)
    single, rows = (rows[rows["line"].isin(alone) == chosen].reset_index(drop=True) for chosen in (True, False))
    for line, reason in sorted(bad.items()):
        log.warning("%s, %s dropped: %s", source, place(line), reason)
    floored, kept = at_floor(rows, bad, key)
    if floored:
        log.warning("%s: %s", source, left_out(floored, FLOORED, place))
    if kept:
        log.warning("%s: %s, kept: fewer than two P would be left of %s", source, FLOORED, "; ".join(kept))
    bad |= dict.fromkeys(floored, FLOORED)
    good = rows[~rows["line"].isin(list(bad))].reset_index(drop=True)
    if good.empty and single.empty:
        why = f"{summary(bad, place)}; no usable row is left" if bad else "no row has an error yet"
        raise InputError(f"{source}: {why}")
    left = {*_names(good, key), *_names(single, key)}
    return RunTable(
        rows=good,
        curve_columns=key,
        has_seeds=has_seeds,
        settings=tuple(
            name for name in settings if name not in key and not (name.startswith("model.") and _same(good, name))
        ),
        dropped=tuple(BadRow(line, reason, place(line)) for line, reason in sorted(bad.items())),
        lost_curves=tuple(sorted(names_before - left)),
        single=single,
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
    table: Path | Sequence[Path] | None,
    store: Path | Sequence[Path] | None,
    *,
    drop_bad: bool = False,
    curve_by: Sequence[str] = (),
    compare_by: Sequence[str] = (),
    spelling: Spelling = PLAIN,
    stop: str | None = None,
) -> RunTable:
    """Read and check the run table from files and stores, one or several; with `stop`, by validation.

    Raises InputError if none is given, and as `read_sources` and `check_table` do.
    """
    tables, stores = (() if x is None else (x,) if isinstance(x, Path) else tuple(x) for x in (table, store))
    sources = read_sources(tables, stores, spelling, stop)
    return check_table(
        sources.frame, sources.name, drop_bad=drop_bad, curve_by=curve_by, compare_by=compare_by, place=sources.place
    )


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
    return True if text in TRUE else False if text in FALSE else None


def _seed(cell: object) -> str:
    """Return the label of a seed: 3, "3" and 3.0 are the same seed; empty for an empty cell."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    text = str(cell).strip()
    return text[:-2] if text.endswith(".0") else text
