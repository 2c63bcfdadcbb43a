"""Forest plot: β of every model with its interval, beside values observed by others and bounds of theory.

What further training may still do adds a paler part to an interval.
Theory enters with the dimension of the data as it was measured (`python -m experiments.runs.measure_distances`): Bach's
1/(d + 3) and von Luxburg and Bousquet's 1/d are lower bounds on β in the limit of many frames, not predictions. Below,
the energy errors themselves stand beside Lip·δ(P), which bounds them at every P.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.bounds.bounds import Relation
from analysis.bounds.distances import DimensionEstimate
from analysis.bounds.lipschitz import compare_lipschitz
from analysis.bounds.theory import LIPSCHITZ_LOSSES, SQUARED_LOSSES, bach_exponent, hestness, luxburg
from analysis.figures import nearest
from analysis.figures.forest import Row, forest, height
from analysis.figures.naming import model_names
from analysis.figures.nearest import NearestData
from analysis.figures.panels import Panel, panels_by_model
from analysis.figures.style import COLUMN_WIDTH, looks, save, style, title
from analysis.fits.flags import JudgedFit, Verdict, misses
from analysis.spelling import dataset_name, metric_name

NAME = "exponents"
_BANDS = "Grey: observed on other tasks (Hestness et al. 2017). Dashed: 1/2."
_BOUNDS = (
    "Dotted: lower bounds on β of energy errors at the measured dimension d, beside forces for scale alone: 1/(d + 3) "
    "(Bach 2017), and 1/d, the slope of Lip·δ(P) (von Luxburg–Bousquet 2004). A bound can be exceeded, not confirmed."
)
_WRAP = 60
"""Characters of a note that fit one column."""


@dataclass(frozen=True)
class Exponents:
    """What the figure shows."""

    panels: Sequence[Panel]
    """Curves of one dataset and metric each."""
    dimensions: Mapping[str, DimensionEstimate]
    """The dimension of the data by dataset, as far as it was measured."""
    energies: Sequence[NearestData]
    """Energy errors and distances of the datasets that have both."""


def collect(fits: Sequence[JudgedFit], distances: pd.DataFrame | None) -> Exponents:
    """Return the exponents of all curves."""
    groups: dict[tuple[str, ...], list[Panel]] = {}
    for panel in panels_by_model(fits):
        curve = panel.fits[0][0].curve
        groups.setdefault(tuple(curve.text(name) for name in ("dataset", "test_set", "metric")), []).append(panel)
    energies = [one for one in nearest.collect(fits, distances) if _bounded(one.fits[0])]
    return Exponents([_together(group) for group in groups.values()], nearest.dimensions(distances), energies)


def _bounded(item: JudgedFit) -> bool:
    return item[0].curve.text("metric") in LIPSCHITZ_LOSSES | SQUARED_LOSSES


def _together(panels: Sequence[Panel]) -> Panel:
    """Return the panels of one dataset and metric as one, with a row for each curve."""
    if len(panels) == 1:
        return panels[0]
    fits = tuple(item for panel in panels for item in panel.fits)
    curves = [fit.curve for fit, _ in fits]
    return Panel(dataset_name(curves[0].text("dataset")), fits, model_names(curves))


def draw(data: Exponents, stem: Path) -> list[Path]:
    """Draw a row of β ± per curve, axes per panel, and ε(P) under Lip·δ(P) into `stem`.*; return the files."""
    panels = data.panels
    numbers: list[dict[str, object]] = []
    measured = data.dimensions
    notes = [_BANDS, *([_BOUNDS] if any(_dataset(panel) in measured for panel in panels) else [])]
    note = "\n".join(textwrap.fill(text, _WRAP) for text in notes)
    with style():
        forests = [_forest(panel, measured.get(_dataset(panel))) for panel in panels]
        tall = [height(one.rows) for one in forests]
        heights = [0.62 * len(panels) + sum(tall) + 0.4 + 0.14 * note.count("\n")]
        heights += [0.95 * COLUMN_WIDTH + nearest.legend_room(one) for one in data.energies]
        figure = Figure(figsize=(COLUMN_WIDTH, sum(heights)), layout="constrained")
        top, *below = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        axes = top.subplots(
            len(panels), 1, squeeze=False, sharex=True, height_ratios=[inches + 0.27 for inches in tall]
        )
        for one, rows in zip(axes[:, 0], forests, strict=True):
            numbers += _panel(one, rows)
        axes[-1, 0].set_xlabel("Exponent β")
        top.supxlabel(note, fontsize="medium")  # wider than the axes: centred below all of them
        for part, beside in zip(below, data.energies, strict=True):
            numbers += _under_bound(part.subplots(), beside)
        return save(figure, stem, numbers, _caption(data, " ".join(notes)))


def _caption(data: Exponents, notes: str) -> str:
    items = [item for panel in data.panels for item in panel.fits]
    parts = ["Exponent β of every learning curve, with its 95 % interval."]
    if any(np.isfinite(judged.training.hull(fit.best.beta)).all() for fit, judged in items):
        parts.append("Paler: what further training may still do.")
    if any(judged.verdict is Verdict.NOT_CONVERGED for _, judged in items):
        parts.append("Hollow: training has not converged; its β is no exponent to quote.")
    if any(misses(item) for item in items):
        parts.append("β of a curve that is no power law is the slope of its best line.")
    if data.energies:
        parts.append("Below: energy errors beside Lip·δ(P).")
    return " ".join([*parts, notes])


def _under_bound(axes: Axes, one: NearestData) -> list[dict[str, object]]:
    """Draw ε(P) and Lip·δ(P), and say on which side of it the errors lie."""
    d = one.estimates[0].distances.d_eff.value
    rows = [{**row, "panel": f"{one.dataset}: Lip·δ(P)"} for row in nearest.draw_errors(axes, one)]
    words = _sides(one)
    axes.set_title(textwrap.fill(words, _WRAP), fontsize="medium", fontweight="normal", loc="left")
    axes.annotate(f"d = {d:.1f}", (0.97, 0.95), xycoords="axes fraction", ha="right", va="top", fontsize="medium")
    return rows


def _sides(one: NearestData) -> str:
    """Say on which side of Lip·δ(P) the errors of every curve lie; a curve below it confirms nothing."""
    names = model_names([fit.curve for fit, _ in one.fits])
    compared = [
        (name, found)
        for name, (fit, judged) in zip(names, one.fits, strict=True)
        for found in compare_lipschitz(fit, judged, one.part)
    ]
    above = [name for name, found in compared if found.relation is Relation.VIOLATED]
    place = f"{dataset_name(one.dataset)}: "
    if above:
        return f"{place}above Lip·δ(P), and so worse than the nearest neighbour can be: {', '.join(above)}"
    if any(found.relation is Relation.CONSISTENT for _, found in compared):
        return f"{place}no errors above Lip·δ(P), which bounds them but does not say how far below they lie"
    return f"{place}errors and Lip·δ(P), not comparable ({'; '.join(dict.fromkeys(f.why for _, f in compared))})"


def _dataset(panel: Panel) -> str:
    return panel.fits[0][0].curve.text("dataset")


@dataclass(frozen=True)
class _Forest:
    """One set of axes: rows with what stands beside them."""

    panel: Panel
    rows: tuple[Row, ...]
    dimension: float
    """d of the data; NaN where it was not measured."""


def _forest(panel: Panel, dimension: DimensionEstimate | None) -> _Forest:
    d = np.nan if dimension is None or not dimension.distances.d_eff.value > 0 else dimension.distances.d_eff.value
    bound = max(_bounds(d).values(), default=np.nan)
    curves = [fit.curve for fit, _ in panel.fits]
    names = panel.names or model_names(curves)
    rows = []
    for item, look, name in zip(panel.fits, looks(curves), names, strict=True):
        (fit, judgement), beta = item, item[0].best.beta
        trained = judgement.training.hull(beta)
        failed = judgement.verdict is Verdict.NOT_CONVERGED
        lipschitz = fit.curve.text("metric") in LIPSCHITZ_LOSSES
        remarks = {
            "floor": fit.has_floor,
            "no power law": misses(item),
            "not converged": failed,
            "above the bounds": lipschitz and not failed and bool(min(beta.low, trained[0]) > bound),
        }
        marks = ", ".join(mark for mark, holds in remarks.items() if holds)
        called = f"{name} ({marks})" if marks else name
        rows.append(Row(called, beta.value, beta.low, beta.high, look.color, look.marker, failed, trained))
    return _Forest(panel, tuple(rows), d)


def _bounds(d: float) -> dict[str, float]:
    """Return the lower bounds on β at the dimension d by name; none without it."""
    return {"Bach 1/(d+3)": bach_exponent("lipschitz", d), "1/d": luxburg(d).beta} if np.isfinite(d) else {}


def _panel(axes: Axes, one: _Forest) -> list[dict[str, object]]:
    panel, observed = one.panel, hestness()[0]
    forest(axes, one.rows, (observed.beta, observed.beta_high))
    axes.axvline(0.5, color="#999999", linewidth=0.6, linestyle=(0, (2, 2)), zorder=1)
    place = {"panel": panel.title}
    numbers: list[dict[str, object]] = [
        {**place, "kind": "observed", "curve": "Hestness et al. 2017", **_span(observed.beta_high, observed.beta)},
        {**place, "kind": "reference", "curve": "1/2", "beta": 0.5},
    ]
    for name, value in _bounds(one.dimension).items():
        axes.axvline(value, color="#D55E00", linewidth=0.8, linestyle=(0, (1, 1.2)), zorder=1)
        numbers.append({**place, "kind": "bound", "curve": f"{name}, d = {one.dimension:.3g}", "beta": value})
    numbers += [
        {
            **place,
            "kind": "model",
            "curve": fit.curve.name,
            "form": str(fit.best.form),
            **_span(row.high, row.low, row.value),
            "beta_low_training": row.wider[0],
            "beta_high_training": row.wider[1],
            "verdict": str(judgement.verdict),
        }
        for (fit, judgement), row in zip(panel.fits, one.rows, strict=True)
    ]
    metric = metric_name(panel.fits[0][0].curve.text("metric"))
    note = f" (d = {one.dimension:.1f})" if np.isfinite(one.dimension) else ""
    title(axes, f"{panel.title}: {metric}{note}", loc="right")
    return numbers


def _span(high: float, low: float, value: float = np.nan) -> dict[str, object]:
    return {"beta": value, "beta_low": low, "beta_high": high}
