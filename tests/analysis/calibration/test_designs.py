"""Every number that `design` prints, against simulated tables of the noise that it names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.calibration.claim_rates import Truth, rate
from analysis.calibration.designs import SEEDS, designs, from_table, given
from analysis.calibration.gaps import Gaps, uneven_differences
from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.comparisons.design import NoiseLevel, fewest_with_further, slope_half_width
from analysis.curve import curves
from analysis.fits.intervals import slope_weights
from analysis.fits.moderation import NO_PRIOR, margin, quantile
from analysis.fits.uneven import of_runs
from analysis.table import check_table

NOISE = (0.05, 0.03)
ERRORS = 0.0134
"""Three binomial errors of a power of 80 % in 8,000 tables."""


def deltas(n_seeds: int, n_sizes: int, difference: float = 0.0, n: int = 8000) -> FloatArray:
    """Δβ of every seed of n pairs of simulated curves with independent noise: [n, S]."""
    rng = np.random.default_rng(n_seeds)
    slopes = []
    for beta in (0.5, 0.5 + difference):
        x, y = simulate(Scenario("", n_seeds, n_sizes, beta=beta, subset=NOISE[0], init=NOISE[1], test=0.0), n, rng)
        slopes.append(-(y @ (x - x.mean())) / ((x - x.mean()) ** 2).sum())
    return np.asarray(slopes[1] - slopes[0])


def differs(values: FloatArray) -> float:
    return float(np.mean(np.asarray(stats.ttest_1samp(values, 0.0, axis=1).pvalue) < 0.05))


def equivalent(values: FloatArray) -> float:
    n_seeds = values.shape[1]
    error = values.std(axis=1, ddof=1) / np.sqrt(n_seeds)
    return float((np.abs(values.mean(axis=1)) + stats.t.isf(0.05, n_seeds - 1) * error < 0.05).mean())


@pytest.mark.parametrize("n_sizes", [5, 7])
def test_seeds_and_differences_have_the_power_that_they_claim(n_sizes: int) -> None:
    (found,) = designs(given(NOISE), [n_sizes], 0.06, n_tables=10)
    assert found.spread == pytest.approx(deltas(2, n_sizes).std(), rel=0.024)  # three errors of 16,000 values
    assert found.difference is not None
    assert found.equivalence is not None
    powers = [
        [differs(deltas(found.difference - fewer, n_sizes, 0.06)) for fewer in (1, 0)],
        [equivalent(deltas(found.equivalence - fewer, n_sizes)) for fewer in (1, 0)],
    ]
    for fewer_seeds, as_said in powers:
        assert fewer_seeds < 0.8 + ERRORS
        assert as_said >= 0.8 - ERRORS
    for n_seeds, smallest in zip(SEEDS, found.smallest, strict=True):
        assert differs(deltas(n_seeds, n_sizes, smallest)) == pytest.approx(0.8, abs=ERRORS)


@pytest.mark.parametrize(("further", "at"), [(0, 0), (4, 2)])
def test_intervals_are_as_wide_as_they_are_said_to_be(further: int, at: int) -> None:
    truth = Scenario("", 3 + further, 5, subset=NOISE[0], init=NOISE[1], test=0.0)
    log_p, rows = simulate(truth, 4000, np.random.default_rng(0))
    runs = rows.copy()
    runs[:, 3:, at:] = np.nan
    noise = of_runs(log_p, runs)
    spread = noise.spread(np.broadcast_to(slope_weights(log_p), (len(runs), 5)))
    width = np.sqrt((margin(spread, noise.dof, NO_PRIOR).half ** 2).mean())
    # variances of 4,000 tables are known within 1.6 %; subsets have 0.74 of them, where 2/3 are assumed
    assert slope_half_width(log_p, 3, NoiseLevel(*NOISE), further, at) == pytest.approx(width, rel=0.04)


def test_further_seeds_are_told_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d.json"
    words = ["design", "--noise", "0.02", "0.01", "--sizes", "4", "--further", "4", "2", "--json", str(out)]
    assert main(words) == 0
    (entry,) = json.loads(out.read_text(encoding="utf-8"))
    before, after = entry["half_width"]["3"], entry["half_width_further"]["3"]
    assert after < 0.8 * before
    printed = capsys.readouterr().out
    assert f"4 sizes: 3 seeds {before:.2g} → {after:.2g};" in printed
    alone = entry["seeds_equivalence"]
    with_further = entry["seeds_with_further"]
    assert 2 <= with_further["equivalence"] <= alone
    assert with_further["claim"] is None  # four sizes tell no floor
    assert f"equivalence {alone} → {with_further['equivalence']}" in printed
    assert main([*words[:6], "--further", "4", "4"]) == 2
    assert "--further 4 4" in capsys.readouterr().err


def test_seeds_beside_further_ones_show_the_difference() -> None:
    """As many as are named, and not one less, show Δβ = .06 with 80 % power; simulated by what `compare` does."""
    noise, log_p = NoiseLevel(*NOISE), np.log(16.0 * 2.0 ** np.arange(5))
    named = fewest_with_further(log_p, noise, (4, 2), (0.06, np.inf), 0.025, 20)
    shown = []
    for n_seeds in (named - 1, named):
        cut, rng = Gaps(n_seeds, 4, 2).cut, np.random.default_rng(n_seeds)
        truth = Scenario("", n_seeds + 4, 5, subset=NOISE[0], init=NOISE[1], test=0.0)
        found = uneven_differences(log_p, *(cut(simulate(truth, 2000, rng)[1]) for _ in range(2)))[0]
        shown.append(np.mean(np.abs(found.value + 0.06) > quantile(found.dof) * found.error))
    assert shown[0] < 0.8 + 2 * ERRORS  # three binomial errors of 2,000 tables
    assert shown[1] >= 0.8 - 2 * ERRORS


def test_the_claim_holds_with_the_seeds_named() -> None:
    (found,) = designs(given((0.025, 0.015)), [7], 0.1, n_tables=2000, seed=0)
    assert found.claim is not None
    curve = Scenario("", 1, 1, subset=0.025, init=0.015, test=0.0)
    truth = Truth("", {"B": 0.1, "C": 0.1}, {}, {})
    holds = [rate(truth, s, 7, 2000, np.random.default_rng(7), curve).holds for s in (found.claim - 1, found.claim)]
    assert holds[0] < 0.8 + 0.038  # three binomial errors of 2,000 tables, in both simulations
    assert holds[1] >= 0.8 - 0.038


def table(seeds: int = 5, shared: bool = True, n_curves: int = 6) -> pd.DataFrame:
    """Curves whose differences have noise of 5 % from subsets and 3 % from weights, of √2 of each curve's own."""
    parts = []
    for i in range(n_curves):
        rows = curve_rows(np.random.default_rng(i), beta=0.5, prefactor=1.0, n_seeds=seeds, subset=0.05, init=0.03,
                          sizes=(8, 32, 128, 512, 2048), dataset="d", architecture="a", metric="m", L=i)  # fmt: skip
        parts.append(rows if shared else rows.assign(seed=rows["seed"] + 100 * i))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize(("shared", "origin"), [(True, "15 pairs"), (False, "6 curves; none share their subsets")])
def test_noise_and_grid_are_the_tables(shared: bool, origin: str) -> None:
    (source,) = from_table(curves(check_table(table(20, shared), "t")))
    assert source.name == "d, m"
    assert origin in source.origin
    assert (source.start, source.factor) == pytest.approx((8.0, 4.0))
    # 114 degrees of freedom; sd over seeds of the simulation: 0.004 and 0.004
    assert (source.noise.subset, source.noise.init) == pytest.approx((0.05, 0.03), abs=0.012)
    (found,) = designs(source, [3], 0.1)
    assert found.sizes == (8.0, 32.0, 128.0)
    assert found.claim is None  # three sizes tell no floor


def test_command_prints_and_writes_what_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "d.json"
    words = ["design", "--noise", "0.02", "0.01", "--sizes", "4", "6", "--json", str(out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert printed.startswith("noise of ln ε within a seed 2 % from nested subsets and 1 % from initial weights")
    assert [entry["P"][-1] for entry in entries] == [128, 512]
    for entry, line in zip(entries, printed.splitlines()[2:4], strict=True):
        cells = line.split()
        assert cells[4:7] == [f"{entry['delta_beta_sd']:.2g}", *(str(entry[f"seeds_{n}"]) for n in ("difference",
                              "equivalence"))]  # fmt: skip
        assert cells[7] == ("–" if entry["seeds_claim"] is None else str(entry["seeds_claim"]))
        assert cells[8:] == [f"{value:.2g}" for value in entry["smallest_difference"].values()]


def test_a_table_has_a_block_for_its_main_metric_unless_others_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.csv"
    both = [table().assign(dataset="ethanol_pbe", metric=metric) for metric in ("energy_mae", "force_mae")]
    pd.concat(both).to_csv(path, index=False)
    words = ["design", "--table", str(path), "--sizes", "4"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.count("noise of ln ε") == 1
    assert printed.startswith("Ethanol, PBE, force MAE: noise of ln ε")
    assert printed.endswith("also in the table: energy_mae (--metric NAME, or --metric all)\n")
    assert main([*words, "--metric", "all"]) == 0
    assert capsys.readouterr().out.count("noise of ln ε") == 2
    assert main([*words, "--model", "mace"]) == 2
    assert "--model mace: no curve of it" in capsys.readouterr().err


def test_one_seed_or_no_noise_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.csv"
    table(1).to_csv(path, index=False)
    assert main(["design", "--table", str(path)]) == 2
    assert main(["design", "--noise", "0", "0"]) == 2
    messages = capsys.readouterr().err
    assert "--noise SUBSET INIT" in messages
    assert messages.count("\n") == 2
