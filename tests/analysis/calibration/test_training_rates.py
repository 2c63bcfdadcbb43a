"""Verdicts on training where the truth is known: a small part of `calibrate --training`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.training_rates import (
    KAPPAS,
    measure_training,
    training_curves,
    training_rate,
    training_table,
)
from analysis.cli import main
from analysis.curve import curves
from analysis.fits.fit import BOTH
from analysis.fits.record import analyse
from analysis.fits.training import Verdict
from analysis.table import check_table

COLUMNS = {"dataset": "toy", "architecture": "mace", "metric": "force_mae"}


@pytest.mark.parametrize("kappa", KAPPAS[1:])
@pytest.mark.parametrize("noise", [0.005, 0.06])
@pytest.mark.parametrize("n_seeds", [3, 10])
def test_targets(kappa: float, noise: float, n_seeds: int) -> None:
    """With 1,000 curves: the targets hold with 4,000, and three binomial errors of 5 % are 2 %, of 92 % 2.6 %."""
    rng = np.random.default_rng(0)
    for bias in (0.0, 0.03, 0.06):
        found = training_rate(kappa, bias, noise, n_seeds, 1000, rng)
        assert found.hull > 0.92 - 0.026
        assert bias < 0.06 or found.converged < 0.05 + 0.02
        assert bias > 0 or found.not_converged < 0.05 + 0.02


def test_many_seeds_with_little_noise_find_the_truth() -> None:
    """Found with 4,000 curves: 90 and 93 to 100 %."""
    rng = np.random.default_rng(0)
    assert training_rate(1.0, 0.0, 0.005, 10, 1000, rng).converged > 0.85
    assert training_rate(1.0, 0.06, 0.005, 10, 1000, rng).not_converged > 0.95
    assert training_rate(1.0, 0.06, 0.005, 10, 1000, rng).told > 0.95


def test_simulated_verdicts_are_those_of_the_program() -> None:
    x, schedules = training_curves(1.0, 0.03, 0.01, 5, 40, np.random.default_rng(2))
    names = ("error", "error_half_budget", "error_quarter_budget")
    counts = dict.fromkeys(Verdict, 0)
    for t in range(40):
        rows = [
            {**COLUMNS, "P": round(float(np.exp(x[k]))), "seed": s,
             **{name: float(np.exp(one[t, s, k])) for name, one in zip(names, schedules, strict=True)}}
            for s, k in np.ndindex(5, len(x))
        ]  # fmt: skip
        ((_, judgement),) = analyse(curves(check_table(pd.DataFrame(rows), "t")), BOTH)
        counts[judgement.verdict] += 1
    found = training_rate(1.0, 0.03, 0.01, 5, 40, np.random.default_rng(2))
    assert counts[Verdict.CONVERGED] == round(40 * found.converged)
    assert counts[Verdict.NOT_CONVERGED] == round(40 * found.not_converged)
    assert counts[Verdict.NOT_CONVERGED] > 0
    assert counts[Verdict.CANNOT_TELL] > 0


def test_what_is_missed_is_printed() -> None:
    rates = measure_training(20, seed=1)
    assert len(rates) == 108
    text = training_table(rates)
    missed = [one for one in rates if one.missed]
    assert text.count("missed: κ") == sum(len(one.missed) for one in missed)
    assert text.splitlines()[-1].endswith(f"{sum(len(one.missed) for one in missed)} missed" if missed else "all met")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rates.json"
    assert main(["calibrate", "--training", "--tables", "10", "--json", str(out)]) == 0
    assert "κ = 0.25 (no target): the hull covers" in capsys.readouterr().out
    assert len(json.loads(out.read_text())) == 108
