"""Pages that are made of the tables of others: what they say of tables whose answer is known."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.comparisons.claim import predicate
from analysis.comparisons.conditions import Outcome
from analysis.spelling import dataset_words
from benchmarks.results import __main__ as results
from benchmarks.results import depth, found, pooled_claim, tested_forecasts, theory_page
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA
from experiments.core.paths import ROOT

COMMITTED = Place(results.FOLDER, ROOT / "build" / "no-store")


def test_depth_is_compared_on_the_same_subsets(tmp_path: Path) -> None:
    """Errors times P^(−0.1) at three layers: Δβ = 0.1 of every cell on each dataset and over both."""
    place = Place(tmp_path, tmp_path)
    assert depth.write(place) is None
    assert depth.headline(place) == ""
    for data in ("methanol", "malonaldehyde"):
        shallow = pd.read_csv(COMMITTED.table(f"claim_{data}"), low_memory=False)
        deep = shallow.assign(run_id=shallow["run_id"] + "d", model_id=shallow["model_id"] + "d", n_layers=3)
        deep["error"] *= (deep["P"] / 8) ** (-0.1 - 0.002 * (deep["seed"] - 2))
        for name, table in ((f"claim_{data}", shallow), (f"claim_{data}_depth3", deep)):
            (tmp_path / name).mkdir()
            table.to_csv(place.table(name), index=False)
    for letter in "ABCD":
        single = depth.changes(letter, "3 layers", place)
        assert [one.data for one in single] == [("methanol",), ("malonaldehyde",)]
        assert [one.power.value for one in single] == pytest.approx([0.1, 0.1], abs=0.003)  # 0.002 to a seed
        assert not depth.changes(letter, "4 layers", place)
    assert re.search(r"From 2 to 3 layers \(2 datasets\) β rises by \+0\.10 .* in A; .* in D\.", depth.headline(place))


def test_published_depths_stand_in_the_panel_of_their_frames(tmp_path: Path) -> None:
    depth.draw(COMMITTED, tmp_path / "drawn")
    drawn = pd.read_csv(tmp_path / "drawn.csv")
    published = drawn[drawn["network"] == "published"]
    assert set(published["data"]) == {depth.PUBLISHED_DATA}
    assert dict(zip(published["layers"], published["beta"], strict=True)) == pytest.approx(
        {layers: beta.value for layers, beta in depth.published_betas().items()}, rel=1e-4  # printed
    )  # fmt: skip
    assert sorted(published["layers"]) == [2, 3, 4, 5]
    cells = drawn[(drawn["data"] == depth.PUBLISHED_DATA) & (drawn["layers"] == 2)].set_index("network")["beta"]
    fits = depth.cells(COMMITTED.table(f"claim_{depth.PUBLISHED_DATA}"))
    assert cells.drop("published").to_dict() == pytest.approx(
        {letter: one[0].best.beta.value for letter, one in fits.items()}, rel=1e-4
    )


def test_the_figure_of_the_claim_has_every_dataset_and_all(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path)
    assert pooled_claim.write(place) is None
    for data in ("methanol", "malonaldehyde"):
        (tmp_path / f"claim_{data}").mkdir()
        shutil.copy(COMMITTED.table(f"claim_{data}"), place.table(f"claim_{data}"))
    (one,) = pooled_claim.pooled(place)
    singles = pooled_claim.on_each_dataset(place)
    pooled_claim.draw([one], singles, tmp_path / "drawn")
    drawn = {(row["condition"], row["data"]): row for _, row in pd.read_csv(tmp_path / "drawn.csv").iterrows()}
    decisions = {"all datasets": one.decision, **{dataset_words(single.dataset): single.decision for single in singles}}
    for name, decision in decisions.items():
        for condition in decision.conditions:
            row = drawn[condition.name, name]
            expected = [condition.delta.value, condition.delta.low, condition.with_floor.high]
            assert [row["delta"], row["low_90"], row["floor_high_90"]] == pytest.approx(expected, rel=1e-4)  # printed
    assert len(drawn) == 12
    written = pooled_claim.write(place)
    assert written is not None
    assert sorted(path.name for path in written.parent.iterdir()) == ["README.md", "conditions.png"]


@pytest.mark.parametrize("outcome", [Outcome.UNDECIDED, Outcome.REFUTED])
@pytest.mark.parametrize("network", found.LAST)
def test_an_outcome_that_the_last_dataset_changed_is_the_headline(network: str, outcome: Outcome) -> None:
    one = next(one for one in pooled_claim.pooled(COMMITTED) if pooled_claim.network(one) == network)
    (last,) = set(DATA[found.LAST[network]].tables) & set(one.datasets)
    decision = replace(one.decision, outcome=outcome)
    turned = replace(one, decision=decision, without={**one.without, last: Outcome.HOLDS})
    said = f" With {network} it held over the first {len(one.datasets) - 1} datasets together"
    assert found._before(turned) == f"{said}; with the last ({dataset_words(last)}) it {predicate(outcome)}."
    assert not found._before(replace(turned, without={**one.without, last: outcome}))
    assert not found._before(replace(turned, decision=replace(decision, outcome=Outcome.HOLDS)))
    assert not found._before(replace(turned, place={"n_layers": 4, "cutoff": 5}))
    assert not found._before(replace(turned, place={**one.place, "cutoff": 1.75}))


def test_readme_says_which_conditions_are_open() -> None:
    (one, *_) = pooled_claim.pooled(COMMITTED)
    conditions = one.decision.conditions
    some = [replace(condition, shown=condition is not conditions[0]) for condition in conditions]
    undecided = replace(one, decision=replace(one.decision, outcome=Outcome.UNDECIDED, conditions=tuple(some)))
    assert found._over_all(undecided).endswith(", where 3 of its 4 conditions are shown and open is: β_B > β_A")
    assert not found._over_all(replace(undecided, place={"n_layers": 3, "cutoff": 5}))
    holds = replace(undecided, decision=replace(undecided.decision, outcome=Outcome.HOLDS))
    assert found._over_all(holds) == f" on ethanol, and holds over {len(one.datasets)} datasets together"


def test_theory_counts_the_curves_that_are_steeper_than_smoothness_demands(tmp_path: Path) -> None:
    """Where δ(P) falls as P^(−1/d), the bound is 1/d: with d = 1.5 no energies of 3BPA are above it, with 8 all."""
    place = Place(tmp_path, tmp_path)
    (tmp_path / "claim_3bpa").mkdir()
    (tmp_path / "theory").mkdir()
    shutil.copy(COMMITTED.table("claim_3bpa"), place.table("claim_3bpa"))
    assert theory_page.headline(place) == ""
    told = {}
    for d in (1.5, 8.0):  # 1/d is at most 1/2
        rows = [
            {"dataset": "3bpa_300K", "space": "aligned_rmsd", "P": P, "d1": (1 + seed) * P ** (-1 / d),
             "subset_seed": seed, "unit": "Å", "test_set": "split", "label_gap": 1e-9}
            for P in (2, 4, 8, 16, 32, 64) for seed in (0, 1, 2)
        ]  # fmt: skip
        pd.DataFrame(rows).to_csv(tmp_path / "theory" / "distances.csv", index=False)
        told[d] = theory_page.headline(place)
    assert "fall as in 1.5 to 1.5 dimensions d (aligned RMSD, 1 molecules)" in told[1.5]
    assert "in 0 of 4 curves; 4 of them lie above" in told[1.5]
    assert "in 4 of 4 curves; " in told[8.0]


def test_forecasts_tell_to_which_side_they_missed(tmp_path: Path) -> None:
    """One held, two came lower than forecast, one higher."""
    place = Place(tmp_path, tmp_path)
    assert tested_forecasts.headline(place) == ""
    (tmp_path / "claim_3bpa").mkdir()
    shutil.copy(COMMITTED.table("claim_3bpa"), place.table("claim_3bpa"))
    one, *others = tested_forecasts.tested(place)
    assert f"of {(len(others) + 1) // 2} at 4 times the data" in tested_forecasts.headline(place)
    four = [replace(one, low=1.0, median=2.0, high=3.0, came=came) for came in (2.5, 0.5, 0.9, 4.0)]
    words = dataset_words(one.curve.text("dataset"))
    assert tested_forecasts.missed_side(four) == (
        f"Of the 3 that missed, 2 errors came lower than forecast and 1 higher; 3 belong to {words}."
    )
    assert tested_forecasts.missed_side(four[:1]) == "None missed."
