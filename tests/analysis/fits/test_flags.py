"""Verdicts and flags, each raised by a curve made to deserve it and by no clean curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.curve import curves
from analysis.fits.fit import fit_curve
from analysis.fits.flags import Flag, Judgement, Verdict, judge
from analysis.fits.record import summary
from analysis.fits.results import Form
from analysis.table import check_table

COLUMNS: dict[str, Any] = {"dataset": "toy", "architecture": "mace", "metric": "force_mae", "converged": True}


def verdict(frame: pd.DataFrame, *, drop_bad: bool = False) -> Judgement:
    (curve,) = curves(check_table(frame, "synthetic", drop_bad=drop_bad))
    return judge(fit_curve(curve))


def rows(**changes: object) -> pd.DataFrame:
    settings: dict[str, Any] = {"beta": 0.5, "prefactor": 1.0, **COLUMNS, **changes}
    return curve_rows(np.random.default_rng(0), **settings)


def test_clean_curve_has_no_flags() -> None:
    assert verdict(rows(undertrained=0.0)).flags == ()


def test_closed_form_has_no_verdict_and_no_caution() -> None:
    judged = verdict(rows())
    assert judged.verdict is Verdict.NONE
    assert not {Flag.CONVERGENCE_UNKNOWN, Flag.NOT_CONVERGED, Flag.TRAINING_OPEN} & set(judged.flags)


def test_unknown_convergence_is_said() -> None:
    frame = rows().drop(columns="converged")
    assert verdict(frame).verdict is Verdict.NONE
    assert Flag.CONVERGENCE_UNKNOWN in verdict(frame).flags


def test_two_sizes_and_one_seed_cannot_tell() -> None:
    judged = verdict(rows(sizes=(16, 64), n_seeds=1, undertrained=0.1))
    assert judged.verdict is Verdict.CANNOT_TELL
    assert Flag.TRAINING_OPEN in judged.flags


def test_runs_too_short_to_have_trained_are_no_evidence_of_convergence() -> None:
    """Both budgets agree to the last digit, at the error of the mean: β = 0 from both."""
    frame = rows(beta=0.0, undertrained=0.0)
    assert verdict(frame).verdict is Verdict.CONVERGED  # the premise
    judged = verdict(frame.assign(converged=False, too_short=True))
    assert judged.verdict is Verdict.NOT_CONVERGED
    assert {Flag.NOT_CONVERGED, Flag.TOO_SHORT} <= set(judged.flags)
    one = frame.assign(too_short=[i == 3 for i in range(len(frame))])
    assert verdict(one).verdict is Verdict.NOT_CONVERGED
    assert verdict(frame.assign(too_short="")).verdict is Verdict.CONVERGED


def test_under_and_well_trained_curves() -> None:
    """Half a budget that costs the largest P 20 % flattens β by 0.05, so that as much is left at least; 0.1 % is
    nothing."""
    assert verdict(rows(undertrained=np.log(1.2))).verdict is Verdict.NOT_CONVERGED
    assert verdict(rows(undertrained=np.log(1.001))).verdict is Verdict.CONVERGED


@pytest.mark.parametrize(("share", "limited"), [(0.30, True), (0.36, False), (0.0, True), (None, None)])
def test_data_limited_below_a_third(share: float | None, limited: bool | None) -> None:
    frame = rows(undertrained=0.0)
    if share is not None:
        frame = frame.assign(train_error=share * frame["error"])
    assert verdict(frame).data_limited is limited


def test_one_size_that_is_not_data_limited_is_enough() -> None:
    frame = rows(undertrained=0.0)
    share = np.where(frame["P"] == 512, 0.5, 0.1)
    assert verdict(frame.assign(train_error=share * frame["error"])).data_limited is False


@pytest.mark.parametrize(
    ("P", "flagged"),
    [((16, 32, 64, 128, 256, 512), True), ((16, 32), False), ((512,), True)],
)
def test_nothing_learned_at_the_largest_size(P: tuple[int, ...], flagged: bool) -> None:
    frame = rows(undertrained=0.0)
    judged = verdict(frame.assign(learned=~frame["P"].isin(P)))
    assert (Flag.LEARNED_NOTHING in judged.flags) == flagged


def alternate(frame: pd.DataFrame, column: str, values: tuple[Any, Any]) -> pd.DataFrame:
    changed = frame.copy()
    changed[column] = [values[i % 2] for i in range(len(frame))]
    return changed


@pytest.mark.parametrize(
    ("frame", "flag"),
    [
        (alternate(rows(), "converged", (True, False)), Flag.UNCONVERGED_RUNS),
        (alternate(rows(), "code_version", ("a", "b")), Flag.MIXED_COMMITS),
        (alternate(rows(), "device", ("cpu", "cuda")), Flag.MIXED_DEVICES),
        (rows().assign(pool_size=1000), Flag.OVERLAPPING_SUBSETS),
        (rows().assign(subset_seed=0), Flag.SHARED_SUBSETS),
        (rows().drop(columns="seed"), Flag.NO_SEEDS),
        (rows(n_seeds=1), Flag.ONE_SEED),
        (rows(n_seeds=2), Flag.FEW_SEEDS),
        (rows(sizes=(16, 32, 64)), Flag.FEW_P),
        (rows().iloc[1:], Flag.INCOMPLETE_SEEDS),
        (rows(beta=0.7, floor=0.05), Flag.FLOOR_DOMINATED),
        (rows(beta=0.7, floor=0.05), Flag.CURVATURE),
        (rows(beta=0.0, init=0.001, subset=0.001), Flag.FLOOR_DOMINATED),
        (rows(beta=-0.2), Flag.NON_MONOTONE),
    ],
)
def test_each_flag_has_a_curve_that_raises_it(frame: pd.DataFrame, flag: Flag) -> None:
    assert flag in verdict(frame).flags


def test_pool_large_enough_for_disjoint_seeds_is_not_flagged() -> None:
    assert Flag.OVERLAPPING_SUBSETS not in verdict(rows().assign(pool_size=5 * 512)).flags


def test_training_error_at_the_test_error_is_a_floor() -> None:
    frame = rows().assign(train_error=lambda f: 0.9 * f["error"])
    assert Flag.FLOOR_DOMINATED in verdict(frame).flags


def test_training_error_at_the_test_error_is_the_limit_of_a_fixed_basis() -> None:
    """Of linear ACE alone: a network's features are learned, and further training may change them."""
    frame = rows(architecture="ace").assign(train_error=lambda f: 0.9 * f["error"])
    assert Flag.BASIS_LIMIT in verdict(frame).flags
    (curve,) = curves(check_table(frame, "synthetic"))
    fit = fit_curve(curve)
    assert "the basis is the limit: raise nu or the degree" in summary([(fit, judge(fit))])
    assert Flag.BASIS_LIMIT not in verdict(frame.assign(train_error=lambda f: 0.5 * f["error"])).flags
    assert Flag.BASIS_LIMIT not in verdict(frame.assign(architecture="mace")).flags


def test_dropped_zero_is_flagged() -> None:
    frame = rows()
    frame.loc[len(frame) - 1, "error"] = 0.0
    assert Flag.ZERO_ERROR in verdict(frame, drop_bad=True).flags


def test_power_law_that_a_floor_would_change_is_flagged() -> None:
    # four values of P are too few to recommend a floor, but enough to see that it would matter
    frame = rows(beta=0.7, floor=0.05, sizes=(16, 64, 256, 1024), subset=0.005, init=0.005)
    assert Flag.FORM_DEPENDENT in verdict(frame).flags


def test_a_small_test_set_is_flagged() -> None:
    plain = rows()
    assert Flag.FEW_TEST_FRAMES not in verdict(plain.assign(error_test_sem=0.005 * plain["error"])).flags
    assert Flag.FEW_TEST_FRAMES in verdict(plain.assign(error_test_sem=0.05 * plain["error"])).flags


def test_a_small_test_set_that_the_interval_holds_is_not_flagged() -> None:
    noisy = rows(subset=0.2, init=0.2)
    noisy["error_test_sem"] = 0.03 * noisy["error"]
    assert Flag.FEW_TEST_FRAMES not in verdict(noisy).flags
    assert Flag.FEW_TEST_FRAMES in verdict(noisy[noisy["seed"] == 0]).flags  # no seeds, no such interval


def test_verdict_on_training_does_not_soften_with_the_test_set() -> None:
    """Both budgets are tested on the same frames: their noise is no room for an undertrained curve."""
    frame = rows(undertrained=0.2)
    assert verdict(frame).verdict is Verdict.NOT_CONVERGED
    assert verdict(frame.assign(error_test_sem=0.2 * frame["error"])).verdict is Verdict.NOT_CONVERGED


def test_an_open_floor_is_flagged_and_inside_the_interval() -> None:
    frame = curve_rows(np.random.default_rng(3), beta=0.5, prefactor=1.0, floor=0.01, n_seeds=3, **COLUMNS)
    (curve,) = curves(check_table(frame, "synthetic"))
    fit = fit_curve(curve)
    assert Flag.FLOOR_OPEN in judge(fit).flags
    other = fit.form(Form.POWER_FLOOR).beta
    assert fit.recommended is Form.POWER
    assert fit.best.alone is not None
    assert fit.best.beta.low <= fit.best.alone.low
    assert fit.best.beta.high >= max(other.high, fit.best.alone.high + 0.1)
