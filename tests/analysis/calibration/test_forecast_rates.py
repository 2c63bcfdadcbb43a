"""Calibration of forecasts: conformal factors on known scores, and the file that ships."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration import forecast_curves, forecast_rates, forecast_sides
from analysis.calibration.forecast_rates import SOURCES, held_out, judge, rates_text, read_curves
from analysis.calibration.forecast_sides import fit_sides
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
        names = [f"openml{i % 200}" for i in range(n)]
        part = pd.DataFrame({"truth": truth, "dataset": names, "curve": [f"c{i}" for i in range(n)]})
        parts.append(part.assign(**shared, last=0.0, noise=1.0))
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
    assert "missed" in rates_text(rates, (0, 10))  # intervals of e^(3 · 1.96) are far too wide
    assert "missed: refused" in rates_text([], (5, 10))


def test_steep_curves_get_wider_intervals() -> None:
    """Where errors grow with the forecast fall, so do intervals, and both steep and flat curves are covered."""
    steep = cases(1.0)
    steep["last"] = np.tile([0.0, 3.0], len(steep) // 2)
    steep["truth"] *= 1 + steep["last"] / 2
    sides = fit_sides(steep)
    assert sides.fall == 0.5
    for _, part in steep[steep["octave"] == 1].groupby("last"):
        rate = forecast_rates._rate("some", MEAN, 1, [(part, sides)])
        assert rate.covered[95] / rate.n == pytest.approx(0.95, abs=0.03)  # four standard errors of 1,000
    plain = forecast_rates._rate("all", MEAN, 1, [(steep, forecast_sides.factors_of(steep, 0.0))])
    assert forecast_rates._rate("all", MEAN, 1, [(steep, sides)]).factor < plain.factor


def test_datasets_count_not_their_curves() -> None:
    names = np.array([f"set{i}" for i in range(24)] + ["set23"] * 500)
    scores = np.array([*range(24), *[23] * 500], dtype=float)
    # 80 % of 24 datasets and one unseen: ½ + .8 · (25/24)/2 = .917 of 24, exactly 22
    assert forecast_sides._of_new_dataset(scores, names, 0.8) == 21
    assert forecast_sides._of_new_dataset(scores[:24], names[:24], 0.8) == 21
    assert forecast_sides._of_new_dataset(scores[:19], names[:19], 0.8) == 17  # few: curves count, ⌈20 · .9⌉


def test_gathering_keeps_the_sources_that_are_not_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def gather(source: str, error: float) -> int:
        table = tmp_path / "runs.csv"
        rows = "".join(f"ethanol,ace,energy_mae,{size},0,{error / size}\n" for size in (4, 8, 16))
        table.write_text("dataset,architecture,metric,P,seed,error\n" + rows)
        return forecast_curves.main(["--runs", f"{source}={table}", "--out", str(tmp_path / "curves.parquet")])

    assert gather("published", 1.0) == gather("closed_forms", 2.0) == gather("published", 3.0) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "published: 1 curves, closed_forms: 1 curves"
    found = {curve.text("source"): curve for curve in read_curves(tmp_path / "curves.parquet")}
    assert found["published"].mean_error[0] == pytest.approx(0.75)  # 3/4, the later one
    assert found["closed_forms"].mean_error[0] == pytest.approx(0.5)
    assert gather("elsewhere", 1.0) == 2
    assert "--runs elsewhere=" in capsys.readouterr().err


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
