"""Comparisons in words, and the pre-registered claim on tables made to hold, refute and leave it open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.synthetic import curve_rows
from analysis.comparisons import claim_pool
from analysis.comparisons.claim import claim_record, claim_text, claims
from analysis.comparisons.compare import compare_curves, families, pool_differences
from analysis.comparisons.conditions import Outcome
from analysis.comparisons.paired import Survival, survival
from analysis.comparisons.sentences import comparison_record, comparison_sentence, family_sentence
from analysis.curve import curves
from analysis.errors import InputError
from analysis.fits.fit import BOTH
from analysis.fits.record import analyse
from analysis.fits.uncertainty import Interval
from analysis.table import check_table

CELLS = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}


SIZES = (16, 32, 64, 128, 256, 512, 1024)


def cells(
    betas: dict[str, float],
    noise: float = 0.01,
    seed: int = 0,
    floors: dict[str, float] | None = None,
    n_seeds: int = 5,
    sizes: tuple[float, ...] = SIZES,
    **more: Any,
) -> pd.DataFrame:
    """Simulate the cells with exponents `betas` and floors in units of the power law's last error."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "dataset": "toy",
        "architecture": "mace",
        "metric": "force_mae",
        "converged": True,
        **more,
    }
    parts = []
    for cell, beta in betas.items():
        order, nu, edge = CELLS[cell]
        identity: dict[str, Any] = {"L": order, "nu": nu, "edge_lmax": edge, "n_parameters": 1000}
        floor = (floors or {}).get(cell, 0.0) * sizes[-1] ** -beta
        shape: dict[str, Any] = {"sizes": sizes, "n_seeds": n_seeds, "subset": noise, "init": noise}
        parts.append(curve_rows(rng, beta=beta, prefactor=1.0, floor=floor, **shape, **identity, **columns))
    return pd.concat(parts, ignore_index=True)


def analysed(*frames: pd.DataFrame) -> Any:
    table = check_table(pd.concat(frames, ignore_index=True), "t")
    return analyse(curves(table), BOTH)  # curved forms take seconds, and nothing here rests on them


@pytest.mark.parametrize(
    ("betas", "outcome"),
    [
        ({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}, Outcome.HOLDS),
        ({"A": 0.4, "B": 0.4, "C": 0.6, "D": 0.6}, Outcome.REFUTED),
        ({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.6}, Outcome.REFUTED),
        ({"A": 0.6, "B": 0.4, "C": 0.7, "D": 0.6}, Outcome.REFUTED),
        ({"A": 0.5, "B": 0.5, "C": 0.5, "D": 0.5}, Outcome.NO_EFFECT),
        ({"A": 0.4, "B": 0.6, "C": 0.5, "D": 0.4}, Outcome.UNDECIDED),  # C is inferior to B, and yet above A
        ({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.5}, Outcome.UNDECIDED),  # D lies between A and C
    ],
)
def test_outcomes(betas: dict[str, float], outcome: Outcome) -> None:
    (claim,) = claims(analysed(cells(betas, noise=0.005)))
    assert claim.outcome is outcome
    assert claim.cautions == ()


@pytest.mark.parametrize("n_seeds", [3, 5])
def test_floors_alone_decide_nothing(n_seeds: int) -> None:
    """One exponent for all, and floors in A and D: the plain slopes alone show all four conditions."""
    same = dict.fromkeys("ABCD", 0.6)
    (claim,) = claims(analysed(cells(same, floors={"A": 0.43, "D": 0.43}, n_seeds=n_seeds)))
    assert claim.outcome is Outcome.UNDECIDED
    assert all(one.p < 0.05 for one in claim.decision.conditions)
    assert any("the difference may be floor" in reason for reason in claim.reasons)


def test_slopes_beside_floors_hold() -> None:
    betas = {"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}
    (claim,) = claims(analysed(cells(betas, noise=0.002, floors=dict.fromkeys("ABCD", 0.2))))
    assert claim.outcome is Outcome.HOLDS


def test_sizes_that_tell_no_floor_decide_nothing() -> None:
    (claim,) = claims(analysed(cells({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}, sizes=SIZES[:4])))
    assert claim.outcome is Outcome.UNDECIDED
    assert "the difference may be floor: it cannot be told from a slope" in claim.reasons[0]
    assert "with floors not identified: open" in claim_text(claim, dict.fromkeys("ABCD", ""))


def test_networks_of_one_layer_never_enter() -> None:
    betas = {"A": 0.4, "B": 0.4, "C": 0.6, "D": 0.4}
    shallow, deep = (cells(betas, n_layers=depth) for depth in (1, 2))
    (claim,) = claims(analysed(shallow, deep))
    assert claim.place == {"n_layers": 2}
    with pytest.raises(InputError, match="n_layers=1"):
        claims(analysed(shallow))


def test_force_mae_decides_and_others_stand_beside_it() -> None:
    betas = {"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}
    tests = claims(analysed(cells(betas, metric="energy_mae"), cells(betas)))
    assert [(test.metric, claim_record(test)["decides"]) for test in tests] == [
        ("force_mae", True),
        ("energy_mae", False),
    ]
    assert "beside force_mae, which decides" in claim_text(tests[1], dict.fromkeys("ABCD", ""))


def test_tables_without_budgets_decide_with_one_caution() -> None:
    frame = cells({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}).drop(columns="converged")
    (claim,) = claims(analysed(frame))
    assert claim.outcome is Outcome.HOLDS
    assert claim.cautions == ("whether training converged is unknown (A, B, C, D)",)


def test_body_order_that_suffices_is_named() -> None:
    (claim,) = claims(analysed(cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.62})))
    assert claim.reasons == ("β_D > β_A and D equivalent to C (±0.05): body order suffices",)


def test_noise_leaves_it_undecided_and_counts_the_seeds() -> None:
    (claim,) = claims(analysed(cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}, noise=0.15)))
    assert claim.outcome is Outcome.UNDECIDED
    (equivalence,) = [c for c in claim.decision.conditions if c.name.startswith("D equivalent")]
    assert not equivalence.shown
    assert equivalence.p > 0.05
    needed = equivalence.sample_size.seeds
    assert needed is None or needed > 5
    assert "would show it" in claim_text(claim, dict.fromkeys("ABCD", ""))


def test_seeds_needed_would_show_it() -> None:
    (claim,) = claims(analysed(cells({"A": 0.4, "B": 0.45, "C": 0.62, "D": 0.4}, noise=0.05)))
    first = claim.decision.conditions[0]
    assert not first.shown
    seeds = first.sample_size.seeds
    assert seeds is not None
    rng = np.random.default_rng(0)
    from scipy import stats

    for delta in (first.delta, first.with_floor):
        spread = delta.error * np.sqrt(delta.dof + 1)
        draws = delta.value + spread * rng.normal(size=(4000, seeds))
        t = draws.mean(axis=1) / (draws.std(axis=1, ddof=1) / np.sqrt(seeds))
        assert np.mean(t > stats.t.isf(0.05, seeds - 1)) >= 0.78  # 0.80 less three binomial errors


def test_unconverged_cell_decides_nothing() -> None:
    frame = cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4})
    half = frame["error"].where(frame["nu"] != 3, frame["error"] * (1 + 0.002 * frame["P"]))
    (claim,) = claims(analysed(frame.assign(error_half_budget=half)))
    assert claim.outcome is Outcome.UNDECIDED
    assert "cell C, D" in claim.reasons[0]


def test_unmatched_weights_are_cautioned() -> None:
    frame = cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4})
    frame.loc[frame["L"] == 1, "n_parameters"] = 5000
    (claim,) = claims(analysed(frame))
    assert "not matched" in claim.cautions[0]
    assert claim_record(claim)["outcome"] == "holds"


def test_table_without_the_cells_is_refused() -> None:
    with pytest.raises(InputError, match="the table has L=0 nu=1 edge_lmax=3"):
        claims(analysed(cells({"A": 0.4})))


def test_comparisons_in_words() -> None:
    fits = analysed(cells({"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}))
    by_change = {(c.factor, c.first.number("L"), c.first.number("nu")): c for c in compare_curves(fits)}
    assert set(by_change) == {("L", 0.0, 1.0), ("nu", 0.0, 1.0), ("edge_lmax", 0.0, 3.0)}
    by_order = by_change["L", 0.0, 1.0]
    assert by_order.delta.low < 0.2 < by_order.delta.high
    words = comparison_sentence(by_order)
    assert words.startswith("β rises by 0.")
    assert "from L=0 to L=1 (mace, edge 3, ν=1; toy, force_mae; p < 0.001)" in words
    assert [c.factor for c in compare_curves(fits, by=["L"])] == ["L"]


def test_unknown_factor_is_refused() -> None:
    with pytest.raises(InputError, match="no such identifying column"):
        compare_curves(analysed(cells({"A": 0.4})), by=["colour"])


def test_no_difference_is_not_equality() -> None:
    words = comparison_sentence(compare_curves(analysed(cells({"A": 0.5, "B": 0.5}, seed=3)))[0])
    assert words.startswith("no difference of β is shown from L=0 to L=1 (mace")
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
    assert "from architecture=one to architecture=two (toy, force_mae; " in sentence(frame)


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


def test_claim_is_pooled_over_datasets() -> None:
    """Datasets whose gains differ: each shows its own, and only their spread says what the next would show."""
    truth = {"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"molecule{i}", noise=0.02) for i in range(6)]
    (pooled,) = claim_pool.pool_claims(claims(analysed(*frames)))
    assert pooled.outcome is Outcome.HOLDS
    assert pooled.decision.conditions[0].delta.dof == 5
    assert pooled.decision.conditions[0].delta.value == pytest.approx(0.2, abs=0.02)
    words = claim_pool.pooled_claim_text(pooled)
    assert words.startswith("over 6 datasets (molecule0, ")
    assert "standard deviation between datasets: B−A 0.0" in words
    assert claim_pool.pooled_claim_record(pooled)["outcome"] == "holds"
    mixed = [cells({**truth, "B": 0.4 + gain}, seed=i, dataset=f"m{i}") for i, gain in enumerate((0.0, 0.4, 0.02))]
    (torn,) = claim_pool.pool_claims(claims(analysed(*mixed)))
    assert torn.outcome is not Outcome.HOLDS
    assert torn.between["A", "B"] == pytest.approx(0.22, abs=0.08)  # sd of 0, 0.4, 0.02; weights differ by noise
    assert "datasets would show it" in claim_pool.pooled_claim_text(torn)
    assert torn.decision.conditions[0].sample_size.sizes is None


def test_cutoffs_are_pooled_apart() -> None:
    truth = {"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"m{i}", cutoff=cutoff) for i in range(2) for cutoff in (1.75, 5.0)]
    pooled = claim_pool.pool_claims(claims(analysed(*frames)))
    assert [(one.place, one.datasets) for one in pooled] == [
        ({"cutoff": 1.75}, ("m0", "m1")),
        ({"cutoff": 5.0}, ("m0", "m1")),
    ]


def test_one_dataset_or_unconverged_ones_are_not_pooled() -> None:
    truth = {"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}
    whole = cells(truth)
    short = cells(truth, seed=1, dataset="short")
    short["error_half_budget"] = short["error"] * (1 + 0.002 * short["P"])
    assert claim_pool.pool_claims(claims(analysed(whole))) == []
    assert claim_pool.pool_claims(claims(analysed(whole, short))) == []


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
