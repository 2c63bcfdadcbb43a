"""Exponents, intervals and the choice of form on curves with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.calibration.synthetic import curve_rows
from analysis.curve import Curve, curves
from analysis.fits.fit import fit_curve
from analysis.fits.floor import fit_floor
from analysis.fits.moderation import NO_PRIOR, margin
from analysis.fits.noise import Spread
from analysis.fits.results import FitStatus, Form
from analysis.fits.uncertainty import MANY, t_quantile
from analysis.table import check_table

COLUMNS: dict[str, Any] = {"dataset": "toy", "architecture": "mace", "metric": "force_mae", "unit": "eV/Å"}


def one_curve(frame: pd.DataFrame) -> Curve:
    (curve,) = curves(check_table(frame, "synthetic"))
    return curve


def noiseless(beta: float, prefactor: float, floor: float = 0.0, n_seeds: int = 3, n: int = 6) -> Curve:
    rows = curve_rows(
        np.random.default_rng(0),
        beta=beta,
        prefactor=prefactor,
        floor=floor,
        sizes=tuple(16 * 2.0 ** np.arange(n)),
        n_seeds=n_seeds,
        subset=0.0,
        init=0.0,
        **COLUMNS,
    )
    return one_curve(rows)


@pytest.mark.parametrize("beta", [-0.2, 0.0, 0.3, 1.0])
def test_noiseless_power_law(beta: float) -> None:
    fit = fit_curve(noiseless(beta, 0.7))
    power = fit.form(Form.POWER)
    assert power.beta.value == pytest.approx(beta, abs=1e-12)
    assert power.prefactor == pytest.approx(0.7, rel=1e-12)
    assert fit.recommended is Form.POWER


def test_noiseless_floor() -> None:
    fit = fit_curve(noiseless(0.6, 2.0, floor=0.05))
    floored = fit.form(Form.POWER_FLOOR)
    assert fit.recommended is Form.POWER_FLOOR
    # rel 1e-4: root of the optimiser's relative tolerance on the squared residual
    assert (floored.beta.value, floored.prefactor, floored.floor) == pytest.approx((0.6, 2.0, 0.05), rel=1e-4)
    assert floored.status is FitStatus.CONVERGED
    assert fit.form(Form.POWER).beta.value < 0.6  # the bias that the floor form is there for


def test_beta_is_the_mean_of_seed_slopes_with_a_t_interval() -> None:
    sizes = np.array([10.0, 100.0])
    slopes = np.array([0.4, 0.5, 0.9])
    rows = [{**COLUMNS, "P": size, "seed": s, "error": size ** -slopes[s]} for s in range(3) for size in sizes]
    beta = fit_curve(one_curve(pd.DataFrame(rows))).best.beta
    half = 4.302652729696 * slopes.std(ddof=1) / np.sqrt(3)  # tabulated 0.975 quantile of t(2)
    assert (beta.value, beta.low, beta.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), rel=1e-9)


def with_sem(frame: pd.DataFrame, share: float) -> pd.DataFrame:
    return frame.assign(error_test_sem=share * frame["error"])


def test_interval_holds_the_noise_of_the_shared_test_set() -> None:
    """Two values of P, an octave apart: Var β = σ²·2(1 − 0.9)/ln²2, whatever the number of seeds."""
    rows = curve_rows(np.random.default_rng(1), beta=0.5, prefactor=1.0, sizes=(16, 32), **COLUMNS)
    plain, wide = (fit_curve(one_curve(frame)).best for frame in (rows, with_sem(rows, 0.04)))
    assert (plain.method, wide.method) == ("seeds_t", "seeds_t, test set")
    added = 0.04**2 * 0.2 / np.log(2) ** 2
    assert wide.beta.value == plain.beta.value
    assert wide.beta.error**2 == pytest.approx(plain.beta.error**2 + added, rel=1e-9)
    assert wide.beta.dof == pytest.approx(min(MANY, 4 * (wide.beta.error / plain.beta.error) ** 4))  # Satterthwaite
    assert wide.beta.high - wide.beta.low >= plain.beta.high - plain.beta.low


@given(st.floats(1e-6, 10), st.integers(1, 9), st.floats(0, 100))
def test_a_known_variance_never_narrows_an_interval(error: float, dof: int, variance: float) -> None:
    spread = Spread(*(np.array([number]) for number in (error**2, 1.0, 1.0, variance)))
    (half,) = margin(spread, np.array([float(dof)]), NO_PRIOR).half
    # relative round-off of the quantile, over the value that the ends are offset by
    assert half >= t_quantile(dof) * error - 1e-12
    assert half >= 1.9599 * np.sqrt(variance) - 1e-12  # the normal quantile for the known part alone


def test_an_exact_test_set_leaves_the_interval_alone() -> None:
    rows = curve_rows(np.random.default_rng(1), beta=0.5, prefactor=1.0, **COLUMNS)
    plain, exact = (fit_curve(one_curve(frame)).best.beta for frame in (rows, with_sem(rows, 0.0)))
    assert (exact.low, exact.high, exact.dof) == pytest.approx((plain.low, plain.high, plain.dof), rel=1e-12)


def test_a_point_without_standard_error_leaves_the_interval_alone() -> None:
    rows = curve_rows(np.random.default_rng(1), beta=0.5, prefactor=1.0, **COLUMNS)
    partly = with_sem(rows, 0.04)
    partly.loc[partly["P"] == 64, "error_test_sem"] = np.nan
    assert fit_curve(one_curve(partly)).best.beta == fit_curve(one_curve(rows)).best.beta


@pytest.mark.parametrize("floor", [0.0, 0.03])
def test_weights_are_the_derivative_of_the_exponent(floor: float) -> None:
    x = np.log(16 * 2.0 ** np.arange(7))
    y = np.log(np.exp(-0.5 * x) + floor) + np.array([0.01, -0.02, 0.0, 0.02, 0.01, -0.01, -0.01])
    fitted = fit_floor(x, y[None])
    assert bool(fitted.phi[0] > 0.01) == (floor > 0)
    step = 1e-3
    moved = fit_floor(x, np.concatenate([y + step * np.eye(7), y - step * np.eye(7)])).beta
    weights = fitted.weights(x, np.ones((1, 7), dtype=bool))[0]
    # Gauss–Newton leaves out the curvature of the model times the residuals (≤ 0.02): a few per cent of the largest
    assert weights == pytest.approx((moved[:7] - moved[7:]) / (2 * step), abs=0.1 * np.abs(weights).max())


def test_one_seed_has_the_interval_of_nested_subsets() -> None:
    """Generalised variances of least squares under R = √(P/P′), written out; three times that of independent points."""
    rows = curve_rows(np.random.default_rng(1), beta=0.5, prefactor=1.0, n_seeds=1, **COLUMNS)
    fit = fit_curve(one_curve(rows)).form(Form.POWER)
    assert fit.method.startswith("one_run")
    x, y = np.log(rows["P"].to_numpy()), np.log(rows["error"].to_numpy())
    design = np.stack([np.ones_like(x), x], axis=1)
    correlation = np.exp(-np.abs(x[:, None] - x) / 2)
    inverse = np.linalg.inv(design.T @ design)
    project = np.eye(len(x)) - design @ inverse @ design.T
    variance = (y @ project @ y) / np.trace(project @ correlation)
    expected = np.sqrt(variance * (inverse @ design.T @ correlation @ design @ inverse)[1, 1])
    slope, covariance = np.polyfit(x, y, 1, cov=True)
    beta = fit.beta if fit.alone is None else fit.alone
    assert beta.value == pytest.approx(-slope[0], rel=1e-10)
    assert beta.error == pytest.approx(expected, rel=1e-10)
    assert beta.error > 1.5 * np.sqrt(covariance[0, 0])


def test_two_sizes_one_seed_has_no_interval_and_no_floor() -> None:
    fit = fit_curve(noiseless(0.5, 1.0, n_seeds=1, n=2))
    assert fit.best.beta.value == pytest.approx(0.5)
    assert np.isnan(fit.best.beta.low)
    assert fit.form(Form.POWER_FLOOR).status is FitStatus.TOO_FEW_POINTS


def test_seed_with_missing_runs_enters_the_means_of_those_it_has() -> None:
    rows = curve_rows(np.random.default_rng(2), beta=0.5, prefactor=1.0, n_seeds=4, **COLUMNS)
    cut = rows[~((rows["seed"] == 3) & (rows["P"] > 32))]
    without, fit = fit_curve(one_curve(rows[rows["seed"] < 3])), fit_curve(one_curve(cut))
    assert fit.seeds == (3, 4)
    assert list(fit.seeds_used) == [True, True, True, False]
    assert fit.form(Form.POWER).beta.value != without.form(Form.POWER).beta.value


def test_interval_covers_with_nested_subsets() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(150):
        rows = curve_rows(rng, beta=0.5, prefactor=1.0, subset=0.05, init=0.03, **COLUMNS)
        beta = fit_curve(one_curve(rows), (Form.POWER,)).form(Form.POWER).beta
        hits += beta.low <= 0.5 <= beta.high
    # Binomial(150, 0.95) falls below 134 with probability 0.2 %; OLS on the means would give about 123.
    assert hits >= 134


def test_band_covers_the_mean_fit() -> None:
    fit = fit_curve(one_curve(curve_rows(np.random.default_rng(4), beta=0.5, prefactor=1.0, **COLUMNS))).best
    middle, low, high = fit.band(np.array([16.0, 512.0]))
    assert np.all(low < middle)
    assert np.all(middle < high)
    assert middle == pytest.approx(fit.prefactor * np.array([16.0, 512.0]) ** -fit.beta.value, rel=1e-10)
