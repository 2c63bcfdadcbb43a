"""Forest plot: estimates with their intervals, a row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from analysis.figures.style import GRID, PALE, folded

NAME_WIDTH = 30
"""Characters of a row's name that leave its axes half a column."""


@dataclass(frozen=True)
class Row:
    """One estimate."""

    name: str
    """Written at the left."""
    value: float
    low: float
    """Lower end of its interval; NaN without one."""
    high: float
    """Upper end."""
    colour: str
    marker: str = "o"
    hollow: bool = False
    """Whether its marker is not filled."""
    wider: tuple[float, float] = (np.nan, np.nan)
    """A wider interval, drawn paler; NaN for none."""


def height(rows: Sequence[Row]) -> float:
    """Return the height of the axes that rows need, inches."""
    lines = max(folded(row.name, NAME_WIDTH).count("\n") + 1 for row in rows)
    return len(rows) * (0.13 * lines + 0.04)


def forest(axes: Axes, rows: Sequence[Row], grey: tuple[float, float]) -> None:
    """Draw estimates with their intervals, the first at the top, beside zero and a grey range."""
    axes.axvspan(*grey, color="#eeeeee", zorder=0, linewidth=0)
    axes.axvline(0.0, color="#999999", linewidth=0.6, zorder=1)
    for place, row in enumerate(rows):
        draw_row(axes, place, row)
    axes.set_yticks(range(len(rows)), [folded(row.name, NAME_WIDTH) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def draw_row(axes: Axes, place: float, row: Row) -> None:
    """Draw one estimate with its intervals at a place of the vertical axis."""
    for ends, alpha in ((row.wider, PALE), ((row.low, row.high), 1.0)):
        if np.isfinite(ends).all():
            axes.plot(ends, [place, place], color=row.colour, linewidth=1.6, alpha=alpha, zorder=1 + alpha)
    face = "white" if row.hollow else row.colour
    axes.plot(row.value, place, row.marker, color=row.colour, markerfacecolor=face, markersize=4, zorder=3)
