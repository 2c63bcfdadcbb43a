"""Gain from each symmetry: data-efficiency factors and changes of β, a row for each pair of twins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.comparisons.groups import Gain, gain_record, network_name
from analysis.comparisons.groups import gains as gains_of
from analysis.figures.forest import Row, draw_row
from analysis.figures.style import COLUMN_WIDTH, save, style
from analysis.fits.flags import JudgedFit
from analysis.fits.selection import rank
from analysis.spelling import dataset_name

NAME = "groups"
_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#882255", "#999933")
_EDGE = 2.0**8


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> list[Gain]:
    """Return the gains from symmetries, for networks that stand beside their twins without."""
    return gains_of(fits)


def draw(gains: Sequence[Gain], stem: Path) -> list[Path]:
    """Draw factors on the left and Δβ on the right, in each dataset's preferred metric; return the files written.

    These are `stem`.pdf/.svg/.png, and `stem`.csv with all metrics. Hollow markers have not converged; their thin line
    is the interval of Δβ widened by what further training may do. Factors beyond 256 are drawn at the edge.
    """
    shown = preferred(gains)
    groups = list(dict.fromkeys(gain.symmetric.text("group") for gain in shown))
    with style():
        figure = Figure(figsize=(2 * COLUMN_WIDTH, 0.9 + 0.34 * len(shown)), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        for row, gain in enumerate(shown):
            color = _COLORS[groups.index(gain.symmetric.text("group")) % len(_COLORS)]
            face = "white" if gain.not_converged else color
            _factor(left, row, gain, color, face)
            delta, wider = gain.delta, (gain.trained.low, gain.trained.high)
            late = bool(gain.not_converged)
            draw_row(right, row, Row("", delta.value, delta.low, delta.high, color, "o", late, wider))
        names = [
            f"{network_name(g.symmetric)} / {network_name(g.plain)}\n{dataset_name(g.plain.text('dataset'))}"
            for g in shown
        ]
        left.set_yticks(range(len(shown)), names, fontsize=6.2)
        left.set_ylim(len(shown) - 0.5, -0.5)
        left.set_xscale("log", base=2)
        # a single factor with a huge interval would hide all others
        left.set_xlim(*np.clip(left.get_xlim(), 1 / _EDGE, _EDGE))
        left.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        left.xaxis.set_major_formatter(
            FuncFormatter(lambda value, _: f"{value:g}" if value >= 1 else f"1/{1 / value:g}")
        )
        left.xaxis.set_minor_formatter(NullFormatter())
        for axes, neutral, label in ((left, 1.0, "Times fewer examples at equal error"), (right, 0.0, "Δβ")):
            axes.set_axisbelow(True)
            axes.axvline(neutral, color="#999999", linewidth=0.6, zorder=0)
            axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.5)
            axes.set_xlabel(label)
        return save(figure, stem, [gain_record(gain) for gain in gains], _caption(shown))


def _caption(gains: Sequence[Gain]) -> str:
    parts = [
        "What each symmetry is worth, a row for each pair of a network and its twin without it: how many times fewer "
        "examples it needs for an equal error, and the difference of exponents, with 95 % intervals. Triangles: "
        "limits, where no error is common to both."
    ]
    if any(np.isfinite(gain.trained.low) for gain in gains):
        parts.append("Paler: what further training may still do.")
    if any(gain.not_converged for gain in gains):
        parts.append("Hollow: training has not converged.")
    return " ".join(parts)


def preferred(gains: Sequence[Gain]) -> list[Gain]:
    """Return the gains in the preferred metric of their dataset."""
    return [gain for gain in gains if gain.plain.text("metric") == _metric(gain, gains)]


def _metric(gain: Gain, gains: Sequence[Gain]) -> str:
    """Return the preferred metric of the gain's dataset."""
    there = [other.plain.text("metric") for other in gains if other.plain.text("dataset") == gain.plain.text("dataset")]
    return min(there, key=rank)


def _factor(axes: Axes, row: int, gain: Gain, color: str, face: str) -> None:
    ratio = gain.factor.ratio
    if np.isfinite(ratio.value):
        value, low, high = np.clip([ratio.value, ratio.low, ratio.high], 1 / _EDGE, _EDGE)
        axes.plot(value, row, "o", color=color, markerfacecolor=face, markersize=4.5, clip_on=False)
        if np.isfinite(ratio.low):
            axes.plot([low, high], [row, row], color=color, linewidth=1.6, zorder=1)
    elif gain.factor.bound is not None:
        ahead, bound = gain.factor.bound[0] == "more", gain.factor.bound[1]
        axes.plot(bound, row, ">" if ahead else "<", color=color, markerfacecolor=face, markersize=4.5)
        axes.annotate(f"{'> ' if ahead else '< '}{bound:.3g}", (bound, row), (0, 5), textcoords="offset points",
                      ha="center", fontsize=6)  # fmt: skip
