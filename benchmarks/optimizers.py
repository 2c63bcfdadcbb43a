"""Print the table of docs/optimizers.md from the store of `+sweep=optimizers`.

For each problem and P, each optimiser has the learning rate that is best on the validation set. Columns: the test
errors of two complete schedules (T/2 and T updates), the time of an update, the error at equal time, and the time to
AMSGrad's error after T updates. Times are processor times of the updates alone and are not extrapolated.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.sources import read_store
from experiments.core import command

KEYS = ["dataset", "P"]
OPTIMIZER, RATE, STEPS = "training.optimizer", "training.learning_rate", "training.max_steps"
REFERENCE = "amsgrad"
"""The optimiser of NequIP's and MACE's own training programs."""


def chosen(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Select one run per problem, P and optimiser: that with the best learning rate on the validation set.

    Adds the columns `at_edge`, whether no lower or no higher rate was tried, and `ms`, the time of an update in the
    fastest run of that problem and optimiser.
    """
    runs = table[table["metric"] == metric].copy()
    runs["ms"] = 1e3 * runs["cpu_seconds"] / runs["n_updates"]
    runs["ms"] = runs.groupby(["dataset", OPTIMIZER])["ms"].transform("min")
    rates = runs.groupby([*KEYS, OPTIMIZER])[RATE]
    runs["at_edge"] = (runs[RATE] == rates.transform("min")) | (runs[RATE] == rates.transform("max"))
    best = runs.groupby([*KEYS, OPTIMIZER])["holdout_error"].idxmin()
    return runs.loc[best]


def error_at(row: pd.Series, seconds: float) -> float:
    """Interpolate the test error after `seconds` of updates between both budgets, log-log; NaN outside of them."""
    half, full = row[STEPS] / 2, row[STEPS]
    share = math.log(1e3 * seconds / row["ms"] / half) / math.log(full / half)
    if not -1e-9 <= share <= 1 + 1e-9:
        return math.nan
    return float(row["error_half_budget"] * (row["error"] / row["error_half_budget"]) ** share)


def time_to(row: pd.Series, target: float) -> str:
    """Interpolate the seconds until the test error is `target`, as text; a bound if that lies outside both budgets."""
    half, full = (1e-3 * row["ms"] * steps for steps in (row[STEPS] / 2, row[STEPS]))
    if row["error_half_budget"] <= target:
        return f"< {half:.1f}"
    if row["error"] > target:
        return f"> {full:.1f}"
    share = math.log(target / row["error_half_budget"]) / math.log(row["error"] / row["error_half_budget"])
    return f"{half * (full / half) ** share:.1f}"


def table_of(runs: pd.DataFrame) -> str:
    """Return the table in Markdown, with the best error at equal time in bold."""
    heads = ("problem", "P", "optimiser", "rate", "error T/2", "error T", "ms an update", "error at equal time",
             "s to AMSGrad's error")  # fmt: skip
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for (dataset, P), group in runs.groupby(KEYS):
        seconds = 1e-3 * (group["ms"] * group[STEPS]).min()
        equal = {name: error_at(row, seconds) for name, row in group.set_index(OPTIMIZER).iterrows()}
        reference = group.loc[group[OPTIMIZER] == REFERENCE, "error"]
        target = float(reference.iloc[0]) if len(reference) else math.nan
        for _, row in group.sort_values("error").iterrows():
            error = equal[row[OPTIMIZER]]
            text = "–" if math.isnan(error) else f"{error:.3g}"
            if error == min(value for value in equal.values() if not math.isnan(value)):
                text = f"**{text}**"
            rate = f"{row[RATE]:g}{'*' if row['at_edge'] else ''}"
            cells = (dataset, P, row[OPTIMIZER], rate, f"{row['error_half_budget']:.3g}", f"{row['error']:.3g}",
                     f"{row['ms']:.2f}", text, time_to(row, target))  # fmt: skip
            lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for a store; return exit code 0 or 2 (bad input, told in one line)."""
    parser = command.Parser(prog="python -m benchmarks.optimizers", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--store", type=command.path, default=Path("optimizers"), metavar="DIR", help="store of the sweep"
    )
    parser.add_argument("--metric", default="force_mae", help="metric (default: force_mae)")

    def answer(given: argparse.Namespace) -> None:
        print(table_of(chosen(read_store(given.store), given.metric)))

    return command.run(answer, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
