"""Curves that have one P so far, as of a single run: their points in words, for nothing can be fitted to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from analysis.curve import Curve, curves
from analysis.fits.record import place_of, several_test_sets, text_columns, title
from analysis.spelling import display_unit
from analysis.table import RunTable

HEAD = ("dataset", "metric", "model", "P", "error", "seeds")
"""Heads of the columns."""


def single_points(table: RunTable) -> list[Curve]:
    """Return the curves of a table that have one P so far."""
    return curves(replace(table, rows=table.single)) if len(table.single) else []


def point_rows(points: Sequence[Curve]) -> list[tuple[str, ...]]:
    """Return one row of texts a curve, in the order of `HEAD`; the error is the mean over seeds."""
    rows: list[tuple[str, ...]] = []
    several = several_test_sets(points)
    for curve in points:
        unit, factor = display_unit(curve.unit)
        error = f"{curve.mean_error[0] * factor:.3g} {unit}".rstrip()
        seeds = str(int(np.isfinite(curve.error).sum()))
        place = (place_of(curve, several), curve.text("metric"), title(curve))
        rows.append((*place, f"{curve.sizes[0]:g}", error, seeds))
    return rows


def points_table(points: Sequence[Curve]) -> str:
    """Return the points as a text table."""
    return "\n".join(text_columns([HEAD, *point_rows(points)]))
