"""The pre-registered claim on tables made to hold, refute and leave it open."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.comparisons import claim_pool
from analysis.comparisons.claim import claim_record, claim_text, claims
from analysis.comparisons.conditions import Outcome
from analysis.errors import InputError
from tests.analysis.comparisons.cells import SIZES, analysed, cells, scattered


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
    (claim,) = claims(analysed(cells(betas, noise=0.005, undertrained=0.0)))
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
    assert "beside force MAE, which decides" in claim_text(tests[1], dict.fromkeys("ABCD", ""))


def test_tables_without_budgets_decide_with_one_caution() -> None:
    frame = cells({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}).drop(columns="converged")
    (claim,) = claims(analysed(frame))
    assert claim.outcome is Outcome.HOLDS
    assert claim.cautions == ("no errors of shorter schedules, so no rule on convergence (A, B, C, D)",)


def test_cells_that_bend_are_named() -> None:
    """Curves of A and D that steepen with P: their slopes decide, and a reader is told that they are no power laws."""
    frame = cells({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4})
    bent = frame["L"].eq(0) & (frame["nu"].eq(1) | frame["edge_lmax"].eq(0))
    frame.loc[bent, "error"] *= np.exp(-0.1 * np.log(frame.loc[bent, "P"] / frame["P"].min()) ** 2)
    (claim,) = claims(analysed(frame))
    assert claim.cautions[0] == (
        "no power law, with a floor or without, describes A, D: β is the slope of the best line there"
    )
    (straight,) = claims(analysed(cells({"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4})))
    assert not any("no power law" in caution for caution in straight.cautions)


def test_a_claim_must_survive_what_training_may_still_do() -> None:
    """Too noisy to tell: D would be equivalent to A as it stands, and more training could undo that; β_B > β_A by .3
    survives it. With little noise the cells have converged, and it holds."""
    (claim,) = claims(analysed(scattered(0.05)))
    assert claim.failed == ()
    assert claim.cautions == (
        "too noisy to tell whether training converged (A, B, C, D): every condition must survive more",
    )
    assert claim.outcome is Outcome.UNDECIDED
    first, *_, last = claim.decision.conditions
    assert first.shown
    assert not first.training_open
    assert last.training_open
    assert not last.shown
    assert "not shown: D equivalent to A (±0.05) (more training could undo it)" in claim.reasons
    assert ": open, but more training could undo it" in claim_text(claim, dict.fromkeys("ABCD", ""))
    (quiet,) = claims(analysed(scattered(0.001)))
    assert quiet.outcome is Outcome.HOLDS
    assert quiet.cautions == ()
    assert quiet.evidence.trained == ()


def test_pooled_claims_must_survive_it_too() -> None:
    calm, torn = (
        [scattered(own, seed).assign(dataset=f"m{seed}") for own, seed in zip(owns, (0, 1, 2, 4), strict=True)]
        for owns in ((0.001,) * 4, (0.08,) * 4)
    )
    (quiet,) = claim_pool.pool_claims(claims(analysed(*calm)))
    (pooled,) = claim_pool.pool_claims(claims(analysed(*torn)))
    assert quiet.outcome is Outcome.HOLDS
    assert len(pooled.datasets) == 4
    assert pooled.decision.conditions[0].shown  # by .3
    assert pooled.outcome is Outcome.UNDECIDED
    assert any("more training could undo it" in reason for reason in pooled.decision.reasons)


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


def test_claim_is_pooled_over_datasets() -> None:
    """Datasets whose gains differ: each shows its own, and only their spread says what the next would show."""
    truth = {"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"molecule{i}", noise=0.02) for i in range(6)]
    (pooled,) = claim_pool.pool_claims(claims(analysed(*frames)))
    assert pooled.outcome is Outcome.HOLDS
    assert pooled.decision.conditions[0].delta.dof == 5
    assert pooled.decision.conditions[0].delta.value == pytest.approx(0.2, abs=0.02)
    words = claim_pool.pooled_claim_text(pooled)
    assert words.startswith("over 6 datasets (molecule0; ")
    assert "standard deviation between datasets: B−A 0.0" in words
    assert "without one dataset: the same outcome without any of them" in words
    assert claim_pool.pooled_claim_record(pooled)["outcome"] == "holds"
    mixed = [cells({**truth, "B": 0.4 + gain}, seed=i, dataset=f"m{i}") for i, gain in enumerate((0.0, 0.4, 0.02))]
    (torn,) = claim_pool.pool_claims(claims(analysed(*mixed)))
    assert torn.outcome is not Outcome.HOLDS
    assert torn.between["A", "B"] == pytest.approx(0.22, abs=0.08)  # sd of 0, 0.4, 0.02; weights differ by noise
    assert "datasets would show it" in claim_pool.pooled_claim_text(torn)
    assert torn.decision.conditions[0].sample_size.sizes is None


def test_the_dataset_on_which_it_hangs_is_named() -> None:
    truth = {"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"m{i}", noise=0.02) for i in range(5)]
    odd = cells({**truth, "D": 0.6}, seed=5, dataset="odd", noise=0.02)
    (pooled,) = claim_pool.pool_claims(claims(analysed(*frames, odd)))
    (rest,) = claim_pool.pool_claims(claims(analysed(*frames)))
    assert (pooled.outcome, rest.outcome) == (Outcome.UNDECIDED, Outcome.HOLDS)
    assert pooled.without == {**dict.fromkeys(rest.datasets, Outcome.UNDECIDED), "odd": Outcome.HOLDS}
    words = "  without one dataset: holds without odd; the same outcome without any other"
    assert words in claim_pool.pooled_claim_text(pooled).split("\n")
    told = claim_pool.pooled_claim_record(pooled)["without"]
    assert isinstance(told, dict)
    assert told["odd"] == "holds"
    (two,) = claim_pool.pool_claims(claims(analysed(*frames[:2])))
    assert two.without == {}
    assert "without one dataset" not in claim_pool.pooled_claim_text(two)


def test_cutoffs_are_pooled_apart() -> None:
    truth = {"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"m{i}", cutoff=cutoff) for i in range(2) for cutoff in (1.75, 5.0)]
    pooled = claim_pool.pool_claims(claims(analysed(*frames)))
    assert [(one.place, one.datasets) for one in pooled] == [
        ({"cutoff": 1.75}, ("m0", "m1")),
        ({"cutoff": 5.0}, ("m0", "m1")),
    ]


def test_a_datasets_own_test_set_is_pooled_whatever_its_name() -> None:
    """Of sets that call theirs MD and MD_300K, as published ones do; several of a dataset are told apart by name."""
    truth = {"A": 0.4, "B": 0.6, "C": 0.6, "D": 0.4}
    frames = [cells(truth, seed=i, dataset=f"m{i}", test_set=name) for i, name in enumerate(("MD", "MD_300K"))]
    (pooled,) = claim_pool.pool_claims(claims(analysed(*frames)))
    assert (pooled.datasets, dict(pooled.place)) == (("m0", "m1"), {})
    more = cells(truth, seed=2, dataset="m1", test_set="MD_600K")
    assert claim_pool.pool_claims(claims(analysed(*frames, more))) == []


def test_one_dataset_or_unconverged_ones_are_not_pooled() -> None:
    truth = {"A": 0.4, "B": 0.6, "C": 0.62, "D": 0.4}
    whole = cells(truth)
    short = cells(truth, seed=1, dataset="short")
    short["error_half_budget"] = short["error"] * (1 + 0.002 * short["P"])
    assert claim_pool.pool_claims(claims(analysed(whole))) == []
    assert claim_pool.pool_claims(claims(analysed(whole, short))) == []
