"""Changes of slope and single outlying runs: found where they are, and not where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.arrays import FloatArray
from analysis.calibration.synthetic import curve_rows
from analysis.cli import main
from analysis.curve import curves
from analysis.fits.breaks import conclude_breaks, find_breaks, measure_hinges
from analysis.fits.fit import fit_curve
from analysis.fits.flags import BREAK_LEVEL, Flag, judge
from analysis.fits.outliers import find_outlier
from analysis.table import check_table

X = np.log(16.0 * 2.0 ** np.arange(8))


def power_laws(n: int, n_seeds: int, noise: float = 0.05) -> FloatArray:
    return np.asarray(-0.5 * X + noise * np.random.default_rng(0).normal(size=(n, n_seeds, 8)))


@pytest.mark.parametrize("n_seeds", [1, 3])
@pytest.mark.parametrize("change", [0.3, -0.3])
def test_a_change_of_slope_is_found_in_its_place(n_seeds: int, change: float) -> None:
    """ε falls as P^(−.5) up to P = 128, then as P^(−.5 − change)."""
    rows = power_laws(1, n_seeds, 0.002) - change * np.maximum(X - X[3], 0.0)
    found = find_breaks(X, rows)
    assert np.exp(found.place[0]) == pytest.approx(128)
    assert found.change[0] == pytest.approx(change, abs=0.02)  # noise of 0.2 % over 4 octaves: 0.003
    assert found.p[0] < 0.01


def test_power_laws_have_no_break() -> None:
    for n_seeds in (1, 2, 5):
        # a level of 5 %; three binomial errors of 500 curves are 2.9 %
        assert np.mean(find_breaks(X, power_laws(500, n_seeds)).p < 0.05) < 0.08
    exact = find_breaks(X, -0.5 * X[None, None])
    assert not exact.p[0] < 0.05


def test_noise_that_falls_with_p_is_not_taken_for_a_break() -> None:
    rng = np.random.default_rng(2)
    noise = 0.05 * rng.normal(size=(400, 3, 8)) * np.exp(-0.3 * (X - X.mean()))
    # a level of 4 %; three binomial errors of 400 curves are 2.9 %
    assert np.mean(find_breaks(X, -0.5 * X + noise).p < BREAK_LEVEL) < 0.07


def test_curves_of_a_table_lend_their_noise() -> None:
    """Two seeds of eight curves find more of the weak breaks than two seeds alone, and no more where there is none."""
    rows = power_laws(400, 2)
    broken = rows - 0.12 * np.maximum(X - X[4], 0.0)
    alone, together = (np.mean(find_breaks(X, broken, curves=m).p < BREAK_LEVEL) for m in (1, 8))
    assert together > alone
    assert np.mean(find_breaks(X, rows, curves=8).p < BREAK_LEVEL) < 0.07


def test_a_table_of_unlike_curves_is_tested_as_one() -> None:
    """Curves of other sizes and seeds enter with what they say; those that cannot be tested stay without a break."""
    parts = [measure_hinges(X, power_laws(1, 3)), measure_hinges(X[:5], power_laws(1, 1)[..., :5])]
    short = measure_hinges(X[:3], power_laws(1, 3)[..., :3])
    found = conclude_breaks([parts[0], short, parts[1]])
    assert [bool(np.isfinite(one.p[0])) for one in found] == [True, False, True]
    assert all(one.p[0] <= 1 for one in (found[0], found[2]))
    assert conclude_breaks([]) == []


def test_a_run_that_is_off_is_named() -> None:
    rows = power_laws(1, 4)[0]
    rows[2, 7] += np.log(2.0)
    found = find_outlier(X, rows)
    assert found is not None
    assert (found.seed, found.size) == (2, 7)
    assert found.factor == pytest.approx(2.0, rel=0.3)  # known to 5 % · √(1/(1 − leverage)) = 10 %, three times that


def test_a_seed_that_is_better_throughout_is_no_outlier() -> None:
    rows = power_laws(1, 4)[0]
    rows[1] += 0.5 - 0.2 * (X - X.mean())
    assert find_outlier(X, rows) is None


def test_clean_curves_have_no_outlier() -> None:
    # a level of 1 %; three binomial errors of 300 curves are 1.7 %
    assert np.mean([find_outlier(X, rows) is not None for rows in power_laws(300, 3)]) < 0.027


def test_fit_names_the_run_and_gives_the_exponent_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = curve_rows(
        np.random.default_rng(0), beta=0.5, prefactor=1.0, dataset="toy", architecture="mace", metric="force_mae"
    )
    frame["run_id"] = [f"run{i}" for i in range(len(frame))]
    off = (frame["seed"] == 3) & (frame["P"] == 512)
    frame.loc[off, "error"] *= 2
    (curve,) = curves(check_table(frame, "t"))
    fit = fit_curve(curve)
    assert Flag.OUTLYING_RUN in judge(fit).flags
    assert fit.outlier is not None
    assert fit.outlier.beta_without.low <= 0.5 <= fit.outlier.beta_without.high
    assert fit.outlier.beta_without.error < 0.4 * fit.best.beta.error  # it multiplies the width
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    assert main(["fit", "--table", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"seed 3, P = 512, {frame.loc[off, 'run_id'].item()}: " in printed
