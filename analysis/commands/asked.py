"""What the commands share: the table and curves asked for, and what is said at the end."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from analysis.bounds.distances import (
    DISTANCES_FILE,
    read_distances,
)
from analysis.curve import curves
from analysis.errors import RunsFailed, UnfittableError
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS, Form
from analysis.fits.points import points_table, single_points
from analysis.fits.record import analyse, title
from analysis.fits.selection import Selection
from analysis.reading import Spelling, parse_columns
from analysis.sources import failed_runs, unfinished_runs
from analysis.table import RunTable, load

log = logging.getLogger(__name__)


def load_asked(arguments: argparse.Namespace, compare_by: Sequence[str] = ()) -> RunTable:
    """Read the run table that the arguments name."""
    return load(
        arguments.table,
        arguments.store,
        drop_bad=arguments.drop_bad,
        curve_by=arguments.curve_by,
        compare_by=compare_by,
        stop=arguments.stop,
        spelling=Spelling(
            columns={name: own for text in arguments.columns for name, own in parse_columns(text).items()},
            wide=arguments.wide,
            unit=arguments.unit,
            decimal=arguments.decimal,
        ),
    )


def check_any(arguments: argparse.Namespace, loaded: RunTable) -> None:
    """Print the points there are and raise UnfittableError if no curve has two P yet, as of a single run."""
    if loaded.rows.empty:
        say(points_table(selection_of(arguments).of_curves(single_points(loaded))))
        check_failed(arguments.store)
        raise UnfittableError("no curve has two P yet, and a curve needs two: the points so far are above")


def fitted(
    arguments: argparse.Namespace,
    loaded: RunTable,
    forms: tuple[Form, ...] = MAIN_FORMS,
    metrics: tuple[str, ...] = (),
) -> list[JudgedFit]:
    """Fit the curves asked for; without --metric those of `metrics`, empty: of the main metric of each dataset."""
    asked = selection_of(arguments, metrics)
    return asked.of_models(analyse(asked.of_metrics(curves(loaded)), forms))


def selection_of(arguments: argparse.Namespace, metrics: tuple[str, ...] = ()) -> Selection:
    """Return what the arguments ask for; without --metric, `metrics`."""
    return Selection(
        metric=tuple(arguments.metric) or metrics,
        dataset=tuple(arguments.dataset),
        model=tuple(arguments.model),
        test_set=tuple(arguments.test_set),
    )


def say_left_out(arguments: argparse.Namespace, loaded: RunTable) -> None:
    """Say which metrics of the table would be shown if they were asked for."""
    if left_out := selection_of(arguments).left_out(curves(loaded)):
        say(left_out)


def say(text: str) -> None:
    """Print a text on standard output."""
    sys.stdout.write(text + "\n")


def check_complete(loaded: RunTable, stores: Sequence[Path]) -> None:
    """Say what is missing so far; raise an error if a curve had no usable row, or if runs of the stores failed.

    Raises:
        UnfittableError: a curve had rows, none of them usable.
        RunsFailed: runs failed.
    """
    if not loaded.rows.empty and (waiting := single_points(loaded)):
        names = "; ".join(dict.fromkeys(f"{title(curve)} (P = {curve.sizes[0]:g})" for curve in waiting))
        log.warning("left out, since a curve needs two P: %s", names)
    for store in dict.fromkeys(stores):
        if unfinished := unfinished_runs(store):
            log.warning("%s: %s, so their points are missing", store, ", ".join(unfinished))
    if loaded.lost_curves:
        raise UnfittableError(
            f"{len(loaded.lost_curves)} curve(s) had no usable rows and could not be fitted: "
            f"{'; '.join(loaded.lost_curves)}"
        )
    check_failed(stores)


def check_failed(stores: Sequence[Path]) -> None:
    """Raise RunsFailed if runs of the stores failed; name those that were refused."""
    lines = []
    for store in dict.fromkeys(stores):
        if refused := failed_runs(store, refused=True):
            log.warning(
                "%s: %d run(s) were refused, so their points are missing: %s", store, len(refused), ", ".join(refused)
            )
        if failed := failed_runs(store):
            lines.append(f"{store}: {len(failed)} run(s) failed, so their points are missing: {', '.join(failed)}")
    if lines:
        raise RunsFailed("\n".join(lines))


def distances_of(path: Path | None, stores: Sequence[Path]) -> pd.DataFrame | None:
    """Read the table of distances at `path`, or else those in the stores; None if there are none."""
    in_stores = [store / DISTANCES_FILE for store in stores if (store / DISTANCES_FILE).exists()]
    paths = in_stores if path is None else [path]
    return read_all_distances(paths) if paths else None


def read_all_distances(paths: Iterable[Path]) -> pd.DataFrame:
    """Read one table of distances, or several as one."""
    frames = [read_distances(path) for path in dict.fromkeys(paths)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True).drop_duplicates(ignore_index=True)
