"""The data of the interactive curves, as JSON that is safe inside a script element."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.curve import Curve, nanmean
from analysis.figures.naming import model_names
from analysis.figures.references import Reference, mark_names, matching, numbered, sources_text
from analysis.figures.style import Look, looks
from analysis.fits.flags import JudgedFit, Verdict, misses, on_floor
from analysis.fits.record import place_of, plus_minus, several_test_sets, title
from analysis.fits.selection import rank
from analysis.forecasts.forecast import FARTHEST, outlook
from analysis.spelling import dataset_words, display_name, display_unit, metric_name
from experiments.core.files import json_number

STEPS = 2
"""Points of a forecast for each octave."""
GRID = 40
"""Number of points of a fitted line."""


def charts(fits: Sequence[JudgedFit], references: Sequence[Reference] = ()) -> list[dict[str, Any]]:
    """Return the data of a chart, with all its curves and published points, for every dataset, test set and metric."""
    places: dict[tuple[str, str, str], list[JudgedFit]] = {}
    for item in fits:
        curve = item[0].curve
        key = (curve.text("dataset"), curve.text("test_set"), curve.text("metric"))
        places.setdefault(key, []).append(item)
    result = []
    datasets = list(dict.fromkeys(key[0] for key in places))
    ordered = sorted(places.items(), key=lambda item: (datasets.index(item[0][0]), rank(item[0][2])))
    for (dataset, test_set, metric), group in ordered:
        curves = [fit.curve for fit, _ in group]
        unit, factor = display_unit(curves[0].unit)
        several = sum(key[0] == dataset and key[2] == metric for key in places) > 1
        marks = matching(references, curves[0])
        place = ", ".join([dataset_words(dataset), *([test_set] if several and test_set else [])])
        result.append(
            {
                "title": f"{place}: {metric_name(metric)}",
                "y": metric_name(metric) + (f" ({unit})" if unit else ""),
                "unit": unit,
                "curves": [
                    _curve(item, look, name, factor)
                    for item, look, name in zip(group, looks(curves), model_names(curves), strict=True)
                ],
                "marks": [
                    {"name": name, "points": [[one.P, one.value] for one in points], "source": points[0].source}
                    for name, points in mark_names(marks, numbered(marks)).items()
                ],
                "sources": sources_text(marks) if marks else "",
            }
        )
    return result


def _curve(item: JudgedFit, look: Look, name: str, factor: float) -> dict[str, Any]:
    fit, judgement = item
    curve, beta = fit.curve, fit.best.beta
    grid = np.geomspace(curve.sizes[0], curve.sizes[-1], GRID)
    middle, low, high = (values * factor for values in fit.best.band(grid))
    architecture = curve.text("architecture")
    mean = _pairs(curve.sizes, curve.mean_error * factor)
    return {
        "name": name,
        "architecture": display_name(architecture),
        "beta": "" if misses(item) else plus_minus(beta.value, beta.low, beta.high),
        "late": judgement.verdict is Verdict.NOT_CONVERGED,
        "color": look.color,
        "marker": look.marker,
        "dash": [] if isinstance(look.line, str) else list(look.line[1]),
        "points": _points(curve, factor, told=not on_floor(item)),
        "mean": mean,
        "train": _pairs(curve.sizes, nanmean(curve.train_error) * factor),
        "fit": mean if misses(item) else _pairs(grid, middle),
        "low": [] if misses(item) else _pairs(grid, low),
        "high": [] if misses(item) else _pairs(grid, high),
        **_ahead(curve, factor),
    }


def _ahead(curve: Curve, factor: float) -> dict[str, Any]:
    """Return the forecasts of a curve: (P, median, low, high) with 95 % intervals, or none and the reason."""
    one = outlook(curve)
    sizes = curve.sizes[-1] * 2 ** (np.arange(1, STEPS * FARTHEST + 1) / STEPS)
    found = one.at(sizes)
    columns = zip(sizes, found.median, found.low_95, found.high_95, strict=True)
    points = [[float(p), *(float(f"{value * factor:.4g}") for value in values)] for p, *values in columns]
    refused = not np.isfinite(found.median).any()
    return {
        "ahead": [] if refused else points,
        "calibrated": max((float(p) for p, known in zip(sizes, found.calibrated, strict=True) if known), default=0.0),
        "limit": found.reasons[0],
    }


def forecast_rows(fits: Sequence[JudgedFit]) -> list[list[str]]:
    """Return the cells of the table of forecasts: model, dataset, metric, error at 2, 4 and 8 times P, remark."""
    result = []
    several = several_test_sets([fit.curve for fit, _ in fits])
    for fit, _ in fits:
        curve = fit.curve
        unit, factor = display_unit(curve.unit)
        found = outlook(curve).at([float(curve.sizes[-1]) * times for times in (2, 4, 8)])
        metric = metric_name(curve.text("metric"))
        ends = zip(found.median * factor, found.low_95 * factor, found.high_95 * factor, strict=True)
        cells = [f"{value:.3g} [{low:.3g}, {high:.3g}]" if np.isfinite(value) else "–" for value, low, high in ends]
        where = f"{metric} ({unit})" if unit else metric
        result.append([title(curve), place_of(curve, several), where, *cells, found.reasons[0]])
    return result


def _points(curve: Curve, factor: float, told: bool) -> list[dict[str, Any]]:
    points = []
    for s, seed in enumerate(curve.seeds):
        for k, size in enumerate(curve.sizes):
            if np.isfinite(curve.error[s, k]):
                points.append(
                    {
                        "P": float(size),
                        "seed": seed if curve.has_seeds else "",
                        "run": curve.runs[s][k] if curve.runs else "",
                        "error": float(curve.error[s, k] * factor),
                        "train": json_number(float(curve.train_error[s, k] * factor)),
                        "converged": curve.converged[s][k] if told else None,
                    }
                )
    return points


def _pairs(sizes: Sequence[float] | Any, values: Any) -> list[list[float]]:
    return [[float(p), float(v)] for p, v in zip(sizes, values, strict=True) if math.isfinite(v)]


def script_json(value: Any) -> str:
    """Return JSON without characters that could end a script element or a line of JavaScript."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
