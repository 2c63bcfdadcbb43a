"""Comparisons in words, on tables with known exponents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.comparisons.compare import compare_curves, families, pool_differences
from analysis.comparisons.comparison_table import comparison_table
from analysis.comparisons.paired import Survival, survival
from analysis.comparisons.sentences import comparison_record, comparison_sentence, family_sentence
from analysis.errors import InputError
from analysis.fits.uncertainty import Interval
from tests.analysis.comparisons.cells import SIZES, analysed, cells, scattered


def test_comparisons_say_what_training_may_still_do() -> None:
    by_order = next(c for c in compare_curves(analysed(scattered(0.05))) if c.factor == "L")
    assert by_order.cannot_tell == ("first", "second")
    assert by_order.trained.low < by_order.delta.low < by_order.delta.high < by_order.trained.high
    words = comparison_sentence(by_order)
    assert "; with further training Δβ = [0." in words
    assert words.endswith("; too noisy to tell whether converged: L=0 and L=1.")
    record = comparison_record(by_order)
    assert record["delta_beta_training_low"] == by_order.trained.low
    quiet = next(c for c in compare_curves(analysed(scattered(0.001))) if c.factor == "L")
    assert "further training" not in comparison_sentence(quiet)


def test_comparisons_in_words() -> None:
    fits = analysed(cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}))
    by_change = {(c.factor, c.first.number("L"), c.first.number("nu")): c for c in compare_curves(fits)}
    assert set(by_change) == {("L", 0.0, 1.0), ("nu", 0.0, 1.0), ("edge_lmax", 0.0, 3.0)}
    by_order = by_change["L", 0.0, 1.0]
    assert by_order.delta.low < 0.2 < by_order.delta.high
    words = comparison_sentence(by_order)
    assert words.startswith("β rises by 0.")
    assert "from L=0 to L=1 (MACE, edge 3, ν=1; toy, force MAE; p < 0.001)" in words
    assert [c.factor for c in compare_curves(fits, by=["L"])] == ["L"]


def test_unknown_factor_is_refused() -> None:
    with pytest.raises(InputError, match="no such identifying column"):
        compare_curves(analysed(cells({"A": 0.4})), by=["colour"])


def test_no_difference_is_not_equality() -> None:
    words = comparison_sentence(compare_curves(analysed(cells({"A": 0.5, "B": 0.5}, seed=3)))[0])
    assert words.startswith("no difference of β is shown from L=0 to L=1 (MACE")
    assert "with 80 % power" in words
    assert "rises" not in words
    assert "falls" not in words


def sentence(frame: pd.DataFrame) -> str:
    (one,) = compare_curves(analysed(frame))
    return comparison_sentence(one)


def test_two_runs_of_one_seed_are_matched() -> None:
    words = sentence(cells({"A": 0.4, "B": 0.6}, n_seeds=1))
    assert "do not match" not in words
    assert "; single runs: scatter from the residuals of a line." in words
    assert "rises by 0.2" in words


def test_means_with_published_deviations_are_compared() -> None:
    frame = cells({"A": 0.4, "B": 0.6}, n_seeds=1).drop(columns="seed")
    frame = frame.assign(error_sd=0.02 * frame["error"], n_runs=5)
    (one,) = compare_curves(analysed(frame))
    assert one.delta.low < 0.2 < one.delta.high
    assert one.delta.low > 0.1
    assert comparison_sentence(one).endswith("; scatter as published with the means.")


def test_curves_without_common_factors_are_named_by_their_data() -> None:
    frame = cells({"A": 0.4, "B": 0.6}).drop(columns=["L", "nu", "edge_lmax", "n_parameters"])
    frame["architecture"] = ["one", "two"] * (len(frame) // 2)
    frame["seed"] = np.arange(len(frame)) // 2 % 5
    frame["P"] = np.repeat(SIZES, 10)
    frame["error"] = frame["P"] ** -0.5
    assert "from one to two (toy, force MAE; " in sentence(frame)


@pytest.mark.parametrize(
    ("plain", "floored", "outcome"),
    [
        ((0.058, 0.02, 0.1), (0.07, -0.03, 0.17), Survival.UNCERTAIN),
        ((0.058, 0.02, 0.1), (0.01, -0.03, 0.05), Survival.VANISHES),
        ((0.058, 0.02, 0.1), (-0.2, -0.3, -0.1), Survival.VANISHES),
        ((0.058, 0.02, 0.1), (0.2, 0.1, 0.3), Survival.SURVIVES),
    ],
)
def test_a_difference_that_floors_leave_as_large_has_not_vanished(plain: Any, floored: Any, outcome: Survival) -> None:
    (c,) = compare_curves(analysed(cells({"A": 0.4, "B": 0.6})))
    one, two = (Interval(value, low, high, 0.02, 4) for value, low, high in (plain, floored))
    found = replace(c, delta=one, with_floor=two, survival=survival(one, two))
    assert found.survival is outcome
    assert ("does not survive" in comparison_sentence(found)) == (outcome is Survival.VANISHES)
    if outcome is Survival.UNCERTAIN:
        assert "with a floor in both it is no longer certain (Δβ = +0.07 [−0.03, 0.17])" in comparison_sentence(found)


def test_a_run_that_lies_off_is_named_with_the_difference_without_it() -> None:
    frame = cells({"A": 0.4, "B": 0.6})
    off = (frame["L"] == 1) & (frame["seed"] == 3) & (frame["P"] == SIZES[-1])
    frame.loc[off, "error"] *= 2
    (c,) = compare_curves(analysed(frame))
    (run,) = c.outlying.runs.values()
    assert (run.seed, run.size) == ("3", 1024.0)
    words = comparison_sentence(c)
    assert "; OUTLYING: seed 3 at P = 1024 of L=1 (2" in words
    assert "times the error that its curve suggests); without it Δβ = 0." in words
    assert c.outlying.without.high - c.outlying.without.low < 0.3 * (c.delta.high - c.delta.low)
    record = comparison_record(c)
    assert record["delta_beta_without_outlying"] == pytest.approx(0.2, abs=0.02)
    assert record["outlying_runs"][0]["curve"] == "second"  # type: ignore[index]


def test_an_outlying_single_run_costs_its_size() -> None:
    frame = cells({"A": 0.4, "B": 0.6}, n_seeds=1)
    frame.loc[(frame["L"] == 1) & (frame["P"] == 1024), "error"] *= 2
    (c,) = compare_curves(analysed(frame))
    assert set(c.outlying.runs) == {"second"}
    assert c.outlying.without.value == pytest.approx(0.2, abs=0.03)


def test_one_of_many_only_may_rise() -> None:
    (c,) = compare_curves(analysed(cells({"A": 0.4, "B": 0.6})))
    assert comparison_sentence(c).startswith("β rises by 0.")
    assert comparison_sentence(replace(c, p_holm=0.2)).startswith("β may rise by 0.")


def test_several_datasets_are_pooled_as_random_effects() -> None:
    frames = [
        cells({"A": 0.4, "B": 0.4 + gain}, seed=i, dataset=f"molecule{i}") for i, gain in enumerate((0.1, 0.2, 0.3))
    ]
    (pooled,) = pool_differences(compare_curves(analysed(*frames)))
    assert pooled.delta.value == pytest.approx(0.2, abs=0.03)
    assert pooled.between == pytest.approx(0.1, abs=0.03)
    assert pooled.datasets == ("molecule0", "molecule1", "molecule2")


def test_common_slope_over_a_family() -> None:
    rng = np.random.default_rng(0)
    columns: dict[str, Any] = {"dataset": "toy", "architecture": "ace", "metric": "m", "nu": 2}
    same = [curve_rows(rng, beta=0.5, prefactor=1.0, edge_lmax=edge, **columns) for edge in range(3)]
    apart = [curve_rows(rng, beta=0.5 + 0.1 * e, prefactor=1.0, edge_lmax=e, **columns) for e in range(3)]
    (equal,), (unequal,) = families(analysed(*same)), families(analysed(*apart))
    assert equal.p > 0.05
    assert unequal.p < 0.001
    assert "rejected" in family_sentence(unequal)


def test_channels_that_were_matched_to_one_reference_are_no_difference() -> None:
    """L = 0 with more channels than L = 1 is comparable where both have the size of one reference, and only there."""
    rng = np.random.default_rng(0)

    def curve(L: int, channels: int, **more: Any) -> pd.DataFrame:
        identity: dict[str, Any] = {
            "architecture": "mace",
            "dataset": "toy",
            "metric": "force_mae",
            "nu": 3,
            "converged": True,
        }
        return curve_rows(
            rng, beta=0.5, prefactor=1.0, subset=0.01, init=0.01, L=L, channels=channels, **identity, **more
        )

    def factors(*settings: dict[str, Any]) -> list[str]:
        frames = [curve(L, channels, **more) for (L, channels), more in zip(((0, 49), (1, 32)), settings, strict=True)]
        return [c.factor for c in compare_curves(analysed(*frames))]

    size = {"match.by": "weights", "match.target": 114096}
    assert factors(size, size) == ["L"]
    assert factors({}, {}) == []
    assert factors(size, {"match.by": "weights", "match.target": 5}) == []


def test_a_tiny_difference_is_seen_in_table_and_sentence() -> None:
    """Two networks whose errors differ by a thousandth, on the same subsets."""
    rng = np.random.default_rng(0)
    subsets = rng.normal(0, 0.05, (4, len(SIZES)))
    frame = pd.DataFrame(
        [
            {"dataset": "toy", "architecture": "mace", "metric": "force_mae", "L": L, "P": P, "seed": seed}
            | {"error": float(P**-beta * np.exp(subsets[seed, k] + 1e-3 * rng.normal()))}
            for L, beta in ((0, 0.5), (1, 0.501))
            for seed in range(4)
            for k, P in enumerate(SIZES)
        ]
    )
    (one,) = compare_curves(analysed(frame))
    for text in (comparison_sentence(one), comparison_table([one])):
        assert "0.00 [0.00, 0.00]" not in text
        assert "1 [1, 1]" not in text
    assert "force MAE" in comparison_sentence(one)
