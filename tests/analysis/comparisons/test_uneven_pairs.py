"""Two curves whose seeds differ in their sizes: all runs count, and complete seeds give what they gave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.arrays import FloatArray
from analysis.calibration.comparison_rates import floor_coverage, lopsided_coverage, slope_coverage
from analysis.calibration.gaps import Gaps, uneven_differences
from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.comparisons.differences import floor_difference, lend, slope_difference, with_training
from analysis.comparisons.equal_error import equal_error
from analysis.comparisons.paired import Pair, after_training, pair
from analysis.comparisons.stacked import CORRELATIONS, both_uneven, correlations, stack
from analysis.curve import Curve, curves
from analysis.fits.fit import fit_curve
from analysis.fits.intervals import slope_weights
from analysis.fits.remainder import UNTOLD
from analysis.table import check_table

SIZES = (16, 32, 64, 128, 256, 512)
X = np.log(SIZES)
WEIGHTS = np.concatenate([-slope_weights(X), slope_weights(X)])


def frame(beta: float, seed: int, n_seeds: int = 8, complete: int = 4, at: int = 3, **columns: object) -> pd.DataFrame:
    """Rows of a curve: seeds from `complete` on have the `at` smallest sizes alone."""
    rows = curve_rows(
        np.random.default_rng(seed), beta=beta, prefactor=1.0, sizes=SIZES, n_seeds=n_seeds, subset=0.05, init=0.03,
        **{"dataset": "d", "architecture": "mace", "metric": "force_mae", **columns},  # type: ignore[arg-type]
    )  # fmt: skip
    return rows[(rows["seed"] < complete) | (rows["P"] <= SIZES[at - 1])]


def curve(*settings: float, **columns: object) -> Curve:
    (one,) = curves(check_table(frame(*settings, **columns), "synthetic"))  # type: ignore[arg-type]
    return one


def both(first: Curve, second: Curve) -> Pair:
    found = pair(first, second)
    assert found is not None
    return found


def complete_alone(one: Curve, n_seeds: int = 4) -> Curve:
    frame_rows = [seed in set(map(str, range(n_seeds))) for seed in one.seeds]
    keep = np.flatnonzero(frame_rows)
    error = np.full_like(one.error, np.nan)
    error[keep] = one.error[keep]
    half = np.full_like(error, np.nan)
    half[keep] = one.half_budget[keep]
    return Curve(**{**one.__dict__, "error": error, "half_budget": half})


@pytest.mark.parametrize("paired", [True, False])
def test_complete_seeds_give_what_they_gave(paired: bool) -> None:
    """A seed that has no run at all makes the general formulas apply; they must agree with the plain ones."""
    first, second = (-0.5 * X + 0.05 * np.random.default_rng(i).normal(size=(3, 5, 6)) for i in range(2))
    gone = np.full((3, 1, 6), np.nan)
    plain = stack(X, first, second, paired=paired)
    general = stack(X, *(np.concatenate([rows, gone], axis=1) for rows in (first, second)), paired=paired)
    weights = np.stack([WEIGHTS, np.roll(WEIGHTS, 1), np.eye(12)[2] - np.eye(12)[9]])
    for one, two in zip(plain.contrast(weights), general.contrast(weights), strict=True):
        assert two == pytest.approx(one, rel=1e-9, abs=1e-15)  # round-off


def test_the_difference_is_that_of_the_quoted_exponents() -> None:
    """Curves that lack the same runs have each their own best means, whatever the seeds share."""
    one, two = curve(0.5, 0), curve(0.6, 1)
    matched = both(one, two)
    assert matched.paired
    assert matched.runs is not None
    assert matched.scatter == "seeds"
    betas = [next(fit for fit in fit_curve(c).fits if fit.form == "power").beta.value for c in (one, two)]
    assert slope_difference(matched).value == pytest.approx(betas[1] - betas[0], abs=1e-9)


def test_further_seeds_narrow_the_interval() -> None:
    """On average over tables, for slopes, floors and ratios; each with the seeds that have all sizes alone."""
    kinds = (slope_difference, floor_difference, lambda one: equal_error(one).ratio)
    all_runs: list[list[float]] = []
    alone: list[list[float]] = []
    for i in range(20):
        pair_of = curve(0.5, 2 * i), curve(0.6, 2 * i + 1)
        for one, kept in ((both(*pair_of), all_runs), (both(*map(complete_alone, pair_of)), alone)):
            kept.append([np.log(found.high / found.low) if kind is kinds[2] else found.high - found.low
                         for kind in kinds for found in [kind(one)]])  # fmt: skip
    # simulated: .82, .9 and .85 of the width; 20 tables tell the median to about .07
    assert (np.median(all_runs, axis=0) < np.median(alone, axis=0)).all()


def test_a_single_missing_run_costs_no_seed() -> None:
    rows = frame(0.5, 0, complete=8)
    (whole,) = curves(check_table(rows, "t"))
    (lacking,) = curves(check_table(rows[(rows["seed"] != 3) | (rows["P"] != 512)], "t"))
    other = curve(0.6, 1, 8, 8)
    plain, missing = (slope_difference(both(one, other)) for one in (whole, lacking))
    assert plain.dof == 7
    assert 6 < missing.dof < 7  # without the seed it would be 6
    assert missing.value == pytest.approx(plain.value, abs=plain.error)


def test_a_curve_that_lacks_seeds_keeps_the_others_pairs() -> None:
    one, two = curve(0.5, 0, 6, 6), curve(0.6, 1, 3, 3)
    found = both(one, two)
    assert found.paired
    assert found.runs is not None
    assert [int(np.isfinite(rows).sum()) for rows in found.runs] == [36, 18]
    assert slope_difference(found).dof > 2


def test_seeds_without_a_common_one_are_independent() -> None:
    rows = frame(0.6, 1)
    rows["seed"] += 100
    (other,) = curves(check_table(rows, "t"))
    found = both(curve(0.5, 0), other)
    assert not found.paired
    assert found.runs is not None
    delta = slope_difference(found)
    assert delta.low < 0.1 < delta.high
    assert np.isfinite(floor_difference(found).low)
    assert np.isfinite(equal_error(found).ratio.low)


def test_swapped_curves_have_the_opposite_difference() -> None:
    one, two = curve(0.5, 0), curve(0.6, 1, 8, 6, 2)
    there, back = slope_difference(both(one, two)), slope_difference(both(two, one))
    assert (there.value, there.error, there.dof) == pytest.approx((-back.value, back.error, back.dof))


def test_what_seeds_share_is_found() -> None:
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=(2, 1, 200, 6))
    second = np.sqrt(0.75) * common + 0.5 * own
    first = np.where(np.arange(200)[:, None] < 150, common, np.nan)
    assert correlations(first, second)[0] == 0.75 or correlations(first, second)[0] == 0.9  # √.75 = .87
    assert correlations(first, rng.normal(size=second.shape))[0] == 0
    assert set(correlations(common, own)) <= set(CORRELATIONS)


def test_further_seeds_of_one_curve_are_unbiased_and_no_harm() -> None:
    """With noise that is shared throughout, the seeds of both curves alone tell the difference exactly."""
    rng = np.random.default_rng(1)
    common = 0.05 * rng.normal(size=(400, 6, 6))
    second = common.copy()
    second[:, 3:] = np.nan
    mean, _ = both_uneven(X, common, second)
    assert correlations(common, second)[0] == 0.9
    errors = mean @ WEIGHTS
    alone = (second[:, :3] - common[:, :3]).mean(axis=1) @ WEIGHTS[6:]  # zero
    own = common.mean(axis=1) @ WEIGHTS[:6] + second[:, :3].mean(axis=1) @ WEIGHTS[6:]
    assert alone == pytest.approx(0.0, abs=1e-12)
    assert abs(errors.mean()) < 4 * errors.std() / np.sqrt(400)
    assert errors.std() < 0.2 * own.std()  # ρ = .9 leaves further seeds a weight of .05 instead of .5


def test_training_concerns_all_runs() -> None:
    one, two = (curve(0.5, i, undertrained=0.1, kappa=1.0) for i in range(2))
    found = both(one, two)
    later = after_training(found, UNTOLD)
    assert later
    assert all(end.runs is not None for end in later)
    hull, plain = with_training(found, UNTOLD), slope_difference(found)
    assert hull.low <= plain.low
    assert hull.high >= plain.high
    # without half budgets of the further runs the complete seeds tell what training does
    half = two.half_budget.copy()
    half[5, 0] = np.nan
    lacking = both(one, Curve(**{**two.__dict__, "half_budget": half}))
    assert lacking.runs is not None
    assert all(end.runs is None and len(end.first_log) == 4 for end in after_training(lacking, UNTOLD))


def test_pairs_with_gaps_lend_and_borrow() -> None:
    pairs = [both(curve(0.5, 0, L=0), curve(0.6, i, L=i)) for i in range(1, 5)]
    lent = lend(pairs)
    assert lent.dof > 0
    alone, helped = slope_difference(pairs[0]), slope_difference(pairs[0], lent=lent)
    assert helped.dof > alone.dof


@pytest.mark.parametrize("gaps", [Gaps(2, 4, 2), Gaps(4, 4, 3)])
def test_intervals_cover(gaps: Gaps) -> None:
    rng = np.random.default_rng(0)
    found = [*slope_coverage(gaps.seeds, 0.0, 400, rng, gaps), floor_coverage(gaps.seeds, 400, rng, gaps)]
    found += lopsided_coverage(gaps, 0.5, 400, rng)
    for one in found:
        assert one.met, one  # within two binomial errors of 93 %, beside floors 88 %


def test_simulations_do_what_compare_does() -> None:
    one, two = curve(0.5, 0), curve(0.6, 1, 8, 6, 2)
    found = both(one, two)
    assert found.runs is not None
    power, floor = uneven_differences(X, *(rows[None] for rows in found.runs))
    for simulated, told in ((power, slope_difference(found)), (floor, floor_difference(found))):
        values: list[FloatArray] = [simulated.value, simulated.error, simulated.dof]
        assert [float(value[0]) for value in values] == pytest.approx([told.value, told.error, told.dof])


def test_compare_and_claim_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = {"A": (0, 1, 3, 0.5), "B": (1, 1, 3, 0.7), "C": (0, 3, 3, 0.7), "D": (0, 3, 0, 0.5)}
    table = pd.concat(
        frame(beta, i, 8, 2, 4, L=order, nu=nu, edge_lmax=edge, n_layers=2, model_id=name, converged=True)
        for i, (name, (order, nu, edge, beta)) in enumerate(cells.items())
    )
    path = tmp_path / "t.csv"
    table.to_csv(path, index=False)
    assert main(["compare", "--table", str(path)]) == 0
    assert "Welch" not in capsys.readouterr().out
    assert main(["claim", "--table", str(path)]) == 0
    with_all = capsys.readouterr().out
    table[table["seed"] < 2].to_csv(path, index=False)
    assert main(["claim", "--table", str(path)]) == 0
    alone = capsys.readouterr().out
    assert "β_B > β_A: Δβ" in with_all
    assert "β_B > β_A: Δβ" in alone
    assert with_all.count(": shown") > alone.count(": shown")  # two seeds alone show nothing
