"""Curves compared by what their runs were trained with: budgets, learning rates, any other column."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.comparisons.compare import Comparison, compare_curves, families
from analysis.comparisons.sentences import comparison_sentence, family_sentence
from analysis.curve import curves
from analysis.errors import InputError
from analysis.figures.naming import model_names, names
from analysis.fits.record import analyse, summary
from analysis.table import check_table

STEPS, RATES = "training.max_steps", "training.learning_rate"


def budget_check(betas: dict[tuple[int, float], float], **more: Any) -> pd.DataFrame:
    """Curves by (max_steps, learning rate) with these exponents, as a store's table has them."""
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {"dataset": "toy", "architecture": "mace", "metric": "force_mae", "L": 0, "nu": 3} | more
    parts = [
        curve_rows(rng, beta=beta, prefactor=1.0, n_seeds=3, subset=0.005, init=0.005, **columns).assign(
            **{STEPS: steps, RATES: rate}, model_id=f"{steps}-{rate}-{columns['nu']}"
        )
        for (steps, rate), beta in betas.items()
    ]
    return pd.concat(parts, ignore_index=True)


SQUARE = {(steps, rate): 0.4 + 0.1 * (steps == 1000) for steps in (500, 1000, 2000) for rate in (0.01, 0.02)}


def compared(frame: pd.DataFrame, by: Sequence[str]) -> list[Comparison]:
    return compare_curves(analyse(curves(check_table(frame, "t", compare_by=by))), by)


def pairs(comparisons: Sequence[Comparison], by: str) -> set[tuple[Any, Any]]:
    return {(c.first.value(by), c.second.value(by)) for c in comparisons}


def test_by_budget_at_equal_learning_rates() -> None:
    comparisons = compared(budget_check(SQUARE), [STEPS])
    assert pairs(comparisons, STEPS) == {(500, 1000), (500, 2000), (1000, 2000)}
    assert all(c.first.value(RATES) == c.second.value(RATES) for c in comparisons)
    assert len(comparisons) == 6
    for c in comparisons:
        expected = SQUARE[int(c.second.value(STEPS)), c.second.value(RATES)]  # type: ignore[call-overload,index]
        expected -= SQUARE[int(c.first.value(STEPS)), c.first.value(RATES)]  # type: ignore[call-overload,index]
        assert c.delta.value == pytest.approx(expected, abs=0.02)  # 0.005 of noise over ln 32 of P: some 0.003
    words = comparison_sentence(comparisons[0])
    assert f"from {STEPS}=500 to {STEPS}=1000" in words
    assert f"{RATES}=0.01" in words  # what they have in common, for it varies in the table
    assert "nu" not in words


def test_by_learning_rate_at_equal_budgets() -> None:
    comparisons = compared(budget_check(SQUARE), [RATES])
    assert pairs(comparisons, RATES) == {(0.01, 0.02)}
    assert len(comparisons) == 3


def test_by_everything_that_varies() -> None:
    assert {c.factor for c in compared(budget_check(SQUARE), [])} == {STEPS, RATES}


def test_one_exponent_for_all_budgets() -> None:
    fits = analyse(curves(check_table(budget_check(SQUARE), "t")))
    tested = families(fits, [STEPS])
    assert [len(family.curves) for family in tested] == [3, 3]
    assert f"one exponent for {STEPS} = 500, 1000, 2000" in family_sentence(tested[0])
    assert all(family.p < 0.05 for family in tested)


def test_models_are_compared_at_equal_settings() -> None:
    frame = pd.concat([budget_check(SQUARE, nu=nu) for nu in (1, 3)])
    comparisons = compared(frame, ["nu"])
    assert len(comparisons) == len(SQUARE)
    assert all(c.first.value(name) == c.second.value(name) for c in comparisons for name in (STEPS, RATES))


def test_a_tuned_rate_is_no_difference_of_its_own() -> None:
    """Each model has its own tuned rates, by P; they are compared all the same."""
    frame = pd.concat([budget_check({(500, 0.01 * nu): 0.4}, nu=nu) for nu in (1, 3)])
    tuned = frame.assign(**{"training.tuned": "name"})
    tuned[RATES] = tuned[RATES] * np.where(tuned["P"] > 64, 0.5, 1.0)
    assert [c.factor for c in compared(tuned, [])] == ["nu"]
    assert [c.factor for c in compared(tuned, ["nu"])] == ["nu"]
    assert compared(frame, ["nu"]) == []  # rates that were set differ
    both = pd.concat([tuned, budget_check({(500, 0.01): 0.5}, nu=1).assign(model_id="set")])
    assert [(c.factor, c.first.value("nu")) for c in compared(both, ["training.tuned"])] == [("training.tuned", 1)]
    assert compared(both, [RATES]) == []


def test_any_other_column_with_or_without_a_model_id() -> None:
    frame = budget_check({(500, 0.01): 0.4, (1000, 0.01): 0.6}).rename(columns={STEPS: "width"})
    assert [c.factor for c in compared(frame, ["width"])] == ["width"]
    assert [c.factor for c in compared(frame.drop(columns="model_id"), ["width"])] == ["width"]
    with pytest.raises(InputError, match="they differ in width"):
        check_table(frame.drop(columns="model_id"), "t")
    named = frame.assign(width=frame["width"].map({500: "thin", 1000: "wide"}))
    assert pairs(compared(named, ["width"]), "width") == {("thin", "wide")}


def test_numbers_in_a_csv_are_ordered_as_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    budget_check({(500, 0.01): 0.4, (1000, 0.01): 0.6}).to_csv(path, index=False)
    assert main(["compare", "--table", str(path), "--by", STEPS, "--sentence"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("β rises by 0.")
    assert f"from {STEPS}=500 to {STEPS}=1000" in output  # as texts 1000 would come first, and β would fall


@pytest.mark.parametrize("name", ["P", "seed", "error", "run_id"])
def test_what_differs_within_a_curve_is_no_factor(name: str) -> None:
    with pytest.raises(InputError, match=f"--by {name}: differs between the runs of a curve"):
        compared(budget_check(SQUARE).assign(run_id="x"), [name])


def test_the_summary_tells_them_apart() -> None:
    lines = summary(analyse(curves(check_table(budget_check(SQUARE), "t"))))
    assert lines.count("(max_steps=500, learning_rate=0.01)") == 1
    alone = summary(analyse(curves(check_table(budget_check({(500, 0.01): 0.4}), "t"))))
    assert "max_steps" not in alone


def test_legends_name_what_tells_models_apart_and_nothing_else() -> None:
    frame = check_table(budget_check({(500, 0.01): 0.4, (1000, 0.01): 0.5}), "t")
    assert model_names(curves(frame)) == ("L=0 ν=3, max_steps=500", "L=0 ν=3, max_steps=1000")
    assert names(curves(frame)) == ("max_steps=500", "max_steps=1000")


def test_a_setting_that_is_null_has_one_name_everywhere() -> None:
    """Legends leave it out, as the lines of `fit` do; a sentence calls it what the command line takes."""
    weight = "model.energy_weight"
    parts = [budget_check({(500, 0.01): beta}).assign(**{weight: w}) for w, beta in ((np.nan, 0.4), (1.0, 0.6))]
    frame = pd.concat([part.assign(model_id=str(i)) for i, part in enumerate(parts)], ignore_index=True)
    fitted = analyse(curves(check_table(frame, "t", compare_by=[weight])))
    legends = model_names([fit.curve for fit, _ in fitted])
    assert sorted(legends) == ["L=0 ν=3", "L=0 ν=3, energy_weight=1"]
    assert "(energy_weight=1)" in summary(fitted)
    (found,) = compare_curves(fitted, [weight])
    assert f"from {weight}=1 to {weight}=null" in comparison_sentence(found)


def test_protocols_and_further_columns_are_never_mixed() -> None:
    """Two curves by L, each by budget and by validation: only pairs of one protocol differ in one factor."""
    frame = pd.concat([budget_check({(500, 0.01): beta}, L=order) for order, beta in ((0, 0.4), (1, 0.6))])
    frame["model_id"] = frame["L"].astype(str)
    stopped = frame.assign(error=frame["error"] * 0.9, **{"training.stop": "validation"})
    both = pd.concat([frame.assign(**{"training.stop": "budget"}), stopped], ignore_index=True)
    found = compare_curves(analyse(curves(check_table(both, "t"))))
    assert len(found) == 2
    assert {c.first.text("training.stop") for c in found} == {"budget", "validation"}
    assert all(c.first.text("training.stop") == c.second.text("training.stop") for c in found)
    assert "stop=validation" in comparison_sentence(found[1])
    further = pd.concat([frame.assign(lab="a"), stopped.drop(columns="training.stop").assign(lab="b")])
    found = compare_curves(analyse(curves(check_table(further, "t", curve_by=["lab"]))))
    assert sorted((c.factor, str(c.first.value("lab")), str(c.second.value("lab"))) for c in found) == [
        ("L", "a", "a"), ("L", "b", "b"), ("lab", "a", "b"), ("lab", "a", "b"),
    ]  # fmt: skip
