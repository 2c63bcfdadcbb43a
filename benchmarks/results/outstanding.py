"""Compute what a section lacks: runs that its table has are done, by their ids, even where the store is gone."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.results import merged_table
from benchmarks.results.sections import DATA, SECTIONS, Section
from experiments.config.run import RunConfig
from experiments.config.tuned_rates import path_of
from experiments.core.errors import InputError, RunsFailed
from experiments.data.dataset import AnyDataset
from experiments.data.load import dataset_of
from experiments.data.offline import offline
from experiments.runs import tune
from experiments.runs.store import RunStore
from slurm.from_words import configs_of, plan_of
from slurm.launcher import run_missing
from slurm.plan import DataAbsent, Plan, PlannedRun
from slurm.settings import LocalSettings

MERGE_SECONDS = 30.0
"""Least time between two additions to a table: reading a store takes a second."""
Label = tuple[object, ...]


@dataclass(frozen=True)
class Place:
    """Where results lie, and which sweeps are asked for."""

    tables: Path
    """Folder with a folder a section: its `runs.csv`, figure and page."""
    stores: Path
    """Folder with a store a section."""
    quick: bool = False
    """Reduced grids on data that come with the program."""
    later: bool = False
    """Also what is for later (`Section.later`)."""

    def sections(self) -> list[str]:
        """Return the names of the sections that are computed here, in order."""
        return [name for name, section in SECTIONS.items() if section.quick or not self.quick]

    def table(self, name: str) -> Path:
        """Return a section's run table, which need not exist."""
        return self.tables / name / "runs.csv"

    def sweeps(self, section: Section) -> list[str]:
        """Return the sweeps of a section, as on the command line."""
        return list(section.quick) if self.quick else [*section.sweeps, *(section.later if self.later else ())]


@dataclass
class Outstanding:
    """What a section lacks."""

    left: list[RunConfig]
    """Runs that its table lacks."""
    wanted: int
    """All its runs."""
    absent: dict[str, None]
    """Why runs have no data here, a line each."""


def outstanding(name: str, place: Place) -> Outstanding:
    """Return what a section lacks; nothing is downloaded or generated, and tuned rates need not exist yet."""
    section, table = SECTIONS[name], merged_table.read(place.table(name))
    known, labels = merged_table.tested(table), labels_of(table)
    tunings = _tunings(name, place)
    found = Outstanding([one for words in tunings for one in configs_of(shlex.split(words))], 0, {})
    found.wanted = len(found.left)
    for words in place.sweeps(section):
        if tunings:
            configs = configs_of(shlex.split(words.replace(f"training.tuned={name}", "")))
            found.left += configs
            found.wanted += len(configs)
            continue
        planned = plan_of(shlex.split(words), _here)
        own = _lacking(planned.runs, known)
        unnamed = [one.config for one in planned.unnamed if not is_there(one.config, labels)]
        found.left += [*(one.config for one in own), *unnamed]
        found.wanted += len(planned.runs) + len(planned.unnamed)
        found.absent |= {one.reason: None for one in planned.unnamed}
    return found


def compute(name: str, place: Place, workers: int | None) -> list[str]:
    """Compute what a section lacks, and add each ladder or run to its table as it is done.

    Returns:
        Why runs were skipped: a line for each dataset that is not to be had.

    Raises:
        InputError: a sweep was refused.
        RunsFailed: runs failed; all others are in the table.
        KeyboardInterrupt: the same command goes on.
    """
    section, store, path = SECTIONS[name], place.stores / name, place.table(name)
    merged_table.merge(path, store)
    skipped: dict[str, None] = {}
    failures: list[str] = []
    if tunings := _tunings(name, place):
        rates = place.stores / f"{name}_tuning"
        for words in tunings:
            run_missing(plan_into(words, rates, skipped).runs, LocalSettings(workers=workers))
        if skipped:
            return list(skipped)
        tune.write(tune.table(RunStore(rates))[0], path_of(name))
    for words in place.sweeps(section):
        planned, table = plan_into(words, store, skipped), merged_table.read(path)
        left = _lacking(planned.runs, merged_table.tested(table))
        if section.only_gaining:
            left = [one for one in left if gained(table, one.config)]
        if left:
            merging = _Merging(path, store)
            try:
                run_missing(left, LocalSettings(workers=workers), merging)
            except RunsFailed as error:  # the other sweeps are worth having
                failures.append(str(error))
            finally:
                merging.now()
    if failures:
        raise RunsFailed("\n".join(failures))
    return list(skipped)


def gained(table: pd.DataFrame, config: RunConfig) -> bool:
    """Return whether a larger budget is called for: the largest smaller one in the table still gained.

    That is, in half of its runs of this model and P, the schedule of all its updates was the best on validation
    frames (`stopped_steps`). Without runs of a smaller budget there is nothing to wait for.
    """
    assert config.training is not None
    if table.empty:
        return True
    budgets = pd.to_numeric(table["training.max_steps"])
    same = label(config)[:-2]  # without seed and budget
    alike = pd.Series([one[:-2] == same for one in labels(table)], index=table.index)
    rows = table[alike & (budgets < config.training.max_steps) & (table["metric"] == "force_mae")]
    if rows.empty:
        return True
    rows = rows[budgets[rows.index] == budgets[rows.index].max()]
    longest = pd.to_numeric(rows["stopped_steps"]) == pd.to_numeric(rows["training.max_steps"])
    return bool(longest.mean() >= 0.5)


def label(config: RunConfig) -> Label:
    """Return what tells a run from others of its section without its data, which its id depends on."""
    own = [getattr(config.model, name, None) for name in ("edge_lmax", "n_layers", "cutoff")]
    augment, steps = None, None
    if config.training is not None:
        augment, steps = config.training.augment, config.training.max_steps
    return (config.architecture, *map(_value, (config.L, config.nu, *own, augment, config.P, config.seed, steps)))


def labels_of(table: pd.DataFrame) -> dict[Label, set[str]]:
    """Return the test sets of every run of a table, by the run's label."""
    found: dict[Label, set[str]] = {}
    for one, test_set in zip(labels(table), table["test_set"], strict=True):
        found.setdefault(one, set()).add(test_set)
    return found


def is_there(config: RunConfig, labels: Mapping[Label, set[str]]) -> bool:
    """Return whether a table with these labels has a run, on its further test sets too."""
    known = labels.get(label(config))
    return known is not None and set(config.data.get("tests") or ()) <= known


def labels(table: pd.DataFrame) -> list[Label]:
    """Return the label of every row of a run table whose cells are text."""
    names = ["L", "nu", "edge_lmax", "n_layers", "cutoff", "training.augment", "P", "seed", "training.max_steps"]
    cells = table.reindex(columns=["architecture", *names], fill_value="").itertuples(index=False, name=None)
    return [(row[0], *map(_value, row[1:])) for row in cells]


def _value(cell: object) -> float | None:
    if cell in (None, ""):
        return None
    text = str(cell)
    return float(text == "True") if text in ("True", "False") else float(text)


def _lacking(planned: Sequence[PlannedRun], known: set[tuple[str, str]]) -> list[PlannedRun]:
    """Return the runs that a table has no rows of, or not on each of their further test sets."""
    ids = {run_id for run_id, _ in known}
    return [
        one for one in planned if one.run.id not in ids or any((one.run.id, name) not in known for name in one.tests)
    ]


def plan_into(words: str, store: Path, skipped: dict[str, None]) -> Plan:
    """Return the plan of a sweep into a store; data are downloaded or generated, or else skipped by name."""
    planned = plan_of([*shlex.split(words), f"store='{store}'"], _had)
    skipped |= {one.reason: None for one in planned.unnamed}
    return planned


def _had(section: Mapping[str, Any]) -> AnyDataset:
    """Load a dataset; raise `DataAbsent` if it cannot be had."""
    try:
        return dataset_of(section)
    except InputError as error:
        raise DataAbsent(f"{section.get('source')}: {error}") from None


def _here(section: Mapping[str, Any]) -> AnyDataset:
    """Load a dataset that is on this machine; raise `DataAbsent` for any other."""
    with offline():
        return _had(section)


def load_here(name: str) -> AnyDataset:
    """Load a dataset of `DATA`, as its sections have it; raise `DataAbsent` if it is not on this machine."""
    own = configs_of([*shlex.split(DATA[name].overrides), "model=ace", "P=1", "seed=0"])
    return _here(own[0].data)


def _tunings(name: str, place: Place) -> list[str]:
    """Return the sweeps of learning rates that a section still needs."""
    section = SECTIONS[name]
    return [] if place.quick or not section.tuned or path_of(name).exists() else section.tuned.split(";")


class _Merging:
    """Adds finished runs to a table, now and then."""

    def __init__(self, path: Path, store: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self.store, self.clock = path, store, clock
        self._last = clock()

    def __call__(self, run_id: str) -> None:
        """Hear of a finished run."""
        if self.clock() - self._last >= MERGE_SECONDS:
            self.now()

    def now(self) -> None:
        """Add what the table lacks."""
        merged_table.merge(self.path, self.store)
        self._last = self.clock()
