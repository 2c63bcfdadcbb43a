"""Curves of networks that were trained as long as their validation errors gained: of every P the largest budget."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.files import write_text
from benchmarks.results import merged_table
from benchmarks.results.outstanding import Label, Place, labels
from benchmarks.results.sections import SECTIONS

FILE = "plateau.csv"


def table_of(name: str, place: Place) -> Path:
    """Return the table that a section's page speaks of: its runs, or those of `plateau` where budgets differ."""
    return place.table(name).with_name(FILE) if SECTIONS[name].only_gaining else place.table(name)


def write(name: str, place: Place) -> None:
    """Write the table of a section whose larger budgets wait for a gain; nothing for others."""
    if SECTIONS[name].only_gaining:
        rows = plateau(merged_table.read(place.table(name)))
        write_text(table_of(name, place), rows.to_csv(index=False))


def plateau(table: pd.DataFrame) -> pd.DataFrame:
    """Return, of every network and P, the rows of the largest budget, under one `model_id` for each network.

    A larger budget counts once it has all seeds of the smallest one. Where none was run, the smaller one had stopped
    gaining on validation frames (`outstanding.gained`), or is all there is. `training.max_steps` is left empty.

    Args:
        table: run table, all cells as text.
    """
    of_rows = labels(table)
    seeds: dict[Label, dict[float, set[object]]] = {}
    ids: dict[Label, tuple[float, str]] = {}
    for one, model_id in zip(of_rows, table["model_id"], strict=True):
        steps = float(str(one[-1]))
        seeds.setdefault(one[:-2], {}).setdefault(steps, set()).add(one[-2])
        ids[one[:-3]] = min(ids.get(one[:-3], (steps, model_id)), (steps, model_id))
    largest = {
        key: max(steps for steps, own in budgets.items() if own >= budgets[min(budgets)])
        for key, budgets in seeds.items()
    }
    kept = [one[-1] == largest[one[:-2]] for one in of_rows]
    found = table[kept].copy()
    found["model_id"] = [ids[one[:-3]][1] for one, keep in zip(of_rows, kept, strict=True) if keep]
    found["training.max_steps"] = ""  # else a network would be compared with those of the same budget alone
    return found
