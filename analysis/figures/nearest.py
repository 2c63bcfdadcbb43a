"""δ(P) and ε(P): the distance to the nearest training frame, and the errors beside the bound from that distance.

Lip·δ(P) bounds the error of the nearest neighbour, and of any learner at least as good, for energies. With the
distances come Lip and the nearest neighbour's own error (`label_gap`); kernel and nearest-neighbour models of the run
table are curves like all others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.arrays import FloatArray
from analysis.bounds.distances import DimensionEstimate, dimension_interval, estimate_dimension, spaces
from analysis.bounds.lipschitz import GIVEN_IN, bound_of
from analysis.bounds.theory import LIPSCHITZ_LOSSES, SQUARED_LOSSES
from analysis.curve import Curve
from analysis.figures.panels import model_entries
from analysis.figures.style import (
    COLUMN_WIDTH,
    HUES,
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
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.record import UNDETERMINED
from analysis.fits.uncertainty import line
from analysis.spelling import dataset_name, display_unit, metric_name

NAME = "nearest"
_CAPTION = (
    "Distance δ(P) of a test frame to the nearest of P training frames, errors beside Lip·δ(P), which bounds energy "
    "errors of the nearest neighbour, and errors against δ."
)
SPACES = (GIVEN_IN, "descriptor")
"""Metrics of the frames in order of preference, if one must represent a dataset."""
_ENERGIES = ("energy_mae", "energy_rmse")
_WORDS = {GIVEN_IN: "aligned RMSD", "descriptor": "descriptor"}
_BOUND, _OWN = "#222222", "#777777"


@dataclass(frozen=True)
class NearestData:
    """One dataset: its distances in each metric, and its curves in one metric of the errors."""

    dataset: str
    """Dataset."""
    estimates: tuple[DimensionEstimate, ...]
    """δ(P) in each metric of the frames."""
    part: pd.DataFrame
    """Distances in the first of them."""
    fits: tuple[JudgedFit, ...]
    """The curves, of energies if there are any, since a Lipschitz energy bounds no force."""


def dimensions(distances: pd.DataFrame | None) -> dict[str, DimensionEstimate]:
    """Return the dimension of every dataset, in the first of `SPACES` in which it was measured."""
    by_dataset: dict[str, dict[str, DimensionEstimate]] = {}
    if distances is not None:
        for key, part in spaces(distances):
            by_dataset.setdefault(key[0], {}).setdefault(key[2], estimate_dimension(key, part))
    return {name: min(by_space.items(), key=lambda item: _rank(item[0]))[1] for name, by_space in by_dataset.items()}


def _rank(space: str) -> int:
    return SPACES.index(space) if space in SPACES else len(SPACES)


def nearest(fits: Sequence[JudgedFit], distances: pd.DataFrame) -> list[NearestData]:
    """Return the panels of every dataset that has both curves and distances."""
    parts: dict[str, list[tuple[tuple[str, str, str], pd.DataFrame]]] = {}
    for key, part in spaces(distances):
        parts.setdefault(key[0], []).append((key, part))
    result = []
    for dataset, mine in parts.items():
        curves = [item for item in fits if item[0].curve.text("dataset") == dataset]
        if not curves:
            continue
        metrics = [fit.curve.text("metric") for fit, _ in curves]
        metric = next((name for name in _ENERGIES if name in metrics), metrics[0])
        chosen = tuple(item for item in curves if item[0].curve.text("metric") == metric)
        mine.sort(key=lambda item: _rank(item[0][2]))
        first = {key[2]: (key, part) for key, part in reversed(mine)}  # of several test sets the first
        kept = sorted(first.values(), key=lambda item: _rank(item[0][2]))
        result.append(
            NearestData(dataset, tuple(estimate_dimension(key, part) for key, part in kept), kept[0][1], chosen)
        )
    return result


def collect(fits: Sequence[JudgedFit], distances: pd.DataFrame | None) -> list[NearestData]:
    """Return its panels; none without distances."""
    return [] if distances is None else nearest(fits, distances)


def draw(datasets: Sequence[NearestData], stem: Path) -> list[Path]:
    """Draw δ(P), ε(P) and ε over δ of each dataset into `stem`.pdf/.svg/.png and `stem`.csv; return the files."""
    numbers: list[dict[str, object]] = []
    with style():
        figure, axes = sheet(3 * len(datasets), 0.8 * COLUMN_WIDTH + max(map(legend_room, datasets)))
        marks = letters(3 * len(datasets))
        for index, one in enumerate(datasets):
            mine = slice(3 * index, 3 * index + 3)
            numbers += _dataset(axes[mine], one, marks[mine])
        return save(figure, stem, numbers, _CAPTION)


def legend_room(one: NearestData) -> float:
    """Return the height of the legend below errors and bound, inches."""
    return legend_height([*model_entries(one.fits), "bound", "nearest neighbour"])


def _dataset(axes: Sequence[Axes], one: NearestData, marks: Sequence[str]) -> list[dict[str, object]]:
    name = dataset_name(one.dataset)
    rows = [{"panel": marks[0].strip(), "dataset": one.dataset, **row} for row in _distances(axes[0], one)]
    title(axes[0], f"{marks[0]}{name}: nearest training frame")
    space = one.estimates[0].space
    for place, against in ((1, False), (2, True)):
        drawn = draw_errors(axes[place], one, against=against)
        rows += [{"panel": marks[place].strip(), "dataset": one.dataset, **row} for row in drawn]
    title(axes[1], f"{marks[1]}{name}: errors, and what δ(P) allows")
    title(axes[2], f"{marks[2]}{name}: errors over the distance")
    axes[2].set_xlabel(f"Mean distance to the nearest frame δ ({one.estimates[0].unit or _WORDS.get(space, space)})")
    return rows


def draw_errors(axes: Axes, one: NearestData, *, against: bool = False) -> list[dict[str, object]]:
    """Draw errors and Lip·δ(P) over P, or over δ(P) if `against`; return the numbers plotted."""
    curves = [fit.curve for fit, _ in one.fits]
    unit, factor = display_unit(curves[0].unit)
    metric = curves[0].text("metric")
    allowed = _distance_bound(one.part, metric, curves[0], factor)
    rows = _errors(axes, one, allowed, factor, against=against)
    text = metric_name(metric)
    axes.set_ylabel(f"{text} ({unit})" if unit else text)
    return [{**row, "unit": unit} for row in rows]


def _distances(axes: Axes, one: NearestData) -> list[dict[str, object]]:
    """Draw δ(P) over P; several metrics each relative to their value at the smallest P, since their units differ."""
    rows: list[dict[str, object]] = []
    handles = []
    for index, estimated in enumerate(one.estimates):
        colour, marker = HUES[index % len(HUES)], "os^D"[index % 4]
        sizes = estimated.distances.sizes
        scale = 1.0 if len(one.estimates) == 1 else float(estimated.distances.mean[:, 0].mean())
        values = estimated.distances.mean / scale
        for seed, row in enumerate(values):
            axes.plot(sizes, row, marker, color=colour, markersize=1.6, alpha=0.35, markeredgewidth=0)
            rows += _points(f"delta, {estimated.space}", sizes, row, seed=str(seed))
        mean = values.mean(axis=0)
        label = _WORDS.get(estimated.space, estimated.space)
        if (values > 0).all() and len(sizes) >= 2:
            slope, intercept = line(np.log(sizes), np.log(values).mean(axis=0))
            fitted = np.exp(intercept + slope * np.log(sizes))
            axes.plot(sizes, fitted, color=colour)
            rows += _points(f"delta fit, {estimated.space}", sizes, fitted)
            found = dimension_interval(estimated.distances.d_eff)
            label += f":  d {found}" if found == UNDETERMINED else f":  d = {found}"
        axes.plot(sizes, mean, marker, color=colour)
        rows += _points(f"delta mean, {estimated.space}", sizes, mean)
        handles.append(Line2D([], [], color=colour, marker=marker, label=label))
    size_axis(axes, one.estimates[0].distances.sizes)
    log_axis(axes.yaxis)
    several = len(one.estimates) > 1
    axes.set_ylabel("δ(P) / δ(smallest P)" if several else f"δ(P) ({one.estimates[0].unit})".replace(" ()", ""))
    legend(axes, handles)
    return rows


@dataclass(frozen=True)
class _DistanceBound:
    """Bound from δ(P) and the nearest neighbour's errors, in the unit of the axes; NaN if there are none."""

    sizes: FloatArray
    delta: FloatArray
    bound: FloatArray
    nearest: FloatArray
    label: str


def _distance_bound(part: pd.DataFrame, metric: str, curve: Curve, factor: float) -> _DistanceBound:
    sizes = np.unique(part["P"].to_numpy(dtype=float))
    slope, delta, own = bound_of(part, sizes, metric)
    scale = factor * (1000.0 if curve.unit.startswith("meV") else 1.0)  # labels are in eV
    if metric not in LIPSCHITZ_LOSSES | SQUARED_LOSSES:
        return _DistanceBound(sizes, delta, np.full(len(sizes), np.nan), np.full(len(sizes), np.nan), "")
    return _DistanceBound(sizes, delta, scale * slope * delta, scale * own, "Lip·δ(P), Lip the steepest slope seen")


def _errors(
    axes: Axes, one: NearestData, allowed: _DistanceBound, factor: float, *, against: bool
) -> list[dict[str, object]]:
    """Draw errors and bound over P, or over δ(P) if `against`, at the P that have distances."""
    rows: list[dict[str, object]] = []
    handles = []
    where: Mapping[float, float] = dict(zip(allowed.sizes, allowed.delta if against else allowed.sizes, strict=True))
    x = np.array([where[size] for size in allowed.sizes])
    for kind, values, colour, dashes, label in (
        ("bound", allowed.bound, _BOUND, (0, (4, 1.5)), allowed.label),
        ("nearest neighbour", allowed.nearest, _OWN, (0, (1, 1.2)), "nearest neighbour itself"),
    ):
        if np.isfinite(values).any():
            axes.plot(x, values, color=colour, linestyle=dashes)
            rows += _points(kind, allowed.sizes, values, x=x)
            handles.append(Line2D([], [], color=colour, linestyle=dashes, label=label))
    curves = [fit.curve for fit, _ in one.fits]
    shown: list[float] = []
    for (fit, judgement), look, label in zip(one.fits, looks(curves), model_entries(one.fits), strict=True):
        kept = np.array([not against or size in where for size in fit.curve.sizes])
        if not kept.any():
            continue
        sizes, errors = fit.curve.sizes[kept], fit.curve.mean_error[kept] * factor
        places = np.array([where[size] for size in sizes]) if against else sizes
        face = "white" if judgement.verdict is Verdict.NOT_CONVERGED else look.color
        axes.plot(
            places, errors, look.marker, color=look.color, linestyle=look.line, markerfacecolor=face, linewidth=0.9
        )
        handles.append(Line2D([], [], color=look.color, marker=look.marker, markerfacecolor=face, label=label))
        rows += _points(fit.curve.name, sizes, errors, x=places)
        shown += list(places)
    if against:
        log_axis(axes.xaxis)
        axes.set_axisbelow(True)
    else:
        size_axis(axes, [*shown, *allowed.sizes])
    log_axis(axes.yaxis)
    legend(axes, handles)
    return rows


def _points(
    kind: str, sizes: FloatArray, values: FloatArray, *, seed: str = "", x: FloatArray | None = None
) -> list[dict[str, object]]:
    places = sizes if x is None else x
    return [
        {"kind": kind, "seed": seed, "P": float(size), "x": float(place), "value": float(value)}
        for size, place, value in zip(sizes, places, values, strict=True)
        if np.isfinite(value)
    ]
