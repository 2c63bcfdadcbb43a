"""Runs behind a table: present, missing and failed ones, and where the numbers come from."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from analysis.curve import Curve
from analysis.figures.naming import model_names
from analysis.fits.flags import JudgedFit, Verdict, on_floor
from analysis.fits.record import place_of, several_test_sets
from analysis.fits.selection import rank
from analysis.table import RunTable
from experiments.core.states import RunState

SHOWN = 12
"""Number of missing points of a curve that are listed; the others are counted."""


@dataclass(frozen=True)
class CurveHealth:
    """The runs behind the curves of one model on one dataset."""

    dataset: str
    """Dataset."""
    metric: str
    """The preferred one of their metrics."""
    metrics: int
    """Number of metrics that come from the same runs."""
    model: str
    """Model."""
    present: int
    """Number of runs in the table."""
    expected: int
    """Number of seeds × values of P."""
    missing: tuple[str, ...]
    """Points without a run: `P=64 seed 3`."""
    converged: int | None
    """Number of runs marked as converged; None if the table marks none either way."""
    verdict: Verdict
    """Verdict on the training, from the slope of the curve."""
    notes: tuple[str, ...]
    """Further defects, in words."""


@dataclass(frozen=True)
class Health:
    """The runs of a table or store."""

    curves: tuple[CurveHealth, ...]
    """The runs behind each curve."""
    failed: tuple[str, ...]
    """Runs of the store that failed, with their reasons."""
    pending: tuple[str, ...]
    """Numbers of unfinished runs by state: `3 running`."""
    dropped: tuple[str, ...]
    """Rows left out at the user's request, with their reasons."""


def health(fits: Sequence[JudgedFit], table: RunTable, *stores: Path) -> Health:
    """Collect the state of the runs; only a store knows of runs that failed or are not done."""
    failed, pending = _states(stores)
    groups: dict[tuple[object, ...], list[JudgedFit]] = {}
    for item in fits:
        groups.setdefault(_runs(item[0].curve), []).append(item)
    chosen = [min(group, key=lambda item: rank(item[0].curve.text("metric"))) for group in groups.values()]
    names = model_names([fit.curve for fit, _ in chosen], full=True) if chosen else ()
    several = several_test_sets([fit.curve for fit, _ in fits])
    return Health(
        curves=tuple(
            _curve(item, name, [fit.curve for fit, _ in group], several)
            for item, name, group in zip(chosen, names, groups.values(), strict=True)
        ),
        failed=failed,
        pending=pending,
        dropped=tuple(f"{row.place}: {row.reason}" for row in table.dropped),
    )


def _runs(curve: Curve) -> tuple[object, ...]:
    """Return a key that is equal for curves of the same runs in several metrics and on several test sets."""
    key = tuple(value for name, value in curve.key.items() if name not in ("metric", "test_set"))
    return *key, curve.seeds, tuple(curve.sizes), np.isfinite(curve.error).tobytes()


def _curve(item: JudgedFit, name: str, alike: Sequence[Curve], several: bool) -> CurveHealth:
    curve, present = item[0].curve, np.isfinite(item[0].curve.error)
    tests = len({one.text("test_set") for one in alike})
    # In a table without seeds these are running numbers, and P with fewer runs would look like holes.
    holes = [f"P={curve.sizes[k]:g} seed {curve.seeds[s]}" for s, k in zip(*np.nonzero(~present), strict=True)]
    converged = [value for row in curve.converged for value in row if value is not None]
    floor = on_floor(item)
    notes = (
        ("most of the error is floor", floor),
        ("some too short to train", curve.too_short),
        ("nothing learned at the largest P", curve.learned_nothing),
    )
    return CurveHealth(
        dataset=place_of(curve, several and tests == 1) + (f" ({tests} test sets)" if tests > 1 else ""),
        metric=curve.text("metric"),
        metrics=len({one.text("metric") for one in alike}),
        model=name,
        present=int(present.sum()),
        expected=int(present.size),
        missing=tuple(holes) if curve.has_seeds else (),
        converged=sum(converged) if converged and not floor else None,
        verdict=item[1].verdict,
        notes=tuple(text for text, holds in notes if holds),
    )


def _states(stores: Sequence[Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from experiments.runs.store import RunStore  # only a store needs the other room

    failed: list[str] = []
    others: dict[str, int] = {}
    for run in (run for store in stores for run in RunStore(store).runs()):
        state = run.state()
        if state == RunState.FAILED:
            failed.append(f"{run.id}: {run.recorded_state().get('message') or 'no message'}")
        elif state != RunState.DONE:
            others[state] = others.get(state, 0) + 1
    return tuple(failed), tuple(f"{count} {state}" for state, count in sorted(others.items()))


def provenance(table: RunTable, sources: Sequence[Path], stores: Sequence[Path]) -> list[tuple[str, str]]:
    """Return names and values: sources and datasets with checksums, code, devices, and versions of this program."""
    rows = table.rows
    runs = rows["run_id"].nunique() if "run_id" in rows.columns else None
    entries = []
    for source in sources:
        digest = hashlib.sha256(source.read_bytes()).hexdigest() if source.is_file() else ""
        entries.append(("Source", source.name + (f", SHA-256 {digest}" if digest else " (store)")))
    entries.append(("Rows", f"{len(rows)}" + (f" of {runs} runs" if runs is not None else "")))
    for title, column in (("Code version", "code_version"), ("Device", "device")):
        entries.append((title, _listed(rows[column].unique()) if column in rows.columns else "not in the table"))
    checksums = "dataset_sha256" in rows.columns
    for dataset, part in rows.groupby("dataset", sort=False):
        sums = _listed(part["dataset_sha256"].unique()) if checksums else ""
        entries.append((f"Dataset {dataset}", f"SHA-256 {sums}" if sums else "no checksum in the table"))
    entries += _computed_with(stores)
    names = ("equilaw", "numpy", "scipy", "pandas")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    entries.append(("This page", f"{versions}, Python {platform.python_version()}"))
    return entries


def _computed_with(stores: Sequence[Path]) -> list[tuple[str, str]]:
    """Return the versions of the libraries that computed the runs, as one entry; none if no result names them."""
    from experiments.runs.store import RunStore

    versions = dict.fromkeys(
        ", ".join(f"{name} {version}" for name, version in result.versions.items())
        for store in stores
        for _, result in RunStore(store).results()
    )
    return [("Runs computed with", "; ".join(text for text in versions if text))] if any(versions) else []


def _listed(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values if str(value) not in ("", "nan"))
