"""Learning curves on log–log axes: a point per seed, the mean, the recommended fit with its band, β ± in the legend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.optimize import isotonic_regression

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.errors import InputError
from analysis.figures.naming import architecture_name, model_names, names
from analysis.figures.panels import (
    Panel,
    panels_by_architecture,
    panels_by_correlation_and_order,
    panels_by_dataset,
    panels_by_group,
    panels_by_model,
    panels_by_order,
    panels_by_test_set,
)
from analysis.figures.references import Reference, draw_marks, mark_names, mark_rows, matching, numbered, sources_text
from analysis.figures.style import (
    COLUMN_WIDTH,
    Look,
    entry,
    legend,
    legend_height,
    letters,
    log_axis,
    looks,
    save,
    sheet,
    size_axis,
    style,
    title,
)
from analysis.fits.flags import JudgedFit, Judgement, Verdict, misses
from analysis.fits.record import plus_minus
from analysis.fits.results import CurveFit
from analysis.spelling import display_unit, metric_name

NAME = "learning_curves"
ARRANGED = {
    "by_L": panels_by_order,
    "by_nu_and_L": panels_by_correlation_and_order,
    "by_architecture": panels_by_architecture,
    "by_group": panels_by_group,
    "by_test_set": panels_by_test_set,
}
"""Arrangements of published figures, by file name; drawn if the table has such curves."""
TRAIN_ROOM = 6.0
"""Factor below the smallest test error down to which axes show training errors; the CSV has all of them."""
_LINE = 7.0
"""Points between the names of curves whose ends lie close."""
_AXES_HEIGHT = 2.0
"""Height of a panel's axes, inches, within a tenth."""
_END_WIDTH = 16
"""Characters of a name beside the end of a curve; longer ones, which the axes would make room for, are not written."""
_TRAIN_LINE = (0, (3, 2))
_CELLS = {"A": (0, 1, None), "B": (1, 1, None), "C": (0, 3, True), "D": (0, 3, False)}
"""Cells of the claim: L, ν and whether the edge order is ≥ 1 (None: either)."""


@dataclass(frozen=True)
class Sheet:
    """Panels of one file."""

    name: str
    panels: Sequence[Panel]
    columns: int = 3
    """Panels side by side."""
    references: Sequence[Reference] = ()
    """Published points; a panel shows those of its frames, metric and unit."""


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> list[Sheet]:
    """Return the learning curves in every arrangement that the table has curves for.

    `learning_curves` has a panel per dataset and architecture, `learning_curves_<metric>` one per dataset if these are
    others; `by_L`
    (NequIP's figure), `by_nu_and_L` (MACE's figure 2), `by_architecture`, `by_group` and `by_test_set` the same curves
    side by side.
    """
    sheets = [Sheet(NAME, panels_by_model(fits))]
    metrics = dict.fromkeys(fit.curve.text("metric") for fit, _ in fits)
    by_metric = {metric: panels_by_dataset(fits, metric) for metric in metrics}
    held = [{fit.curve.name for fit, _ in panel.fits} for panel in sheets[0].panels]
    sheets += [
        Sheet(f"{NAME}_{_slug(metric)}", panels)
        for metric, panels in by_metric.items()
        if [{fit.curve.name for fit, _ in panel.fits} for panel in panels] != held  # the same picture twice
    ]
    for name, arrange in ARRANGED.items():
        if arranged := arrange(fits):
            of_dataset = Counter(panel.fits[0][0].curve.text("dataset") for panel in arranged)
            rows = name in ("by_nu_and_L", "by_test_set")  # one for each dataset
            columns = min(3, max(of_dataset.values())) if rows else 3
            sheets.append(Sheet(name, arranged, columns))
    return sheets


def with_references(sheets: Sequence[Sheet], references: Sequence[Reference]) -> list[Sheet]:
    """Return the sheets with published points: marks alone, whose legend names model and source."""
    return [replace(one, references=references) for one in sheets]


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)


def draw(data: Sequence[Sheet], stem: Path) -> list[Path]:
    """Draw every sheet into a file of its own name beside `stem`; return the files."""
    return [path for one in data for path in _draw(one, stem.with_name(one.name))]


def _draw(data: Sheet, stem: Path) -> list[Path]:
    """Draw panels side by side into `stem`.pdf/.svg/.png, and their numbers into `stem`.csv; return the files."""
    with style():
        made, numbers = _drawn(data.panels, data.columns, data.references)
        return save(made, stem, numbers, _caption(data))


def _caption(data: Sheet) -> str:
    """Say what the marks of a sheet mean, of which it has some, and where published points come from."""
    items = [item for panel in data.panels for item in panel.fits]
    missed = sum(misses(item) for item in items)
    marks = [one for panel in data.panels for one in matching(data.references, panel.fits[0][0].curve)]
    parts = [
        "Test error against the number of training frames P. Small points: runs; large ones: geometric means over "
        "seeds."
    ]
    if missed < len(items):
        parts.append("Lines and bands: the recommended fit with its 95 % interval; ± and brackets: that of β.")
    if missed:
        parts.append("Thin lines join the means of curves that are no power law.")
    if any(judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in items):
        parts.append("Hollow: training has not converged.")
    if any(np.isfinite(fit.curve.train_error).any() for fit, _ in items):
        parts.append("Dashed: training errors.")
    if any(any(_cells([fit.curve for fit, _ in panel.fits])) for panel in data.panels):
        parts.append("A to D: the cells of the claim.")
    return " ".join([*parts, *([sources_text(marks)] if marks else [])])


def figure(fits: Sequence[JudgedFit]) -> Figure:
    """Return curves as a figure with one panel per dataset and metric.

    Raises InputError if there is no curve.
    """
    metrics = dict.fromkeys(fit.curve.text("metric") for fit, _ in fits)
    panels = [panel for metric in metrics for panel in panels_by_dataset(fits, metric)]
    if not panels:
        raise InputError("no curves: nothing to draw")
    with style():
        made, _ = _drawn(panels, columns=3)
        FigureCanvasAgg(made).draw()  # type: ignore[no-untyped-call]  # lays it out while the style lasts
    return made


def _drawn(
    panels: Sequence[Panel], columns: int, references: Sequence[Reference] = ()
) -> tuple[Figure, list[dict[str, object]]]:
    """Return panels side by side, in the current style, and the numbers in them."""
    numbers: list[dict[str, object]] = []
    shown = [(panel, matching(references, panel.fits[0][0].curve)) for panel in panels]
    sources = numbered([one for _, marks in shown for one in marks])
    below = max(
        legend_height([*_entries(panel), "hollow", "training error", *mark_names(marks, sources)])
        for panel, marks in shown
    )
    made, axes = sheet(len(panels), 0.80 * COLUMN_WIDTH + below, columns)
    for one, (panel, marks), mark in zip(axes, shown, letters(len(panels)), strict=True):
        numbers += _panel(one, panel, mark, marks, sources)
    return made, numbers


def _panel(
    axes: Axes, panel: Panel, letter: str, marks: Sequence[Reference], sources: Mapping[str, str]
) -> list[dict[str, object]]:
    curves = [fit.curve for fit, _ in panel.fits]
    unit, factor = display_unit(curves[0].unit)
    numbers: list[dict[str, object]] = []
    handles: list[Line2D] = []
    for (fit, judgement), look, name in zip(panel.fits, looks(curves, panel.by), _entries(panel), strict=True):
        drawn = _curve(axes, fit, judgement, look, factor)
        numbers += [{"panel": letter + panel.title, "curve": fit.curve.name, "unit": unit, **row} for row in drawn]
        handles.append(
            Line2D(
                [],
                [],
                color=look.color,
                linestyle=look.line,
                marker=look.marker,
                markerfacecolor=_face(judgement, look),
                label=name,
            )
        )
    if any(judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in panel.fits):
        handles.append(
            Line2D(
                [],
                [],
                color="#777777",
                marker="o",
                markerfacecolor="white",
                linestyle="",
                label="hollow: not converged",
            )
        )
    if any(np.isfinite(np.diff(_training_errors(curve)[1])).any() for curve in curves):  # two points make a line
        handles.append(
            Line2D([], [], color="#777777", alpha=0.8, linewidth=0.8, linestyle=_TRAIN_LINE, label="training error")
        )
    numbers += [{"panel": letter + panel.title, "curve": "", "unit": unit, **row} for row in mark_rows(marks)]
    handles += draw_marks(axes, marks, sources)
    _decorate(axes, curves, marks, unit, factor)
    _label_ends(axes, panel, marks, factor)
    title(axes, letter + panel.title)
    legend(axes, handles)
    return numbers


def _called(panel: Panel) -> Sequence[str]:
    return panel.names or model_names([fit.curve for fit, _ in panel.fits])


def _entries(panel: Panel) -> list[str]:
    """Return the legend's entry of each curve."""
    cells = _cells([fit.curve for fit, _ in panel.fits])
    return [
        entry(f"{cell}  {model}".strip(), _exponent_words(item))
        for item, cell, model in zip(panel.fits, cells, _called(panel), strict=True)
    ]


def _ends(panel: Panel) -> Sequence[str]:
    """Return the shortest names that tell a panel's curves apart, cells of the claim first; none if these are long.

    Of curves by group or architecture these are the groups or architectures, if no two curves have the same.
    """
    curves, called = [fit.curve for fit, _ in panel.fits], _called(panel)
    kinds = {
        "group": [name.partition(": ")[0] for name in called],
        "architecture": list(map(architecture_name, curves)),
    }
    cells = [cell or short for cell, short in zip(_cells(curves), names(curves), strict=True)]
    for candidates in (kinds.get(panel.by, []), *sorted((cells, called), key=lambda one: max(map(len, one)))):
        if len(set(candidates) - {""}) == len(curves) and max(map(len, candidates)) <= _END_WIDTH:
            return candidates
    return []


def _label_ends(axes: Axes, panel: Panel, marks: Sequence[Reference], factor: float) -> None:
    """Write a curve's name beside its last mean, in its colour; names are moved apart where they would overlap."""
    called = _ends(panel)
    if len(called) <= 1:
        return
    last = [float(fit.curve.mean_error[-1] * factor) for fit, _ in panel.fits]
    order = sorted(range(len(last)), key=last.__getitem__)
    low, high = (float(np.log(value)) for value in axes.get_ylim())
    room = _LINE / (_AXES_HEIGHT * 72) * (high - low)
    steps = room * np.arange(len(order))
    # Least squares of the moves under the condition that neighbours are `room` apart.
    places = isotonic_regression(np.log([last[i] for i in order]) - steps).x + steps
    places -= max(0.0, float(places[-1]) - high)
    colours = [look.color for look in looks([fit.curve for fit, _ in panel.fits], panel.by)]
    farthest = max(float(fit.curve.sizes[-1]) for fit, _ in panel.fits)
    amid = any(farthest < one.P for one in marks)  # published points widen the axes
    x, where, space = (farthest, "data", 5) if amid else (1.0, "axes fraction", 3)
    for i, place in zip(order, places, strict=True):
        axes.annotate(
            called[i], (x, float(np.exp(place))), (space, 0), xycoords=(where, "data"),
            textcoords="offset points", va="center", fontsize=5.6, color=colours[i], annotation_clip=False,
        )  # fmt: skip


def _curve(axes: Axes, fit: CurveFit, judgement: Judgement, look: Look, factor: float) -> list[dict[str, object]]:
    curve = fit.curve
    rows: list[dict[str, object]] = []
    face = _face(judgement, look)
    for seed, errors in zip(curve.seeds, curve.error * factor, strict=True):
        axes.plot(
            curve.sizes, errors, look.marker, color=look.color, markersize=2.0, alpha=0.5, markeredgewidth=0, zorder=3.5
        )
        rows += _rows("seed", curve.sizes, errors, seed=seed)
    mean = curve.mean_error * factor
    axes.plot(
        curve.sizes, mean, look.marker, color=look.color, markerfacecolor=face, markeredgecolor=look.color, zorder=4
    )
    rows += _rows("mean", curve.sizes, mean)
    if misses((fit, judgement)):
        axes.plot(curve.sizes, mean, color=look.color, linestyle=look.line, linewidth=0.6, zorder=3)
    else:
        grid = np.geomspace(curve.sizes[0], curve.sizes[-1], 60)
        middle, low, high = (values * factor for values in fit.best.band(grid))
        axes.plot(grid, middle, color=look.color, linestyle=look.line, zorder=3)
        rows += _rows("fit", grid, middle)
        if np.isfinite(low).all():
            axes.fill_between(grid, low, high, color=look.color, alpha=0.16, linewidth=0, zorder=1)
            rows += [*_rows("fit_low", grid, low), *_rows("fit_high", grid, high)]
    train, seen = (values * factor for values in _training_errors(curve))
    if np.isfinite(train).any():
        axes.plot(curve.sizes, seen, color=look.color, linestyle=_TRAIN_LINE, linewidth=0.8, alpha=0.55, zorder=1)
        rows += _rows("train_mean", curve.sizes, train)
    return rows


def _training_errors(curve: Curve) -> tuple[FloatArray, FloatArray]:
    """Return the mean training errors, and those that are drawn: no line plunges out of the axes. [K] each, or NaN."""
    train = np.exp(nanmean(np.log(np.where(curve.train_error > 0, curve.train_error, np.nan))))
    return train, np.where(train * TRAIN_ROOM < np.nanmin(curve.mean_error), np.nan, train)


def _rows(kind: str, sizes: FloatArray, values: FloatArray, seed: str = "") -> list[dict[str, object]]:
    return [
        {"kind": kind, "seed": seed, "P": float(size), "error": float(value)}
        for size, value in zip(sizes, values, strict=True)
        if np.isfinite(value)
    ]


def _face(judgement: Judgement, look: Look) -> str:
    """Return the fill colour of a curve's markers: hollow if its training has not converged."""
    return "white" if judgement.verdict is Verdict.NOT_CONVERGED else look.color


def _exponent_words(item: JudgedFit) -> str:
    (fit, _), curve, best = item, item[0].curve, item[0].best
    if misses(item):
        return "no power law"
    text = f"β = {plus_minus(best.beta.value, best.beta.low, best.beta.high)}"
    if fit.has_floor:
        unit, factor = display_unit(curve.unit)
        text += f", floor {best.floor * factor:.3g} {unit}"
    return text


def _cells(curves: Sequence[Curve]) -> list[str]:
    """Return the letters of the claim's cells if at least three of the four are in the panel, else empty texts."""
    letters = [_cell(curve) for curve in curves]
    return letters if len({letter for letter in letters if letter}) >= 3 else [""] * len(curves)


def _cell(curve: Curve) -> str:
    if curve.number("L") is None:
        return ""
    for letter, (order, nu, angular) in _CELLS.items():
        if (curve.number("L"), curve.number("nu")) == (order, nu) and (
            angular is None or angular == ((curve.number("edge_lmax") or 0) > 0)
        ):
            return letter
    return ""


def _decorate(axes: Axes, curves: Sequence[Curve], marks: Sequence[Reference], unit: str, factor: float) -> None:
    metric = curves[0].text("metric")
    size_axis(axes, [*(float(size) for curve in curves for size in curve.sizes), *(one.P for one in marks)])
    # Training errors on few frames approach zero; the axes are scaled for the test errors.
    floor = min(float(np.nanmin(curve.error[curve.error > 0])) for curve in curves) * factor / TRAIN_ROOM
    log_axis(axes.yaxis, min([floor, *(one.value / TRAIN_ROOM for one in marks)]))
    axes.set_ylabel(f"{metric_name(metric)} ({unit})" if unit else metric_name(metric))
