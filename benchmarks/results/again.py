"""Compute runs of a committed table again, from nothing, and say by how much their errors differ.

Fits in closed form alone, linearised networks among them: on another processor a training ends elsewhere, for round-off
grows from update to update.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.spelling import FACTOR_WORDS, display_name
from benchmarks.results import costs, merged_table
from benchmarks.results.outstanding import Place, plan_into
from benchmarks.results.sections import SECTIONS
from experiments.core.errors import InputError
from experiments.core.wording import counted
from slurm.launcher import run_missing
from slurm.plan import PlannedRun
from slurm.settings import LocalSettings

TOLERANCE = 1e-3
"""Largest relative difference that is round-off: pages show three digits. Another ridge parameter makes more."""


@dataclass(frozen=True)
class Again:
    """Errors of a table, and the same computed again."""

    rows: pd.DataFrame
    """The rows that were computed again, cells of text. [N]"""
    before: FloatArray
    """Error of each in the table. [N]"""
    after: FloatArray
    """And computed again. [N]"""

    @property
    def differences(self) -> FloatArray:
        """Relative differences of errors; of two that are zero, none."""
        equal = self.before == self.after
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(equal, 0.0, np.abs(self.after / self.before - 1))

    @property
    def same(self) -> bool:
        """Whether all errors agree to round-off."""
        return bool((self.differences <= TOLERANCE).all())

    def words(self) -> str:
        """Return how many errors were compared, and by how much they differ."""
        done = f"{counted(self.rows['run_id'].nunique(), 'run')} computed again, {counted(len(self.rows), 'error')}"
        if not self.differences.any():
            return f"{done}: every digit the same"
        worst = self.rows.iloc[int(np.argmax(self.differences))]
        return (
            f"{done}: relative differences up to {self.differences.max():.1e} ({worst['metric']}, {_model(worst)}, "
            f"P = {worst['P']}), median {np.median(self.differences):.1e}"
        )


def runs_again(name: str, place: Place, seed: int, store: Path) -> list[PlannedRun]:
    """Return the runs of a section's table with this seed that are fitted in closed form, to compute into a store.

    Raises:
        InputError: there are none, and why.
    """
    if not place.table(name).exists():
        raise InputError("it has no table yet")
    if not SECTIONS[name].linearised:
        raise InputError("its networks are trained: the last digits are the processor's")
    known = set(merged_table.read(place.table(name))["run_id"])
    skipped: dict[str, None] = {}
    planned = [one for words in place.sweeps(SECTIONS[name]) for one in plan_into(words, store, skipped).runs]
    found = [one for one in planned if one.run.id in known and one.config.seed == seed]
    if found:
        return found
    if skipped:
        raise InputError("; ".join(skipped))
    if not known & {one.run.id for one in planned}:
        raise InputError("its table has no run on the frames that are here (generated ones may differ by processor)")
    raise InputError(f"its table has no run with seed {seed}")


def hours(name: str, runs: list[PlannedRun], place: Place) -> str:
    """Return the core hours of runs of a section, in words."""
    return costs.told(*costs.of_all(place.tables).hours([one.config for one in runs], SECTIONS[name].data))


def compute(name: str, place: Place, seed: int, workers: int | None) -> Again:
    """Compute the runs of a section with this seed in a new store, and set their errors beside the table's.

    Raises:
        InputError: nothing to compute, and why.
        RunsFailed: runs failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / name
        runs = runs_again(name, place, seed, store)
        print(f"{name}: {counted(len(runs), 'run')} of seed {seed} again, {hours(name, runs, place)}", flush=True)
        run_missing(runs, LocalSettings(workers=workers))
        found = merged_table.of_store(store)
    before = merged_table.read(place.table(name))[[*merged_table.ROW, "error"]]
    both = found.merge(before, on=merged_table.ROW, suffixes=("", "_before"), validate="one_to_one")
    return Again(both, both["error_before"].to_numpy(float), both["error"].to_numpy(float))


def _model(row: pd.Series) -> str:
    orders = [FACTOR_WORDS[name].format(row[name]) for name in ("L", "nu", "edge_lmax") if row.get(name)]
    return " ".join([display_name(row["architecture"]), *orders])
