"""The protocol that a run's error is of: that of its whole budget, or that of the schedule that is best by validation.

Runs have both (`experiments.runs.schedules`). A table is read by the protocol of its runs, or all of it by validation.
"""

from __future__ import annotations

import pandas as pd

from analysis.errors import InputError

STOP = "training.stop"
"""Column of the protocol: `budget`, or `validation` (then P counts the validation frames)."""
BUDGET, VALIDATION = "budget", "validation"
_STOPPED = ("error_stopped", "error_stopped_half_budget", "n_validation")


def by_validation(frame: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return a raw run table in which every trained run has the error of the schedule that is best by validation.

    Its P counts the validation frames, too. Standard errors of the test set keep their share of the error; training
    errors of that schedule are in no table. Rows without errors of shorter schedules (closed forms) stay as they are.

    Raises InputError if trained runs have no such error (earlier versions, or data without validation frames), or no
    number of validation frames.
    """
    rows = frame.copy()
    numbers = {
        name: pd.to_numeric(rows[name], errors="coerce") if name in rows else pd.Series(float("nan"), index=rows.index)
        for name in ("P", "error", "error_test_sem", "error_half_budget", *_STOPPED)
    }
    stop = rows[STOP].fillna("").astype(str) if STOP in rows else pd.Series("", index=rows.index)
    changed = numbers["error_half_budget"].notna() & (stop != VALIDATION)
    unknown = changed & numbers["error_stopped"].isna()
    if unknown.any():
        raise InputError(
            f"--stop {VALIDATION}: {int(unknown.sum())} row(s) of {source} have no error_stopped (runs of an earlier "
            "version, or data without validation frames)"
        )
    uncounted = int((changed & numbers["n_validation"].isna()).sum())
    if uncounted:
        raise InputError(
            f"--stop {VALIDATION}: {uncounted} row(s) of {source} have no n_validation, which P must count"
        )
    values = {
        "P": numbers["P"] + numbers["n_validation"],
        "error": numbers["error_stopped"],
        "error_test_sem": numbers["error_test_sem"] * numbers["error_stopped"] / numbers["error"],
        "error_half_budget": numbers["error_stopped_half_budget"],
        "train_error": None,
        STOP: VALIDATION,
    }
    for name, value in values.items():
        if name not in rows:
            rows[name] = None
        rows[name] = rows[name].astype(object)
        rows.loc[changed, name] = value[changed] if isinstance(value, pd.Series) else value
    return rows
