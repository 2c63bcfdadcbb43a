"""What `fit` says of simulated curves holds as often as it claims, in every case but those that the docs name."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.calibration.calibrate import Scenario
from analysis.calibration.fit_rates import Case, best_detection, cases, coverage, measure_fits, missed

KNOWN = {
    *(("break is flagged", f"{tables}S=1, K={k}, β ± 0.2") for tables, k in (("", 7), ("", 9), ("8 curves, ", 7))),
    ("outlying run is named", "S=3, K=5, × 2 at P_max"),
}
"""Too few runs: README.md gives the rates."""


@pytest.mark.long
def test_every_case() -> None:
    measured = list(measure_fits(400))
    # two binomial errors below the least share are allowed each; of 150 that must not add up to more than a few
    late = {(one.statement, one.case) for one in measured if not one.met}
    assert KNOWN - late == set()
    assert len(late - KNOWN) <= 3
    assert not [
        one for one in measured if one.measured < one.least - 4 * one.error and (one.statement, one.case) not in KNOWN
    ]
    assert "break is flagged (S=1, K=7, β ± 0.2)" in missed(measured)


def test_a_case_in_small() -> None:
    case = Case("", Scenario("", 3, 6, floor_share=0.3), 0.88)
    beta, local = coverage(case, 200, np.random.default_rng(0))
    # nominal 95 %; three binomial errors of 200 tables are 4.6 %
    assert beta.measured > 0.9
    assert local.measured > 0.9


def test_more_seeds_at_small_p_in_small() -> None:
    case = Case("", Scenario("", 3, 5), 0.93, further=4, at=2)
    alone = coverage(case, 400, np.random.default_rng(0))
    assert min(one.measured for one in alone) > 0.917  # three binomial errors of 400 tables below 95 %


def test_cases_are_told_apart() -> None:
    names = [case.name for case in cases()]
    assert len(set(names)) == len(names)


def test_no_test_of_breaks_beats_the_bounds() -> None:
    """Without a break they find one as often as false alarms may be."""
    x = np.log(16.0) + np.log(2.0) * np.arange(7)
    hinge = np.maximum(x - x[3], 0.0)
    curve = Scenario("", 1, 7)
    found = best_detection(x, curve, hinge, np.random.default_rng(0))
    # noise that is known: the distance in standard errors is 3.62, so that P(|z + 3.62| > 1.96) = 95.1 % bounds both
    assert found["noise known"] < 0.951
    assert found["place known"] < 0.951
    nothing = best_detection(x, curve, 0 * hinge, np.random.default_rng(1))
    assert list(nothing.values()) == pytest.approx([0.05, 0.05], abs=0.005)  # five binomial errors of 50,000 draws
    quiet = best_detection(x, Scenario("", 1, 7, subset=0.005, init=0.003, test=0.0), hinge, np.random.default_rng(2))
    assert min(quiet.values()) > 0.999  # ten times less noise
