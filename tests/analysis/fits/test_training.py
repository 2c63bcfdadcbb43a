"""The law of the remainder against simulated truth: κ, r, verdict, hull, overfitting, and what would settle it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.curve import curves
from analysis.errors import InputError
from analysis.fits.flags import Flag, Judgement
from analysis.fits.record import analyse, records, summary
from analysis.fits.remainder import SLOWEST, UNTOLD, Kappa, estimate_kappa, gain_pairs, hull, remainder, rising
from analysis.fits.training import Verdict, pooled_kappas
from analysis.fits.uncertainty import Interval
from analysis.protocol import by_validation
from analysis.table import check_table

COLUMNS: dict[str, Any] = {"dataset": "toy", "architecture": "mace", "metric": "force_mae", "unit": "eV/Å"}
SPAN = np.log(512 / 16)


def frame(left: float, kappa: float | None, own: float = 0.0, seed: int = 0, **changes: Any) -> pd.DataFrame:
    """A curve whose β more training would change by `left`; schedules scatter by `own` in ln ε of their own."""
    rng = np.random.default_rng(seed)
    law = 0.5 if kappa is None else kappa
    half = left * (2**law - 1) * SPAN
    settings: dict[str, Any] = {"beta": 0.5 - left, "prefactor": 1.0, "undertrained": half, "kappa": kappa, **COLUMNS}
    rows = curve_rows(rng, **(settings | changes))
    for name in ("error", "error_half_budget", "error_quarter_budget"):
        if name in rows:
            rows[name] *= np.exp(own * rng.normal(size=len(rows)))
    return rows


def judged(rows: pd.DataFrame) -> Judgement:
    ((_, judgement),) = analyse(curves(check_table(rows, "made")))
    return judgement


@pytest.mark.parametrize("kappa", [0.3, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("left", [-0.05, 0.01, 0.05])
def test_exact_schedules_tell_kappa_and_what_is_left(kappa: float, left: float) -> None:
    training = judged(frame(left, kappa, own=1e-9)).training
    assert training.kappa.told
    # of numbers that scatter by 1e-9, with gains above 1e-3
    assert float(training.kappa.value) == pytest.approx(kappa, abs=1e-4)
    assert float(training.remainder.value) == pytest.approx(left, rel=1e-3)
    expected = Verdict.CONVERGED if abs(left) < 0.02 else Verdict.NOT_CONVERGED
    # a curve that training makes flatter has errors that rise with it where P is small or large
    assert training.verdict is (expected if left > 0 else Verdict.NOT_CONVERGED)


def test_without_a_quarter_kappa_is_at_least_a_half() -> None:
    training = judged(frame(0.05, None)).training
    assert not training.kappa.told
    assert float(training.kappa.value) == SLOWEST
    change = 0.05 * (np.sqrt(2) - 1)
    assert float(training.remainder.value) == pytest.approx(0.05, rel=1e-6)  # made with κ = ½
    # up to 1: the least that is left is the last change itself
    assert [float(training.remainder.low), float(training.remainder.high)] == pytest.approx([change, 0.05], rel=1e-6)
    assert training.verdict is Verdict.NOT_CONVERGED


def test_noise_leaves_it_open() -> None:
    """Schedules that scatter by 15 % in the error: slopes scatter by .06, and what is left could be anything."""
    judgement = judged(frame(0.01, 1.0, own=0.15))
    assert judgement.verdict is Verdict.CANNOT_TELL
    assert Flag.TRAINING_OPEN in judgement.flags


def test_kappa_is_pooled_over_curves_of_one_place_alone() -> None:
    """A curve without a quarter has the κ of another on the same data, but not of one on other data."""
    told = frame(0.05, 1.0, own=1e-6, architecture="nequip")
    fits = analyse(curves(check_table(pd.concat([told, frame(0.05, None)]), "made")))
    assert [bool(judgement.training.kappa.told) for _, judgement in fits] == [True, True]
    apart = pd.concat([told, frame(0.05, None, dataset="other")])
    fits = analyse(curves(check_table(apart, "made")))
    assert [bool(judgement.training.kappa.told) for _, judgement in fits] == [True, False]


def test_two_curves_tell_more_than_one() -> None:
    parts = [frame(0.05, 1.0, own=0.02, seed=seed, architecture=f"net{seed}") for seed in range(4)]
    alone = [next(iter(pooled_kappas(curves(check_table(part, "made"))).values())) for part in parts]
    (together,) = pooled_kappas(curves(check_table(pd.concat(parts), "made"))).values()
    widths = [float(one.high - one.low) for one in alone if one.told]
    assert together.told
    assert float(together.high - together.low) < min(widths, default=np.inf)


def test_projected_gains_have_the_ratio_of_the_law() -> None:
    """For any dependence on P; by hand with two seeds, whose profiles are each other's gains."""
    later = np.array([[0.1, -0.2, 0.3], [0.2, 0.1, 0.1]])
    earlier = 2**0.7 * later
    x1, x2 = gain_pairs(earlier, later)
    both = float((later[0] @ later[1]) * (1 + 2**0.7))
    assert x2 == pytest.approx([both, both])
    assert x1 / x2 == pytest.approx([2**0.7] * 2)
    assert float(estimate_kappa(x1, x2).value) == pytest.approx(0.7)


def test_kappa_is_not_told_by_noise_or_one_seed() -> None:
    rng = np.random.default_rng(0)
    noise = estimate_kappa(rng.normal(size=(4000, 5)), rng.normal(size=(4000, 5)))
    assert noise.told.mean() < 0.05  # one end of an interval of 95 %, and both means above zero
    assert not estimate_kappa(np.ones(1), np.ones(1)).told


def test_remainder_by_hand() -> None:
    """d = .03 ± t(2; 5 %)·.01/√3·√1 with κ from ½ to 1."""
    change = np.array([0.02, 0.03, 0.04])
    left = remainder(change, UNTOLD)
    half = 2.919986 * 0.01 / np.sqrt(3)
    assert float(left.value) == pytest.approx(0.03 / (np.sqrt(2) - 1))
    assert float(left.low) == pytest.approx(0.03 - half, rel=1e-6)
    assert float(left.high) == pytest.approx((0.03 + half) / (np.sqrt(2) - 1), rel=1e-6)
    assert not left.shown  # at 2.5 % t(2) is 6.2, and the mean is 5.2 standard errors


def test_hull_of_a_power_law_is_that_of_two_intervals() -> None:
    slopes, change = np.array([0.48, 0.50, 0.54]), np.array([0.01, 0.03, 0.02])
    kappa = Kappa(np.array(1.0), np.array(1.0), np.array(1.0), np.array(True))
    half, after = (4.302653 * values.std(ddof=1) / np.sqrt(3) for values in (slopes, slopes + change))
    value = slopes.mean()
    low, high = hull(value, value - half, value + half, slopes, change, kappa)
    assert float(low) == pytest.approx(min(value - half, value + 0.02 - max(half, after)), rel=1e-6)
    assert float(high) == pytest.approx(value + 0.02 + max(half, after), rel=1e-6)


def test_hull_contains_the_interval_under_every_form() -> None:
    ((fit, judgement),) = analyse(curves(check_table(frame(0.05, 1.0, own=0.02), "made")))
    for entry in records(fit, judgement):
        if entry["beta_low"] is not None:
            assert entry["beta_low_training"] <= entry["beta_low"]  # type: ignore[operator]
            assert entry["beta_high_training"] >= entry["beta_high"] + 0.03  # type: ignore[operator]
    assert judgement.training.hull(Interval(0.5, np.nan, np.nan, np.nan, 0)) == pytest.approx(
        (np.nan, np.nan), nan_ok=True
    )


def overfitting(n_seeds: int = 2) -> pd.DataFrame:
    """Errors that training raises at P = 16 to 64 and lowers at 128, in meV/Å as measured on a MACE, 4,000 → 16,000."""
    before, after = (160.0, 112.0, 74.0, 59.0), (179.0, 122.0, 81.0, 55.0)
    rng = np.random.default_rng(1)
    rows = [
        {**COLUMNS, "P": P, "seed": s, "error": b * np.exp(0.01 * rng.normal()), "error_half_budget": (a + b) / 2,
         "error_quarter_budget": a, "training.max_steps": 16000, "seconds": 900.0}
        for P, a, b in zip((16, 32, 64, 128), before, after, strict=True)
        for s in range(n_seeds)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n_seeds", [1, 2, 3])
def test_a_rise_is_called_overfitting_and_never_converged(n_seeds: int) -> None:
    judgement = judged(overfitting(n_seeds))
    assert judgement.training.overfitting == (16.0, 32.0, 64.0)
    assert Flag.OVERFITTING in judgement.flags
    assert judgement.verdict is Verdict.NOT_CONVERGED
    assert judgement.training.words() == (
        "overfitting: more training raises the error at P = 16, 32, 64; training.stop=validation"
    )


def test_noise_is_no_rise() -> None:
    rng = np.random.default_rng(0)
    gains = 0.03 * rng.normal(size=(4000, 3, 7))
    assert rising(gains).any(axis=-1).mean() < 0.01  # at a level of .5 % a curve
    assert rising(gains - 0.2).all()
    assert not rising(np.full((3, 7), np.nan)).any()


def test_what_would_settle_it() -> None:
    """r = .08 that falls as 1/T: four times the updates leave .02; all runs together took two hours."""
    rows = frame(0.079, 1.0, own=1e-9).assign(**{"training.max_steps": 1000, "seconds": 7200 / 30})
    ((fit, judgement),) = analyse(curves(check_table(rows, "made")))
    assert judgement.training.factor == 4
    assert "4,000 updates a run (8 h in all) would settle it" in judgement.training.words()
    assert "more training may change β by +0.079" in summary([(fit, judgement)])
    record = judgement.training.record()
    assert record is not None
    assert (record["updates_needed"], record["hours_needed"], record["kappa_told"]) == (4000, pytest.approx(8.0), True)


def test_seeds_that_would_settle_it() -> None:
    training = judged(frame(0.0, 1.0, own=0.05)).training
    half = float(training.remainder.high - training.remainder.low) / 2
    room = 0.02 - abs(float(training.remainder.value))
    if room > 0:
        assert training.seeds_needed == np.ceil(5 * max(1.0, half / room) ** 2)
    known = replace(training.remainder, value=np.array(0.0), low=np.array(-0.04), high=np.array(0.04))
    assert replace(training, remainder=known).seeds_needed == 20  # twice as wide as the room: four times as many


def test_tables_of_two_schedules_are_read(tmp_path: Path) -> None:
    """Results from before there was T/4: a verdict all the same, with κ as open as it is."""
    path, out = tmp_path / "old.csv", tmp_path / "fit.json"
    frame(0.05, None).to_csv(path, index=False)
    assert main(["fit", "--table", str(path), "--forms", "power", "--json", str(out)]) == 0
    entry = json.loads(out.read_text())[0]
    assert entry["verdict"] == "not_converged"
    assert entry["training_limited"]["kappa_told"] is False
    assert entry["beta_high_training"] >= 0.5  # the truth


def test_protocols_never_share_a_curve() -> None:
    """Without a model_id, too; P counts the validation frames of the one that stops by them."""
    budget = frame(0.0, 1.0).assign(**{"training.stop": ""})
    stopped = budget.assign(P=budget["P"] + budget["P"] // 8, **{"training.stop": "validation"})
    table = check_table(pd.concat([budget, stopped]), "made")
    assert [curve.key["training.stop"] for curve in curves(table)] == ["budget", "validation"]
    assert "training.stop" not in check_table(budget.assign(**{"training.stop": "budget"}), "made").curve_columns


def test_a_few_updates_say_nothing_of_training() -> None:
    rows = frame(0.0, 1.0)
    for steps, expected in ((7, False), (8, True)):
        (curve,) = curves(check_table(rows.assign(n_steps=steps), "made"))
        told = [np.isfinite(errors).any() for errors in (curve.half_budget, curve.quarter_budget)]
        assert told == [expected, expected]


def test_every_run_can_be_read_by_validation() -> None:
    """P counts the frames; closed forms stay; what has no such error is refused."""
    rows = frame(0.0, 1.0).assign(n_validation=2, error_test_sem=0.1)
    rows = rows.assign(error_stopped=0.5 * rows["error"], error_stopped_half_budget=0.6 * rows["error"], train_error=1)
    closed = curve_rows(np.random.default_rng(5), beta=0.3, prefactor=1.0, **{**COLUMNS, "architecture": "ace"})
    read = by_validation(pd.concat([rows, closed], ignore_index=True), "made")
    table = check_table(read, "made")
    trained, fitted = curves(table)
    np.testing.assert_array_equal(trained.sizes, np.unique(rows["P"]) + 2)
    plain = curves(check_table(rows, "made"))[0]
    np.testing.assert_allclose(trained.error, 0.5 * plain.error)
    np.testing.assert_allclose(trained.half_budget, 0.6 * plain.error)
    np.testing.assert_allclose(trained.sem, 0.05)
    assert np.isnan(trained.train_error).all()
    np.testing.assert_array_equal(fitted.sizes, np.unique(closed["P"]))
    assert trained.key["training.stop"] == "validation"
    with pytest.raises(InputError, match="30 row\\(s\\) of made have no error_stopped"):
        by_validation(frame(0.0, 1.0), "made")
    with pytest.raises(InputError, match="no n_validation"):
        by_validation(frame(0.0, 1.0).assign(error_stopped=1.0), "made")


def test_commands_read_by_validation(tmp_path: Path) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    rows = frame(0.0, 1.0).assign(n_validation=lambda one: one["P"] // 8)
    rows.assign(error_stopped=rows["error"], error_stopped_half_budget=rows["error"]).to_csv(path, index=False)
    arguments = ["fit", "--table", str(path), "--forms", "power", "--json", str(out)]
    assert main([*arguments, "--stop", "validation"]) == 0
    assert {entry["P_min"] for entry in json.loads(out.read_text())} == {18}
    frame(0.0, 1.0).to_csv(path, index=False)
    assert main([*arguments, "--stop", "validation"]) == 2
