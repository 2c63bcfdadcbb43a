"""Cost of accuracy: errors against wall time and against the number of weights, with Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.figures.panels import model_entries, preferred
from analysis.figures.style import (
    COLUMN_WIDTH,
    Look,
    legend_height,
    letters,
    log_axis,
    looks,
    save,
    style,
    title,
)
from analysis.fits.flags import JudgedFit, Verdict
from analysis.spelling import dataset_name, display_unit, metric_name, test_set_words

NAME = "cost"
_FRONT = "Pareto front"
MATCHED = 1.1
"""Ratio of numbers of weights up to which models count as equally large, as matched ones are: no cost to show."""


@dataclass(frozen=True)
class Cost:
    """One set of axes."""

    title: str
    """Dataset, and the devices if the cost is time."""
    label: str
    """Label of the abscissa."""
    fits: tuple[JudgedFit, ...]
    """Curves of one dataset and metric."""
    spent: tuple[FloatArray, ...]
    """Cost of each curve at each P, mean over seeds. [K] each"""
    largest_only: bool
    """Whether only the largest P that all curves have is shown (the cost does not depend on P)."""


def costs(fits: Sequence[JudgedFit]) -> list[Cost]:
    """Return a panel per test set and device with times, and one per test set whose models differ in weights."""
    panels = []
    groups: dict[tuple[str, str], list[JudgedFit]] = {}
    for item in preferred(fits):
        groups.setdefault((item[0].curve.text("dataset"), item[0].curve.text("test_set")), []).append(item)
    for (dataset, test_set), group in groups.items():
        several = sum(other == dataset for other, _ in groups) > 1
        named = f"{dataset_name(dataset)}, {test_set_words(test_set)}" if several else dataset_name(dataset)
        by_device: dict[str, list[JudgedFit]] = {}
        for item in group:
            if np.isfinite(_seconds(item[0].curve)[0]).any():
                by_device.setdefault(", ".join(sorted(item[0].curve.devices)), []).append(item)
        for device, mine in by_device.items():
            spent = tuple(nanmean(_seconds(fit.curve)[0]) for fit, _ in mine)
            label = "Processor time" if all(_seconds(fit.curve)[1] for fit, _ in mine) else "Wall time"
            where = f"{named}, {device}" if device else named
            panels.append(Cost(where, f"{label} of a run (s)", tuple(mine), spent, False))
        weighed = [item for item in group if np.isfinite(item[0].curve.n_parameters)]
        numbers = [item[0].curve.n_parameters for item in weighed]
        if numbers and max(numbers) > MATCHED * min(numbers):
            spent = tuple(np.full(len(fit.curve.sizes), fit.curve.n_parameters) for fit, _ in weighed)
            panels.append(Cost(named, "Number of weights", tuple(weighed), spent, True))
    return panels


def _seconds(curve: Curve) -> tuple[FloatArray, bool]:
    """Return the time that each run took, s, and whether it is processor time: on a GPU that would say little."""
    if curve.cpu_seconds is None or not np.isfinite(curve.cpu_seconds).any() or curve.devices != {"cpu"}:
        return curve.seconds, False
    return curve.cpu_seconds, True


def front(spent: FloatArray, error: FloatArray) -> NDArray[np.int64]:
    """Return the indices of the points on the Pareto front of cost [N] and error [N], by rising cost."""
    order = np.lexsort((error, spent))
    best = np.minimum.accumulate(np.concatenate([[np.inf], error[order][:-1]]))
    return np.asarray(order[error[order] < best], dtype=np.int64)


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> list[Cost]:
    """Return its panels."""
    return costs(fits)


def draw(panels: Sequence[Cost], stem: Path) -> list[Path]:
    """Draw a row of panels with a legend per test set into `stem`.pdf/.svg/.png and `stem`.csv; return the files."""
    numbers: list[dict[str, object]] = []
    rows: dict[tuple[str, str], list[Cost]] = {}
    for panel in panels:
        curve = panel.fits[0][0].curve
        rows.setdefault((curve.text("dataset"), curve.text("test_set")), []).append(panel)
    columns = max(map(len, rows.values()))
    marks = iter(letters(len(panels)))
    with style():
        heights = [0.78 * COLUMN_WIDTH + legend_height([*_entries(row), _FRONT]) / len(row) for row in rows.values()]
        figure = Figure(figsize=(COLUMN_WIDTH * columns, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(rows), 1, squeeze=False, height_ratios=heights)
        for part, row in zip(parts[:, 0], rows.values(), strict=True):
            axes = part.subplots(1, columns, squeeze=False)[0]
            handles: dict[str, Line2D] = {}
            for one, panel in zip(axes, row, strict=False):
                drawn, entries_of_panel = _panel(one, panel, next(marks))
                numbers += drawn
                handles |= entries_of_panel
            for spare in axes[len(row) :]:
                spare.remove()
            front_line = handles.pop(_FRONT)
            part.legend(handles=[*handles.values(), front_line], loc="outside lower center", ncols=len(row))
        return save(figure, stem, numbers, _caption(panels))


def _caption(panels: Sequence[Cost]) -> str:
    labels = list(dict.fromkeys(panel.label.removesuffix(" of a run (s)").lower() for panel in panels))
    parts = [f"Test error against {' and '.join(labels)}: a marker for each P, the mean over seeds."]
    if any(panel.largest_only for panel in panels):
        parts.append("Against the number of weights: the P in the title alone.")
    if any(judged.verdict is Verdict.NOT_CONVERGED for panel in panels for _, judged in panel.fits):
        parts.append("Hollow: training has not converged.")
    return " ".join([*parts, "Dashed: the Pareto front."])


def _entries(row: Sequence[Cost]) -> set[str]:
    """Return the entries of the legend that the panels of a row share, without the front's."""
    return {name for panel in row for name in model_entries(panel.fits)}


def _panel(axes: Axes, panel: Cost, mark: str) -> tuple[list[dict[str, object]], dict[str, Line2D]]:
    """Draw one panel; return the plotted numbers, and the legend's entries by name."""
    curves = [fit.curve for fit, _ in panel.fits]
    unit, factor = display_unit(curves[0].unit)
    common = set.intersection(*({float(p) for p in curve.sizes} for curve in curves))
    if panel.largest_only and not common:  # no P at which all can be compared: each at its own largest
        common = {float(curve.sizes[-1]) for curve in curves}
    kept = max(common, default=np.nan)
    rows: list[dict[str, object]] = []
    points: list[tuple[float, float]] = []
    handles: dict[str, Line2D] = {}
    for (fit, judgement), look, called, spent in zip(
        panel.fits, looks(curves), model_entries(panel.fits), panel.spent, strict=True
    ):
        errors = fit.curve.mean_error * factor
        good = np.isfinite(spent) & np.isfinite(errors) & (spent > 0) & (errors > 0)
        if panel.largest_only:
            good &= fit.curve.sizes == (kept if kept in fit.curve.sizes else fit.curve.sizes[-1])
        face = "white" if judgement.verdict is Verdict.NOT_CONVERGED else look.color
        axes.plot(
            spent[good], errors[good], look.marker, color=look.color, markerfacecolor=face, linestyle=look.line,
            linewidth=0.8, markersize=3.4,
        )  # fmt: skip
        handles[called] = _handle(look, face, called)
        for size, cost, error in zip(fit.curve.sizes[good], spent[good], errors[good], strict=True):
            points.append((float(cost), float(error)))
            place = {"panel": mark + panel.title, "cost": panel.label, "curve": fit.curve.name, "P": float(size)}
            rows.append({**place, "spent": float(cost), "error": float(error), "unit": unit})
    spent_all, error_all = (np.array(column) for column in zip(*points, strict=True))
    best = front(spent_all, error_all)
    for row, index in zip(rows, range(len(rows)), strict=True):
        row["pareto"] = bool(index in best)
    axes.plot(
        np.r_[spent_all[best], spent_all.max()], np.r_[error_all[best], error_all[best][-1]], color="#555555",
        linewidth=0.8, linestyle=(0, (2, 2)), drawstyle="steps-post", zorder=1,
    )  # fmt: skip
    handles[_FRONT] = Line2D([], [], color="#555555", linewidth=0.8, linestyle=(0, (2, 2)), label=_FRONT)
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.set_axisbelow(True)
    at = f", P = {kept:g}" if panel.largest_only else ", a point for each P"
    title(axes, mark + panel.title + at)
    axes.set_xlabel(panel.label)
    metric = metric_name(curves[0].text("metric"))
    axes.set_ylabel(f"{metric} ({unit})" if unit else metric)
    return rows, handles


def _handle(look: Look, face: str, name: str) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.color,
        marker=look.marker,
        markerfacecolor=face,
        linestyle=look.line,
        linewidth=0.8,
        label=name,
    )
