"""Means ± sd (n) in a table: read, weighted by their standard deviations, and refused without a number of runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.curve import Curve, curves
from analysis.errors import InputError
from analysis.fits.fit import fit_curve
from analysis.fits.flags import Flag, judge
from analysis.fits.intervals import Sample, conclude, measure
from analysis.fits.results import Form
from analysis.means import split_means
from analysis.table import load

ERRORS = ("30.0 ± 1.1 (5)", "21.3 +/- 0.8 (n=5)", "15.2±0.5(5)", "10.4 ± .4 (5)", "7.5e0 +- 0.3 ( 5 )")
SIZES = (10, 20, 40, 80, 160)


def read(tmp_path: Path, errors: tuple[str, ...] = ERRORS, seeds: bool = True) -> list[Curve]:
    path = tmp_path / "t.csv"
    head, cell = (
        ("dataset,architecture,metric,P,seed,error", ",") if seeds else ("dataset,architecture,metric,P,error", "")
    )
    rows = [f"a,b,force_mae,{P},{cell}{error}" for P, error in zip(SIZES, errors, strict=True)]
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    return curves(load(path, None))


@pytest.mark.parametrize("seeds", [True, False])
def test_means_are_data(tmp_path: Path, seeds: bool) -> None:
    (curve,) = read(tmp_path, seeds=seeds)
    assert curve.error[0] == pytest.approx([30.0, 21.3, 15.2, 10.4, 7.5])
    assert curve.error_sd is not None
    assert curve.error_sd[0] == pytest.approx([1.1, 0.8, 0.5, 0.4, 0.3])
    assert curve.n_averaged == 5
    fit = fit_curve(curve)
    assert fit.form(Form.POWER).method.startswith("means_sd")
    assert not {Flag.NO_SEEDS, Flag.ONE_SEED} & set(judge(fit).flags)


def test_the_interval_comes_from_the_standard_deviations(tmp_path: Path) -> None:
    """Var β = Σᵢⱼ wᵢwⱼ·sᵢsⱼ·Rᵢⱼ/n with relative sd s, R the identity or that of nested subsets: the larger."""
    fit = fit_curve(read(tmp_path)[0]).form(Form.POWER)
    beta = fit.beta if fit.alone is None else fit.alone
    x, sd = np.log(SIZES), np.array([1.1, 0.8, 0.5, 0.4, 0.3]) / np.array([30.0, 21.3, 15.2, 10.4, 7.5])
    scaled = (x - x.mean()) / ((x - x.mean()) ** 2).sum() * sd
    nested = np.exp(-np.abs(x[:, None] - x) / 2)
    expected = max(scaled @ scaled, scaled @ nested @ scaled) / 5
    assert beta.error == pytest.approx(np.sqrt(expected), rel=1e-9)


def test_a_mean_needs_its_number_of_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"number of runs, 2 or more, which is missing"):
        read(tmp_path, ("30.0 ± 1.1", *ERRORS[1:]))
    with pytest.raises(InputError, match=r"2 or more, which is 1"):
        read(tmp_path, ("30.0 ± 1.1 (1)", *ERRORS[1:]))


def test_a_curve_is_of_one_kind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a single run in a curve of means"):
        read(tmp_path, ("30.0", *ERRORS[1:]), seeds=False)


def test_coverage_of_means() -> None:
    """2,000 curves of five runs each: with nested runs and with independent ones; three binomial errors are 1.5 %."""
    rng = np.random.default_rng(0)
    x = np.log(np.array(SIZES, dtype=float))
    for correlation in (np.exp(-np.abs(x[:, None] - x) / 2), np.eye(5)):
        runs = -0.5 * x + 0.06 * rng.normal(size=(2000, 5, 5)) @ np.linalg.cholesky(correlation).T
        means = runs.mean(axis=1, keepdims=True)
        found = conclude(measure(Sample(x, means, sd=runs.std(axis=1, ddof=1), n_runs=np.full((2000, 5), 5.0))))
        assert np.mean(np.abs(means[:, 0] @ np.linalg.pinv(np.vander(x, 2))[0] + 0.5) <= found.power.half) > 0.93
        assert np.mean((found.low <= 0.5) & (found.high >= 0.5)) > 0.93


@pytest.mark.parametrize(
    ("cell", "error", "sd"),
    [("0.35(12)", 0.35, 0.12), ("12.3(4)", 12.3, 0.4), ("350(12)", 350, 12), ("1.5(2)e-3", 1.5e-3, 2e-4),
     ("1.05(123)", 1.05, 1.23), (".5(1)", 0.5, 0.1)],
)  # fmt: skip
def test_a_deviation_in_the_last_digits(cell: str, error: float, sd: float) -> None:
    rows = split_means(pd.DataFrame({"error": [cell], "n_runs": ["3"]}, dtype=object))
    assert float(rows["error"][0]) == pytest.approx(error)
    assert float(rows["error_sd"][0]) == pytest.approx(sd)
    assert rows["n_runs"][0] == "3"


def test_a_deviation_in_the_last_digits_needs_its_number_of_runs_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"number of runs, 2 or more, which is missing"):
        read(tmp_path, ("30.0(11)", *ERRORS[1:]))
    with pytest.raises(InputError, match=r"error is '0\.35 \(12\)', not a number"):  # twelve runs, or ± 0.12?
        read(tmp_path, ("0.35 (12)", *ERRORS[1:]))
