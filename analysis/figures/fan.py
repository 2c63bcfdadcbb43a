"""Forecasts: every curve of a dataset beyond its last point, with its 80 and 95 % intervals up to eight times the data.

The fan is that of the mean over the curve's seeds (`analysis forecast`); a curve that is not forecast has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from analysis.figures.naming import model_names
from analysis.figures.panels import preferred
from analysis.figures.style import (
    COLUMN_WIDTH,
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
from analysis.fits.flags import JudgedFit
from analysis.forecasts.factors import OCTAVES
from analysis.forecasts.forecast import Forecast, outlook
from analysis.spelling import dataset_name, display_unit, metric_name, test_set_words

NAME = "forecast"
_CAPTION = (
    "Forecasts of the mean error over a curve's seeds, up to eight times the largest P. Markers: measured means; "
    "lines: medians; bands: 80 and 95 % intervals. Of each dataset the curves with the smallest errors."
)
_BANDS = "80 and 95 % of the mean over seeds"
MOST = 3
"""Curves of a panel: those with the smallest errors, as more fans hide each other."""
STEPS = 4
"""Points of a fan for each octave."""


@dataclass(frozen=True)
class Fan:
    """One set of axes: curves of one dataset, with their forecasts."""

    title: str
    """Dataset, and test set if it has several."""
    fits: Sequence[JudgedFit]
    """Curves of one dataset, test set and metric."""
    forecasts: Sequence[Forecast]
    """Of each."""


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> list[Fan]:
    """Return a panel for each dataset and test set that has a curve to forecast, in its preferred metric."""
    groups: dict[tuple[str, str], list[JudgedFit]] = {}
    for item in preferred(fits, ("dataset", "test_set")):
        groups.setdefault((item[0].curve.text("dataset"), item[0].curve.text("test_set")), []).append(item)
    fans = []
    for (dataset, test_set), group in groups.items():
        several = sum(other == dataset for other, _ in groups) > 1
        named = f"{dataset_name(dataset)}, {test_set_words(test_set)}" if several else dataset_name(dataset)
        best = sorted(group, key=lambda item: float(item[0].curve.mean_error[-1]))[:MOST]
        ahead = [outlook(fit.curve) for fit, _ in best]
        if any(not one.refused for one in ahead):
            steps = 2 ** (np.arange(OCTAVES[-1] * STEPS + 1) / STEPS)
            sizes = [one.curve.sizes[-1] * np.maximum(steps, 1 + 1e-9) for one in ahead]  # P_max itself is measured
            fans.append(Fan(named, best, [one.at(own) for one, own in zip(ahead, sizes, strict=True)]))
    return fans


def draw(fans: Sequence[Fan], stem: Path) -> list[Path]:
    """Draw the panels into `stem`.pdf/.svg/.png and the numbers into `stem`.csv; return the files."""
    numbers: list[dict[str, object]] = []
    with style():
        below = max(legend_height([*_entries(fan), _BANDS, ""]) for fan in fans)
        figure, axes = sheet(len(fans), 0.80 * COLUMN_WIDTH + below)
        for one, fan, mark in zip(axes, fans, letters(len(fans)), strict=True):
            numbers += _panel(one, fan, mark)
        return save(figure, stem, numbers, _CAPTION)


def _entries(fan: Fan) -> list[str]:
    """Return the legend's entry of each curve."""
    called = model_names([fit.curve for fit, _ in fan.fits])
    sure = [not np.isfinite(ahead.median).any() or any(ahead.calibrated) for ahead in fan.forecasts]
    return [entry(name if safe else f"{name} (not calibrated)") for name, safe in zip(called, sure, strict=True)]


def _panel(axes: Axes, fan: Fan, mark: str) -> list[dict[str, object]]:
    curves = [fit.curve for fit, _ in fan.fits]
    unit, factor = display_unit(curves[0].unit)
    metric = metric_name(curves[0].text("metric"))
    rows: list[dict[str, object]] = []
    handles: list[Line2D | Patch] = []
    for curve, look, label, ahead in zip(curves, looks(curves), _entries(fan), fan.forecasts, strict=True):
        axes.plot(curve.sizes, curve.mean_error * factor, look.marker, color=look.color, markersize=3.4, zorder=3)
        for low, high, alpha in ((ahead.low_95, ahead.high_95, 0.13), (ahead.low_80, ahead.high_80, 0.22)):
            axes.fill_between(ahead.sizes, low * factor, high * factor, color=look.color, alpha=alpha, linewidth=0)
        axes.plot(ahead.sizes, ahead.median * factor, color=look.color, linestyle=look.line, zorder=2)
        handles.append(Line2D([], [], color=look.color, marker=look.marker, linestyle=look.line, label=label))
        shared = {"panel": mark + fan.title, "curve": curve.name, "metric": curves[0].text("metric"), "unit": unit}
        rows += [
            {**shared, "kind": "measured", "P": float(p), "error": float(value * factor)}
            for p, value in zip(curve.sizes, curve.mean_error, strict=True)
        ]
        ends = ("low_80", "high_80", "low_95", "high_95")
        rows += [
            {**shared, "kind": "forecast", "P": float(p), "error": float(ahead.median[i] * factor)}
            | {name: float(getattr(ahead, name)[i] * factor) for name in ends}
            for i, p in enumerate(ahead.sizes)
        ]
    handles.append(Patch(color="#777777", alpha=0.3, linewidth=0, label=_BANDS))
    size_axis(axes, [float(p) for curve in curves for p in (*curve.sizes, *(curve.sizes[-1] * 2 ** np.array(OCTAVES)))])
    log_axis(axes.yaxis)
    axes.set_ylabel(f"{metric} ({unit})" if unit else metric)
    title(axes, mark + fan.title)
    legend(axes, handles)
    return rows
