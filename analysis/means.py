"""Rows of a run table that are means ± standard deviations of several runs, as papers print them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

_NUMBER = r"[+]?(?:\d+[.]?\d*|[.]\d+)(?:[eE][+-]?\d+)?"
_MEAN_SD = re.compile(rf"({_NUMBER})\s*(?:±|\+/-|\+-)\s*({_NUMBER})\s*(?:\(\s*(?:n\s*=\s*)?(\d+)\s*\))?")
"""An error as papers print it: `12.3 ± 0.4 (5)`, the mean and standard deviation of five runs."""
_CONCISE = re.compile(r"([+]?\d*)([.]?)(\d*)\((\d+)\)((?:[eE][+-]?\d+)?)")
"""The same with the deviation in the last digits: `0.35(12)` is 0.35 ± 0.12, `1.5(2)e-3` is 0.0015 ± 0.0002."""


def _spelled_out(cell: str) -> str:
    """Return a mean in concise notation as `mean ± sd`; other cells as they are."""
    match = _CONCISE.fullmatch(cell)
    if match is None or not match[1] + match[3]:
        return cell
    whole, point, decimals, deviation, power = match.groups()
    digits = deviation.zfill(len(decimals) + 1)
    cut = len(digits) - len(decimals)
    return f"{whole}{point}{decimals}{power} ± {digits[:cut]}.{digits[cut:]}{power}"


def split_means(rows: pd.DataFrame) -> pd.DataFrame:
    """Split errors printed as `mean ± sd (n)` into the columns `error`, `error_sd` and `n_runs`."""
    if "error" not in rows.columns or rows["error"].dtype != object:
        return rows
    found = [_MEAN_SD.fullmatch(_spelled_out(str(cell).strip())) for cell in rows["error"]]
    if not any(found):
        return rows
    rows = rows.copy()
    for name in ("error_sd", "n_runs"):
        if name not in rows.columns:
            rows[name] = ""
    for name, group in (("error", 1), ("error_sd", 2), ("n_runs", 3)):
        cells = zip(rows[name].astype(object), found, strict=True)
        rows[name] = [cell if match is None or match[group] is None else match[group] for cell, match in cells]
    return rows


def are_means(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows are means with a standard deviation instead of single runs."""
    if "error_sd" not in rows.columns:
        return pd.Series(False, index=rows.index)
    return rows["error_sd"].notna()


def mark_means(rows: pd.DataFrame, bad: dict[int, str], key: Sequence[str]) -> None:
    """Mark means whose standard deviation or number of runs cannot be used, and curves that mix means with runs."""
    means = are_means(rows)
    if not means.any():
        return
    counts = rows["n_runs"] if "n_runs" in rows.columns else pd.Series(np.nan, index=rows.index)
    for line, sd, n in zip(rows["line"][means], rows["error_sd"][means], counts[means], strict=True):
        if not np.isfinite(n) or n < 2:
            said = "missing" if np.isnan(n) else f"{n:g}"
            bad.setdefault(
                int(line),
                f"a mean ± sd needs its number of runs, 2 or more, which is {said}: `12.3 ± 0.4 (5)` or n_runs",
            )
        elif not (np.isfinite(sd) and sd >= 0):
            bad.setdefault(int(line), f"error_sd is {sd:g}, must be a number ≥ 0")
    for _, part in rows.assign(_mean=means).groupby(list(key), dropna=False, sort=False):
        if part["_mean"].nunique() > 1:
            for line in part.loc[~part["_mean"], "line"]:
                bad.setdefault(int(line), "a single run in a curve of means ± sd; give one kind only")
