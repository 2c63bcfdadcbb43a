"""Published curves, with values worked out from their files by hand: one seed, floors, breaks and error rates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.curve import curves
from analysis.fits.fit import fit_curves
from analysis.fits.names import DIAGNOSTIC, Form
from analysis.fits.results import CurveFit
from analysis.table import load

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "curves"
"""Beside the project; not part of it."""


def fits(name: str) -> list[CurveFit]:
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"no {path}: published curves are not part of the project")
    return fit_curves(curves(load(path, None)), (Form.POWER, Form.POWER_FLOOR))


def test_three_or_four_sizes_and_one_seed() -> None:
    """CGCNN on OC20: 0.08, 0.0673, 0.065, 0.0684 eV/Å at 0.2, 2, 20 and 133.9 million frames."""
    fit = next(one for one in fits("fairchem_oc20.csv") if "cgcnn" in one.curve.name and one.curve.unit == "eV/Å")
    # The last two sizes, since only one lies within three octaves of the other: −ln(0.0684/0.065)/ln(133934018/2e7).
    assert fit.local.beta.value == pytest.approx(-np.log(0.0684 / 0.065) / np.log(6.6967009), rel=1e-6)
    assert fit.recommended is Form.POWER
    # x = lg P = 5.30103, 6.30103, 7.30103, 8.12689 and y = ln ε = −2.52573, −2.69860, −2.73337, −2.68238:
    # Σ(x − x̄)(y − ȳ) = −0.24847 over Σ(x − x̄)² = 4.50033 is −0.05521, and by ln 10 −0.02398 for ln P.
    assert fit.best.beta.value == pytest.approx(0.02398, abs=1e-5)
    assert np.isfinite(fit.best.beta.low)


def test_curves_of_two_sizes_borrow_an_interval() -> None:
    """GemNet-dT: 25.7 and 21.1 meV/Å at 2 and 133.9 million frames, in a table with longer curves."""
    fit = next(one for one in fits("fairchem_oc20.csv") if "gemnet-dt" in one.curve.name)
    assert fit.best.beta.value == pytest.approx(np.log(25.7 / 21.1) / np.log(66.967009), rel=1e-6)
    assert fit.best.beta.low < fit.best.beta.value < fit.best.beta.high


def test_a_floor_in_one_seed() -> None:
    """MACE, ν = 3, L = 2 on 3BPA: 0.3418, 0.1547, 0.0886, 0.0732, 0.0631 eV/Å at P = 5, 25, 125, 250, 500."""
    fit = next(
        one
        for one in fits("vita_3bpa_ladder.csv")
        if (one.curve.number("nu"), one.curve.text("metric")) == (3.0, "force_rmse")
    )
    # equal steps of ln 2: the slope is that of the ends, ln(0.088597/0.063148)/ln 4
    assert fit.local.beta.value == pytest.approx(0.24425, abs=1e-4)
    assert fit.form(Form.POWER).beta.value == pytest.approx(0.36747, abs=1e-4)  # np.polyfit on the five points
    # Slopes between neighbours fall: 0.49, 0.35, 0.28, 0.21. A plain power law is excluded, and β > 0.49 with a floor.
    assert fit.recommended is Form.POWER_FLOOR
    assert fit.best.beta.value > 0.49


def test_error_rates_have_floors_and_no_diagnostic_form_is_recommended() -> None:
    found = fits("lcdb_60curves_5seeds.csv")
    assert len(found) == 60
    assert all(one.recommended in (Form.BINOMIAL, Form.BINOMIAL_FLOOR) for one in found)
    assert not {one.recommended for one in found} & set(DIAGNOSTIC)
    forest = next(one for one in found if one.curve.text("dataset") == "openml60")
    # Rates of all seeds: 0.1560, 0.1544, 0.1528, 0.1540, 0.1476, 0.1480 at P = 512 … 4050; unweighted slope 0.030.
    assert forest.local.beta.value == pytest.approx(0.030, abs=0.005)
    assert forest.recommended is Form.BINOMIAL_FLOOR
    assert 0.140 < forest.best.floor < 0.148


def test_no_exponent_in_use_is_steeper_than_the_curve() -> None:
    """M4 gave 0.59, 1.12 and 1.13 for curves whose steepest local slope is 0.14–0.16: the headline cannot."""
    for one in fits("lcdb_60curves_5seeds.csv"):
        rate = np.nanmean(one.curve.error, axis=0)
        first = int(np.argmax(one.curve.sizes >= one.local.low - 0.5))
        if (rate[first:] == 0).any():  # no slope of logarithms
            continue
        steps = -np.diff(np.log(rate[first:])) / np.diff(one.curve.log_sizes[first:])
        assert not one.local.beta.value > steps.max() + 0.01
