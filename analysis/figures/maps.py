"""Maps over L × ν of β and of the error at one P; a cell that has not converged is hatched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.comparisons.conditions import MARGIN
from analysis.figures.heat_map import TEXT, heat_map
from analysis.figures.panels import preferred
from analysis.figures.style import COLUMN_WIDTH, save, style, title
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.record import plus_minus, setting_words
from analysis.fits.uncertainty import t_interval
from analysis.spelling import dataset_name, display_name, display_unit, metric_name

NAME = "map"
_CAPTION = (
    "Exponents β with 95 % intervals, and errors at the largest P that all models have, by the order L of messages and "
    "the correlation order ν: darker is better. Of several edge orders the largest."
)
FEWEST_CELLS = 5
"""Fewer cells are read better in the table that `fit` prints."""
_PLACE = ("dataset", "test_set", "architecture", "group", "n_layers", "cutoff", "channels")
Cell = tuple[float, float]


@dataclass(frozen=True)
class Map:
    """Models of one architecture on a grid of L and ν, one edge order for each."""

    title: str
    """Dataset and architecture."""
    cells: Mapping[Cell, JudgedFit]
    """Fitted curves by (L, ν)."""
    size: float
    """The largest P that all cells have; NaN for none."""


def maps(fits: Sequence[JudgedFit]) -> list[Map]:
    """Return a map for every dataset and architecture with two values of L and of ν, and enough cells for a picture.

    A cell with several edge orders shows the largest; cell D of the claim is therefore not in the map.
    """
    groups: dict[tuple[object, ...], dict[Cell, JudgedFit]] = {}
    for item in preferred(fits):
        curve = item[0].curve
        order, nu = curve.number("L"), curve.number("nu")
        if order is None or nu is None:
            continue
        place = (*_PLACE, *curve.told_apart_by)
        cells = groups.setdefault(tuple(curve.value(name) for name in place), {})
        held = cells.get((order, nu))
        if held is None or (curve.number("edge_lmax") or 0) > (held[0].curve.number("edge_lmax") or 0):
            cells[order, nu] = item
    result = []
    for cells in groups.values():
        orders, nus = ({cell[axis] for cell in cells} for axis in (0, 1))
        if len(orders) >= 2 and len(nus) >= 2 and len(cells) >= FEWEST_CELLS:
            first = next(iter(cells.values()))[0].curve
            name = display_name(first.text("architecture"))
            common = set.intersection(*({float(p) for p in fit.curve.sizes} for fit, _ in cells.values()))
            heading = ", ".join([dataset_name(first.text("dataset")), name, *setting_words(first)])
            result.append(Map(heading, cells, max(common, default=np.nan)))
    return result


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> list[Map]:
    """Return its panels."""
    return maps(fits)


def draw(grids: Sequence[Map], stem: Path) -> list[Path]:
    """Draw β and error of each map side by side into `stem`.pdf/.svg/.png and `stem`.csv; return the files."""
    numbers: list[dict[str, object]] = []
    with style():
        heights = [0.42 * len({nu for _, nu in one.cells}) + 0.85 for one in grids]
        figure = Figure(figsize=(COLUMN_WIDTH, sum(heights)), layout="constrained")
        axes = figure.subplots(len(grids), 2, squeeze=False, height_ratios=heights)
        for (left, right), one in zip(axes, grids, strict=True):
            numbers += _exponents(left, one)
            numbers += _errors(right, one)
        hatched = any(judged.verdict is Verdict.NOT_CONVERGED for one in grids for _, judged in one.cells.values())
        return save(figure, stem, numbers, _CAPTION + (" Hatched: training has not converged." if hatched else ""))


def _exponents(axes: Axes, one: Map) -> list[dict[str, object]]:
    values = {cell: fit.best.beta for cell, (fit, _) in one.cells.items()}
    shown = {
        cell: plus_minus(b.value, b.low, b.high).replace(" ± ", "\n± ").replace(" [", "\n[")
        for cell, b in values.items()
    }
    points = {cell: beta.value for cell, beta in values.items()}
    # The range is at least twice the claim's margin of 0.05: smaller differences shall hardly show.
    _cells(axes, one, points, shown, Normalize(min(points.values()) - MARGIN, max(points.values()) + MARGIN))
    title(axes, one.title)
    axes.annotate("Exponent β", (0, 1.02), xycoords="axes fraction", fontsize=6.5, color="#555555")
    axes.set_title(axes.get_title(loc="left") + "\n", loc="left")
    return [
        {"map": one.title, "kind": "beta", "L": cell[0], "nu": cell[1], "value": b.value, "low": b.low, "high": b.high}
        for cell, b in values.items()
    ]


def _errors(axes: Axes, one: Map) -> list[dict[str, object]]:
    first = next(iter(one.cells.values()))[0].curve
    unit, factor = display_unit(first.unit)
    if not np.isfinite(one.size):
        axes.set_axis_off()
        return []
    rows: list[dict[str, object]] = []
    points, shown = {}, {}
    for cell, (fit, _) in one.cells.items():
        curve = fit.curve
        logs = np.log(curve.error[:, int(np.searchsorted(curve.sizes, one.size))] * factor)
        beside = t_interval(logs[np.isfinite(logs)])
        value, low, high = (float(np.exp(x)) for x in (beside.value, beside.low, beside.high))
        points[cell] = value
        shown[cell] = f"{value:.3g}"
        where = {"map": one.title, "kind": f"error at P={one.size:g}", "L": cell[0], "nu": cell[1]}
        rows.append({**where, "value": value, "low": low, "high": high, "unit": unit})
    positive = [value for value in points.values() if value > 0]
    _cells(axes, one, points, shown, LogNorm(min(positive), max(positive) * 1.001), reverse=True)
    metric = metric_name(first.text("metric")).removesuffix(" per atom")
    heading = f"{metric} at P = {one.size:g}" + (f" ({unit})" if unit else "")
    axes.annotate(heading, (0, 1.02), xycoords="axes fraction", fontsize=6.5, color="#555555")
    return rows


def _cells(
    axes: Axes,
    one: Map,
    points: Mapping[Cell, float],
    shown: Mapping[Cell, str],
    norm: Normalize,
    *,
    reverse: bool = False,
) -> None:
    """Draw a cell for each L and ν; darker is better in both maps, and what has not converged is hatched."""
    orders, nus = sorted({cell[0] for cell in one.cells}), sorted({cell[1] for cell in one.cells}, reverse=True)
    values = np.array([[points.get((order, nu), np.nan) for order in orders] for nu in nus])
    texts = [[shown.get((order, nu), "") for order in orders] for nu in nus]
    # both ends of an interval must fit a cell
    text = min(TEXT, 15.5 / len(orders) ** 1.1) if any("[" in one for one in shown.values()) else TEXT
    names = [f"L={order:g}" for order in orders]
    heat_map(axes, values, texts, [f"ν={nu:g}" for nu in nus], names, norm, dark_low=reverse, text=text)
    fills = np.asarray(axes.collections[0].get_facecolor(), dtype=float).reshape(*values.shape, 4)
    texts_at = {text.get_position(): text for text in axes.texts}
    for (order, nu), (_, judged) in one.cells.items():
        if judged.verdict is Verdict.NOT_CONVERGED:
            x, y = orders.index(order), nus.index(nu)
            axes.add_patch(Rectangle((x, y), 1, 1, fill=False, edgecolor="#bbbbbb", hatch="///", linewidth=0.5))
            if text_in := texts_at.get((x + 0.5, y + 0.5)):  # the hatch shall not cross the number
                text_in.set_bbox({"facecolor": tuple(fills[y, x]), "edgecolor": "none", "pad": 0.8})
