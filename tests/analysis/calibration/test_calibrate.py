"""Coverage: the default holds on simulated nested subsets and on real nested learners, and the usual ways do not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.calibrate import (
    ACCEPTED,
    FLOOR,
    METHODS,
    POWER,
    RECOMMENDED,
    Scenario,
    coverage_summary,
    measure_coverage,
    miscalibrated,
    ols_means,
    recommended,
    seed_bootstrap,
    seeds_t,
    simulate,
    standard_errors,
)
from analysis.calibration.learners import kernel_interpolator, nearest_neighbour
from analysis.curve import curves
from analysis.fits.fit import fit_curve
from analysis.fits.results import Form
from analysis.table import check_table


def coverage(method: str, scenario: Scenario, n: int = 4000) -> float:
    rng = np.random.default_rng(0)
    x, y = simulate(scenario, n, rng)
    return float(METHODS[method](x, y, standard_errors(scenario, n, rng)).holds(scenario.beta).mean())


@pytest.mark.parametrize("n_seeds", [3, 5])
@pytest.mark.parametrize("nested", [True, False])
def test_default_covers_without_a_floor(n_seeds: int, nested: bool) -> None:
    share = coverage(POWER, Scenario("", n_seeds, 7, nested=nested, test=0.0))
    # without shared test noise the t interval is exact: 0.95 within three binomial standard errors (0.0034)
    assert share == pytest.approx(0.95, abs=0.0104)


def test_shared_test_set_costs_little() -> None:
    assert ACCEPTED[0] <= coverage(POWER, Scenario("", 5, 9)) <= ACCEPTED[1]


@pytest.mark.parametrize(
    ("n_seeds", "n_sizes", "correlation"), [(3, 5, 0.9), (5, 7, 0.9), (5, 9, 0.9), (3, 5, 0.85), (5, 7, 0.85)]
)
def test_a_small_test_set_is_covered(n_seeds: int, n_sizes: int, correlation: float) -> None:
    scenario = Scenario("", n_seeds, n_sizes, test=0.04, test_correlation=correlation)
    assert ACCEPTED[0] <= coverage(POWER, scenario) <= ACCEPTED[1]
    assert ACCEPTED[0] <= coverage(RECOMMENDED, scenario, 2500) <= ACCEPTED[1]


def test_without_its_standard_error_a_small_test_set_is_not_covered() -> None:
    x, y = simulate(Scenario("", 5, 7, test=0.04), 2000, np.random.default_rng(0))
    assert seeds_t(x, y).holds(0.5).mean() < 0.88


def test_usual_intervals_are_too_narrow_on_nested_subsets() -> None:
    scenario = Scenario("", 5, 9)
    assert coverage("power: OLS on per-P means", scenario) < 0.85
    assert coverage("power: bootstrap over seeds", scenario) < 0.85


def test_floor_form_covers_a_floor() -> None:
    scenario = Scenario("", 5, 9, floor_share=0.4)
    assert coverage(FLOOR, scenario, 1000) > 0.92
    assert coverage(RECOMMENDED, scenario, 1000) > 0.9
    assert coverage(POWER, scenario, 1000) < 0.1  # the plain power law is the wrong model there


@pytest.mark.parametrize(("n_seeds", "n_sizes"), [(3, 5), (5, 5), (3, 9), (5, 9)])
def test_choosing_the_form_costs_no_coverage(n_seeds: int, n_sizes: int) -> None:
    share = coverage(RECOMMENDED, Scenario("", n_seeds, n_sizes), 2500)
    # found 94.5–96.0 % with 4,000 tables in every scenario; one and a half binomial standard errors are 0.7 %
    assert ACCEPTED[0] <= share <= ACCEPTED[1]


def test_an_open_floor_is_taken_in() -> None:
    """Six P and a floor of 40 %: too few to choose the floor form each time, and the interval says so."""
    x, y = simulate(Scenario("", 5, 6, floor_share=0.4), 1000, np.random.default_rng(0))
    estimates, plain = recommended(x, y), seeds_t(x, y)
    assert estimates.holds(0.5).mean() > 0.85
    assert plain.holds(0.5).mean() < 0.05
    assert np.all(estimates.high >= plain.high - 1e-12)  # a floor only ever raises β


@pytest.mark.parametrize("learner", [nearest_neighbour, kernel_interpolator])
def test_real_nested_learners_have_their_exponent(learner: object) -> None:
    x, y = learner(60, np.random.default_rng(0))  # type: ignore[operator]
    estimates = seeds_t(x, y)
    # both have β = 1/2 up to O(1/P_min), below 0.003 here; the mean of 60 tables is known to about 0.001
    assert estimates.value.mean() == pytest.approx(0.5, abs=0.006)
    assert int(estimates.holds(0.5).sum()) >= 52  # binomial(60, 0.95) falls below with probability 0.3 %


def test_report_marks_what_it_does_not_claim() -> None:
    rows = measure_coverage(n=300, n_learner=5)
    assert {row.scenario for row in miscalibrated(rows)} <= {row.scenario for row in rows if row.claimed}
    assert not any(row.claimed for row in rows if row.floor or "one teacher" in row.scenario)
    summary = coverage_summary(rows)
    assert "recommended (default): covers" in summary
    assert "with a floor of 10–40 %" in summary


def test_recommended_method_is_what_the_program_recommends() -> None:
    small = Scenario("", 5, 6, floor_share=0.3, test=0.04)
    for scenario, known in ((Scenario("", 5, 7), False), (Scenario("", 5, 7), True), (small, False), (small, True)):
        x, y = simulate(scenario, 40, np.random.default_rng(0))
        sem = standard_errors(scenario, 40, np.random.default_rng(1)) if known else None
        estimates = recommended(x, y, sem)
        for i in range(40):
            rows = [
                {"dataset": "a", "architecture": "b", "metric": "m", "P": np.exp(x[k]), "seed": s}
                | {"error": np.exp(y[i, s, k])}
                | ({} if sem is None else {"error_test_sem": sem[i, k] * np.exp(y[i, s, k])})
                for s in range(5)
                for k in range(len(x))
            ]
            (curve,) = curves(check_table(pd.DataFrame(rows), "t"))
            beta = fit_curve(curve, (Form.POWER,)).best.beta
            expected = (estimates.value[i], estimates.low[i], estimates.high[i])
            assert (beta.value, beta.low, beta.high) == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_methods_agree_on_the_point_estimate() -> None:
    x, y = simulate(Scenario("", 5, 7), 50, np.random.default_rng(0))
    mean_of_slopes, slope_of_means = seeds_t(x, y), ols_means(x, y)
    assert mean_of_slopes.value == pytest.approx(slope_of_means.value, rel=1e-10)
    assert np.all(seed_bootstrap(x, y).half < mean_of_slopes.half)
