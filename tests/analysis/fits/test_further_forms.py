"""The curved forms, Huber's line and the binomial likelihood on curves with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.curve import Curve, curves
from analysis.fits.binomial import rate_line
from analysis.fits.fit import fit_curve
from analysis.fits.forms import BNSL, M4, CurvedForm, SolverStatus, huber_lines, solve
from analysis.fits.results import FitStatus, Form
from analysis.table import check_table

SIZES = 8.0 * 2.0 ** np.arange(12)
X = np.log(SIZES) - np.log(SIZES).mean()


def curve_of(log_error: Any, sizes: Any = SIZES, **columns: Any) -> Curve:
    rows = [
        {"dataset": "a", "architecture": "b", "metric": "m", **columns, "P": p, "seed": s, "error": np.exp(value)}
        for s, line in enumerate(np.atleast_2d(log_error))
        for p, value in zip(sizes, line, strict=True)
    ]
    return curves(check_table(pd.DataFrame(rows), "t"))[0]


@pytest.mark.parametrize(("c0", "c1", "log_f"), [(0.1, 0.6, -1.5), (0.8, -0.6, -0.5)])
def test_bnsl_recovers_a_broken_power_law(c0: float, c1: float, log_f: float) -> None:
    truth = np.array([0.3, c0, c1, 0.2, log_f])
    solution = solve(BNSL, X, BNSL.predict(truth, X))
    # the exponents far from the break; tolerance: least squares stops at 1e-8 of a cost that is zero here
    assert BNSL.beta(solution.theta) == pytest.approx(c0 + c1, abs=1e-3)
    assert solution.sse < 1e-8
    assert solution.status is SolverStatus.CONVERGED


@pytest.mark.parametrize("beta", [0.5, 1.2])
def test_m4_recovers_plateau_power_law_and_floor(beta: float) -> None:
    truth = np.array([0.0, np.log(0.02 / 0.98), 0.0, beta, -1.0])
    solution = solve(M4, X, M4.predict(truth, X))
    assert M4.beta(solution.theta) == pytest.approx(beta, abs=2e-2)
    assert solution.sse < 1e-7


def test_m4_satisfies_its_equation() -> None:
    theta = np.array([0.4, -3.0, 0.7, 0.8, 0.5])
    error = np.exp(M4.predict(theta, X))
    top = np.exp(0.4)
    floor = top / (1 + np.exp(3.0))
    # (ε − c)/(ε₀ − ε)^α = b·P^(−β) with b fixed by the parameterisation: its log is linear in ln P with slope −β
    left = np.log(error - floor) - np.exp(0.7) * np.log(top - error)
    assert np.diff(left) / np.diff(X) == pytest.approx(-0.8, rel=1e-6)


def test_curved_forms_need_seven_sizes_and_give_statuses() -> None:
    short = fit_curve(curve_of(-0.5 * X[:6], SIZES[:6]))
    assert short.form(Form.M4).status is FitStatus.TOO_FEW_POINTS
    long = fit_curve(curve_of(np.stack([-0.5 * X, -0.5 * X + 0.01, -0.52 * X])))
    assert long.form(Form.BNSL_1).method == "seeds_jackknife"
    assert long.recommended is Form.POWER


def test_m4_is_never_recommended() -> None:
    """Even where it predicts a plateau best: its β is no slope of the curve."""
    truth = np.array([0.0, -16.0, 0.0, 0.8, 0.5])
    rng = np.random.default_rng(0)
    log_error = M4.predict(truth, X) + 0.005 * rng.normal(size=(4, len(X)))
    fit = fit_curve(curve_of(log_error))
    assert fit.form(Form.M4).beta.value == pytest.approx(0.8, abs=0.05)  # about three standard errors of such a fit
    assert fit.form(Form.M4).aicc < fit.form(Form.POWER).aicc - 10
    assert fit.recommended in (Form.POWER, Form.POWER_FLOOR)


@pytest.mark.parametrize(
    ("form", "theta"), [(BNSL, [0.3, 0.1, 0.6, 0.2, -0.5]), (M4, [0.4, -3.0, 0.7, 0.8, 0.5])], ids=["bnsl", "m4"]
)
def test_derivatives_of_the_curved_forms(form: CurvedForm, theta: list[float]) -> None:
    start = np.array(theta)
    step = np.finfo(float).eps ** (1 / 3)  # balances truncation and round-off of a central difference
    moved = np.stack([form.predict(start + d, X) - form.predict(start - d, X) for d in step * np.eye(5)], axis=1)
    # the error of a central difference is of the order of step² = 4e-11
    assert form.model(start[None], X[None])[1][0] == pytest.approx(moved / (2 * step), abs=1e-8)


def test_huber_ignores_one_bad_point() -> None:
    rng = np.random.default_rng(1)
    y = -0.5 * X + 0.01 * rng.normal(size=len(X))
    y[1] += 1.0
    plain = np.polyfit(X, y, 1)[0]
    (slope,), _ = huber_lines(X, y[None])
    assert abs(slope + 0.5) < 0.5 * abs(plain + 0.5)


def test_binomial_uses_zeros_that_a_logarithm_cannot() -> None:
    rng = np.random.default_rng(2)
    rate = 0.4 * (SIZES / SIZES[0]) ** -0.9
    rows = [
        {"dataset": "a", "architecture": "b", "metric": "error_rate", "P": p, "seed": s, "n_test": 1000}
        | {"error": rng.binomial(1000, r) / 1000}
        for s in range(5)
        for p, r in zip(SIZES, rate, strict=True)
    ]
    assert any(row["error"] == 0 for row in rows)
    (curve,) = curves(check_table(pd.DataFrame(rows), "t"))
    fit = fit_curve(curve)
    assert fit.recommended is Form.BINOMIAL
    # five seeds' likelihood slopes scatter by 0.03 each: 0.9 within four standard errors of their mean
    assert fit.best.beta.value == pytest.approx(0.9, abs=4 * 0.03 / np.sqrt(5))


def test_binomial_slope_is_unbiased() -> None:
    rng = np.random.default_rng(5)
    rate = 0.4 * (SIZES / SIZES[0]) ** -0.9
    counts = np.full((500, 12), 1e3)
    _, beta = rate_line(np.log(SIZES), rng.binomial(1000, rate, size=(500, 12)) / 1e3, counts)
    # Fisher's information: the slope of one curve has a standard error of 0.03
    assert beta.mean() == pytest.approx(0.9, abs=4 * 0.03 / np.sqrt(500))
    assert beta.std() == pytest.approx(0.03, rel=0.13)  # sd of 500: 3.2 %, four times that
