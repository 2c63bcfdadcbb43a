"""Columns of the run table by what they are: required, numbers, flags, names of curves, results."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.sources import STORE

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

MEASURED = frozenset({
    *("line", "run_id", STORE, "error", "error_test_sem", "train_error", "error_half_budget", "error_quarter_budget"),
    *("error_stopped", "error_stopped_half_budget", "stopped_steps", "n_validation", "verdict", "seconds"),
    *("cpu_seconds", "n_steps", "mean_error", "holdout_error", "data_limited", "error_sd", "n_runs", *FLAGS),
})  # fmt: skip
"""Results and bookkeeping: columns that differ between repetitions of one run and so do not explain a duplicate."""
WITHIN = MEASURED | {"P", "seed", "subset_seed", "init_seed", "subsets_disjoint"}
"""Columns that differ within one curve."""
TRUE, FALSE = frozenset({"true", "1", "1.0", "yes"}), frozenset({"false", "0", "0.0", "no"})
SAME = 1e-6
"""Relative difference up to which the errors of one run in two sources are one: tables are written with six digits."""


def curve_name(values: Sequence[object], columns: Sequence[str]) -> str:
    """Name a curve in messages by its identifying columns: `dataset=…, architecture=…`, without empty cells."""
    return ", ".join(
        f"{name}={_plain(value)}"
        for name, value in zip(columns, values, strict=True)
        if not pd.isna(value) and value != ""  # type: ignore[call-overload]  # cells are scalars
    )


def _plain(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
