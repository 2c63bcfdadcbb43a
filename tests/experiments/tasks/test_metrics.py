"""Metrics against brute force, and their standard errors against the bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.data.dataset import Frames
from experiments.tasks.metrics import UNITS, frame_errors, metrics_of
from experiments.tasks.predictions import Predictions


def example(frames: int, seed: int = 0) -> tuple[Predictions, Frames]:
    """Molecules of two to five atoms, padded to five, with predictions whose errors differ from frame to frame."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 6, frames)
    numbers = np.where(np.arange(5) < sizes[:, None], 6, 0).astype(np.int64)
    real = (numbers > 0)[..., None]
    forces = rng.normal(size=(frames, 5, 3)) * real
    energies = rng.normal(size=frames) * 10
    spread = rng.lognormal(size=(frames, 1, 1))
    garbage = np.where(real, 0.0, 1e6)  # predictions on padding mean nothing
    predicted = Predictions(energies + sizes * rng.normal(size=frames), forces + spread * rng.normal(size=forces.shape))
    predicted = Predictions(predicted.energies, predicted.forces + garbage)
    cells, pbc = np.zeros((frames, 3, 3)), np.zeros((frames, 3), bool)
    return predicted, Frames(numbers, rng.normal(size=(frames, 5, 3)), energies, forces, cells, pbc)


def brute(predicted: Predictions, frames: Frames) -> dict[str, float]:
    """By loops over frames and atoms."""
    force, energy = [], []
    for f in range(len(frames)):
        atoms = [a for a in range(5) if frames.numbers[f, a] > 0]
        for a in atoms:
            force += [float(predicted.forces[f, a, x] - frames.forces[f, a, x]) for x in range(3)]
        energy.append(float(predicted.energies[f] - frames.energies[f]) / len(atoms))

    def mae(errors: list[float]) -> float:
        return sum(map(abs, errors)) / len(errors)

    def rmse(errors: list[float]) -> float:
        return math.sqrt(sum(e * e for e in errors) / len(errors))

    return {"force_mae": mae(force), "force_rmse": rmse(force), "energy_mae": mae(energy), "energy_rmse": rmse(energy)}


@pytest.mark.parametrize("seed", range(3))
def test_values(seed: int) -> None:
    predicted, frames = example(17, seed)
    found = metrics_of(frame_errors(predicted, frames))
    assert found.keys() == UNITS.keys()
    for name, value in brute(predicted, frames).items():
        assert found[name].value == pytest.approx(value, rel=1e-12)  # sums in another order


def test_standard_errors_are_the_bootstraps() -> None:
    """Frames resampled 2,000 times: the bootstrap's own noise is 1/√(2·2000) = 1.6 %; 400 frames leave the delta
    method's and the ratio's bias at a percent. A wrong unit (components instead of frames) would be off by ×4."""
    predicted, frames = example(400, 5)
    errors = frame_errors(predicted, frames)
    found = metrics_of(errors)
    rng = np.random.default_rng(0)
    again = [metrics_of(errors.iloc[rng.integers(0, 400, 400)]) for _ in range(2000)]
    for name in UNITS:
        spread = np.std([metrics[name].value for metrics in again])
        assert found[name].sem == pytest.approx(spread, rel=0.1)


def test_perfect_predictions() -> None:
    _, frames = example(4)
    found = metrics_of(frame_errors(Predictions(frames.energies, frames.forces), frames))
    assert all((m.value, m.sem) == (0.0, 0.0) for m in found.values())


def test_one_frame_has_no_standard_error() -> None:
    predicted, frames = example(1)
    found = metrics_of(frame_errors(predicted, frames))
    assert all(math.isnan(m.sem) and math.isfinite(m.value) for m in found.values())


def test_rows_are_frames() -> None:
    predicted, frames = example(9)
    errors = frame_errors(predicted, frames)
    assert list(errors["frame"]) == list(range(9))
    assert np.array_equal(errors["atoms"], (frames.numbers > 0).sum(1))
    one = frame_errors(
        Predictions(predicted.energies[3:4], predicted.forces[3:4]), frames.take(np.array([3]))
    )  # a frame's errors do not depend on the others
    for column in ("force_mae", "force_mse", "energy_mae", "energy_mse"):
        assert errors[column][3] == one[column][0]
