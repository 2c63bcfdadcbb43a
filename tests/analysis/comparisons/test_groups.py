"""Gains from symmetries, from tables with known answers: numbers, sentences and a figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.cli import main
from analysis.comparisons import groups
from analysis.comparisons.groups import Gain, gains
from analysis.curve import curves
from analysis.figures import symmetry as figure
from analysis.fits.record import analyse
from analysis.fits.results import Form
from analysis.report.words import answers
from analysis.table import check_table

SIZES = (16, 32, 64, 128, 256)


def table(models: dict[str, tuple[str, float, float, int]], noise: float = 0.02, n_test: int = 0) -> pd.DataFrame:
    """Rows of ε = a·P^(−β) by architecture: group, a, β, weights."""
    rng = np.random.default_rng(0)
    rows = []
    for name, (group, a, beta, weights) in models.items():
        for seed in range(5):
            for P in SIZES:
                error = a * P**-beta * np.exp(noise * rng.normal())
                if n_test:
                    error = round(error * n_test) / n_test
                rows.append({"dataset": "digits_rot90", "architecture": name, "group": group, "metric": "error_rate",
                             "P": P, "seed": seed, "error": error, "error_half_budget": error, "converged": True,
                             "n_parameters": weights, "n_test": n_test or 10**6})  # fmt: skip
    return pd.DataFrame(rows)


def undertrained(models: dict[str, tuple[str, float, float, int]], half: dict[str, float]) -> pd.DataFrame:
    """The table with other exponents after half the training."""
    frame = table(models)
    other = table({name: (group, a, half[name], weights) for name, (group, a, _, weights) in models.items()})
    return frame.assign(error_half_budget=other["error"])


def gains_of(frame: pd.DataFrame) -> list[Gain]:
    return gains(analyse(curves(check_table(frame, "made")), forms=(Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL)))


def test_a_prefactor_is_a_factor_of_examples() -> None:
    """Equal β = 0.5, a third of the error: nine times fewer examples, and no change of the exponent."""
    (gain,) = gains_of(table({"cnn": ("translations", 1.5, 0.5, 7800), "gcnn": ("p4", 0.5, 0.5, 7500)}))
    assert gain.plain.text("architecture") == "cnn"
    ratio = gain.factor.ratio
    assert ratio.low < 9 < ratio.high
    assert ratio.value == pytest.approx(9, rel=0.1)
    assert gain.delta.low < 0 < gain.delta.high
    sentence = groups.gain_sentence(gain)
    assert sentence.startswith(
        "G-CNN (p4) against CNN (translations) (digits_rot90, error rate; 7,500 and 7,800 weights): "
    )
    assert ": no change of the exponent is shown, one of the prefactor is (one of " in sentence


def test_an_exponent_is_said_to_change() -> None:
    (gain,) = gains_of(table({"cnn": ("translations", 1.0, 0.3, 7800), "gcnn": ("p4", 1.0, 0.6, 7500)}))
    assert gain.delta.low < 0.3 < gain.delta.high
    assert gain.p < 0.001
    assert "p < 0.001: the exponent rises" in groups.gain_sentence(gain)


TWINS = {"cnn": ("translations", 1.0, 0.3, 7800), "gcnn": ("p4", 1.0, 0.6, 7500)}


def test_an_exponent_that_outlives_more_training_is_said_to_change() -> None:
    """Δβ = 0.3, 0.283 after half the training: 0.3 ± noise and 0.04 more of it, if κ is ½, are still far from none."""
    (gain,) = gains_of(undertrained(TWINS, {"cnn": 0.3, "gcnn": 0.583}))
    assert (gain.not_converged, gain.cannot_tell) == ((), ("symmetric",))  # .017 to .041 are left, .02 may be
    assert gain.half == pytest.approx(0.283, abs=0.02)
    shift = gain.delta.value - gain.half  # noise is that of the whole schedule here: the interval moves as it is
    left = shift / (np.sqrt(2) - 1)
    assert (gain.trained.low, gain.trained.high) == pytest.approx((gain.delta.low, gain.delta.high + left))
    sentence = groups.gain_sentence(gain)
    assert "(too noisy to tell: G-CNN (p4); +0.2" in sentence
    assert sentence.endswith("allowing for further training), p < 0.001: the exponent rises.")


def test_an_exponent_that_more_training_could_undo_is_not() -> None:
    """Δβ = 0.3, and 0.65 after half the training: what is left would take it below zero."""
    (gain,) = gains_of(undertrained(TWINS, {"cnn": 0.0, "gcnn": 0.65}))
    assert gain.trained.low < 0 < gain.delta.low
    sentence = groups.gain_sentence(gain)
    assert sentence.endswith(": more training could undo it, so no change of the exponent is reported.")
    assert "rises" not in sentence
    record = groups.gain_record(gain)
    assert record["delta_beta_half_budget"] == pytest.approx(0.65, abs=0.03)
    assert record["delta_beta_trained_low"] == gain.trained.low


def test_what_scatters_between_trainings_is_allowed_for_too() -> None:
    """Δβ = 0.3 after both budgets, but every error differs by 20 % between them: what another step does is not known
    better than that."""
    frame = undertrained(TWINS, {"cnn": 0.3, "gcnn": 0.6})
    frame["error_half_budget"] *= np.exp(0.2 * np.random.default_rng(1).normal(size=len(frame)))
    (gain,) = gains_of(frame)
    assert gain.cannot_tell == ("plain", "symmetric")
    assert gain.trained.high - gain.trained.low > 2 * (gain.delta.high - gain.delta.low)
    assert gain.trained.low <= gain.delta.low
    assert gain.trained.high >= gain.delta.high


def test_without_a_half_budget_an_unconverged_pair_says_nothing_about_exponents() -> None:
    frame = undertrained(TWINS, {"cnn": 0.3, "gcnn": 0.4})
    lost = (frame["architecture"] == "gcnn") & (frame["P"] == 16) & (frame["seed"] == 0)
    frame.loc[lost, "error_half_budget"] = np.nan
    (gain,) = gains_of(frame)
    assert np.isnan(gain.half)
    assert np.isnan(gain.trained.low)
    sentence = groups.gain_sentence(gain)
    assert "rises" not in sentence
    assert sentence.endswith("; NOT CONVERGED: G-CNN (p4), so this is no statement about exponents.")
    json.dumps(groups.gain_record(gain), allow_nan=False)


def test_converged_twins_need_no_allowance() -> None:
    (gain,) = gains_of(table(TWINS))
    assert gain.trained == gain.delta
    assert gain.half == pytest.approx(gain.delta.value), "the table's half budgets are its full ones"
    assert "half the training" not in groups.gain_sentence(gain)


def test_only_twins_are_compared() -> None:
    """Not what is larger, not what lies beside, not what is in no group."""
    models = {
        "cnn": ("translations", 1.5, 0.5, 7800), "gcnn": ("p4", 0.5, 0.5, 20000),
        "scale_space": ("dilations", 0.7, 0.5, 7800), "harmonic": ("SE(2)", 0.4, 0.5, 8000),
        "other": ("", 1, 0.5, 7800),
    }  # fmt: skip
    pairs = {(gain.plain.text("group"), gain.symmetric.text("group")) for gain in gains_of(table(models))}
    assert pairs == {("translations", "dilations"), ("translations", "SE(2)")}


def test_who_never_gets_there_is_said_so() -> None:
    (gain,) = gains_of(table({"mlp": ("none", 1.0, 0.05, 8000), "cnn": ("translations", 0.5, 0.4, 7800)}))
    assert "data-efficiency factor above 16: the twin never reaches its errors" in groups.gain_sentence(gain)
    assert groups.gain_record(gain)["leader"] == "symmetric"
    (gain,) = gains_of(table({"mlp": ("none", 1.0, 0.1, 8000), "cnn": ("translations", 0.5, 0.1, 7800)}))
    assert ": no change of the exponent is shown, one of the prefactor is (one of " in groups.gain_sentence(gain)


def test_sizes_with_no_error_at_all_are_left_out_and_named() -> None:
    frame = table({"cnn": ("translations", 1.5, 0.5, 7800), "gcnn": ("p4", 8.0, 1.7, 7500)}, n_test=500)
    assert (frame["error"] == 0).any()
    (gain,) = gains_of(frame)
    assert 256.0 in gain.without
    assert np.isfinite(gain.delta.low)
    assert "left out for errors of 0: P = " in groups.gain_sentence(gain)
    json.dumps(groups.gain_record(gain), allow_nan=False)


def test_a_run_that_lies_off_is_named() -> None:
    frame = table(TWINS)
    frame.loc[(frame["architecture"] == "gcnn") & (frame["seed"] == 2) & (frame["P"] == 256), "error"] *= 2
    (gain,) = gains_of(frame)
    assert "; OUTLYING: seed 2 at P = 256 of G-CNN (p4) (" in groups.gain_sentence(gain)
    assert groups.gain_record(gain)["delta_beta_without_outlying"] == pytest.approx(0.3, abs=0.03)


def test_flat_curves_have_no_factor() -> None:
    """Any number of examples has the same error."""
    models = {"cnn": ("translations", 0.4, 0.03, 7800), "gcnn": ("p4", 0.4, 0.03, 7500)}
    (gain,) = gains_of(table(models, noise=0.1))
    assert np.isnan(gain.factor.ratio.value)
    assert ": no data-efficiency factor: both curves are flat" in groups.gain_sentence(gain)
    assert groups.gain_record(gain)["flat"] == ["plain", "symmetric"]


def test_names_tell_the_order_of_messages() -> None:
    """Where it is more than one; nothing where a network has none."""
    models = {"momenta": ("none", 1.5, 0.5, 2127), "lorentz": ("SO+(1,3)", 0.5, 0.5, 2042)}
    plain = table(models).assign(L=lambda frame: (frame["architecture"] == "lorentz").astype(int))
    second = plain[plain["architecture"] == "lorentz"].assign(L=2)
    names = {
        (groups.network_name(gain.symmetric), groups.network_name(gain.plain))
        for gain in gains_of(pd.concat([plain, second]))
    }
    momenta = "deep sets of momenta (none)"
    assert names == {(f"Lorentz group network (SO+(1,3){order})", momenta) for order in ("", ", L 2")}


def test_the_report_says_so() -> None:
    frame = table({"cnn": ("translations", 1.5, 0.5, 7800), "gcnn": ("p4", 0.5, 0.5, 7500)})
    (answer,) = answers(
        analyse(curves(check_table(frame, "made")), forms=(Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL))
    )
    assert answer.metric == "Error rate"
    assert any("data-efficiency factor" in sentence for sentence in answer.sentences)


def test_compare_and_figures_have_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    table({"cnn": ("translations", 1.5, 0.5, 7800), "gcnn": ("p4", 0.5, 0.5, 7500)}).to_csv(path, index=False)
    assert main(["compare", "--table", str(path), "--json", str(tmp_path / "c.json")]) == 0
    assert "data-efficiency factor" in capsys.readouterr().out
    (one,) = [r for r in json.loads((tmp_path / "c.json").read_text()) if r["factor"] == "symmetry"]
    assert one["equal_error_ratio_low"] < 9 < one["equal_error_ratio_high"]
    written = figure.draw(gains_of(pd.read_csv(path)), tmp_path / "groups")
    assert {p.suffix for p in written} == {".pdf", ".svg", ".png", ".csv", ".txt"}
    assert pd.read_csv(tmp_path / "groups.csv")["delta_beta"].notna().all()
