"""Rates of the outcomes of the claim where the truth is known, by the rule that the program applies to a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.calibration.claim_rates import TRUTHS, both_forms, measure_claim, rate, rate_table, tables
from analysis.cli import main
from analysis.comparisons.claim import claims
from analysis.comparisons.conditions import outcomes
from analysis.curve import curves
from analysis.fits.fit import BOTH
from analysis.fits.record import analyse
from analysis.table import check_table

BY_NAME = {truth.name: truth for truth in TRUTHS}


def rates(name: str, n_seeds: int = 10, n_sizes: int = 9, n: int = 400) -> Any:
    return rate(BY_NAME[name], n_seeds, n_sizes, n, np.random.default_rng(0))


@pytest.mark.parametrize(("n_seeds", "n_sizes"), [(3, 5), (5, 7), (10, 7)])
def test_floors_alone_hardly_ever_hold(n_seeds: int, n_sizes: int) -> None:
    found = rates("floors alone: 30 % in A and D", n_seeds, n_sizes)
    # every condition at level 5 % must fail at once: found below 1 %, of 400 with a binomial error of 0.5 %
    assert found.holds <= 0.02
    assert found.refuted + found.no_effect <= 0.01


def test_many_seeds_and_sizes_find_the_truth() -> None:
    # found with 4,000 tables: 94, 98 and 100 %; three binomial errors of 400 tables are at most 4 %
    assert rates("nothing differs").no_effect > 0.87
    assert rates("B = C = A + .2, D = A").holds > 0.93
    assert rates("B = C = D = A + .2").refuted > 0.97


def test_further_seeds_at_small_p_decide_more_and_err_no_more_often() -> None:
    """Noise that falls with P is large where they are: 500 tables give 11 and 21 % at five seeds and seven sizes."""
    alone, more = (rates(name, 5, 7) for name in ("B = C = A + .2, noise ∝ P^−0.3", "the same, 4 more seeds at 2 P"))
    assert more.holds > alone.holds
    for name in ("floors alone, 4 more seeds at 2 P", "nothing differs, 4 more seeds at 2 P"):
        found = rates(name, 5, 7)
        assert found.holds + found.refuted <= 0.05  # the level of the tests behind either


def test_nothing_that_differs_is_hardly_ever_refuted_or_held() -> None:
    found = rates("nothing differs", 5, 7)
    assert found.holds + found.refuted <= 0.05  # the level of the tests behind either


@pytest.mark.parametrize(
    "name",
    [
        "B = C = A + .2, D = A",
        "the same, C and D lack a third of the seeds",
        "B = C = A + .2, 4 more seeds at 2 P",
    ],
)
def test_simulated_outcomes_are_those_of_the_program(name: str) -> None:
    log_p, cells = tables(BY_NAME[name], 10, 7, 6, np.random.default_rng(1))
    identity = {"A": (0, 1, 3), "B": (1, 1, 3), "C": (0, 3, 3), "D": (0, 3, 0)}
    rows = [
        {
            "dataset": f"table{t}",
            "architecture": "mace",
            "metric": "force_mae",
            "L": identity[letter][0],
            "nu": identity[letter][1],
            "edge_lmax": identity[letter][2],
            "P": round(float(np.exp(log_p[k]))),
            "seed": s,
            "error": float(np.exp(log_error[t, s, k])),
        }
        for letter, log_error in cells.items()
        for t, s, k in np.ndindex(*log_error.shape)
        if np.isfinite(log_error[t, s, k])
    ]
    found = {one.dataset: one for one in claims(analyse(curves(check_table(pd.DataFrame(rows), "t")), BOTH))}
    forms = both_forms(log_p, cells)
    assert [found[f"table{t}"].outcome for t in range(6)] == outcomes(forms)
    for t in range(6):
        evidence = found[f"table{t}"].evidence
        for deltas, form in ((evidence.power, forms[0]), (evidence.floor, forms[1])):
            for pair, delta in deltas.items():
                simulated = [getattr(form[pair], field)[t] for field in ("value", "error", "dof")]
                # the search for the floor starts from single precision and ends within 1e-4 of the minimum
                assert [delta.value, delta.error, delta.dof] == pytest.approx(simulated, abs=1e-3)


def test_command_prints_and_writes_the_rates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "rates.json"
    assert main(["calibrate", "--claim", "--tables", "10", "--json", str(out)]) == 0
    expected = measure_claim(10)
    assert capsys.readouterr().out == rate_table(expected) + "\n"
    entries = json.loads(out.read_text(encoding="utf-8"))
    assert len(entries) == len(expected) == len(TRUTHS) * 9
    for entry in entries:
        assert entry["holds"] + entry["refuted"] + entry["no_effect"] + entry["undecided"] == pytest.approx(1.0)
