"""Checks of the rows of a run table: each bad row is marked with its reason, by line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from analysis.columns import (
    AT_FLOOR,
    ERROR_RATES,
    MEASURED,
    SAME,
    curve_name,
)
from analysis.sources import DATA, STORE

FLOORED = "the ridge parameter is at the floor of the arithmetic"
_SHOWN = 5  # bad rows spelled out in a message; the rest are counted


def at_floor(rows: pd.DataFrame, bad: Mapping[int, str], key: Sequence[str]) -> tuple[list[int], list[str]]:
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


def zero_rows(rows: pd.DataFrame, bad: dict[int, str]) -> list[int]:
    """Return the lines of errors of exactly zero that are no counts."""
    zero = (rows["error"] == 0) & ~_counts(rows) & ~rows["line"].isin(list(bad))
    return [int(line) for line in rows.loc[zero, "line"]]


def _counts(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are error rates with a known number of test examples, for which an error of zero is valid."""
    rate = rows["metric"].isin(ERROR_RATES)
    return rate & (rows["n_test"] > 0) if "n_test" in rows.columns else rate & False


def mark_values(rows: pd.DataFrame, bad: dict[int, str]) -> None:
    """Mark rows whose P or error no learning curve can have."""
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


def mark_units(rows: pd.DataFrame, bad: dict[int, str]) -> None:
    """Mark rows of curves with several units."""
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


def mark_other_data(rows: pd.DataFrame, bad: dict[int, str], key: Sequence[str], place: Callable[[int], str]) -> None:
    """Mark rows of a curve whose data, by their digest, are others than those of its first row in another source."""
    if not {STORE, DATA} <= set(rows.columns):
        return
    known = rows[~rows["line"].isin(list(bad)) & (rows[DATA] != "")]
    for _, part in known.groupby(list(key), dropna=False, sort=False):
        first = part.iloc[0]
        for line in part.loc[(part[DATA] != first[DATA]) & (part[STORE] != first[STORE]), "line"]:
            bad.setdefault(
                int(line), f"{first['dataset']} is other data here than in {place(int(first['line']))} ({DATA})"
            )


def mark_duplicates(
    rows: pd.DataFrame, bad: dict[int, str], key: Sequence[str], has_seeds: bool, place: Callable[[int], str]
) -> list[int]:
    """Mark second runs of one point; return the lines of rows that another source has too, with the same error."""
    if not has_seeds:
        return []
    good = rows[~rows["line"].isin(list(bad))]
    several = STORE in rows.columns
    repeated: list[int] = []
    for _, part in good.groupby([*key, "P", "seed"], dropna=False, sort=False):
        if len(part) == 1:
            continue
        first = part.iloc[0]
        varying = [str(name) for name in part.columns if name not in MEASURED and part[name].nunique() > 1]
        hint = f" (they differ in {', '.join(varying)}: --curve-by)" if varying else ""
        for line, error, source in zip(
            part["line"], part["error"], part[STORE] if several else part["line"], strict=True
        ):
            if line == first["line"]:
                continue
            other = several and source != first[STORE]
            if other and np.isclose(error, first["error"], rtol=SAME, atol=0):
                repeated.append(int(line))
                continue
            there = place(int(first["line"]))
            conflict = f"; error {error:g} here, {first['error']:g} there" if other else ""
            bad.setdefault(
                int(line), f"same curve, P={first['P']:g} and seed={first['seed']} as {there}{conflict}{hint}"
            )
    return repeated


def single_p(rows: pd.DataFrame, bad: Mapping[int, str], key: Sequence[str]) -> list[int]:
    """Return the lines of curves with a single P: nothing is wrong with them, but no curve goes through one point."""
    good = rows[~rows["line"].isin(list(bad))]
    parts = (part for _, part in good.groupby(list(key), dropna=False, sort=False))
    return [int(line) for part in parts if part["P"].nunique() < 2 for line in part["line"]]


def left_out(lines: Sequence[int], reason: str, place: Callable[[int], str]) -> str:
    """Return in one line how many rows are left out for one reason, and where the first few are."""
    shown = ", ".join(map(place, sorted(lines)[:_SHOWN]))
    more = f" and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"{len(lines)} row{'s' if len(lines) > 1 else ''} left out: {reason} ({shown}{more})"


def summary(bad: dict[int, str], place: Callable[[int], str]) -> str:
    """Return the bad rows in one line, the first few with their reasons."""
    shown = [f"{place(line)}: {reason}" for line, reason in sorted(bad.items())[:_SHOWN]]
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return f"{len(bad)} bad row{'s' if len(bad) > 1 else ''} ({'; '.join(shown)}{more})"
