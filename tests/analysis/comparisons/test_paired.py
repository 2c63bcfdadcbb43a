"""Paired differences, their power, floors and equal-error ratios, each against a known answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.calibration.synthetic import curve_rows
from analysis.comparisons.differences import floor_difference, slope_difference, with_training
from analysis.comparisons.paired import (
    Pair,
    Survival,
    common_slope,
    detectable,
    excludes_zero,
    holm,
    pair,
    random_effects,
    survival,
    train_floor_difference,
)
from analysis.curve import Curve, curves
from analysis.fits.remainder import UNTOLD, Kappa
from analysis.fits.uncertainty import Interval, t_interval
from analysis.table import check_table


def curve(seed: int = 0, **settings: Any) -> Curve:
    columns = {"dataset": "a", "architecture": "b", "metric": "m", **settings}
    return curves(check_table(curve_rows(np.random.default_rng(seed), **columns), "t"))[0]


def matched(first: Curve, second: Curve) -> Pair:
    matched_pair = pair(first, second)
    assert matched_pair is not None
    return matched_pair


def test_pairing_removes_what_the_subsets_share() -> None:
    # the same generator draws the same noise: only the exponents differ
    matched_pair = matched(curve(beta=0.5, prefactor=1.0), curve(beta=0.6, prefactor=1.0))
    delta = slope_difference(matched_pair)
    assert matched_pair.paired
    assert delta.value == pytest.approx(0.1, abs=1e-12)
    assert delta.error == pytest.approx(0.0, abs=1e-12)


def test_only_common_sizes_enter() -> None:
    short = curve(beta=0.5, prefactor=1.0, sizes=(16, 32, 64))
    assert matched(short, curve(beta=0.5, prefactor=1.0)).log_p == pytest.approx(np.log([16, 32, 64]))
    assert pair(short, curve(beta=0.5, prefactor=1.0, sizes=(100, 200))) is None


def test_seeds_that_do_not_match_give_welch() -> None:
    first = curve(beta=0.5, prefactor=1.0)
    rows = curve_rows(np.random.default_rng(1), beta=0.6, prefactor=1.0, dataset="a", architecture="b", metric="m")
    second = curves(check_table(rows.assign(seed=rows["seed"] + 100), "t"))[0]
    matched_pair = matched(first, second)
    delta = slope_difference(matched_pair)
    slopes = [
        -np.polyfit(matched_pair.log_p, rows.T, 1)[0] for rows in (matched_pair.first_log, matched_pair.second_log)
    ]
    reference = stats.ttest_ind(slopes[1], slopes[0], equal_var=False).confidence_interval(0.95)
    assert not matched_pair.paired
    assert (delta.low, delta.high) == pytest.approx((reference.low, reference.high), rel=1e-9)


@pytest.mark.parametrize("kappa", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("left", [-0.3, 0.01, 0.3])
def test_more_training_gets_to_the_limit_of_the_law(left: float, kappa: float) -> None:
    """Δβ = 0.1 + left·T^(−κ): the hull holds 0.1 and its ends are those of κ = ½ and 1, where κ is not told."""
    matched_pair = matched(curve(beta=0.5, prefactor=1.0), curve(beta=0.5, prefactor=1.0))

    def after(times: float) -> Pair:
        slope = 0.1 + left * times**-kappa
        return replace(matched_pair, second_log=matched_pair.first_log - slope * matched_pair.log_p)

    told = Kappa(*(np.array(kappa),) * 3, np.array(True))
    for one in (UNTOLD, told):
        interval = with_training(replace(after(1), half=after(0.5)), one)
        # the difference has no noise here, so the hull is that of three numbers
        assert interval.low - 1e-9 < 0.1 < interval.high + 1e-9
        ends = (0.1, 0.1 + left) if one is told or kappa == 0.5 else (interval.low, interval.high)
        assert (interval.low, interval.high) == pytest.approx((min(ends), max(ends)))


def test_without_a_half_budget_what_more_training_does_is_unknown() -> None:
    matched_pair = replace(matched(curve(beta=0.5, prefactor=1.0), curve(seed=1, beta=0.6, prefactor=1.0)), half=None)
    interval = with_training(matched_pair, UNTOLD)
    assert np.isnan([interval.low, interval.high]).all()


def test_half_budgets_are_those_of_the_same_runs() -> None:
    """Seeds and sizes that only one curve has are left out of both budgets; an error of 0 leaves no half budget."""
    first, second = curve(beta=0.5, prefactor=1.0), curve(seed=1, beta=0.6, prefactor=1.0)
    halved = replace(first, half_budget=3 * first.error), replace(second, half_budget=2 * second.error)
    fewer = replace(
        halved[1],
        seeds=halved[1].seeds[1:],
        error=halved[1].error[1:],
        half_budget=halved[1].half_budget[1:],
    )
    matched_pair = matched(halved[0], fewer)
    assert matched_pair.half is not None
    np.testing.assert_allclose(matched_pair.half.first_log - matched_pair.first_log, np.log(3))
    np.testing.assert_allclose(matched_pair.half.second_log - matched_pair.second_log, np.log(2))
    assert len(matched_pair.first_log) == len(first.seeds) - 1
    nothing = fewer.half_budget.copy()
    nothing[0, 0] = 0.0
    assert matched(halved[0], replace(fewer, half_budget=nothing)).half is None


def test_detectable_difference_has_the_power_it_says() -> None:
    rng = np.random.default_rng(0)
    interval = t_interval(rng.normal(size=5))
    size = detectable(interval)
    sigma = interval.error * np.sqrt(5)
    detected = [excludes_zero(t_interval(size + sigma * rng.normal(size=5))) for _ in range(4000)]
    assert np.mean(detected) == pytest.approx(0.8, abs=0.02)  # binomial standard error 0.006


def test_a_floor_that_fakes_a_difference_is_seen_through() -> None:
    plain = curve(0, beta=0.6, prefactor=1.0, sizes=tuple(16 * 2.0 ** np.arange(8)), subset=0.01, init=0.01)
    floored = curve(
        1, beta=0.6, prefactor=1.0, floor=0.02, sizes=tuple(16 * 2.0 ** np.arange(8)), subset=0.01, init=0.01
    )
    matched_pair = matched(floored, plain)
    delta, corrected = slope_difference(matched_pair), floor_difference(matched_pair)
    assert delta.low > 0.03
    assert survival(delta, corrected) is Survival.VANISHES


def test_a_real_difference_survives() -> None:
    sizes = tuple(16 * 2.0 ** np.arange(8))
    low = curve(0, beta=0.4, prefactor=1.0, floor=0.01, sizes=sizes, subset=0.01, init=0.01)
    high = curve(1, beta=0.7, prefactor=1.0, floor=0.001, sizes=sizes, subset=0.01, init=0.01)
    matched_pair = matched(low, high)
    assert survival(slope_difference(matched_pair), floor_difference(matched_pair)) is Survival.SURVIVES


def test_survival_without_a_difference_or_a_floor_fit() -> None:
    nothing = Interval(0.0, -0.1, 0.1, 0.05, 4)
    unknown = Interval(np.nan, np.nan, np.nan, np.nan, 0)
    assert survival(nothing, unknown) is Survival.NO_DIFFERENCE
    assert survival(Interval(0.2, 0.1, 0.3, 0.05, 4), unknown) is Survival.NOT_TESTABLE


def test_training_error_as_floor() -> None:
    def exact(beta: float, floor: float) -> Curve:
        sizes = np.array([16.0, 32, 64, 128, 256])
        rows = [
            {"dataset": "a", "architecture": "b", "metric": "m", "P": p, "seed": s, "error": p**-beta + floor}
            | {"train_error": floor}
            for s in range(2)
            for p in sizes
        ]
        return curves(check_table(pd.DataFrame(rows), "t"))[0]

    matched_pair = matched(exact(0.4, 0.05), exact(0.7, 0.01))
    assert train_floor_difference(matched_pair) == pytest.approx(0.3, abs=1e-9)


def test_holm_by_hand() -> None:
    adjusted = holm(np.array([0.01, 0.04, np.nan, 0.03]))
    assert adjusted[[0, 1, 3]] == pytest.approx([0.03, 0.06, 0.06])  # 3·0.01; max(2·0.03, 0.04); 2·0.03
    assert np.isnan(adjusted[2])
    assert np.isnan(holm(np.full(2, np.nan))).all()


def test_common_slope_is_the_paired_t_test_for_two_curves() -> None:
    slopes = np.random.default_rng(0).normal(size=(6, 2))
    f, p = common_slope(slopes)
    reference = stats.ttest_rel(slopes[:, 0], slopes[:, 1])
    assert f == pytest.approx(reference.statistic**2)
    assert p == pytest.approx(reference.pvalue)


def test_random_effects() -> None:
    # equal errors, well below the spread: the plain mean and the t interval of the values (HKSJ)
    values = np.array([0.1, 0.3, 0.2, 0.6])
    mean, between = random_effects(values, np.full(4, 0.05))
    reference = t_interval(values)
    assert (mean.low, mean.value, mean.high) == pytest.approx((reference.low, reference.value, reference.high))
    assert between == pytest.approx(np.sqrt(values.var(ddof=1) - 0.05**2))  # DerSimonian–Laird for equal weights


@pytest.mark.parametrize("scale", [0.05, 1.0])  # datasets that differ; datasets that differ less than their errors
def test_random_effects_by_hand(scale: float) -> None:
    """DerSimonian and Laird's variance, cut at zero, with Knapp and Hartung's max(1, q), from their formulas."""
    values, errors = np.array([0.1, 0.3, 0.2, 0.6]), scale * np.array([1.0, 2.0, 0.5, 1.5])
    weights = 1 / errors**2
    spread = weights @ (values - weights @ values / weights.sum()) ** 2
    variance = max(0.0, (spread - 3) / (weights.sum() - (weights**2).sum() / weights.sum()))
    weights = 1 / (errors**2 + variance)
    value = weights @ values / weights.sum()
    q = weights @ (values - value) ** 2 / 3
    half = stats.t.ppf(0.975, 3) * np.sqrt(max(1.0, q) / weights.sum())
    mean, between = random_effects(values, errors)
    # sums of four terms of order one: round-off
    assert (mean.low, mean.value, mean.high) == pytest.approx((value - half, value, value + half), abs=1e-12)
    assert between == pytest.approx(np.sqrt(variance), abs=1e-12)
    assert (variance > 0) == (scale < 1)
    assert (q < 1) == (scale == 1.0)


def test_datasets_that_agree_by_chance_are_not_surer_than_their_errors() -> None:
    """Three equal values: what is known of the mean is 0.1/√3, as for a fixed effect."""
    mean, between = random_effects(np.full(3, 0.2), np.full(3, 0.1))
    assert mean.error == pytest.approx(0.1 / np.sqrt(3))
    assert between == 0.0


def test_a_floor_that_seeds_share_leaves_no_difference() -> None:
    """One exponent, a floor in the first: the slopes differ, the exponents beside floors do not."""
    settings: dict[str, Any] = {
        "prefactor": 1.0,
        "subset": 0.01,
        "init": 0.01,
        "sizes": (16, 32, 64, 128, 256, 512, 1024),
    }
    matched_pair = matched(curve(1, beta=0.6, floor=0.007, **settings), curve(2, beta=0.6, **settings))
    assert slope_difference(matched_pair).low > 0.05
    joint = floor_difference(matched_pair)
    assert joint.low < 0 < joint.high
    assert joint.high - joint.low < 0.1
    assert joint.dof == 4


def test_seeds_that_do_not_match_are_independent_samples_of_floors() -> None:
    one = curve(1, beta=0.6, prefactor=1.0)
    other = replace(curve(2, beta=0.7, prefactor=1.0), seeds=("a", "b", "c", "d", "e"))
    joint = floor_difference(matched(one, other))
    assert not matched(one, other).paired
    assert joint.low < 0.1 < joint.high


def test_floors_of_flat_curves_or_few_sizes_are_not_identified() -> None:
    steep = curve(1, beta=0.6, prefactor=1.0)
    flat = replace(steep, error=np.exp(1e-3 * steep.log_sizes) * np.ones_like(steep.error))
    assert np.isnan(floor_difference(matched(flat, steep)).value)
    short = curve(1, beta=0.6, prefactor=1.0, sizes=(16, 32, 64, 128))
    assert np.isnan(floor_difference(matched(short, steep)).value)
