"""The committed run table of a section: which runs it has, and how finished runs of a store are added to it.

Cells are kept as text, so that no digit of a committed row changes.
"""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from analysis.files import csv_text, write_text
from experiments.runs.store import RunStore
from experiments.runs.table import run_table

ROW = ["run_id", "test_set", "metric"]
"""Columns that tell rows apart."""
ORDER = ["dataset", "architecture", "L", "nu", "edge_lmax", "n_layers", "channels", "cutoff", "P", "seed"]
"""Columns by which rows are ordered; further settings, test set and metric follow."""
NUMBERS = frozenset({"L", "nu", "edge_lmax", "n_layers", "channels", "cutoff", "P", "seed"})


def read(path: Path) -> pd.DataFrame:
    """Return a run table with cells of text; no rows if there is no file."""
    if not path.exists():
        return pd.DataFrame(columns=ROW, dtype=str)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def of_store(store: Path) -> pd.DataFrame:
    """Return the run table of a store with cells of text."""
    return pd.read_csv(io.StringIO(csv_text(run_table(RunStore(store)))), dtype=str, keep_default_na=False)


def tested(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the run id and test set of every row."""
    return set(zip(table["run_id"], table["test_set"], strict=True))


def merge(path: Path, store: Path) -> int:
    """Add the finished runs of a store that a table lacks, if there are any; return the number of rows added.

    A row that the table has stays as it is, whoever computed it, and so does the order of its columns. The file is
    written whole or not at all.
    """
    if not store.is_dir():
        return 0
    own = read(path)
    found = of_store(store)
    known = set(own[ROW].itertuples(index=False, name=None))
    new = found[[row not in known for row in found[ROW].itertuples(index=False, name=None)]]
    if new.empty:
        return 0
    first, second = (found, own) if own.empty else (own, found)
    columns = [*first.columns, *(name for name in second.columns if name not in first.columns)]
    both = pd.concat([own, new], ignore_index=True).reindex(columns=columns).fillna("")
    by = [*ORDER, "model_id", "test_set", "metric"]
    keys = pd.DataFrame({name: pd.to_numeric(both[name]) if name in NUMBERS else both[name] for name in by})
    both = both.loc[keys.sort_values(by, na_position="first", kind="stable").index]
    write_text(path, both.to_csv(index=False))
    return len(new)
