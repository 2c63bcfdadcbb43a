"""Curves whose sizes have different seeds, against formulas, complete curves and simulated scatter."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.curve import Curve, curves
from analysis.fits.fit import fit_curve
from analysis.fits.flags import Flag, judge
from analysis.fits.intervals import Sample, conclude, measure, sample_of_runs
from analysis.fits.noise import nested, of_seeds
from analysis.fits.uneven import best_means, best_weights, of_runs, working
from analysis.report.exponent_table import markdown
from analysis.table import check_table

X = np.log(16 * 2.0 ** np.arange(5))
WIDE = np.array([[True] * 5] * 3 + [[True, True, False, False, False]] * 4)
"""Three seeds with every P, four with the two smallest alone."""


def scatter(present: NDArray[np.bool_], n: int, noise: FloatArray, seed: int = 0) -> FloatArray:
    """ln ε of n curves with β = 0.5, noise [K] of nested subsets and half as much of weights: [n, S, K], with gaps."""
    rng = np.random.default_rng(seed)
    shape = (n, *present.shape)
    own = rng.normal(size=shape) @ np.linalg.cholesky(nested(X)).T + 0.5 * rng.normal(size=shape)
    return np.where(present, -0.5 * X + noise * own, np.nan)


def frame(further: int = 4, at: int = 2, n_seeds: int = 3) -> pd.DataFrame:
    rows = curve_rows(
        np.random.default_rng(3), beta=0.5, prefactor=1.0, sizes=(8, 16, 32, 64, 128), n_seeds=n_seeds + further,
        subset=0.05, init=0.03, dataset="d", architecture="mace", metric="force_mae", unit="eV/Å",
    )  # fmt: skip
    smallest = sorted(set(rows["P"]))[:at]
    return rows[(rows["seed"] < n_seeds) | rows["P"].isin(smallest)]


def one_curve(table: pd.DataFrame) -> Curve:
    (curve,) = curves(check_table(table, "synthetic"))
    return curve


@given(arrays(float, (2, 4, 5), elements=st.floats(-2, 2)), arrays(float, (2, 3, 5), elements=st.floats(-1, 1)))
@settings(deadline=None)
def test_complete_seeds_have_their_plain_means_and_covariance(rows: FloatArray, weights: FloatArray) -> None:
    plain, uneven = of_seeds(X, rows, pool=1e4).spread(weights), of_runs(X, rows, pool=1e4).spread(weights)
    assert best_means(working(X), rows) == pytest.approx(rows.mean(axis=1), abs=1e-12)
    # round-off of sums of squares of up to 5·2², and of the division by wᵀRw, which tiny weights leave without digits
    told = np.abs(weights).max(axis=2) > 1e-3
    assert uneven.variance[told] == pytest.approx(plain.variance[told], abs=1e-11)
    assert uneven.factor[told] == pytest.approx(plain.factor[told], rel=1e-9)
    assert uneven.dof is not None
    assert uneven.dof[told] == pytest.approx(3.0, rel=1e-6)


@given(arrays(np.bool_, (4, 5)), arrays(float, 5, elements=st.floats(-1, 1)))
@settings(deadline=None)
def test_means_are_unbiased_and_no_worse_than_any_part_of_the_runs(
    present: NDArray[np.bool_], weights: FloatArray
) -> None:
    present[0] = True
    every = best_weights(working(X), present)
    assert every.sum(axis=0) == pytest.approx(np.eye(5), abs=1e-9)
    assert not every.transpose(0, 2, 1)[~present].any()

    def variance(rows: NDArray[np.bool_]) -> float:
        return float(sum(weights @ one @ working(X) @ one.T @ weights for one in best_weights(working(X), rows)))

    assert variance(present) <= variance(present[:-1]) + 1e-12  # Gauss and Markov: a run less is never better


@pytest.mark.parametrize("noise", [np.full(5, 0.05), 0.15 * np.exp(-0.3 * (X - X[0]))], ids=["equal", "falling"])
def test_further_runs_narrow_the_interval_and_its_variance_is_true(noise: FloatArray) -> None:
    runs = scatter(WIDE, 2000, noise)
    few, every = measure(Sample(X, runs[:, :3])), measure(sample_of_runs(X, runs, runs[:, :3]))
    all_runs = every.power
    true, claimed = all_runs.value.var(), (all_runs.spread.variance * all_runs.spread.factor).mean()
    # a variance of 2,000 values is known within 3.2 %; noise that falls with P is overstated, never understated
    assert 0.9 * true < claimed < (1.1 if noise[0] == noise[-1] else 2.0) * true
    assert true < 0.9 * few.power.value.var()
    assert np.median(conclude(every).power.half) < 0.85 * np.median(conclude(few).power.half)


def test_degrees_of_freedom_are_those_of_the_scatter_of_the_variance() -> None:
    """2·mean²/variance of the estimated variance (Satterthwaite), from runs that correlate as assumed."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 7, 5)) @ np.linalg.cholesky(working(X)).T
    runs = np.where(WIDE, rows, np.nan)
    weights = np.stack([X - X.mean(), np.array([0, 0, -1.0, 0, 1.0]), np.array([-1.0, 1.0, 0, 0, 0])])
    spread = of_runs(X, runs).spread(np.broadcast_to(weights, (len(runs), 3, 5)))
    assert spread.dof is not None
    drawn = spread.variance * spread.factor
    # 20,000 draws of about χ²(2…6): the ratio is known within 3 %
    assert 2 * drawn.mean(axis=0) ** 2 / drawn.var(axis=0) == pytest.approx(spread.dof[0], rel=0.08)
    every = best_weights(working(X), WIDE)
    exact = [sum(w @ one @ working(X) @ one.T @ w for one in every) for w in weights]
    assert drawn.mean(axis=0) == pytest.approx(exact, rel=0.03)
    assert 1.9 < spread.dof[0, 1] < 2.3  # three seeds at large P
    assert spread.dof[0, 2] > 5  # seven at small P


def test_one_seed_at_large_p_takes_its_noise_from_the_others() -> None:
    fit = fit_curve(one_curve(frame(further=3, at=1, n_seeds=1)))
    assert (fit.seeds, fit.best.method.split(",")[0]) == ((1, 4), "seeds_t")
    assert np.isfinite(fit.best.beta.low)
    assert {Flag.FEW_SEEDS, Flag.INCOMPLETE_SEEDS} <= set(judge(fit).flags)
    assert Flag.ONE_SEED not in judge(fit).flags


def test_seeds_of_a_curve_are_told_as_a_range(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "runs.csv", tmp_path / "fits.json"
    frame().to_csv(path, index=False)
    assert main(["fit", "--table", str(path), "--json", str(out)]) == 0
    assert " 3–7 " in capsys.readouterr().out
    record = json.loads(out.read_text(encoding="utf-8"))[0]
    assert (record["n_seeds"], record["n_seeds_most"]) == (3, 7)
    fit = fit_curve(one_curve(frame()))
    assert "| 3–7 |" in markdown([(fit, judge(fit))])
    whole = fit_curve(one_curve(frame(further=0)))
    assert whole.seeds_text == "3"
    assert fit.best.beta.error < whole.best.beta.error


def test_an_outlying_run_among_the_further_seeds_is_named() -> None:
    table = frame(n_seeds=4, at=4)  # of three runs about a line of their own none is more off than the others
    table.loc[(table["seed"] == 6) & (table["P"] == 16), "error"] *= 3
    found = fit_curve(one_curve(table)).outlier
    assert found is not None
    assert (found.seed, found.size) == ("6", 16)
