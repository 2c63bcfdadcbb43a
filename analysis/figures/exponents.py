"""Forest plot: β of every model with its interval, beside the range that Hestness et al. observed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.learning_curves import METRIC_NAMES, Panel, model_name
from analysis.figures.style import COLUMN_WIDTH, looks, save, style
from analysis.files import write_text
from analysis.flags import Verdict
from analysis.results import Form
from analysis.theory import hestness

_BANDS = "grey: observed on other tasks (Hestness et al. 2017)\ndashed: 1/2"


def draw(panels: Sequence[Panel], stem: Path) -> list[Path]:
    """One row of β ± per curve, one set of axes per panel, into `stem`.pdf/.svg/.png and `stem`.csv."""
    numbers: list[dict[str, object]] = []
    with style():
        counts = [len(panel.fits) for panel in panels]
        figure = Figure(figsize=(COLUMN_WIDTH, 0.55 * len(panels) + 0.17 * sum(counts) + 0.5), layout="constrained")
        axes = figure.subplots(len(panels), 1, squeeze=False, sharex=True, height_ratios=[n + 1.6 for n in counts])
        for one, panel in zip(axes[:, 0], panels, strict=True):
            numbers += _panel(one, panel)
        axes[-1, 0].set_xlabel("Exponent β")
        figure.supxlabel(_BANDS, fontsize="medium")  # wider than the axes: centred below the whole figure
        written = save(figure, stem)
    table = stem.with_name(stem.name + ".csv")
    write_text(table, pd.DataFrame(numbers).to_csv(index=False))
    return [*written, table]


def _panel(axes: Axes, panel: Panel) -> list[dict[str, object]]:
    observed = hestness()[0]
    axes.axvspan(observed.beta, observed.beta_high, color="#eeeeee", zorder=0, linewidth=0)
    axes.axvline(0.0, color="#999999", linewidth=0.6, zorder=1)
    axes.axvline(0.5, color="#999999", linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    rows: list[dict[str, object]] = []
    curves = [fit.curve for fit, _ in panel.fits]
    several = len({curve.text("architecture") for curve in curves}) > 1
    names = []
    for index, ((fit, judgement), look) in enumerate(zip(panel.fits, looks(curves), strict=True)):
        beta = fit.best.beta
        failed = judgement.verdict is Verdict.NOT_CONVERGED
        if np.isfinite(beta.low):
            axes.plot([beta.low, beta.high], [index, index], color=look.color, linewidth=1.6, zorder=2)
        face = "white" if failed else look.color
        axes.plot(beta.value, index, look.marker, color=look.color, markerfacecolor=face, markersize=4, zorder=3)
        said = (("floor", fit.best.form is Form.POWER_FLOOR), ("not converged", failed))
        notes = [note for note, holds in said if holds]
        names.append(model_name(fit.curve, several) + (f" ({', '.join(notes)})" if notes else ""))
        rows.append(
            {
                "panel": panel.title,
                "curve": fit.curve.name,
                "form": str(fit.best.form),
                "beta": beta.value,
                "beta_low": beta.low,
                "beta_high": beta.high,
                "verdict": str(judgement.verdict),
            }
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color="#e6e6e6", linewidth=0.5)
    axes.set_axisbelow(True)
    metric = curves[0].text("metric")
    axes.set_title(f"{panel.title}: {METRIC_NAMES.get(metric, metric)}", loc="right")
    return rows
