"""What stands beside the commands' words: trained networks beside linearised ones, and datasets together."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.comparisons.claim import Claim, claims
from analysis.comparisons.claim_pool import PooledClaim, pool_claims, pooled_claim_text
from analysis.errors import InputError
from analysis.files import write_text
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse
from analysis.protocol import by_validation
from analysis.report.linearised import HEAD, SideBySide, not_trained, side_by_side
from benchmarks.results import merged_table, plateau, remembered
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS
from benchmarks.results.statements import fits_of, force_curves

POOLED = "claim_all"
"""Folder of the page on the claim over datasets."""
STOPPED = ("β stopped", "stopped − linearised")
"""Heads of the columns on the same trained networks at the schedule that is best on validation frames."""
WORDS = """\
Exponents are slopes over the sizes and seeds in common; the difference is what feature learning does. †: not
converged, or nobody knows. Stopped: at the schedule that is best on validation frames, which P does not count here."""


def trained_table(name: str, place: Place) -> str:
    """Return β linearised | β trained | difference, force MAE, for a section of trained networks, and what is left."""
    words = not_trained(_side_by_side(name, place).fits)
    return "\n\n".join(["**Linearised beside trained.**", trained_rows(name, place), *words])


def trained_rows(name: str, place: Place) -> str:
    """Return the table alone, with what its columns mean."""
    found = _side_by_side(name, place)
    head = (*HEAD[:-1], *STOPPED, HEAD[-1])
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, stopped in zip(found.rows, found.stopped, strict=True):
        *cells, errors = row.cells()
        lines.append(f"| {' | '.join([*cells, stopped.trained, stopped.difference, errors])} |")
    return "\n\n".join(["\n".join(lines) if found.rows else "No common sizes and seeds yet.", WORDS])


def feature_learning(name: str, place: Place) -> str:
    """Return which networks have another exponent trained than linearised, in a sentence; empty without a table."""
    found = _side_by_side(name, place)
    if not found.rows:
        return ""
    data = DATA[SECTIONS[name].data].words
    changed = [
        f"{row.model} by {stopped.difference}"
        for row, stopped in zip(found.rows, found.stopped, strict=True)
        if row.shown and stopped.shown
    ]
    open_ = "" if all(row.converged for row in found.stopped) else " (not all converged)"
    told = f"training changes β of {', '.join(changed)}" if changed else "training is not shown to change β of any"
    others = len(found.rows) - len(changed)
    same = f"; of {others} others no change is shown by both" if changed and others else ""
    return (
        f"On {data}, {told}, stopped by validation and at the end of the budget alike{same}{open_} "
        f"([{name}](results/{name}/README.md))."
    )


@dataclass(frozen=True)
class _Beside:
    """Trained networks beside linearised ones."""

    rows: Sequence[SideBySide]
    """At the end of the budget."""
    stopped: Sequence[SideBySide]
    """The same, at the schedule that is best on validation frames."""
    fits: Sequence[JudgedFit]
    """Of all curves."""


def _side_by_side(name: str, place: Place) -> _Beside:
    """Compare with the linearised networks of the sections on the claim, NequIP and architectures for its dataset."""
    data = "ethanol_small" if place.quick else SECTIONS[name].data
    linear = [place.table(f"{kind}_{data}") for kind in ("claim", "nequip", "architectures")]
    trained = plateau.table_of(name, place)
    if not trained.exists():  # written with the section's page
        return _Beside((), (), ())
    tables = [trained, *(one for one in linear if one.exists())]
    return _compared(*tables)


@remembered.of_tables
def _compared(trained: Path, *linear: Path) -> _Beside:
    fits = analyse(force_curves([trained, *linear]), MAIN_FORMS)
    stopped = by_validation(merged_table.read(trained), trained.name)
    frames = pd.to_numeric(stopped["n_validation"], errors="coerce").fillna(0)
    stopped["P"] = pd.to_numeric(stopped["P"]) - frames.astype(int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / trained.name
        stopped.to_csv(path, index=False)
        of_stopped = analyse(force_curves([path, *linear]), MAIN_FORMS)
    return _Beside(side_by_side(fits), side_by_side(of_stopped), fits)


def pooled(place: Place) -> list[PooledClaim]:
    """Return the tests of the claim over datasets, as random effects; none for fewer than two tables."""
    names = _claimed(place)
    return pool_claims([
        test for data in DATA for name in names if SECTIONS[name].data == data for test in _claims(place.table(name))
    ])  # fmt: skip


def pooled_page(place: Place) -> str:
    """Return the page on the claim over datasets, as random effects; empty for fewer than two tables."""
    names = _claimed(place)
    if not names:
        return ""
    words = "\n\n".join(pooled_claim_text(one) for one in pooled(place))
    tables = ", ".join(f"[{name}](../{name}/runs.csv)" for name in names)
    return "\n\n".join([
        "# The claim over datasets",
        "Datasets as random effects (Hartung–Knapp–Sidik–Jonkman), force MAE, each on its first test set; "
        "linearised networks: a hypothesis about trained ones. Few datasets leave wide intervals.",
        f'`make results ARGS="{POOLED} --pages"` reads {tables}.',
        f"```text\n{words or 'nothing to pool'}\n```",
    ]) + "\n"  # fmt: skip


def _claimed(place: Place) -> list[str]:
    """Return the sections on the claim that have a table; none where these are of fewer than two datasets."""
    names = [name for name in place.sections() if SECTIONS[name].part == "claim" and place.table(name).exists()]
    return names if len({SECTIONS[name].data for name in names}) > 1 else []


def write_pooled(place: Place) -> Path | None:
    """Write the page on the claim over datasets; return it, or None if there is nothing to pool."""
    text = pooled_page(place)
    if not text:
        return None
    path = place.tables / POOLED / "README.md"
    write_text(path, text)
    return path


@remembered.of_tables
def _claims(table: Path) -> list[Claim]:
    """Return the tests of the claim of a table; none where cells are still missing."""
    fits = fits_of(table)
    try:
        tests = claims(fits)
    except InputError:
        return []
    return [one for one in tests if one.cells["A"].text("test_set") == fits[0][0].curve.text("test_set")]
