"""Print the table of docs/groups.md from the store of `+sweep=groups`: a row for each pair of twins, and the CPU time.

Each dataset is in its preferred metric; numbers and words are those of `python -m analysis compare`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from analysis.comparisons.groups import Gain, exponent, gains, network_name, span
from analysis.curve import curves
from analysis.figures.symmetry import preferred
from analysis.fits.record import analyse, signed
from analysis.fits.results import Form
from analysis.table import load
from experiments.runs.store import RunStore
from experiments.runs.table import run_table

HEADS = ("network / twin", "data", "metric", "factor", "Δβ", "half", "more", "exponent")


def factor(gain: Gain) -> str:
    """Return the data-efficiency factor with its interval, or a bound of it."""
    one = gain.factor
    if np.isfinite(one.ratio.value):
        return f"{one.ratio.value:.2g} [{one.interval.replace('less than', '<').replace('more than', '>')}]"
    if one.bound is None:
        return "flat" if one.flat else "–"
    return f"> {one.bound[1]:.3g}" if one.bound[0] == "more" else f"< {one.bound[1]:.2g}"


def table_of(all_gains: list[Gain]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(HEADS) + " |", "|---" * len(HEADS) + "|"]
    for gain in preferred(all_gains):
        half = signed(gain.half) if np.isfinite(gain.half) else "–"
        cells = (
            f"{network_name(gain.symmetric)} / {network_name(gain.plain)}",
            gain.plain.text("dataset"),
            gain.plain.text("metric"),
            factor(gain),
            f"{signed(gain.delta.value)} {span(gain.delta)}",
            half,
            span(gain.trained),
            exponent(gain),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def time_of(store: Path) -> str:
    """Return the number of runs and the processor time of all their updates, as text."""
    runs = run_table(RunStore(store)).drop_duplicates("run_id")
    return f"{len(runs)} runs, {runs['cpu_seconds'].sum() / 60:.0f} minutes of processor time in updates"


def main() -> None:
    """Print the table and the time for the store of the command line."""
    parser = argparse.ArgumentParser(description="Table of symmetries from the store of +sweep=groups.")
    parser.add_argument("--store", type=Path, default=Path("groups"))
    store = parser.parse_args().store
    fits = analyse(curves(load(None, store)), forms=(Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL))
    print(table_of(gains(fits)))
    print(f"\n{time_of(store)}")


if __name__ == "__main__":
    main()
