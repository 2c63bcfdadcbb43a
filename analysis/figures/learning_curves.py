"""Learning curves on log–log axes: a point per seed, the mean, the recommended fit with its band, β ± in the legend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from analysis.curve import Curve, nanmean
from analysis.figures.style import COLUMN_WIDTH, Look, display_unit, looks, save, style
from analysis.files import write_text
from analysis.flags import Judgement, Verdict
from analysis.record import label, plus_minus
from analysis.results import CurveFit, Form

FloatArray = NDArray[np.float64]
Fitted = tuple[CurveFit, Judgement]

PREFERRED = ("force_mae", "force_rmse", "energy_rmse", "energy_mae")
"""Which metric stands for a dataset where one must."""
TRAIN_ROOM = 6.0
"""How far below the least test error the axes reach for training errors; the CSV has them all."""
METRIC_NAMES = {
    "force_mae": "Force MAE",
    "force_rmse": "Force RMSE",
    "energy_mae": "Energy MAE per atom",
    "energy_rmse": "Energy RMSE per atom",
}
_TRAIN_LINE = (0, (3, 2))
_NAMES = {"ace": "linear ACE", "mace": "MACE", "nequip": "NequIP", "tfn": "TFN", "krr": "kernel ridge"}
_CELLS = {"A": (0, 1, None), "B": (1, 1, None), "C": (0, 3, True), "D": (0, 3, False)}
"""Cells of the claim: L, ν and whether edges carry angles (None: it makes no difference or is not asked)."""


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    title: str
    """What the curves have in common."""
    fits: tuple[Fitted, ...]
    """Curves of one dataset and metric."""


def draw(panels: Sequence[Panel], stem: Path) -> list[Path]:
    """Draw panels side by side (three to a row) into `stem`.pdf/.svg/.png, and `stem`.csv with the plotted numbers."""
    numbers: list[dict[str, object]] = []
    with style():
        columns = min(3, len(panels))
        rows = math.ceil(len(panels) / columns)
        entries = max(len(panel.fits) + 1 for panel in panels)
        height = 0.80 * COLUMN_WIDTH + 0.13 * entries  # axes, then one legend line per curve
        figure = Figure(figsize=(COLUMN_WIDTH * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for index, panel in enumerate(panels):
            letter = f"({chr(97 + index)}) " if len(panels) > 1 else ""
            numbers += _panel(axes.flat[index], panel, letter)
        for spare in axes.flat[len(panels) :]:
            spare.remove()
        written = save(figure, stem)
    table = stem.with_name(stem.name + ".csv")
    write_text(table, pd.DataFrame(numbers).to_csv(index=False))
    return [*written, table]


def panels_by_dataset(fits: Sequence[Fitted], metric: str) -> list[Panel]:
    """One panel per dataset (with its test set and group, where there are several) for one metric."""
    return _grouped([item for item in fits if item[0].curve.text("metric") == metric], ("dataset", "test_set", "group"))


def panels_by_model(fits: Sequence[Fitted]) -> list[Panel]:
    """One panel per dataset and architecture, each in the first of the preferred metrics that it has."""
    chosen: list[Fitted] = []
    pairs = dict.fromkeys((fit.curve.text("dataset"), fit.curve.text("architecture")) for fit, _ in fits)
    for dataset, architecture in pairs:
        mine = [
            f for f in fits if (f[0].curve.text("dataset"), f[0].curve.text("architecture")) == (dataset, architecture)
        ]
        metrics = [fit.curve.text("metric") for fit, _ in mine]
        best = next((name for name in PREFERRED if name in metrics), metrics[0])
        chosen += [item for item in mine if item[0].curve.text("metric") == best]
    panels = _grouped(chosen, ("dataset", "architecture", "test_set", "group"))
    return sorted(panels, key=_messages)  # models without an optimiser first, then networks; else as in the table


def _grouped(fits: Sequence[Fitted], columns: Sequence[str]) -> list[Panel]:
    groups: dict[tuple[str, ...], list[Fitted]] = {}
    for item in fits:
        groups.setdefault(tuple(item[0].curve.text(name) for name in columns), []).append(item)
    # Datasets and architectures are always named, test sets and groups where there are several.
    named = ("dataset", "architecture")
    varying = [i for i, name in enumerate(columns) if name in named or len({key[i] for key in groups}) > 1]
    return [
        Panel(
            ", ".join(_NAMES.get(key[i], key[i].replace("_", " ")) for i in varying if key[i]),
            tuple(sorted(group, key=_order)),
        )
        for key, group in groups.items()
    ]


def _messages(panel: Panel) -> bool:
    """Whether the panel's models pass messages."""
    return any(fit.curve.number("L") is not None for fit, _ in panel.fits)


def _order(item: Fitted) -> tuple[str, float, float, float]:
    """By ν, then L, then falling edge order for networks: the claim's cells come as A, B, C, D."""
    curve = item[0].curve
    nu, order, edge = (curve.number(name) or 0.0 for name in ("nu", "L", "edge_lmax"))
    return curve.text("architecture"), nu, order, edge if curve.number("L") is None else -edge


def _panel(axes: Axes, panel: Panel, letter: str) -> list[dict[str, object]]:
    curves = [fit.curve for fit, _ in panel.fits]
    unit, factor = display_unit(curves[0].unit)
    metric = curves[0].text("metric")
    numbers: list[dict[str, object]] = []
    handles: list[Line2D] = []
    cells = _cells(curves)
    several = len({curve.text("architecture") for curve in curves}) > 1
    for (fit, judgement), look, cell in zip(panel.fits, looks(curves), cells, strict=True):
        drawn = _curve(axes, fit, judgement, look, factor)
        name = _legend(fit, judgement, cell, several)
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
    if any(np.isfinite(curve.train_error).any() for curve in curves):
        handles.append(
            Line2D([], [], color="#777777", alpha=0.8, linewidth=0.8, linestyle=(0, (3, 2)), label="training error")
        )
    _decorate(axes, curves, metric, unit, factor)
    axes.set_title(letter + panel.title)
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=1, borderaxespad=0.0)
    return numbers


def _curve(axes: Axes, fit: CurveFit, judgement: Judgement, look: Look, factor: float) -> list[dict[str, object]]:
    curve = fit.curve
    rows: list[dict[str, object]] = []
    face = _face(judgement, look)
    for seed, errors in zip(curve.seeds, curve.error * factor, strict=True):
        axes.plot(
            curve.sizes, errors, look.marker, color=look.color, markersize=1.6, alpha=0.35, markeredgewidth=0, zorder=2
        )
        rows += _rows("seed", curve.sizes, errors, seed=seed)
    mean = curve.mean_error * factor
    axes.plot(
        curve.sizes, mean, look.marker, color=look.color, markerfacecolor=face, markeredgecolor=look.color, zorder=4
    )
    rows += _rows("mean", curve.sizes, mean)
    grid = np.geomspace(curve.sizes[0], curve.sizes[-1], 60)
    middle, low, high = (values * factor for values in fit.best.band(grid))
    axes.plot(grid, middle, color=look.color, linestyle=look.line, zorder=3)
    rows += _rows("fit", grid, middle)
    if np.isfinite(low).all():
        axes.fill_between(grid, low, high, color=look.color, alpha=0.16, linewidth=0, zorder=1)
        rows += [*_rows("fit_low", grid, low), *_rows("fit_high", grid, high)]
    train = np.exp(nanmean(np.log(np.where(curve.train_error > 0, curve.train_error, np.nan)))) * factor
    if np.isfinite(train).any():
        axes.plot(curve.sizes, train, color=look.color, linestyle=_TRAIN_LINE, linewidth=0.8, alpha=0.55, zorder=1)
        rows += _rows("train_mean", curve.sizes, train)
    return rows


def _rows(kind: str, sizes: FloatArray, values: FloatArray, seed: str = "") -> list[dict[str, object]]:
    return [
        {"kind": kind, "seed": seed, "P": float(size), "error": float(value)}
        for size, value in zip(sizes, values, strict=True)
        if np.isfinite(value)
    ]


def _face(judgement: Judgement, look: Look) -> str:
    """Hollow markers for a curve whose training length can be behind its slope."""
    return "white" if judgement.verdict is Verdict.NOT_CONVERGED else look.color


def model_name(curve: Curve, several: bool) -> str:
    """The model in a legend, with its architecture where there are several."""
    name = label(curve)
    return name if several else name.removeprefix(curve.text("architecture")).strip() or name


def _legend(fit: CurveFit, judgement: Judgement, cell: str, several: bool) -> str:
    curve, best = fit.curve, fit.best
    name = model_name(curve, several)
    text = f"{cell + '  ' if cell else ''}{name}:  β = {plus_minus(best.beta.value, best.beta.low, best.beta.high)}"
    if best.form is Form.POWER_FLOOR:
        unit, factor = display_unit(curve.unit)
        text += f", floor {best.floor * factor:.3g} {unit}"
    return text + ("  (not converged)" if judgement.verdict is Verdict.NOT_CONVERGED else "")


def _cells(curves: Sequence[Curve]) -> list[str]:
    """Letters of the claim's cells, where at least three of the four are in the panel."""
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


def _decorate(axes: Axes, curves: Sequence[Curve], metric: str, unit: str, factor: float) -> None:
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = sorted({float(size) for curve in curves for size in curve.sizes})
    stride = math.ceil(len(sizes) / 8)
    axes.set_xticks(sizes[::stride], [f"{size:g}" for size in sizes[::stride]])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(LogLocator(base=2, subs=()))
    # Training errors of few frames run down to nothing; the test errors are what the axes are for.
    floor = min(float(np.nanmin(curve.error[curve.error > 0])) for curve in curves) * factor / TRAIN_ROOM
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, floor), high)
    low = max(low, floor)
    subs = (1.0, 2.0, 5.0) if high / low < 300 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="major", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xlabel("Training-set size P (frames)")
    axes.set_ylabel(f"{METRIC_NAMES.get(metric, metric)} ({unit})" if unit else METRIC_NAMES.get(metric, metric))
