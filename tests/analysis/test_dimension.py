"""Dimension estimators on tori and spheres of known dimension, and invariance of the molecular metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from analysis.dimension import aligned_rmsd, descriptor, levina_bickel, nearest_distances, neighbours, two_nn
from analysis.theory import nearest_distance

NUMBERS = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_torus(d: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.random((4000, d))
    # statistical errors: TwoNN d/√N ≈ 1.6 % before correlation between neighbours, Levina–Bickel below 1 %
    assert two_nn(points, box=1.0) == pytest.approx(d, rel=0.06)
    assert levina_bickel(points, box=1.0) == pytest.approx(d, rel=0.05)
    sizes = 64 * 2 ** np.arange(6)
    found = nearest_distances(rng.random((12000, d)), rng.random((1500, d)), sizes, box=1.0)
    assert found.d_eff.value == pytest.approx(d, rel=0.06)  # pre-asymptotic above d = 3 by 2–3 %


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_prefactor_of_the_nearest_distance(d: int) -> None:
    rng = np.random.default_rng(1)
    points, test = rng.random((4000, d)), rng.random((4000, d))
    mean = neighbours(points, test, box=1.0).mean()
    assert mean == pytest.approx(nearest_distance(d, 4000), rel=0.03)  # 1/√4000 times the relative spread, about 1


def test_sphere() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(4000, 4))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    assert two_nn(points) == pytest.approx(3, rel=0.07)
    assert levina_bickel(points) == pytest.approx(3, rel=0.06)


def test_boundary_biases_a_cube_downwards() -> None:
    rng = np.random.default_rng(3)
    sizes = 64 * 2 ** np.arange(6)
    found = nearest_distances(rng.random((12000, 8)), rng.random((1500, 8)), sizes)
    assert 6.5 < found.d_eff.value < 7.6  # an independent computation found 7.2 for d = 8


def test_pool_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="exceeds the pool"):
        nearest_distances(np.zeros((10, 2)), np.zeros((5, 2)), np.array([4, 20]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_metrics_are_invariant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.normal(size=(9, 3)) * 1.5
    order = np.concatenate([[0, 1, 2], 3 + rng.permutation(6)])  # hydrogens among themselves
    moved = Rotation.random(rng=rng).apply(frame)[order] + rng.normal(size=3)
    both = descriptor(np.stack([frame, moved]), NUMBERS)
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    assert aligned_rmsd(frame, moved[np.argsort(order)], NUMBERS) == pytest.approx(0.0, abs=1e-7)


def test_rmsd_undoes_a_permutation_of_like_atoms() -> None:
    rng = np.random.default_rng(0)
    frame = 2 * rng.normal(size=(9, 3))
    order = np.array([0, 1, 2, 4, 3, 5, 6, 7, 8])
    turned = Rotation.from_rotvec([0.1, 0.0, 0.1]).apply(frame[order])
    assert aligned_rmsd(frame, turned, NUMBERS) == pytest.approx(0.0, abs=1e-7)


def test_rmsd_of_a_mirror_image_is_not_zero() -> None:
    frame = np.random.default_rng(0).normal(size=(4, 3))
    assert aligned_rmsd(frame, frame * [1, 1, -1], np.array([1, 6, 7, 8])) > 0.05


def test_rmsd_of_a_known_displacement() -> None:
    frame = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]])
    stretched = frame.copy()
    stretched[:, 0] *= 1.0
    stretched[1, 0] = 1.1
    # at most the plain displacement about the centroid, and at least nothing
    plain = np.sqrt((((stretched - stretched.mean(0)) - (frame - frame.mean(0))) ** 2).sum(1).mean())
    assert 0 < aligned_rmsd(frame, stretched, np.array([1, 6, 7, 8])) <= plain + 1e-12
