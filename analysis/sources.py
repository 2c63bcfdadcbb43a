"""The rows of an analysis: of run tables in files and of stores, one or several, each row with its place."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.errors import InputError, RunsFailed
from analysis.protocol import VALIDATION, by_validation
from analysis.reading import PLAIN, Spelling, read_table
from experiments.core.states import RunState

log = logging.getLogger(__name__)

STORE = "store"
"""Column with the table or store that a row came from, if there are several."""
DATA = "dataset_sha256"
"""Column with the digest of the data's content."""


@dataclass(frozen=True)
class Sources:
    """The raw rows of all sources.

    frame   rows; with several sources `store` names each row's, and `line` (int) counts on from one to the next
    name    of all sources, for messages
    starts  number before the first `line` of each source, and its name
    stores  names of the sources that are stores, whose rows are runs and no lines of a file
    """

    frame: pd.DataFrame
    name: str
    starts: tuple[tuple[int, str], ...] = ()
    stores: frozenset[str] = frozenset()

    def place(self, line: int) -> str:
        """Return where a row is, in words: its line or run, and with several sources its file or store."""
        start, name = max((one for one in self.starts if one[0] < line), default=(0, self.name))
        where = f"line {line - start}"
        if name in self.stores and "run_id" in self.frame.columns:
            row = self.frame[self.frame["line"] == line].iloc[0]
            where = f"run {row['run_id']} ({row['metric']})"
        return where if len(self.starts) < 2 else f"{name}, {where}"


def read_sources(
    tables: Sequence[Path], stores: Sequence[Path], spelling: Spelling = PLAIN, stop: str | None = None
) -> Sources:
    """Read run tables from files and stores; with `stop`, by validation.

    Raises InputError if there are none, and as `read_table` and `read_store` do.
    """
    parts = [(str(path), read_table(path, spelling)) for path in dict.fromkeys(tables)]
    if stores:
        several = list(dict.fromkeys(stores))
        frame = read_store(*several)
        owner = frame[STORE] if len(several) > 1 else pd.Series(str(several[0]), index=frame.index)
        parts += [(str(store), frame[owner == str(store)]) for store in several]
    if not parts:
        raise InputError("no run table: give --table FILE.csv or --store DIR")
    if stop == VALIDATION:
        parts = [(name, by_validation(frame, name)) for name, frame in parts]
    if len(parts) == 1:
        return Sources(parts[0][1], parts[0][0], stores=frozenset(map(str, stores)))
    starts, frames, start = [], [], 0
    for name, frame in parts:
        starts.append((start, name))
        frames.append(frame.assign(line=frame["line"] + start))
        frames[-1][STORE] = name
        start = int(frames[-1]["line"].max())
    together = pd.concat(frames, ignore_index=True)
    _warn_of_other_data(together)
    return Sources(together, ", ".join(name for name, _ in parts), tuple(starts), frozenset(map(str, stores)))


def _warn_of_other_data(frame: pd.DataFrame) -> None:
    """Warn of a dataset's name that stands for other data in one source than in another."""
    if not {DATA, "dataset"} <= set(frame.columns):
        return
    for dataset, part in frame.groupby("dataset", sort=False):
        known = part[part[DATA].notna() & (part[DATA].astype(str) != "")]
        digests = {str(source): frozenset(rows[DATA].astype(str)) for source, rows in known.groupby(STORE, sort=False)}
        if len(set(digests.values())) > 1:
            shown = "; ".join(f"{source}: {', '.join(sorted(d[:6] for d in own))}" for source, own in digests.items())
            log.warning("%s is the name of different data (%s: %s): compare its curves with care", dataset, DATA, shown)


def read_store(*stores: Path) -> pd.DataFrame:
    """Read the run table of one store or several; `line` counts the rows of each from 2, as in its CSV.

    Raises InputError for a missing store or one without a finished run, RunsFailed if all its runs have failed.
    """
    from experiments.runs.store import RunStore  # only a store needs the other room
    from experiments.runs.table import run_table

    for store in stores:
        if not store.is_dir():
            raise InputError(f"{store}: no such store; give a directory of runs")
    frame = run_table(*map(RunStore, stores))
    owner = frame[STORE] if STORE in frame.columns else pd.Series(str(stores[0]), index=frame.index)
    for store in stores:
        if (owner == str(store)).any():
            continue
        if failed := failed_runs(store):
            raise RunsFailed(f"{store}: all {len(failed)} run(s) that ended have failed, so there is no table")
        raise InputError(f"{store}: no finished run in this store, so there is no table")
    return frame.assign(line=frame.groupby(owner, sort=False).cumcount().to_numpy(dtype=np.int64) + 2)


def failed_runs(*stores: Path, refused: bool = False) -> list[str]:
    """Return the ids of the failed runs of stores: their points are missing from the table.

    Runs that were `refused` (more frames or memory than there is) are listed apart: they fail again whenever they are
    asked for, and no result is in doubt for that.
    """
    from experiments.runs.store import RunStore

    failed = [run for store in stores for run in RunStore(store).runs() if run.state() == RunState.FAILED]
    return [run.id for run in failed if bool(run.recorded_state().get("refused")) == refused]


def unfinished_runs(*stores: Path) -> list[str]:
    """Return numbers of the runs of stores that are neither done nor failed, by state: `3 running`, `9 queued`."""
    from experiments.runs.store import RunStore

    ended = (RunState.DONE, RunState.FAILED)
    counts = Counter(state for store in stores for run in RunStore(store).runs() if (state := run.state()) not in ended)
    return [f"{count} {state}" for state, count in sorted(counts.items())]


def run_file(stores: Sequence[Path], run: str, name: str) -> Path:
    """Return a file of a run, in the first of the stores that has the run."""
    return next((store for store in stores if (store / run).is_dir()), stores[0]) / run / name
