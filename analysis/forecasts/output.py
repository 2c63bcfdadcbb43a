"""Forecasts as JSON records and as lines of text."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.jsonable import Record
from analysis.fits.record import label, plain_value, title
from analysis.forecasts.forecast import Forecast, Reach
from analysis.spelling import dataset_words, metric_words, place_words
from experiments.core.files import json_number


def shared_record(curve: Curve) -> Record:
    """Return what names the curve in every record."""
    return {
        "dataset": curve.text("dataset"),
        "test_set": curve.text("test_set"),
        "architecture": curve.text("architecture"),
        "L": plain_value(curve.number("L")),
        "nu": plain_value(curve.number("nu")),
        "metric": curve.text("metric"),
        "model": label(curve),
        "model_id": curve.text("model_id"),
        "unit": curve.unit,
    }


def forecast_records(curve: Curve, one: Forecast, *, run: bool) -> list[Record]:
    """Return a record for each size; the ends for a single new run if `run`. Errors are in the curve's unit."""
    names = ["median", "low_80", "high_80", "low_95", "high_95", *(("run_low_95", "run_high_95") if run else ())]
    return [
        {
            **shared_record(curve),
            "P": plain_value(float(size)),
            **{name: json_number(float(getattr(one, name)[i])) for name in names},
            "calibrated": one.calibrated[i],
            "reason": one.reasons[i],
        }
        for i, size in enumerate(one.sizes)
    ]


def reach_record(curve: Curve, one: Reach) -> Record:
    """Return the record of the sizes to a target; null where it is not within reach, and for ends of no forecast."""
    return {
        **shared_record(curve),
        "target": one.target,
        "P_median": json_number(one.median),
        "P_low_95": json_number(one.low_95),
        "P_high_95": json_number(one.high_95),
        "calibrated": one.calibrated,
        "reason": one.reason,
    }


def heading(curve: Curve) -> str:
    """Name a curve and its largest P in one line."""
    unit = f" {curve.unit}" if curve.unit not in ("", "1") else ""
    tested = {"test_set": curve.text("test_set")} if curve.text("test_set") else {}
    named = (dataset_words(curve.text("dataset")), metric_words(curve.text("metric")), *place_words(tested))
    last = f"P = {curve.sizes[-1]:g}: {curve.mean_error[-1]:.3g}{unit}"
    return f"{', '.join(named)}, {title(curve)} (measured up to {last})"


def forecast_lines(one: Forecast, *, run: bool) -> list[str]:
    """Describe the forecast at each size in a line."""
    lines = []
    for i, size in enumerate(one.sizes):
        if np.isfinite(one.median[i]):
            text = f"  P = {size:<8g} {one.median[i]:.3g}  80 % [{one.low_80[i]:.3g}, {one.high_80[i]:.3g}]"
            text += f"  95 % [{one.low_95[i]:.3g}, {one.high_95[i]:.3g}]"
            if run:
                text += f"  a new run 95 % [{one.run_low_95[i]:.3g}, {one.run_high_95[i]:.3g}]"
        else:
            text = f"  P = {size:<8g} no forecast"
        lines.append(text + (f"  ({one.reasons[i]})" if one.reasons[i] else ""))
    return lines


def reach_line(one: Reach, unit: str) -> str:
    """Describe the sizes to a target, in the curve's unit, in a line."""
    error = f"error {one.target:g} {unit}".rstrip()
    if one.measured:
        return f"  {error}: {one.reason}"
    if not np.isfinite(one.median):
        return f"  {error}: not within reach ({one.reason})"
    low, high = (frames(end) if np.isfinite(end) else "not within reach" for end in (one.low_95, one.high_95))
    text = f"  {error}: about {frames(one.median)} frames, 95 % [{low}, {high}]"
    return text + (f"  ({one.reason})" if one.reason else "")


def frames(number: float) -> str:
    """Return a number of frames to three digits: `88`, `1,740`."""
    digits = max(0, len(str(int(number))) - 3)
    return f"{round(number, -digits):,.0f}"


def in_unit(words: Sequence[str], unit: str) -> float:
    """Return a target, an error above zero and possibly its unit, in the unit of a curve.

    Raises:
        InputError: it is no such number, or its unit is not that of the curve up to a factor of 1000 (meV, eV).
    """
    text = " ".join(words)
    written = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?) ?(\S*)", " ".join(text.split()), flags=re.IGNORECASE)
    try:
        value, given = (float(written[1]), written[2]) if written else (0.0, "")
    except ValueError:
        value, given = 0.0, ""
    if not 0 < value < np.inf:
        raise InputError(f"--target {text}: accepted: an error above zero and its unit, as 20 meV/Å")
    if given in ("", unit):
        return value
    if given == f"m{unit}":
        return value / 1000
    if unit == f"m{given}":
        return value * 1000
    accepted = f"accepted: {unit}, or a 1000th of it" if unit else "the table has no unit: give none"
    raise InputError(f"--target {text}: {accepted}")
