"""Forecasts that were tested: every curve of the tables is cut at a quarter of its largest P, forecast, and compared.

Nothing is computed anew: what came stands in the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.curve import Curve, curves
from analysis.figures.style import COLUMN_WIDTH, HUES, log_axis, save, sheet, style
from analysis.fits.record import label
from analysis.forecasts.forecast import outlook
from analysis.spelling import dataset_words, metric_words
from analysis.table import load
from benchmarks.results import derived, remembered
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import SECTIONS

NAME = "forecasts"
SHARE = 4
"""The largest P is so many times the largest that the forecast saw."""
METRICS = ("force_mae", "energy_mae")
HEAD = """# Forecasts that were tested

Every curve of the tables here was cut at a quarter of its largest P and forecast as `python -m analysis forecast` does;
beside it stands what then came. `make results ARGS="forecasts --pages"` writes this page."""
LIMITS = """The forecasts are of the mean over a curve's seeds. The factors that widen their intervals come from curves
of other learners and of potentials, some of these molecules among them: `python -m analysis calibrate --forecast`
prints rates by factors of all other datasets ([docs/forecasts.md](../../forecasts.md)). Curves of one dataset share
their training subsets, so they err together. What would overturn this: curves of trained networks, and larger P."""


@dataclass(frozen=True)
class Tested:
    """A forecast and what came."""

    section: str
    curve: Curve
    """The whole curve."""
    size: float
    """P that was forecast."""
    factor: int
    """`size` over the largest P that the forecast saw: 2 or 4."""
    median: float
    """Forecast in the curve's unit; the ends of its 95 % interval."""
    low: float
    high: float
    came: float
    """Mean error over seeds that was then measured."""

    @property
    def inside(self) -> bool:
        """Whether the interval holds what came."""
        return self.low <= self.came <= self.high


def tested(place: Place) -> list[Tested]:
    """Return the forecasts of all curves that have three sizes or more up to a quarter of the largest P."""
    found = []
    for name, section in SECTIONS.items():
        if section.part != "symmetry" and place.table(name).exists():
            found += _of_table(place.table(name))
    return found


@remembered.of_tables
def _of_table(table: Path) -> list[Tested]:
    own = [curve for curve in curves(load([table], [])) if curve.text("metric") in METRICS]
    return [one for curve in own for one in _of_curve(table.parent.name, curve)]


def headline(place: Place) -> str:
    """Return how many forecasts held, and to which side the others missed, in a sentence; empty without any."""
    found = tested(place)
    if not found:
        return ""
    held = " and ".join(
        f"{sum(one.inside for one in own)} of {len(own)} at {factor} times the data"
        for factor in (2, SHARE)
        if (own := [one for one in found if one.factor == factor])
    )
    return (
        f"Of curves that were cut at a quarter of their largest P, {held} came inside the forecast's 95 % interval "
        f"([forecasts](results/{NAME}/README.md)). {missed_side(found)}"
    )


def missed_side(found: Sequence[Tested]) -> str:
    """Say to which side forecasts missed, and on which data mostly."""
    missed = [one for one in found if not one.inside]
    if not missed:
        return "None missed."
    lower = sum(one.came < one.low for one in missed)
    data = Counter(one.curve.text("dataset") for one in missed).most_common(1)[0]
    return (
        f"Of the {len(missed)} that missed, {lower} errors came lower than forecast and {len(missed) - lower} higher; "
        f"{data[1]} belong to {dataset_words(data[0])}."
    )


def _of_curve(name: str, curve: Curve) -> list[Tested]:
    seen = curve.sizes <= curve.sizes[-1] / SHARE
    later = curve.sizes[~seen]
    if not seen.any():
        return []
    last = curve.sizes[seen][-1]
    sizes = [size for size in later if round(size / last) in (2, SHARE)]
    cut = outlook(curve.at(seen))
    if cut.refused or not sizes:
        return []
    told, came = cut.at(sizes), dict(zip(curve.sizes, curve.mean_error, strict=True))
    return [
        Tested(name, curve, size, round(size / last), told.median[i], told.low_95[i], told.high_95[i], came[size])
        for i, size in enumerate(sizes)
        if np.isfinite(told.median[i]) and np.isfinite(came[size])
    ]


def page(found: Sequence[Tested]) -> str:
    """Return the page: a row for each section, metric and horizon, and every miss."""
    rows = [
        "| section | metric | × the data | forecasts | inside 95 % | came over forecast, median | rms of its ln |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((one.section, one.curve.text("metric"), one.factor) for one in found)
    rows += [_row(list(key), [one for one in found if _key(one) == key]) for key in keys]
    for factor in (2, SHARE):
        if own := [one for one in found if one.factor == factor]:
            rows.append(_row(["all", "all", factor], own))
    missed = [
        f"- {one.section}, {one.curve.text('metric')}, {label(one.curve)}, P = {one.size:g}: forecast {one.median:.3g} "
        f"[{one.low:.3g}, {one.high:.3g}], came {one.came:.3g} {one.curve.unit}"
        for one in found
        if not one.inside
    ]
    texts = [
        HEAD,
        "\n".join(rows),
        "![Forecast and what came](forecasts.png)",
        "## Missed",
        missed_side(found),
        "\n".join(missed),
        "## Limits",
        LIMITS,
    ]
    return "\n\n".join(text for text in texts if text) + "\n"


def _key(one: Tested) -> tuple[str, str, int]:
    return one.section, one.curve.text("metric"), one.factor


def _row(key: Sequence[object], found: Sequence[Tested]) -> str:
    inside = sum(one.inside for one in found)
    logs = np.log([one.came / one.median for one in found])
    shift, error = np.exp(np.median(logs)), np.sqrt(np.mean(logs**2))
    return f"| {' | '.join(map(str, key))} | {len(found)} | {inside} | {shift:.2f} | {error:.2f} |"


def draw(found: Sequence[Tested], stem: Path) -> None:
    """Draw what came over what was forecast, with the 95 % intervals, into `stem`.png and its kin."""
    with style():
        figure, axes = sheet(2, COLUMN_WIDTH)
        numbers: list[dict[str, object]] = []
        for axis, metric in zip(axes, METRICS, strict=True):
            mine = [one for one in found if one.curve.text("metric") == metric]
            for factor, colour in ((2, HUES[0]), (SHARE, HUES[1])):
                own = [one for one in mine if one.factor == factor]
                x = np.array([one.median for one in own])
                ends = np.abs(np.array([[one.low, one.high] for one in own]).reshape(-1, 2).T - x)
                came = np.array([one.came for one in own])
                axis.errorbar(x, came, xerr=ends, fmt="o", color=colour, markersize=2, linewidth=0.6,
                              label=f"{factor} times the data")  # fmt: skip
            values = [value for one in mine for value in (one.median, one.came)]
            if values:
                axis.plot([min(values), max(values)], [min(values), max(values)], color="#777777", linewidth=0.6,
                          label="as forecast")  # fmt: skip
                name, unit = metric_words(metric).removesuffix(" per atom"), mine[0].curve.unit
                axis.set_xlabel(f"Forecast {name} ({unit})")
                axis.set_ylabel(f"Measured {name} ({unit})")
            log_axis(axis.xaxis)
            log_axis(axis.yaxis)
            axis.legend()
            numbers += [
                {"section": one.section, "metric": metric, "model": label(one.curve), "P": one.size,
                 "median": one.median, "low_95": one.low, "high_95": one.high, "came": one.came}
                for one in mine
            ]  # fmt: skip
        save(figure, stem, numbers)


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None if there is nothing to forecast."""
    found = tested(place)
    if not found:
        return None
    return derived.write(place.tables / NAME, page(found), "forecasts", lambda stem: draw(found, stem))
