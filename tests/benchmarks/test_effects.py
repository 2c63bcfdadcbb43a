"""What each choice is worth: ratios of frames are pooled as logarithms, and limits are not left out."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.comparisons.equal_error import EqualError
from analysis.fits.uncertainty import Interval
from benchmarks.results import beside, depth, effects, plateau
from benchmarks.results.outstanding import Place
from benchmarks.results.statements import NO_FRAMES, Answer, over_datasets
from tests.benchmarks.test_derived_pages import COMMITTED

DELTA = Interval(0.1, 0.05, 0.15, 0.02, 4)
NAN = float("nan")


def frames(value: float, error: float) -> EqualError:
    """Return a ratio with the standard error of its logarithm."""
    return EqualError(Interval(value, value / np.exp(2 * error), value * np.exp(2 * error), error, 4), 0.1)


def pooled(*ratios: EqualError) -> EqualError:
    """Return the ratio over datasets that have these."""
    one = over_datasets([Answer((str(i),), DELTA, DELTA, "", ratio) for i, ratio in enumerate(ratios)], steeper=True)
    assert one is not None
    return one.frames


def test_ratios_are_pooled_as_logarithms() -> None:
    """Two of equal errors: the geometric mean; half the distance of the logarithms is the standard error (HKSJ)."""
    found = pooled(frames(2.0, 1e-3), frames(8.0, 1e-3))
    assert found.ratio.value == pytest.approx(4.0, rel=1e-6)
    assert found.ratio.error == pytest.approx(np.log(2.0), rel=1e-4)
    assert found.ratio.dof == 1
    swapped = pooled(frames(1 / 2.0, 1e-3), frames(1 / 8.0, 1e-3))
    assert swapped.ratio.low == pytest.approx(1 / found.ratio.high, rel=1e-6)


def test_a_limit_is_not_left_out() -> None:
    """The dataset without a value has the largest effect: what is told is the limit that holds on each."""
    led = EqualError(NO_FRAMES.ratio, NAN, "second", 32.0)
    assert pooled(led, led).cell == "> 32"
    assert pooled(led, frames(20.0, 0.1)).cell == f"> {20 / np.exp(0.2):.3g}"
    assert pooled(led, frames(1.05, 0.1)).cell == "–"  # not above 1 on each
    behind = EqualError(NO_FRAMES.ratio, NAN, "first", 32.0)
    assert pooled(behind, frames(0.1, 0.1)).cell == f"< {0.1 * np.exp(0.2):.3g}"
    assert pooled(led, behind).cell == "–"
    assert pooled(led, EqualError(NO_FRAMES.ratio, NAN, flat=("first",))).cell == "–"
    open_end = EqualError(Interval(40.0, 20.0, 64.0, 0.1, 4), 0.1, open_ends=("high",))
    assert pooled(led, open_end).cell == "> 20"


def test_half_the_frames_are_a_ratio_of_two(tmp_path: Path) -> None:
    """Four layers that reach with P frames what two reach with 2P: every cell a ratio of 2, and Δβ = 0.

    Errors are a·P^(−1/2) with a scatter of one percent.
    """
    place, rng = Place(tmp_path, tmp_path), np.random.default_rng(0)
    assert effects.write(place) is None
    assert effects.headline(place) == ""
    for data in ("methanol", "malonaldehyde"):
        two = pd.read_csv(COMMITTED.table(f"claim_{data}"), low_memory=False)
        two["error"] = np.exp(rng.normal(0.0, 0.01, len(two))) * two["P"] ** -0.5
        four = two.assign(run_id=two["run_id"] + "d", model_id=two["model_id"] + "d", n_layers=4)
        four["error"] = np.exp(rng.normal(0.0, 0.01, len(two))) * (2 * two["P"]) ** -0.5
        for name, table in ((f"claim_{data}", two), (f"claim_{data}_depth4", four)):
            (tmp_path / name).mkdir()
            table.to_csv(place.table(name), index=False)
    found = effects.effects(place)
    deep = [one for one in found if one.part == effects.DEPTH]
    assert [one.words for one in deep] == [f"cell {letter}" for letter in "ABCD"]
    for one in deep:
        assert one.data == "2 datasets"
        assert one.answer.frames.ratio.value == pytest.approx(2.0, rel=0.05)  # 1 % of ε is 2 % of P
        assert one.answer.power.value == pytest.approx(0.0, abs=0.02)
        assert depth.verdict(one.answer).startswith("as steep")
    angles = [one for one in found if one.part not in (effects.DEPTH, "Orders L and ν")]
    assert [one.words for one in angles] == list(effects.ANGLES)  # no other table is there
    assert all(one.answer.frames.ratio.value == pytest.approx(1.0, rel=0.05) for one in angles)
    told = effects.headline(place)
    assert re.search(r" over those after it: (1\.9|2\.0) to 2\.[01] for 2 → 4 layers \(4 networks\); ", told)
    assert re.search(r"; (1\.0\d?|0\.9\d) \[.*\] for angles in messages \(A → B\)", told)
    effects.draw(found, tmp_path / "drawn")
    drawn = pd.read_csv(tmp_path / "drawn.csv")
    assert list(drawn["change"]) == [one.words for one in found]
    assert drawn["ratio"].to_numpy() == pytest.approx([one.answer.frames.ratio.value for one in found], rel=1e-4)


def test_rotated_copies_are_compared_with_frames_as_they_are_and_with_symmetry(tmp_path: Path) -> None:
    """Half the error with them, and half of that with symmetry, at a slope of 1/2: ratios of 4."""
    place, rng = Place(tmp_path, tmp_path), np.random.default_rng(0)
    linear = pd.read_csv(COMMITTED.table("architectures_ethanol_pbe"), low_memory=False)
    linear = linear[(linear["metric"] == "force_mae") & linear["architecture"].isin(["ntk-mpnn", "ntk-nequip"])]
    linear = linear[linear["L"].isna() | (linear["L"] == 1)]

    def trained(architecture: str, share: float, rotated: bool = False) -> pd.DataFrame:
        own = linear[linear["architecture"] == f"ntk-{architecture}"].assign(architecture=architecture, n_validation=0)
        own[["training.augment", "training.max_steps"]] = rotated, 4000
        own[["run_id", "model_id"]] += str(rotated)
        own["error"] = own["error_half_budget"] = own["P"] ** -0.3
        own["error_stopped"] = share * np.exp(rng.normal(0.0, 0.01, len(own))) * own["P"] ** -0.5
        own["error_stopped_half_budget"] = own["error_stopped"]
        return own

    for folder, table in {
        "architectures_ethanol_pbe": linear,
        "trained_ethanol_pbe": trained("nequip", 0.25),
        "trained_mpnn_ethanol_pbe": pd.concat([trained("mpnn", 1.0), trained("mpnn", 0.5, rotated=True)]),
    }.items():
        (tmp_path / folder).mkdir()
        table.to_csv(place.table(folder), index=False)
        plateau.write(folder, place)
    found = {one.part: one for one in effects.effects(place)}
    for part, words in ((effects.ROTATED, "MPNN"), (effects.SYMMETRIC, "NequIP L=1 edge 1")):
        assert found[part].words.removesuffix(" †") == words
        assert found[part].answer.frames.ratio.value == pytest.approx(4.0, rel=0.05)  # 1 % of ε is 2 % of P
    named = [one.words for one in effects.effects(place) if one.part == effects.TRAINING]
    assert [words.partition("augment=")[2].partition(" ")[0] for words in named] == ["", "False", "True"]
    told = effects.headline(place)
    assert re.search(r"; (3\.9|4\.0|4\.1) \[\S+ \S+\] for training on frames as they are → .* \(1 network\)", told)
    assert re.search(r" so many times the frames: (3\.9|4\.0|4\.1) \[.*\] of NequIP L=1 edge 1", told)
    for name in ("trained_ethanol_pbe", "trained_mpnn_ethanol_pbe"):
        assert "Not trained yet" not in beside.trained_table(name, place)  # but in the other section


def test_the_headline_has_limits_and_leaves_out_what_has_no_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    led = EqualError(NO_FRAMES.ratio, NAN, "second", 32.0)
    flat = EqualError(NO_FRAMES.ratio, NAN, flat=("first",))
    some = {"a": frames(3.0, 0.1), "b": led, "c": flat}

    def of(part: str) -> list[effects.Effect]:
        return [effects.Effect(part, words, Answer(("x",), DELTA, DELTA, "", one)) for words, one in some.items()]

    monkeypatch.setattr(effects, "effects", lambda place: [*of("Orders"), *of(effects.WIDTH)])
    listed = effects.headline(COMMITTED).partition("after it: ")[2].partition(" ([")[0]
    assert listed.split("; ") == [
        "> 32 for b",
        f"3.0 to > 32 for {effects.IN_SHORT[effects.WIDTH]} (2 networks)",
        "3.0 [2.5, 3.7] for a",
    ]
    some = {"c": flat}
    assert effects.headline(COMMITTED) == ""


def test_the_page_has_what_other_pages_say() -> None:
    """The same differences stand on the pages of depth and of the statements."""
    own = {effects.DEPTH: "depth", effects.WIDTH: "depth", "Orders L and ν": "statements"}
    compared = [one for one in effects.effects(COMMITTED) if one.part in own]
    assert len(compared) >= 21
    for one in compared:
        page = (COMMITTED.tables / own[one.part] / "README.md").read_text(encoding="utf-8")
        assert one.answer.power_text in page
        assert one.answer.frames.cell in page
