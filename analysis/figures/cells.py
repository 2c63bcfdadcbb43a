"""Figure of the claim: β of the four cells, and equal-error ratios against A, with the outcome in the title."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from analysis.comparisons.claim import STATEMENT, Claim, claims, predicate
from analysis.errors import InputError
from analysis.figures.panels import panels_by_model
from analysis.figures.style import COLUMN_WIDTH, GRID, PALE, looks, save, style, title
from analysis.fits.flags import JudgedFit, Verdict
from analysis.spelling import dataset_name, metric_name

NAME = "claim"
_CELLS = {"A": "L=0\nν=1", "B": "L=1\nν=1", "C": "L=0\nν=3", "D": "L=0\nν=3\nedge 0"}


def collect(fits: Sequence[JudgedFit], _: pd.DataFrame | None) -> tuple[Sequence[Claim], Sequence[JudgedFit]] | None:
    """Return the tests of the claim and their curves; None if the table does not have the four cells."""
    shown = [item for panel in panels_by_model(fits) for item in panel.fits]
    try:
        return claims(shown), shown
    except InputError:
        return None


def draw(data: tuple[Sequence[Claim], Sequence[JudgedFit]], stem: Path) -> list[Path]:
    """Draw a row per dataset and metric: β on the left, equal-error ratios on the right; return the files written."""
    tests, fits = data
    by_name = {fit.curve.name: (fit, judgement) for fit, judgement in fits}
    numbers: list[dict[str, object]] = []
    with style():
        figure = Figure(figsize=(COLUMN_WIDTH, 1.9 * len(tests)), layout="constrained")
        axes = figure.subplots(len(tests), 2, squeeze=False, width_ratios=[1.25, 1])
        for (left, right), claim in zip(axes, tests, strict=True):
            numbers += _betas(left, claim, by_name)
            numbers += _ratios(right, claim)
        return save(figure, stem, numbers, _caption(tests, fits))


def _caption(tests: Sequence[Claim], fits: Sequence[JudgedFit]) -> str:
    parts = [
        f"The claim: {STATEMENT}. It holds if β of B and C lies above that of A, C is no worse than B and D is "
        "equivalent to A. Left: β of the four cells with 95 % intervals. Right: how many times fewer frames than A a "
        "cell needs for an equal error."
    ]
    if any(test.failed for test in tests):
        parts.append("Hollow: training has not converged.")
    if any(np.isfinite(judged.training.hull(fit.best.beta)).all() for fit, judged in fits):
        parts.append("Paler: what further training may still do.")
    return " ".join(parts)


def _betas(axes: Axes, claim: Claim, by_name: Mapping[str, JudgedFit]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    curves = [claim.cells[letter] for letter in "ABCD"]
    for index, (letter, curve, look) in enumerate(zip("ABCD", curves, looks(curves), strict=True)):
        fit, judgement = by_name[curve.name]
        beta = fit.best.beta
        failed = judgement.verdict is Verdict.NOT_CONVERGED
        trained = judgement.training.hull(beta)
        if np.isfinite(trained).all():
            axes.plot([index, index], trained, color=look.color, linewidth=1.6, alpha=PALE, zorder=1.5)
        if np.isfinite(beta.low):
            axes.plot([index, index], [beta.low, beta.high], color=look.color, linewidth=1.6)
        face = "white" if failed else look.color
        axes.plot(index, beta.value, look.marker, color=look.color, markerfacecolor=face, markersize=4.5)
        rows.append(_row(claim, letter, "beta", beta.value, beta.low, beta.high))
    axes.set_xticks(range(4), [f"{letter}\n{_CELLS[letter]}" for letter in "ABCD"], fontsize=6.2)
    axes.set_xlim(-0.5, 3.5)
    axes.set_ylabel("Exponent β")
    axes.grid(True, axis="y", color=GRID, linewidth=0.5)
    metric = metric_name(claim.metric)
    title(axes, f"{dataset_name(claim.dataset)}: the claim {predicate(claim.outcome)}")
    axes.set_title(axes.get_title(loc="left") + "\n", loc="left")  # a line for the metric
    axes.annotate(metric, (0, 1.03), xycoords="axes fraction", fontsize=6.5, color="#555555")
    return rows


def _ratios(axes: Axes, claim: Claim) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    curves = [claim.cells[letter] for letter in "ABCD"]
    colours = dict(zip("ABCD", looks(curves), strict=True))
    for index, letter in enumerate("BCD"):
        equal, look = claim.ratios[letter], colours[letter]
        ratio = equal.ratio
        if np.isfinite(ratio.value):
            if np.isfinite(ratio.low):
                axes.plot([index, index], [ratio.low, ratio.high], color=look.color, linewidth=1.6)
            face = "white" if {"A", letter} & set(claim.failed) else look.color
            axes.plot(index, ratio.value, look.marker, color=look.color, markerfacecolor=face, markersize=4.5)
            rows.append(_row(claim, letter, "equal_error_ratio", ratio.value, ratio.low, ratio.high))
        elif equal.bound is not None:
            above, bound = equal.bound[0] == "more", equal.bound[1]
            axes.plot(index, bound, "^" if above else "v", color=look.color, markerfacecolor="white", markersize=4.5)
            place: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": 6}
            axes.annotate(f"{'>' if above else '<'} {bound:.3g}", (index, bound), (0, -10 if above else 5), **place)
            kind = "equal_error_ratio_beyond" if above else "equal_error_ratio_below"
            rows.append(_row(claim, letter, kind, bound, np.nan, np.nan))
        else:
            shown: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6, "rotation": 90, "color": "#555555"}
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            why = "flat" if equal.flat else "no common error"
            axes.annotate(why, (index, 0.5), xycoords=axes.get_xaxis_transform(), bbox=behind, **shown)
    axes.axhline(1.0, color="#999999", linewidth=0.6)
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, 0.5), max(high * 1.5, 2.0))
    axes.set_xticks(range(3), list("BCD"))
    axes.set_xlim(-0.5, 2.5)
    axes.grid(True, axis="y", color=GRID, linewidth=0.5)
    axes.set_ylabel("P(A) / P(cell)")
    axes.annotate("at equal error", (0, 1.03), xycoords="axes fraction", fontsize=6.5, color="#555555")
    return rows


def _row(claim: Claim, cell: str, kind: str, value: float, low: float, high: float) -> dict[str, object]:
    where = {"dataset": claim.dataset, "metric": claim.metric, "outcome": str(claim.outcome)}
    return {**where, "cell": cell, "kind": kind, "value": value, "low": low, "high": high}
