"""The nearest training frame: found as by trying all, forces carried over, training error zero, and slope 1/d."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.distances import aligned_rmsd, descriptor
from experiments.models.nearest import NearestConfig
from experiments.regression.ladder import one_solution
from experiments.regression.nearest import SEARCHES, Nearest
from experiments.tasks.predictions import Predictions
from tests.experiments.regression.test_krr import molecules

METRICS = pytest.mark.parametrize("metric", ["descriptor", "aligned_rmsd"])


def predicted(train: Frames, frames: Frames, metric: str) -> Predictions:
    model = Nearest(NearestConfig(metric=metric), sorted(set(train.numbers.ravel().tolist())))
    solution = one_solution(model, train, None, 0)
    assert not solution.per_atom.any()
    found = model.geometry(solution.tensors)(frames)
    return Predictions(found.energies + solution.baseline.predict(frames.numbers), found.forces)


@METRICS
def test_training_error_is_zero(metric: str) -> None:
    frames = molecules(20)
    found = predicted(frames, frames, metric)
    np.testing.assert_allclose(found.energies, frames.energies, atol=1e-11)  # round-off of 3000 eV
    np.testing.assert_allclose(found.forces, frames.forces, atol=1e-12)


@METRICS
def test_nearest_as_by_trying_all(metric: str) -> None:
    train, test = molecules(15), molecules(10, seed=1)
    numbers = train.numbers[0]
    if metric == "descriptor":
        far = ((descriptor(test.positions, numbers)[:, None] - descriptor(train.positions, numbers)) ** 2).sum(2)
    else:
        far = np.array([aligned_rmsd(x, train.positions, numbers) for x in test.positions])
    nearest = far.argmin(1)
    found = predicted(train, test, metric)
    np.testing.assert_allclose(found.energies, train.energies[nearest], atol=1e-11)
    sizes = np.linalg.norm(train.forces[nearest], axis=(1, 2))
    np.testing.assert_allclose(np.linalg.norm(found.forces, axis=(1, 2)), sizes, rtol=1e-12)
    np.testing.assert_allclose(found.forces.sum(1), 0, atol=1e-12)


@METRICS
@pytest.mark.parametrize("sign", [1, -1])
def test_forces_are_carried_over(metric: str, sign: int) -> None:
    """Forces follow a rotated, renumbered training frame; also its mirror image, if the metric has that symmetry."""
    train = molecules(12)
    rng = np.random.default_rng(0)
    order = np.array([0, 1, *rng.permutation([2, 3, 4, 5])])
    rotation = sign * Rotation.random(rng=rng).as_matrix()
    moved = replace(train, positions=(train.positions @ rotation.T + rng.normal(size=3))[:, order])
    found = predicted(train, moved, metric)
    expected = (train.forces @ rotation.T)[:, order]
    if sign < 0 and metric == "aligned_rmsd":
        assert np.abs(found.forces - expected).max() > 0.1
        return
    np.testing.assert_allclose(found.energies, train.energies, atol=1e-11)
    np.testing.assert_allclose(found.forces, expected, atol=1e-9)


def triatomics(shape: Floats) -> Frames:
    """Return O, H, F with O–H 1 Å, and angle and O–F length from `shape` `[F, 2]`; E is a smooth function of
    both (eV)."""
    angle, length = shape.T
    zero, one = np.zeros(len(shape)), np.ones(len(shape))
    far = length[:, None] * np.stack([np.cos(angle), np.sin(angle), zero], 1)
    x = np.stack([np.stack([zero] * 3, 1), np.stack([one, zero, zero], 1), far], 1)
    cells = np.zeros((len(shape), 3, 3))
    numbers = np.tile(np.array([8, 1, 9], np.int64), (len(shape), 1))
    return Frames(numbers, x, np.sin(2 * angle) + length, np.zeros_like(x), cells, cells[..., 0] > 1)


@METRICS
@pytest.mark.parametrize("d", [1, 2])
def test_error_falls_with_the_power_of_the_dimension(metric: str, d: int) -> None:
    """ε ∝ P^(−1/d) for frames on a curve or on a surface; edges of the range add some per cent at small P."""
    rng = np.random.default_rng(0)

    def frames(count: int) -> Frames:
        angle = rng.uniform(1.0, 2.6, count)
        return triatomics(np.stack([angle, rng.uniform(0.9, 1.9, count) if d == 2 else np.ones(count)], 1))

    errors = []
    for size in (16, 256):
        found = []
        for _ in range(12):
            train, test = frames(size), frames(40)
            nearest = SEARCHES[metric](test.positions, train.positions, train.numbers[0])
            found.append(np.abs(train.energies[nearest] - test.energies).mean())
        errors.append(np.mean(found))
    slope = np.log(errors[0] / errors[1]) / np.log(16)
    # distances to the nearest of 16 random points, 12 × 40 times: a mean to within 10 %; both ends to within 0.05
    assert slope == pytest.approx(1 / d, abs=0.13)


def refused(frames: Frames, other: Frames) -> str:
    with pytest.raises(InputError) as error:
        predicted(frames, other, "descriptor")
    return str(error.value)


def test_refusals() -> None:
    frames: Any = molecules(3)
    other = replace(frames, numbers=frames.numbers[:, ::-1].copy())
    said = "model=nearest compares frames of one molecule; accepted: C O H H H H, the atoms of the training frames"
    assert said in refused(frames, other)
    broken = replace(frames, energies=np.array([0.0, np.nan, 0.0]))
    assert refused(broken, frames).startswith("training frame 1: energy not finite")
    assert predicted(frames, frames.take(slice(0, 0)), "descriptor").energies.shape == (0,)
