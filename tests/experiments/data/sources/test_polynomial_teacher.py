"""The polynomial teacher: its definition, its floors against regressions, and the models that represent it exactly."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations_with_replacement, permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from e3nn import o3
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.data.dataset import Frames
from experiments.data.sources.polynomial_teacher import (
    PolynomialTeacherConfig,
    energies_and_forces,
    floor,
    multisets,
    polynomial,
    span,
    teacher,
)
from experiments.data.sources.star import star_energy, uniform_directions
from experiments.models.ace import AceConfig
from experiments.nn.couplings import coupling_blocks
from experiments.regression.ace import LinearAce
from tests.experiments.regression.test_least_squares import solve

CUBIC = PolynomialTeacherConfig(L=2, nu=3, edge_lmax=3, pool=40, holdout=3, test=20)
"""Degrees (1, 1, 2), (1, 2, 3), (2, 2, 2), (2, 3, 3): of these L = 1 lacks one, edges of order 2 two."""


def rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))


@pytest.mark.parametrize("config", [CUBIC, PolynomialTeacherConfig(L=0, nu=2), PolynomialTeacherConfig(L=1, nu=4)])
def test_energies_are_the_definition(config: PolynomialTeacherConfig) -> None:
    """Σ over all tuples of neighbours of W·(Y ⊗ … ⊗ Y), with e3nn's harmonics."""
    terms, u = teacher(config), uniform_directions(config.n_neighbours, 2, [1])
    found, _ = energies_and_forces(1.7 * u, terms)
    y = o3.spherical_harmonics(list(range(4)), torch.as_tensor(u), True, "component").numpy()
    for frame, energy in enumerate(found):
        total = 0.0
        for term in terms:
            for tuple_ in product(range(config.n_neighbours), repeat=config.nu):
                value = term.weights.numpy()
                for neighbour, degree in zip(tuple_, term.degrees, strict=True):
                    value = np.tensordot(y[frame, neighbour, degree**2 : (degree + 1) ** 2], value, 1)
                total += float(value)
        assert energy == pytest.approx(total, abs=1e-11)  # some thousand products of numbers near 1


def test_order_two_is_the_star_teacher() -> None:
    """Σ_l w_l A_l·A_l is a sum of Legendre polynomials of angles, with Σ n(n−1)/2 c_l²/(2l+1) = scale²."""
    config = PolynomialTeacherConfig(L=0, nu=2, edge_lmax=3, n_neighbours=5, scale=0.7)
    u = uniform_directions(5, 50, [0])
    energies, _ = energies_and_forces(u, teacher(config))
    design = np.stack([np.ones(50), *(star_energy(u, np.eye(3)[i]) for i in range(3))], 1)
    solution, *_ = np.linalg.lstsq(design, energies, rcond=None)
    assert np.abs(design @ solution - energies).max() < 1e-12
    assert (10 * solution[1:] ** 2 / np.array([3, 5, 7])).sum() == pytest.approx(0.49, rel=1e-12)


def test_forces_are_minus_the_gradient_and_symmetries_hold() -> None:
    terms, x = teacher(CUBIC), uniform_directions(4, 3, [2])
    energies, forces = energies_and_forces(x, terms)
    assert np.abs((forces * x).sum(2)).max() < 1e-11  # only directions matter
    step = np.finfo(float).eps ** (1 / 3)  # balances the truncation error step² with the round-off eps/step
    for place in np.ndindex(*x.shape[1:]):
        moved = np.zeros(x.shape[1:])
        moved[place] = step
        up, down = (energies_and_forces(x + sign * moved, terms)[0] for sign in (1, -1))
        # third derivatives of degree-9 polynomials of some eV: below 10⁴ times step² ~ 4e-11
        assert np.abs((up - down) / (2 * step) + forces[:, *place]).max() < 1e-6
    rotation = -Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    turned, turned_forces = energies_and_forces(x @ rotation.T, terms)
    np.testing.assert_allclose(turned, energies, atol=1e-11)
    np.testing.assert_allclose(turned_forces, forces @ rotation.T, atol=1e-11)


def invariants(directions: Floats, nu: int, L: int, edge: int) -> Floats:
    """Everything that a polynomial of ν factors with these orders can be made of: `[F, M]`, dense and slow."""
    y = o3.spherical_harmonics(list(range(edge + 1)), torch.as_tensor(directions), True, "component").sum(1)
    columns = [torch.ones(len(y), dtype=torch.float64)]
    for order in range(2, nu + 1):
        blocks = {block.degrees: block.tensor.squeeze(-2) for block in coupling_blocks(edge, 0, order)}
        for degrees in multisets(order, edge):
            for row in span(degrees, L):
                value = torch.einsum("...p,p->...", blocks[degrees], row)
                partial = value.expand(len(y), *value.shape)
                for degree in degrees:
                    partial = torch.einsum("fm,fm...->f...", y[:, degree**2 : (degree + 1) ** 2], partial)
                columns.append(partial)
    return torch.stack(columns, 1).numpy()


@pytest.mark.parametrize(
    ("nu", "L", "edge"), [(3, 2, 3), (2, 2, 3), (3, 1, 3), (3, 2, 2), (3, 0, 3)], ids=lambda value: str(value)
)
def test_floors_are_what_regression_leaves(nu: int, L: int, edge: int) -> None:
    """20,000 frames, five neighbours: the residual variance of the best polynomial of these orders is the floor, and
    0 where none of them is smaller than the teacher's."""
    config = replace(CUBIC, n_neighbours=5)
    u = uniform_directions(5, 20_000, [3])
    energies, _ = energies_and_forces(u, teacher(config))
    design = invariants(u, nu, L, edge)
    residual = energies - design @ np.linalg.lstsq(design, energies, rcond=None)[0]
    expected = floor(config, nu, L, edge)
    if (nu, L, edge) == (3, 2, 3):
        assert expected == pytest.approx(0, abs=1e-14)
        assert rms(residual) < 1e-10
        return
    assert expected > 0.05
    # Terms with a neighbour twice are in the smaller span too, but for those of degree 3 with edges of order 2: they
    # add to the floor, and no more than all of the energy.
    error = float(np.sqrt(((residual**2 - (residual**2).mean()) ** 2).mean() / len(residual)))
    assert (residual**2).mean() > expected - 4.5 * error
    if edge == 3:
        assert (residual**2).mean() < expected + 4.5 * error


def test_a_larger_L_and_edge_order_hold_what_the_smaller_ones_do() -> None:
    assert floor(CUBIC, 3) == pytest.approx(0, abs=1e-14)
    by_L = [floor(CUBIC, 3, L) for L in range(4)]
    by_edge = [floor(CUBIC, 3, None, edge) for edge in range(4)]
    assert by_L == sorted(by_L, reverse=True)
    assert by_edge == sorted(by_edge, reverse=True)
    assert (by_L[0], by_L[1] > 0.05, by_edge[1]) == (1.0, True, 1.0)  # (1, 1, 1) → 0 is a pseudo-scalar
    with pytest.raises(ValueError, match="expected nu ≤ 3"):
        floor(CUBIC, 4)


def test_spans_of_three_factors() -> None:
    """Of three degrees, the smallest is the least L of a chain that couples them to an invariant."""
    for degrees in combinations_with_replacement(range(1, 4), 3):
        a, b, c = degrees
        possible = c <= a + b and sum(degrees) % 2 == 0
        for L in range(4):
            assert len(span(degrees, L)) == (1 if possible and a <= L else 0)


def test_span_does_not_depend_on_the_order_of_degrees_in_a_chain() -> None:
    """All orderings count: the span is what a symmetric product of densities has."""
    assert [len(span((1, 1, 2, 2), L)) for L in range(3)] == [0, 2, 2]
    assert [len(span((2, 2, 3, 3), L)) for L in range(4)] == [0, 0, 3, 3]


def ace(nu: int, edge_lmax: int, **weights: Any) -> LinearAce:
    # three radial functions: what ACE needs to make their derivatives vanish at 1 Å (the teacher knows no distance)
    return LinearAce(AceConfig(nu=nu, edge_lmax=edge_lmax, n_radial=3, cutoff=4.0, **weights), (1, 6))


def test_linear_ace_of_the_teachers_order_learns_it_to_round_off() -> None:
    """Its design has rank 13 here: a few frames with their forces fill it, and the error falls to round-off. ACE of
    order 2 stays at the floor: from energies alone, with all of its rank, at sd `scale`."""
    data = polynomial(PolynomialTeacherConfig(n_neighbours=3, pool=600, holdout=1, test=4000))
    spread = float(np.std(data.test.energies))
    found = solve(ace(3, 2), data.pool.take(np.arange(20))).predict(data.test)
    # λ stops at 1e-12 of the largest eigenvalue (closed_form's own test)
    assert rms(found.energies - data.test.energies) < 1e-6 * spread
    assert rms(found.forces - data.test.forces) < 1e-6 * rms(data.test.forces)
    few = solve(ace(3, 2), data.pool.take(np.arange(1))).predict(data.test)
    assert rms(few.energies - data.test.energies) > 1e-2 * spread
    lower = solve(ace(2, 3, force_weight=0.0), data.pool).predict(data.test)
    squares = (lower.energies - data.test.energies) ** 2
    error = float(squares.std() / np.sqrt(len(squares)))
    # the excess of a fit of some ten coefficients to 600 frames adds two percent
    assert 1 - 4.5 * error < squares.mean() < 1.02 + 4.5 * error


def test_noise_law() -> None:
    """Excess MSE of energies: σ²·M/(n − M − 1) for M coefficients (Gaussian design); RMSE ∝ P^(−1/2) far from n ~ M."""
    config = PolynomialTeacherConfig(n_neighbours=3, noise=0.5, pool=9600, holdout=1, test=400)
    noisy = polynomial(config)
    M = 1 + sum(len(multisets(order, 2)) for order in (2, 3))  # a constant and every invariant of two or three factors
    assert np.linalg.matrix_rank(invariants(noisy.test.positions[:, 1:], 3, 2, 2)) == M
    excess = {}
    x, test = (invariants(frames.positions[:, 1:], 3, 2, 2) for frames in (noisy.pool, noisy.test))
    for n in (48, 192):
        errors = []
        for start in range(0, len(x), n):
            rows = slice(start, start + n)
            solution, *_ = np.linalg.lstsq(x[rows], noisy.pool.energies[rows], rcond=None)
            errors.append(((test @ solution - noisy.test.energies) ** 2).mean())
        expected = 0.25 * M / (n - M - 1)
        sem = float(np.std(errors) / np.sqrt(len(errors)))
        # the design is no Gaussian: leverages of polynomials of directions are uneven, which costs up to a tenth
        assert abs(np.mean(errors) - expected) < 0.1 * expected + 3 * sem
        excess[n] = np.mean(errors)
    slope = 0.5 * math.log(excess[48] / excess[192]) / math.log(4)
    exact = 0.5 * math.log((192 - M - 1) / (48 - M - 1)) / math.log(4)
    assert slope == pytest.approx(exact, abs=0.08)


def test_the_closed_form_meets_the_noise_law() -> None:
    """Through linear ACE and its ridge: the excess falls as 1/P (ridge only lowers it)."""
    data = polynomial(PolynomialTeacherConfig(n_neighbours=3, noise=0.3, pool=640, holdout=1, test=400))
    model = ace(3, 2, force_weight=0.0)
    mse = {}
    for n in (40, 320):
        parts = [data.pool.take(np.arange(start, start + n)) for start in range(0, len(data.pool), n)]
        found = [solve(model, part).predict(data.test).energies for part in parts]
        mse[n] = np.mean([rms(energies - data.test.energies) ** 2 for energies in found])
    M = 5
    assert mse[320] < 1.5 * 0.09 * M / (320 - M - 1)
    assert 4 < mse[40] / mse[320] < 16  # 314/34 = 9.2 by the law; two fits at P = 320 tell it within a third or so


def test_scale_teacher_seed_and_sizes() -> None:
    base, other = polynomial(CUBIC), polynomial(replace(CUBIC, teacher_seed=1))
    np.testing.assert_array_equal(base.pool.positions, other.pool.positions)
    assert not np.allclose(base.pool.energies, other.pool.energies)
    twice = polynomial(replace(CUBIC, scale=2.0))
    np.testing.assert_allclose(twice.test.energies, 2 * base.test.energies, rtol=1e-13)
    longer = polynomial(replace(CUBIC, pool=50))
    assert longer.pool.take(slice(0, 40)).sha256() == base.pool.sha256()
    assert longer.test.sha256() == base.test.sha256()
    assert polynomial(CUBIC).sha256() == base.sha256() != polynomial(replace(CUBIC, seed=1)).sha256()


def test_noise_is_on_training_labels_only() -> None:
    clean, noisy = (polynomial(replace(CUBIC, pool=2000, noise=noise)) for noise in (0.0, 0.1))
    assert noisy.test.sha256() == clean.test.sha256()
    for errors in (noisy.pool.energies - clean.pool.energies, (noisy.pool.forces - clean.pool.forces).ravel()):
        assert abs(errors.std() - 0.1) < 4.5 * 0.1 / np.sqrt(2 * errors.size)  # 4.5 standard errors


BAD: list[tuple[dict[str, Any], str]] = [
    ({"nu": 5}, r"data\.nu=5: accepted: an integer from 2 to 4"),
    ({"nu": 3, "L": 0}, r"data: L=0: accepted: an integer ≥ 1 with nu=3"),
    ({"nu": 3, "edge_lmax": 1}, r"data: edge_lmax=1: accepted: an integer ≥ 2 with nu=3"),
    ({"nu": 4, "n_neighbours": 3}, r"data: n_neighbours=3: accepted: an integer ≥ nu=4"),
    ({"scale": 0.0}, r"data\.scale=0\.0"),
]


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_bad_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(PolynomialTeacherConfig, changes, "data.")


def test_every_accepted_teacher_is_a_polynomial() -> None:
    """As the messages promise, each combination that passes the checks has a term, of norm 1 in all."""
    for nu, L, edge in product((2, 3, 4), range(4), (1, 2)):
        try:
            config = PolynomialTeacherConfig(nu=nu, L=L, edge_lmax=edge)
        except InputError:
            assert not any(len(span(degrees, L)) for degrees in multisets(nu, edge))
            continue
        assert sum(float(term.coordinates @ term.coordinates) for term in teacher(config)) == pytest.approx(1)


def test_frames_are_a_stars() -> None:
    frames: Frames = polynomial(CUBIC).pool
    assert frames.bonds is not None
    assert frames.bonds.tolist() == [[0, j] for j in range(1, 5)]
    np.testing.assert_allclose(frames.forces.sum(1), 0, atol=1e-12)
    assert len({tuple(p) for p in permutations(frames.numbers[0])}) == 5
