"""Building blocks of JSON records; numbers that are not finite become null, since JSON has no NaN."""

from __future__ import annotations

from analysis.curve import Curve
from analysis.fits.uncertainty import Interval
from experiments.core.files import json_number

Record = dict[str, object]


def ends(name: str, interval: Interval | None) -> Record:
    """Return an estimate as `name` and both ends of its interval as `name_low` and `name_high`."""
    values = (None,) * 3 if interval is None else (interval.value, interval.low, interval.high)
    return {key: json_number(value) for key, value in zip((name, f"{name}_low", f"{name}_high"), values, strict=True)}


def dataset_and_metric(curve: Curve) -> Record:
    """Return the dataset and the metric of a curve."""
    return {"dataset": curve.text("dataset"), "metric": curve.text("metric")}


def model(curve: Curve) -> Record:
    """Return the identifying columns of a curve that describe its model."""
    return {name: value for name, value in curve.key.items() if name not in ("dataset", "metric")}
