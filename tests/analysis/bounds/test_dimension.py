"""Dimension estimators on tori and spheres of known dimension."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.bounds.dimension import (
    calibrate_estimators,
    calibration_text,
    levina_bickel,
    nearest_distances,
    neighbours,
    two_nn,
)
from analysis.bounds.distances import dimension_interval
from analysis.bounds.theory import nearest_distance
from analysis.fits.uncertainty import Interval


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_torus(d: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((4000, d))
    # statistical errors: TwoNN d/√N ≈ 1.6 % before correlation between neighbours, Levina–Bickel below 1 %
    assert two_nn(points, box=1.0) == pytest.approx(d, rel=0.06)
    assert levina_bickel(points, box=1.0) == pytest.approx(d, rel=0.05)
    sizes = 64 * 2 ** np.arange(6)
    distances = nearest_distances(rng.random((12000, d)), rng.random((1500, d)), sizes, box=1.0)
    assert distances.d_eff.value == pytest.approx(d, rel=0.06)  # pre-asymptotic above d = 3 by 2–3 %


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_prefactor_of_the_nearest_distance(d: int) -> None:
    rng = np.random.default_rng(1)
    points, test = rng.random((4000, d)), rng.random((4000, d))
    mean = neighbours(points, test, box=1.0).mean()
    assert mean == pytest.approx(nearest_distance(d, 4000), rel=0.03)  # 1/√4000 times the relative spread, about 1


def test_sphere() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(4000, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert two_nn(points) == pytest.approx(3, rel=0.07)
    assert levina_bickel(points) == pytest.approx(3, rel=0.06)


def test_boundary_biases_a_cube_downwards() -> None:
    rng = np.random.default_rng(3)
    sizes = 64 * 2 ** np.arange(6)
    distances = nearest_distances(rng.random((12000, 8)), rng.random((1500, 8)), sizes)
    assert 6.5 < distances.d_eff.value < 7.6  # an independent computation found 7.2 for d = 8


def test_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds the pool"):
        nearest_distances(np.zeros((10, 2)), np.zeros((5, 2)), np.array([4, 20]))


def test_calibration_shows_the_bias_of_a_boundary() -> None:
    calibrations = {(row.manifold, row.d): row for row in calibrate_estimators()}
    for (manifold, d), row in calibrations.items():
        for value in (row.d_eff.value, row.two_nn, row.levina_bickel):
            if manifold != "cube":
                # three standard errors of TwoNN on 2,000 points (d/√N = 2.2 % each); found within 8 %
                assert value == pytest.approx(d, rel=0.1)
            elif d >= 5:
                assert value < 0.94 * d
    assert "boundary" in calibration_text(list(calibrations.values()))


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (6.1, 15.1, "10.60 ± 4.50"),  # wider than any exponent is, but dimensions are larger numbers
        (-0.2, 21.4, "not determined"),
    ],
)
def test_an_interval_of_a_dimension_is_told_unless_it_reaches_zero(low: float, high: float, text: str) -> None:
    assert dimension_interval(Interval(10.6, low, high, 1.0, 2)) == text
