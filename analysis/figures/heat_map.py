"""A matrix of numbers as cells of one hue, darker for larger ones (or for smaller ones)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize

from analysis.arrays import FloatArray

TEXT = 6.4
"""Font size of the numbers in cells, in points."""


def heat_map(
    axes: Axes,
    values: FloatArray,
    shown: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    norm: Normalize,
    *,
    dark_low: bool = False,
    text: float = TEXT,
) -> None:
    """Draw numbers with their texts in cells; the first row is at the top, and NaN leaves a cell empty.

    Args:
        axes: to draw on.
        values: `[R, C]`.
        shown: a text for each cell.
        rows: names of the rows.
        columns: names of the columns.
        norm: from values to shades.
        dark_low: whether small values are dark.
        text: font size of the cells' texts in points.
    """
    from seaborn import heatmap  # takes half a second, and few figures are maps

    shades = colormaps["Blues"](np.linspace(0.06, 0.92, 256))  # the palest is no white, the darkest no black
    colours = LinearSegmentedColormap.from_list("cells", shades[::-1] if dark_low else shades)
    heatmap(
        values,
        ax=axes,
        cmap=colours,
        norm=norm,
        annot=np.array(shown, dtype=object),
        fmt="",
        annot_kws={"fontsize": text},
        linewidths=0.5,
        linecolor="white",
        cbar=False,
        xticklabels=list(columns),
        yticklabels=list(rows),
    )
    axes.tick_params(length=0, rotation=0)
    axes.grid(False)
