"""Local slopes and Hestness's regions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.curve import Curve, curves
from analysis.fits.fit import fit_curve
from analysis.fits.regions import Regions, local_slopes, regions
from analysis.table import check_table

SIZES = 8.0 * 2.0 ** np.arange(9)


def curve_of(clean: Any, noise: float = 0.01) -> Curve:
    rng = np.random.default_rng(0)
    rows = [
        {"dataset": "a", "architecture": "b", "metric": "m", "P": p, "seed": s}
        | {"error": value * np.exp(noise * rng.normal())}
        for s in range(5)
        for p, value in zip(SIZES, clean, strict=True)
    ]
    return curves(check_table(pd.DataFrame(rows), "t"))[0]


def regions_of(curve: Curve) -> Regions:
    return regions(curve, fit_curve(curve).seeds_used)


def test_plain_power_law_is_one_region() -> None:
    assert regions_of(curve_of(SIZES**-0.5)) == Regions(None, (8.0, 2048.0), None)


def test_three_regions() -> None:
    clean = np.clip(SIZES, 32, 512) ** -0.7
    assert regions_of(curve_of(clean)) == Regions((8.0, 32.0), (32.0, 512.0), (512.0, 2048.0))


def test_flat_curve_is_floor_throughout() -> None:
    assert regions_of(curve_of(np.ones_like(SIZES))) == Regions(None, None, (8.0, 2048.0))


def test_local_slopes_are_the_exponent_of_a_power_law() -> None:
    curve = curve_of(SIZES**-0.4, noise=0.0)
    slopes = local_slopes(curve, fit_curve(curve).seeds_used)
    assert [step.beta.value for step in slopes] == pytest.approx([0.4] * 8, rel=1e-9)
    assert (slopes[0].low, slopes[0].high) == (8.0, 16.0)


def test_two_seeds_are_enough_to_see_that_a_power_law_falls() -> None:
    """No single step of two noisy seeds is significant, but the curve as a whole is."""
    for seed in range(30):
        frame = curve_rows(
            np.random.default_rng(seed),
            beta=0.5,
            prefactor=1.0,
            n_seeds=2,
            subset=0.05,
            init=0.03,
            dataset="a",
            architecture="b",
            metric="m",
        )
        (curve,) = curves(check_table(frame, "t"))
        assert regions_of(curve).power_law is not None
