"""Print the tables of docs/groups.md from the runs of `+sweep=groups`: a row for each pair of twins, and the CPU time.

Those of `+sweep=groups_control`, on data that lack the group, come second.

Each dataset is in its main metric; numbers and words are those of `python -m analysis compare`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.comparisons.groups import Gain, exponent, gains, network_name
from analysis.curve import curves
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, signed, signed_interval, span
from analysis.fits.selection import Selection
from analysis.table import RunTable, load
from experiments.core import command
from experiments.core.paths import ROOT

TABLE = ROOT / "docs" / "results" / "groups" / "runs.csv"
"""The runs behind docs/groups.md."""
CONTROL = TABLE.parent.parent / "groups_control" / "runs.csv"
"""Those on data without the group."""
HEADS = ("network / twin", "data", "metric", "factor", "Δβ", "half", "more", "exponent")


def factor(gain: Gain) -> str:
    """Return the data-efficiency factor with its interval, or a bound of it."""
    return gain.factor.cell.replace("less than", "<").replace("more than", ">")


def table_of(all_gains: list[Gain]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for gain in all_gains:
        half = signed(gain.half) if np.isfinite(gain.half) else "–"
        cells = (
            f"{network_name(gain.symmetric)} / {network_name(gain.plain)}",
            gain.plain.text("dataset"),
            gain.plain.text("metric"),
            factor(gain),
            signed_interval(gain.delta),
            half,
            span(gain.trained.low, gain.trained.high),
            exponent(gain),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_of(runs: pd.DataFrame) -> str:
    """Return the number of runs and the processor time of all their updates, as text."""
    runs = runs.drop_duplicates("run_id")
    return f"{len(runs)} runs, {runs['cpu_seconds'].sum() / 60:.0f} minutes of processor time in updates"


def text_of(table: Path | None, store: Path | None = None) -> str:
    """Return the table of gains and the time, from a run table or a store."""
    loaded = load([] if table is None else [table], [] if store is None else [store])
    return f"{table_of(gains_of(loaded))}\n\n{time_of(loaded.rows)}"


def gains_of(loaded: RunTable) -> list[Gain]:
    """Return all pairs of twins of a table, each dataset in its main metric, with the intervals of `compare`."""
    return gains(analyse(Selection().of_metrics(curves(loaded)), MAIN_FORMS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the time; return exit code 0 or 2 (bad input, told in one line)."""
    parser = command.Parser(prog="python -m benchmarks.groups", description=__doc__.split("\n\n")[0])
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--table", type=command.path, metavar="T.csv", help="run table (default: ours)")
    source.add_argument("--store", type=command.path, metavar="DIR", help="store of runs, instead of a table")

    def answer(given: argparse.Namespace) -> None:
        if given.table is None and given.store is None:
            print(f"{text_of(TABLE)}\n\n{text_of(CONTROL)}")
        else:
            print(text_of(given.table, given.store))

    return command.run(answer, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
