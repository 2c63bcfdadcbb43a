"""Published points beside the curves of a figure: marks with their source, never a fit.

A table has the columns `COLUMNS`, of which `test_set`, `atoms`, `read` and `second_hand` may be missing or empty:

    dataset      name as in the run table; `a|b` for two names of the same frames
    test_set     name as in the run table; empty for any
    model, P     of the point; one P is enough
    metric       as in the run table
    value, unit  meV/atom, meV/frame (divided by `atoms`), meV/Å, the same in eV, or the run table's own unit
    source       where it was published; `read` says how it was seen, `second_hand` (yes, no) whether it is a quotation
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.curve import Curve
from analysis.errors import InputError
from analysis.reading import Spelling, read_table
from analysis.spelling import display_unit

PUBLISHED = Path(__file__).parent / "published.csv"
"""Points that come with the program, each seen where `read` says; what could not be opened stands above its header."""
NEEDED = ("dataset", "model", "P", "metric", "value", "unit", "source")
COLUMNS = (*NEEDED, "test_set", "atoms", "read", "second_hand")
_PER_FRAME = "/frame"
_MARKS = ("x", "+", "*", "1", "2", "3", "4", "d")


@dataclass(frozen=True)
class Reference:
    """One published point."""

    datasets: tuple[str, ...]
    test_set: str
    model: str
    P: float
    metric: str
    value: float
    """In `unit`: energies per atom."""
    unit: str
    source: str
    read: str = ""
    second_hand: bool = False
    atoms: int | None = None
    """Of a frame, if the point was published per frame."""

    def of(self, curve: Curve) -> bool:
        """Return whether it stands on a curve's axes: the same frames, metric and unit."""
        return (
            curve.text("dataset") in self.datasets
            and self.test_set in ("", curve.text("test_set"))
            and self.metric == curve.text("metric")
            and self.unit == display_unit(curve.unit)[0]
        )

    @property
    def name(self) -> str:
        """Model, in a legend; a double dagger marks a number that the source quotes."""
        return f"{self.model}{' ‡' if self.second_hand else ''}"


def read_references(path: Path) -> list[Reference]:
    """Read a table of published points; see the module for its columns.

    Args:
        path: of the table; `published` stands for the one that comes with the program.

    Raises:
        InputError: the file cannot be read, or a row cannot be placed on axes; the message names its line.
    """
    path = PUBLISHED if path.name == PUBLISHED.stem else path
    own = {"architecture": "model", "error": "value"}  # told, lest they be taken for what they are called in run tables
    frame = read_table(path, Spelling(columns=own)).rename(columns=own)
    missing = [name for name in NEEDED if name not in frame.columns]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; a table of published points needs {', '.join(NEEDED)}")
    cells = frame.reindex(columns=[*COLUMNS, "line"]).astype(object).fillna("").astype(str)
    return [_reference(row, f"{path}, line {row['line']}") for _, row in cells.iterrows()]


def _reference(row: pd.Series[str], where: str) -> Reference:
    size, value = (_positive(row[name], f"{where}: {name}") for name in ("P", "value"))
    unit, factor = display_unit(row["unit"])
    atoms = int(_positive(row["atoms"], f"{where}: atoms")) if row["atoms"] else None
    if row["metric"] in ("energy_mae", "energy_rmse"):
        if unit == "meV":
            raise InputError(
                f"{where}: unit {row['unit']!r} of {row['metric']}; accepted: meV/atom, or meV/frame with atoms"
            )
        if unit.endswith(_PER_FRAME):
            if atoms is None:
                raise InputError(
                    f"{where}: unit {row['unit']!r} without atoms; accepted: the atoms of a frame, or meV/atom"
                )
            unit, factor = unit.replace(_PER_FRAME, "/atom"), factor / atoms
    return Reference(
        datasets=tuple(name.strip() for name in row["dataset"].split("|")),
        test_set=row["test_set"],
        model=row["model"],
        P=size,
        metric=row["metric"],
        value=value * factor,
        unit=unit,
        source=row["source"],
        read=row["read"],
        second_hand=row["second_hand"].lower() in ("yes", "true", "1"),
        atoms=atoms,
    )


def _positive(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise InputError(f"{where} is {text!r}; accepted: a number > 0")
    return value


def matching(references: Sequence[Reference], curve: Curve) -> list[Reference]:
    """Return the points that stand on a curve's axes, by model and P."""
    return sorted((one for one in references if one.of(curve)), key=lambda one: (one.model, one.P, one.source))


def numbered(marks: Sequence[Reference]) -> dict[str, str]:
    """Return the number of every source in a figure: source → `[1]`."""
    return {source: f"[{n}]" for n, source in enumerate(dict.fromkeys(one.source for one in marks), 1)}


def sources_text(marks: Sequence[Reference]) -> str:
    """Name the sources of points for a caption, and say if some points are quotations."""
    texts = [f"{number} {source}" for source, number in numbered(marks).items()]
    quoted = "; ‡ quoted by the source" if any(one.second_hand for one in marks) else ""
    return f"Black marks: published points, {'; '.join(texts)}{quoted}."


def mark_names(marks: Sequence[Reference], sources: Mapping[str, str]) -> dict[str, list[Reference]]:
    """Return points by their name in a legend: the model and the number of its source."""
    models: dict[str, list[Reference]] = {}
    for one in marks:
        models.setdefault(f"{one.name} {sources[one.source]}", []).append(one)
    return models


def draw_marks(axes: Axes, marks: Sequence[Reference], sources: Mapping[str, str]) -> list[Line2D]:
    """Draw points as marks without a line, one form a model, and return the entries of the legend."""
    handles = []
    for number, (name, points) in enumerate(mark_names(marks, sources).items()):
        form = _MARKS[number % len(_MARKS)]
        sizes, values = [one.P for one in points], [one.value for one in points]
        look: dict[str, Any] = {"marker": form, "color": "black", "linestyle": "", "markersize": 4.5, "zorder": 5}
        axes.plot(sizes, values, **look)
        handles.append(Line2D([], [], label=name, **look))
    return handles


def mark_rows(marks: Sequence[Reference]) -> list[dict[str, object]]:
    """Return the points as rows of a figure's CSV."""
    return [
        {"kind": "published", "seed": "", "P": one.P, "error": one.value, "model": one.name, "source": one.source}
        for one in marks
    ]
