"""The star teacher: forces are the gradient, and its moments are the ones that the floors are computed from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.special import eval_legendre

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.data.neighbours import neighbours
from experiments.data.sources.star import StarConfig, energy_variance, star, star_energy, star_forces

COEFFICIENTS = (0.7, -1.3, 0.4, 1.1)


def reference_energy(positions: Floats) -> float:
    """The definition, written out; `positions` `[n + 1, 3]` with the centre first, at any distance."""
    total = 0.0
    offsets = positions[1:] - positions[0]
    for j in range(len(offsets)):
        for k in range(j):
            cosine = offsets[j] @ offsets[k] / np.linalg.norm(offsets[j]) / np.linalg.norm(offsets[k])
            total += sum(c * eval_legendre(l, cosine) for l, c in enumerate(COEFFICIENTS, 1))  # noqa: E741
    return total


def small(**changes: int | float) -> StarConfig:
    return StarConfig(coefficients=COEFFICIENTS, pool=20, holdout=5, test=6, **changes)  # type: ignore[arg-type]


def test_energies_are_the_definition() -> None:
    frames = star(small()).pool
    expected = [reference_energy(x) for x in frames.positions]
    np.testing.assert_allclose(frames.energies, expected, rtol=0, atol=1e-12)  # a few sums of numbers near 1


def test_forces_are_minus_the_gradient() -> None:
    frames = star(small()).pool
    step = np.finfo(float).eps ** (1 / 3)  # balances the truncation error step² with the round-off eps/step
    for f in range(5):
        for atom in range(frames.positions.shape[1]):
            for axis in range(3):
                x = frames.positions[f].copy()
                x[atom, axis] += step
                up = reference_energy(x)
                x[atom, axis] -= 2 * step
                slope = (up - reference_energy(x)) / (2 * step)
                # both errors are of order step² ~ 4e-11 times third derivatives, below 100 for l ≤ 4
                assert frames.forces[f, atom, axis] == pytest.approx(-slope, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), neighbours=st.integers(2, 6))
def test_rotation_and_reflection(seed: int, neighbours: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3, neighbours, 3))
    u = x / np.linalg.norm(x, axis=2, keepdims=True)
    rotation = Rotation.random(rng=rng).as_matrix() * rng.choice([-1, 1])
    np.testing.assert_allclose(star_energy(u @ rotation.T, COEFFICIENTS), star_energy(u, COEFFICIENTS), atol=1e-11)
    np.testing.assert_allclose(
        star_forces(u @ rotation.T, COEFFICIENTS), star_forces(u, COEFFICIENTS) @ rotation.T, atol=1e-11
    )  # 15 pairs of polynomials below 10² in double precision


def test_forces_are_tangential_and_sum_to_zero() -> None:
    frames = star(small()).pool
    radial = (frames.forces[:, 1:] * frames.positions[:, 1:]).sum(2)
    np.testing.assert_allclose(radial, 0, atol=1e-12)
    np.testing.assert_allclose(frames.forces.sum(1), 0, atol=1e-12)


@pytest.mark.parametrize(("n", "coefficients"), [(4, (1.0, 1.0, 1.0)), (3, (0.5, 0.0, 2.0)), (6, (0.0, 1.0))])
def test_mean_and_variance(n: int, coefficients: tuple[float, ...]) -> None:
    energies = star(StarConfig(n, coefficients, pool=40_000)).pool.energies
    variance = energy_variance(n, coefficients)
    # 4.5 standard errors of the mean and of the variance (from the sample's own fourth moment)
    assert abs(energies.mean()) < 4.5 * np.sqrt(variance / len(energies))
    error = np.sqrt(((energies**2 - variance) ** 2).mean() / len(energies))
    assert abs((energies**2).mean() - variance) < 4.5 * error


def test_floor_of_the_orders_above() -> None:
    """The best model of the orders ≤ 1 in least squares leaves the variance of the orders above."""
    frames = star(StarConfig(4, (1.0, 1.0, 1.0), pool=40_000)).pool
    cosines = np.einsum("fjx,fkx->fjk", frames.positions[:, 1:], frames.positions[:, 1:])[:, *np.triu_indices(4, 1)]
    design = np.stack([np.ones(len(frames)), cosines.sum(1)], axis=1)
    residual = frames.energies - design @ np.linalg.lstsq(design, frames.energies, rcond=None)[0]
    expected = energy_variance(4, (1.0, 1.0, 1.0), above=1)
    error = np.sqrt(((residual**2 - expected) ** 2).mean() / len(residual))
    assert abs((residual**2).mean() - expected) < 4.5 * error


def test_only_the_centre_has_bonds() -> None:
    dataset = star(small(n_neighbours=5))
    found = neighbours(dataset.pool, 10.0)
    assert found.mask.sum((1, 2)).tolist() == [10] * 20
    assert (found.mask.sum(2) == [5, 1, 1, 1, 1, 1]).all()


def test_sizes_do_not_mix() -> None:
    """A larger pool begins with the smaller one and leaves holdout and test alone; the three never share a frame."""
    small_pool, large_pool = star(small()), star(StarConfig(coefficients=COEFFICIENTS, pool=50, holdout=5, test=6))
    assert large_pool.pool.take(slice(0, 20)).sha256() == small_pool.pool.sha256()
    assert large_pool.test.sha256() == small_pool.test.sha256()
    assert large_pool.holdout.sha256() == small_pool.holdout.sha256()
    first = [frames.positions[0].tobytes() for frames in (small_pool.pool, small_pool.holdout, small_pool.test)]
    assert len(set(first)) == 3


def test_seed() -> None:
    assert star(small()).sha256() == star(small()).sha256()
    assert star(small()).sha256() != star(small(seed=1)).sha256()


def test_noise_is_on_training_labels_only() -> None:
    clean, noisy = star(StarConfig(pool=4000)), star(StarConfig(pool=4000, noise=0.1))
    assert noisy.test.sha256() == clean.test.sha256()
    np.testing.assert_array_equal(noisy.pool.positions, clean.pool.positions)
    for errors in (noisy.pool.energies - clean.pool.energies, (noisy.pool.forces - clean.pool.forces).ravel()):
        # 4.5 standard errors of mean and standard deviation of a Gaussian sample
        assert abs(errors.mean()) < 4.5 * 0.1 / np.sqrt(errors.size)
        assert abs(errors.std() - 0.1) < 4.5 * 0.1 / np.sqrt(2 * errors.size)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_neighbours": 1}, r"data\.n_neighbours=1"),
        ({"coefficients": []}, "coefficients"),
        ({"coefficients": [0.0, 0.0]}, "coefficients"),
        ({"coefficients": [float("nan")]}, "coefficients"),
        ({"noise": -1.0}, r"data\.noise"),
        ({"pool": 0}, r"data\.pool=0"),
        ({"disjoint_seeds": 0}, r"data\.disjoint_seeds=0"),
        ({"seed": -1}, r"data\.seed=-1"),
    ],
)
def test_bad_settings(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(StarConfig, changes, "data.")
