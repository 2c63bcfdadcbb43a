"""Forecasts of curves: what is forecast, refused and called uncalibrated, and the frames to a target."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.curve import Curve, curves
from analysis.errors import InputError
from analysis.forecasts.forecast import outlook
from analysis.forecasts.output import in_unit, reach_line, reach_record
from analysis.table import check_table

SIZES = (16, 32, 64, 128, 256)


def rows(floor: float = 0.0) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "dataset": "d",
        "architecture": "mace",
        "metric": "force_mae",
        "unit": "meV/Å",
        "converged": True,
    }
    frame = curve_rows(np.random.default_rng(0), beta=0.5, prefactor=100.0, sizes=SIZES, **columns)
    frame["error"] = frame["error"] + floor
    return frame


def curve(frame: pd.DataFrame) -> Curve:
    (one,) = curves(check_table(frame, "t"))
    return one


def test_intervals_are_ordered_and_widen() -> None:
    found = outlook(curve(rows())).at([512, 1024, 2048])
    for ends in zip(found.low_95, found.low_80, found.median, found.high_80, found.high_95, strict=True):
        assert list(ends) == sorted(ends)
    assert np.all(np.diff(found.high_95 / found.low_95) > 0)
    assert found.median[0] == pytest.approx(100 * 512**-0.5, rel=0.1)  # 4 % noise, five seeds
    assert found.calibrated == (True, True, True)
    assert np.all(found.run_high_95 - found.run_low_95 > 0)
    assert np.all(found.high_95 < curve(rows()).mean_error[-1] * 1.5)  # capped at the last error and its noise


def test_what_cannot_be_forecast_says_why() -> None:
    one = outlook(curve(rows()))
    found = one.at([128, 256, 4096, 16384, 32768])
    assert np.isnan(found.median[[0, 1, 4]]).all()
    assert np.isfinite(found.median[[2, 3]]).all()
    assert found.calibrated == (False,) * 5
    assert "does not exceed" in found.reasons[0]
    assert "4.0 octaves" in found.reasons[2]
    assert "nothing is forecast beyond 6" in found.reasons[4]
    short = rows()
    refused = outlook(curve(short[short["P"] <= 32])).at([64])
    assert np.isnan(refused.median[0])
    assert "2 sizes" in refused.reasons[0]
    near = outlook(curve(short[short["P"].isin([64, 128, 256])].assign(P=lambda t: 256 - 256 // t["P"]))).at([512])
    assert np.isfinite(near.median[0])  # P = 252, 254, 255
    assert not near.calibrated[0]
    assert "span" in near.reasons[0]


def test_unconverged_curves_are_not_calibrated() -> None:
    frame = rows()
    frame["converged"] = frame["P"] < 256
    found = outlook(curve(frame)).at([512])
    assert found.calibrated == (False,)
    assert "not converged" in found.reasons[0]


def test_frames_to_a_target_lie_where_the_forecast_meets_it() -> None:
    one = outlook(curve(rows()))
    there = one.at([1024])
    reach = one.reach(float(there.median[0]))
    assert reach.median == pytest.approx(1024, rel=0.02)  # interpolated between steps of an eighth of an octave
    assert reach.low_95 < reach.median < reach.high_95 or np.isnan(reach.high_95)
    assert reach.calibrated


def test_a_target_that_measured_errors_reach_has_no_interval() -> None:
    one = outlook(curve(rows()))
    amid = one.reach(float(np.exp(one.log_error[1:3].mean())))
    assert one.curve.sizes[1] < amid.median < one.curve.sizes[2]
    assert np.isnan([amid.low_95, amid.high_95]).all()  # nothing was forecast
    assert reach_line(amid, "meV/Å").endswith(f" meV/Å: reached at P = {amid.median:.0f} already")
    record = reach_record(one.curve, amid)
    assert (record["P_low_95"], record["P_high_95"]) == (None, None)
    assert reach_line(one.reach(1e3), "meV/Å") == "  error 1000 meV/Å: reached at the smallest P, 16, already"


@pytest.mark.parametrize(("share", "words"), [(0.98, "a larger model"), (0.1, "other frames"), (np.nan, "not in the")])
def test_a_floor_says_what_would_help(share: float, words: str) -> None:
    frame = rows(floor=40.0)
    frame["train_error"] = frame["error"] * share
    reach = outlook(curve(frame)).reach(20.0)
    assert np.isnan(reach.median)
    assert re.search("more data will (probably )?not get there", reach.reason)
    assert words in reach.reason


def test_targets_are_read_in_the_unit_of_the_table() -> None:
    assert in_unit(["20"], "meV/Å") == 20
    for quoted in (["20 meV/Å"], ["20meV/Å"], ["2e1", "meV/Å"], ["0.02eV/Å"]):
        assert in_unit(quoted, "meV/Å") == pytest.approx(20)
    assert in_unit(["0.02", "eV/Å"], "meV/Å") == pytest.approx(20)
    assert in_unit(["20", "meV/Å"], "eV/Å") == pytest.approx(0.02)
    for words in (["-1"], ["many"], ["20", "kcal"], ["20", "meV", "Å"]):
        with pytest.raises(InputError, match="--target"):
            in_unit(words, "meV/Å")


def test_error_rates_of_zero_are_left_out() -> None:
    frame = rows().assign(metric="error_rate", unit="1", n_test=500)
    frame["error"] = frame["error"] / 200
    frame.loc[(frame["P"] == 16) & (frame["seed"] == 0), "error"] = 0.0
    assert np.isfinite(outlook(curve(frame)).at([512]).median[0])


def test_error_rates_that_are_all_zero_are_refused_in_words() -> None:
    frame = rows().assign(metric="error_rate", unit="1", n_test=500, error=0.0)
    assert "0 sizes with an error above zero" in outlook(curve(frame)).refused


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "t.csv", tmp_path / "o.json"
    short = rows().assign(architecture="ace")
    pd.concat([rows(), short[short["P"] < 64]]).to_csv(path, index=False)
    asked = ["--at", "512", "99999", "--target", "0.003", "eV/Å", "--new-run", "--json", str(out)]
    assert main(["forecast", "--table", str(path), *asked]) == 0
    first, far, reach, refused, *_ = json.loads(out.read_text())
    assert first["low_95"] < first["run_low_95"] * 1.2
    assert {"dataset", "architecture", "L", "nu", "metric", "model", "P", "median", "low_80", "high_80"} <= set(first)
    assert (far["median"], far["calibrated"]) == (None, False)
    assert reach["target"] == pytest.approx(3.0)
    assert reach["P_median"] is not None
    assert refused["architecture"] == "ace"
    assert refused["median"] is None
    assert refused["reason"]
    assert "no forecast" in capsys.readouterr().out
    assert main(["forecast", "--table", str(path), "--model", "ace"]) == 1  # no curve could be forecast
    assert main(["forecast", "--table", str(path), "--model", "krr"]) == 2
    assert "the table has MACE; linear ACE" in capsys.readouterr().err
    assert main(["forecast", "--table", str(path), "--metric", "energy_mae"]) == 2
    assert main(["forecast", "--table", str(path), "--target", "20", "kcal"]) == 2
