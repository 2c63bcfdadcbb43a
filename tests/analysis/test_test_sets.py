"""Test sets are an axis: each has curves, comparisons, claims, intervals and a panel of its own, and is named."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.cli import main
from analysis.comparisons.claim import claims
from analysis.comparisons.compare import compare_curves, families, pool_differences
from analysis.comparisons.sentences import comparison_record, comparison_sentence
from analysis.figures.panels import panels_by_test_set
from analysis.fits.flags import JudgedFit
from analysis.report.chart import forecast_rows
from analysis.report.health import health
from analysis.report.words import answers
from analysis.table import check_table
from experiments.data.sources.extxyz import write_frames
from experiments.runs.execute import execute
from tests.analysis.comparisons.cells import analysed, cells
from tests.experiments.finished import configuration, molecules, queued

LOSS = 0.1
"""β that every model loses out of its domain."""


def on_three_sets(seed: int = 0) -> pd.DataFrame:
    """Four models at 300 K, where they trained, at 600 K, and at 1200 K as at 600 K; runs and seeds are the same."""
    near = cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}, seed=seed).assign(test_set="300K")
    far = near.assign(error=3 * near["error"] * near["P"] ** LOSS)
    return pd.concat([near, far.assign(test_set="600K"), far.assign(test_set="1200K")], ignore_index=True)


@pytest.fixture(scope="module")
def fits() -> list[JudgedFit]:
    found: list[JudgedFit] = analysed(on_three_sets())
    return found


def test_models_are_compared_on_one_test_set_which_is_named(fits: list[JudgedFit]) -> None:
    pairs = compare_curves(fits)
    assert len(pairs) == 9  # the three of one table, on each
    assert all(pair.first.text("test_set") == pair.second.text("test_set") for pair in pairs)
    for pair in pairs:
        assert f"test set {pair.first.text('test_set')}" in comparison_sentence(pair)
        assert comparison_record(pair)["first"]["test_set"] == pair.first.text("test_set")  # type: ignore[index]
    alone = compare_curves([item for item in fits if item[0].curve.text("test_set") == "600K"])
    assert not any("test set" in comparison_sentence(pair) for pair in alone)


def test_a_model_is_compared_with_itself_out_of_its_domain(fits: list[JudgedFit]) -> None:
    pairs = compare_curves(fits, by=["test_set"])
    losses = [c for c in pairs if (c.first.text("test_set"), c.second.text("test_set")) == ("300K", "600K")]
    assert len(losses) == 4
    for loss in losses:
        assert loss.paired  # the same runs: their scatter cancels
        assert loss.delta.value == pytest.approx(-LOSS, abs=1e-9)
        assert "from test set 300K to test set 600K" in comparison_sentence(loss)
    assert [len(family.curves) for family in families(fits, ["test_set"])] == [3] * 4


def test_test_sets_of_one_dataset_are_not_pooled_as_datasets() -> None:
    pooled = pool_differences(compare_curves(analysed(on_three_sets(), on_three_sets(1).assign(dataset="other"))))
    assert len(pooled) == 9
    assert all(sorted(one.datasets) == ["other", "toy"] for one in pooled)
    assert {word for one in pooled for word in ("300K", "600K", "1200K") if f"test set {word}" in one.first} == {
        "300K", "600K", "1200K"
    }  # fmt: skip


def test_every_test_set_has_its_claim(fits: list[JudgedFit]) -> None:
    assert {test.place["test_set"]: str(test.outcome) for test in claims(fits)} == dict.fromkeys(
        ("300K", "600K", "1200K"), str(claims(fits)[0].outcome)
    )


def test_a_panel_a_test_set_side_by_side(fits: list[JudgedFit]) -> None:
    panels = panels_by_test_set(fits)
    assert [panel.title for panel in panels] == ["toy, 300K", "toy, 600K", "toy, 1200K"]
    assert {len(panel.fits) for panel in panels} == {4}
    assert panels_by_test_set([item for item in fits if item[0].curve.text("test_set") == "300K"]) == []


def test_a_store_with_further_sets_is_analysed_as_a_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`errors` finds the frame errors of each set; `fit` has a curve for each."""
    write_frames(tmp_path / "hot.xyz", molecules(4, seed=7))
    tests = {"600K": str(tmp_path / "hot.xyz")}
    runs = [
        queued(configuration(tmp_path, "mace", {"P": P, "seed": seed, "data.tests": tests}))
        for P in (20, 30)
        for seed in (0, 1)
    ]
    assert set(execute(runs, lambda: False, lambda event: None).values()) == {"done"}
    store = str(tmp_path / "store")
    assert main(["errors", "--store", store]) == 0
    shown = capsys.readouterr().out
    folder = tmp_path.name
    for test_set in ("test", "600K"):
        assert shown.count(f"{folder}_train ({test_set})  force_mae") == 2  # a line a P
    assert main(["fit", "--store", store, "--forms", "power"]) == 0
    assert f"{folder}_train (600K)" in capsys.readouterr().out


def test_the_report_tells_test_sets_apart_and_counts_runs_once(fits: list[JudgedFit]) -> None:
    table = check_table(on_three_sets(), "t")
    state = health(fits, table).curves
    runs = fits[0][0].curve.error.size
    assert [(one.dataset, one.present, one.expected) for one in state] == [("toy (3 test sets)", runs, runs)] * 4
    rows = forecast_rows(fits)
    assert [row[1] for row in rows] == [f"toy ({fit.curve.text('test_set')})" for fit, _ in fits]


def test_the_report_compares_as_compare_does(fits: list[JudgedFit]) -> None:
    """All at once: pairs of other test sets lend degrees of freedom."""
    told = [text for answer in answers(fits) for text in answer.further]
    for pair in compare_curves(fits):
        sentence = comparison_sentence(pair)
        assert sentence[:1].upper() + sentence[1:] in told or sentence in told


def test_a_test_set_is_named_once_in_a_sentence(fits: list[JudgedFit]) -> None:
    for pair in compare_curves(fits):
        assert comparison_sentence(pair).partition("; p ")[0].count(pair.first.text("test_set")) == 1
