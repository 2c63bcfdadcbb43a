"""Calibration of forecasts: conformal factors on known scores, and the file that ships."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import forecast_rates
from analysis.calibration.forecast_rates import SOURCES, fit_sides, held_out, judge, rates_text, read_curves
from analysis.forecasts.factors import FILE, LEVELS, MEAN, OCTAVES, OTHER, RATE, RUN, shipped


def cases(sd: float, n: int = 2000, kind: str = RATE) -> pd.DataFrame:
    """Forecasts that say N(0, 1) of truths from N(0, sd)."""
    rng = np.random.default_rng(0)
    parts = []
    for octave in OCTAVES:
        shared: dict[str, Any] = {
            "source": "lcdb",
            "kind": kind,
            "target": MEAN,
            "octave": octave,
            "octaves": float(octave),
        }
        shared |= {"refused": False, "q0": 0.0, "q1": -1.2816, "q2": 1.2816, "q3": -1.96, "q4": 1.96}
        truth = sd * rng.normal(size=n)
        names = [f"openml{i % 40}" for i in range(n)]
        part = pd.DataFrame({"truth": truth, "dataset": names, "curve": [f"c{i}" for i in range(n)]})
        parts.append(part.assign(**shared, last=5.0, noise=1.0))
    return pd.concat(parts)


def test_factors_stretch_to_the_true_width() -> None:
    sides = fit_sides(cases(2.0))
    for level in LEVELS:
        assert sides.low[level] == pytest.approx(2.0, rel=0.15)  # quantiles of 2,000 normal draws
        assert sides.high[level] == pytest.approx(2.0, rel=0.15)


def test_calibrated_intervals_cover_the_other_half() -> None:
    rates = judge(cases(3.0))
    for rate in rates:
        assert rate.covered[95] / rate.n == pytest.approx(0.95, abs=0.025)  # four standard errors of 1,000
        assert rate.covered[80] / rate.n == pytest.approx(0.80, abs=0.05)
        assert rate.raw / rate.n < 0.6
    assert "missed" in rates_text(rates, (0, 10))  # ×/÷ e^(3 · 1.96) is far too wide
    assert "missed: refused" in rates_text([], (5, 10))


def test_curves_that_ship_are_public_or_own() -> None:
    found = read_curves()
    assert {curve.text("source") for curve in found} <= set(SOURCES)
    assert sum(curve.text("source") == "lcdb" for curve in found) > 900
    rows = list(held_out(next(curve for curve in found if curve.text("source") == "lcdb")))
    assert [(row["octave"], row["target"]) for row in rows] == [
        (octave, target) for octave in reversed(OCTAVES) for target in (MEAN, RUN)
    ]


def test_file_of_factors_says_where_it_comes_from() -> None:
    content = json.loads(FILE.read_text(encoding="utf-8"))
    assert set(content["factors"]) == {RATE, OTHER}
    assert sum(source["curves"] for source in content["sources"]) == len(read_curves())
    assert content["date"]
    for sides in shipped().values():
        for level in LEVELS:
            assert (sides.low[level] > 0).all()
            assert (sides.high[level] > 0).all()


def test_shipped_factors_are_those_of_the_shipped_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """On every 30th curve the intervals of the shipped file cover about what they say."""
    some = read_curves()[::30]
    table = pd.DataFrame([row for curve in some for row in held_out(curve)])
    table = table[(table["kind"] == RATE) & (table["target"] == MEAN)]
    rate = forecast_rates._rate("all", MEAN, 1, [(table, shipped()[RATE, MEAN])])
    assert rate.n >= 30
    assert rate.covered[95] / rate.n > 0.8  # 30 forecasts: five standard errors below 95 %
