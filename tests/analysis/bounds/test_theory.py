"""Bounds and laws at known values, and one-sided verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analysis.bounds.bounds import Relation, evaluated, implied, relate
from analysis.bounds.theory import (
    Direction,
    Evidence,
    Statement,
    bach,
    bach_exponent,
    group_effects,
    hestness,
    interpolation,
    kernel_law,
    luxburg,
    luxburg_bound,
    luxburg_exact,
    nearest_distance,
    spigler,
    statements,
    stone,
    variation_space,
)
from analysis.calibration.synthetic import curve_rows
from analysis.curve import curves
from analysis.fits.record import analyse
from analysis.table import check_table


@pytest.mark.parametrize(
    ("form", "d", "s", "alpha", "value"),
    [
        ("lipschitz", 57, 1, 1, 1 / 60),  # aspirin, 3N − 6 = 57: 1/(d + 3)
        ("lipschitz", 57, 1, 0, 1 / 58),  # threshold units: 1/(d + 1)
        ("affine", 57, 1, 1, 0.5),
        ("network", 57, 1, 1, 0.5),
        ("additive", 57, 1, 1, 0.25),
        ("subspaces", 57, 1, 1, 1 / 4),
        ("subspaces", 57, 3, 1, 1 / 6),
        ("subspaces", 57, 6, 1, 1 / 9),
    ],
)
def test_bach(form: str, d: float, s: float, alpha: float, value: float) -> None:
    assert bach_exponent(form, d, s, alpha) == pytest.approx(value)


def test_bach_refuses_unknown_forms() -> None:
    with pytest.raises(ValueError, match="choose one of lipschitz"):
        bach_exponent("cubic", 3)


def test_exponents_of_the_molecules_in_the_notes() -> None:
    # ethanol (d = 21) and aspirin (d = 57) as 1/d and 1/(d + 3)
    assert luxburg(21).beta == pytest.approx(0.048, abs=5e-4)
    assert luxburg(57).beta == pytest.approx(0.0175, abs=5e-5)
    assert bach(21, 1, 1)[0].beta == pytest.approx(0.042, abs=5e-4)
    assert (luxburg(1).beta, luxburg(2).beta) == (0.5, 0.5)


def test_luxburg_constants() -> None:
    assert luxburg_bound(3, 1e6) == pytest.approx(8 * 3 * math.sqrt(3) * (math.log(2) / 2) ** (1 / 3) / 100)
    ratio = luxburg_bound(5, 1e6) / luxburg_bound(5, 32e6)
    assert ratio == pytest.approx(2.0)  # 32^(1/5)
    # d = 1 falls as P^(−1/2), d = 2 as P^(−1/2)·log P: slopes between P = 10⁸ and 10¹⁰
    slopes = [-math.log(luxburg_bound(d, 1e10) / luxburg_bound(d, 1e8)) / math.log(100) for d in (1, 2)]
    assert slopes[0] == pytest.approx(0.5, abs=0.005)
    assert 0.44 < slopes[1] < 0.5
    assert luxburg_bound(3, 1e6, lipschitz=2) == pytest.approx(2 * luxburg_bound(3, 1e6))


@pytest.mark.parametrize(
    ("d", "teacher", "student", "mse"),
    # spectra: Laplace α = d + 1, Matérn-3/2 α = d + 3, Gauss infinite
    [(1, 2, 2, 1.0), (1, 4, 2, 3.0), (2, 3, 3, 0.5), (2, 5, 3, 1.5), (2, math.inf, 3, 3.0), (3, math.inf, 4, 8 / 3)],
)
def test_spigler(d: float, teacher: float, student: float, mse: float) -> None:
    assert spigler(teacher, student, d) == pytest.approx(mse)
    assert kernel_law(teacher, student, d).beta == pytest.approx(mse / 2)


def test_other_rates() -> None:
    assert interpolation(10, 2).beta == 0.2
    assert stone(10, 2).beta == pytest.approx(2 / 14)
    assert nearest_distance(1, 100) == pytest.approx(1 / 200)  # mean gap to either side: 1/(2P)
    assert nearest_distance(2, 100) == pytest.approx(0.05)  # 1/(2√(ρP)) in the plane


def test_tags_say_what_was_read() -> None:
    rows = hestness()
    assert (rows[0].beta, rows[0].beta_high) == (0.07, 0.35)
    assert [row.tags for row in rows] == ["[R]", "[R2]", "[R2]"]  # exponents per domain were never read: not printed
    assert all(row.evidence == (Evidence.READ,) for row in bach(3, 1, 1))
    assert (luxburg(3).tags, luxburg(1).tags) == ("[R]", "[D]")
    assert (stone(3, 1).tags, kernel_law(2, 2, 1).tags) == ("[R2]", "[R]")
    assert not any(Evidence.MEMORY in row.evidence for row in statements(21, 1, 1, 1))
    assert not any(name.startswith("Bach") for name in (row.name for row in statements(None, 1, 1, 1)))


def test_the_rate_of_the_lipschitz_ball_cannot_be_improved() -> None:
    assert luxburg_exact(57).beta == luxburg(57).beta
    assert luxburg_exact(57).direction is Direction.BEST_WORST_CASE


def test_yang_and_zhou_exceed_bach_for_squared_loss() -> None:
    for d in (3, 21, 57):
        assert variation_space(d).beta == pytest.approx((d + 3) / (4 * d + 6))
        assert variation_space(d).beta > bach_exponent("lipschitz", d)


def test_a_continuous_group_lowers_the_dimension_and_a_finite_one_the_prefactor() -> None:
    finite, continuous, high_dimensional = group_effects(57)
    assert "β stays" in finite.changes
    assert "d from 63 to 57" in continuous.changes  # aspirin: 21 atoms
    assert "by 6 (3 in a periodic box" in continuous.changes
    assert "not |G|" in high_dimensional.changes


def related(statement: Statement, metric: str = "energy_mae", beta: float = 0.5, **more: Any) -> Relation:
    settings: dict[str, Any] = {"dataset": "a", "architecture": "b", "converged": True, **more}
    rows = curve_rows(np.random.default_rng(0), beta=beta, prefactor=1.0, metric=metric, **settings)
    ((fit, judgement),) = analyse(curves(check_table(rows, "t")))
    return relate(fit, judgement, statement).relation


def test_verdicts_are_one_sided() -> None:
    assert related(luxburg(4)) is Relation.CONSISTENT  # 0.5 is above 1/4
    assert related(luxburg(57)) is Relation.VACUOUS  # a fall by 6 % over 16–512
    assert related(bach(4, 1, 1)[1], beta=0.2) is Relation.NOT_TESTABLE  # below 1/2, constant unspecified: no violation
    assert related(luxburg(4), metric="force_mae") is Relation.NOT_TESTABLE
    assert related(luxburg(4), metric="energy_rmse") is Relation.NOT_TESTABLE
    assert related(stone(4, 1), metric="energy_rmse") is Relation.NOT_TESTABLE
    assert related(hestness()[0], beta=0.2) is Relation.CONSISTENT
    assert related(luxburg(4), n_seeds=1, sizes=(16, 32)) is Relation.NOT_TESTABLE
    assert related(kernel_law(2, 2, 1), metric="energy_rmse") is Relation.CONSISTENT
    assert related(kernel_law(2, 2, 1), metric="energy_rmse", beta=0.9) is Relation.NOT_TESTABLE


def test_violation_needs_every_constant() -> None:
    bound = np.array([1.0, 0.5, 0.25])
    sem = np.full(3, 0.01)
    assert evaluated(bound * 0.9, sem, bound) is Relation.CONSISTENT
    assert evaluated(bound + 0.02, sem, bound) is Relation.CONSISTENT  # within three standard errors
    assert evaluated(bound + np.array([0.0, 0.0, 0.04]), sem, bound) is Relation.VIOLATED


def test_implied_dimensions() -> None:
    one = implied(0.25, 20)
    assert (one.d_eff, one.s_eff, one.subspace) == (4.0, 5.0, 1.0)
    assert np.isnan(implied(-0.1, 20).d_eff)
    assert np.isnan(implied(0.5, None).s_eff)
    assert np.isnan(implied(0.5, None).subspace)  # 1/0.5 − 3 < 0
