"""Trained networks beside linearised ones."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse
from analysis.protocol import by_validation
from analysis.report.linearised import HEAD, SideBySide, not_trained, side_by_side
from benchmarks.results import merged_table, plateau, remembered
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS
from benchmarks.results.statements import force_curves

STOPPED = ("β stopped", "stopped − linearised")
"""Heads of the columns on the same trained networks at the schedule that is best on validation frames."""
WORDS = """\
Exponents are slopes over the sizes and seeds in common; the difference is what feature learning does. †: not \
converged, or nobody knows. Stopped: at the schedule that is best on validation frames, which P does not count here."""


def trained_table(name: str, place: Place) -> str:
    """Return β linearised | β trained | difference, force MAE, for a section of trained networks, and what is left.

    Left are linearised networks that no section trained on its data.
    """
    names = sections_of(data_of(name, place), place)
    left = not_trained([fit for other in names for fit in side_by_side_of(other, place).fits])
    return "\n\n".join(filter(None, ["**Linearised beside trained.**", trained_rows(name, place), left]))


def trained_rows(name: str, place: Place) -> str:
    """Return the table alone, with what its columns mean."""
    found = side_by_side_of(name, place)
    head = (*HEAD[:-1], *STOPPED, HEAD[-1])
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, stopped in zip(found.rows, found.stopped, strict=True):
        *cells, errors = row.cells()
        lines.append(f"| {' | '.join([*cells, stopped.trained, stopped.difference, errors])} |")
    return "\n\n".join(["\n".join(lines) if found.rows else "No common sizes and seeds yet.", WORDS])


def feature_learning(name: str, place: Place) -> str:
    """Return which networks have another exponent trained than linearised, in a sentence; empty without a table."""
    found = side_by_side_of(name, place)
    if not found.rows:
        return ""
    data = DATA[data_of(name, place)].words
    changed = [
        f"{row.model} by {stopped.difference}"
        for row, stopped in zip(found.rows, found.stopped, strict=True)
        if row.shown and stopped.shown
    ]
    open_ = "" if all(row.converged for row in found.stopped) else " (not all converged)"
    told = f"training changes β of {', '.join(changed)}" if changed else "training is not shown to change β of any"
    others = len(found.rows) - len(changed)
    same = f"; of {others} other{'s' * (others > 1)} no change is shown by both" if changed and others else ""
    return (
        f"On {data}, {told}, stopped by validation and at the end of the budget alike{same}{open_} "
        f"([{name}](results/{name}/README.md))."
    )


def data_of(name: str, place: Place) -> str:
    """Return the data of a section of trained networks (name in `DATA`)."""
    return "ethanol_small" if place.quick else SECTIONS[name].data


def sections_of(data: str, place: Place) -> list[str]:
    """Return the sections of trained networks on data (name in `DATA`) that have a table."""
    names = [name for name, section in SECTIONS.items() if section.part == "trained"]
    return [name for name in names if data_of(name, place) == data and place.table(name).exists()]


def stopped_by_validation(data: str, place: Place) -> list[SideBySide]:
    """Return the trained networks on data (name in `DATA`), at the schedule that is best on validation frames."""
    return [row for name in sections_of(data, place) for row in side_by_side_of(name, place).stopped]


@dataclass(frozen=True)
class Beside:
    """Trained networks beside linearised ones."""

    rows: Sequence[SideBySide]
    """At the end of the budget."""
    stopped: Sequence[SideBySide]
    """The same, at the schedule that is best on validation frames."""
    fits: Sequence[JudgedFit]
    """Of all curves."""


def side_by_side_of(name: str, place: Place) -> Beside:
    """Compare with the linearised networks of the sections on the claim, NequIP and architectures for its dataset."""
    data = data_of(name, place)
    linear = [place.table(f"{kind}_{data}") for kind in ("claim", "nequip", "architectures")]
    trained = plateau.table_of(name, place)
    if not trained.exists():  # written with the section's page
        return Beside((), (), ())
    tables = [trained, *(one for one in linear if one.exists())]
    return _compared(*tables)


@remembered.of_tables
def _compared(trained: Path, *linear: Path) -> Beside:
    fits = analyse(force_curves([trained, *linear]), MAIN_FORMS)
    stopped = by_validation(merged_table.read(trained), trained.name)
    frames = pd.to_numeric(stopped["n_validation"], errors="coerce").fillna(0)
    stopped["P"] = pd.to_numeric(stopped["P"]) - frames.astype(int)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / trained.name
        stopped.to_csv(path, index=False)
        of_stopped = analyse(force_curves([path, *linear]), MAIN_FORMS)
    return Beside(side_by_side(fits), side_by_side(of_stopped), fits)
