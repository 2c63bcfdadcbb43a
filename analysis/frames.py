"""Frames of one molecule from a file, and what their distances say about the dimension of the data."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
from numpy.typing import NDArray

from analysis.dimension import descriptor, levina_bickel, nearest_distances, two_nn
from analysis.errors import InputError
from analysis.record import plus_minus

FloatArray = NDArray[np.float64]

MIN_FRAMES = 100
"""Frames below which no estimator has a range to work on."""


def read_frames(path: Path) -> tuple[FloatArray, NDArray[np.int64]]:
    """Positions [F, N, 3] in Å and atomic numbers [N] of a file with one composition and order of atoms.

    Raises InputError for anything else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; give extended XYZ with the frames of one molecule")
    try:
        frames = ase.io.read(path, index=":")
    except Exception as error:  # ASE raises whatever its many readers raise
        raise InputError(f"{path}: ASE cannot read it ({error}); give extended XYZ") from error
    numbers = np.asarray(frames[0].numbers, dtype=np.int64)
    if any(not np.array_equal(frame.numbers, numbers) for frame in frames):
        raise InputError(f"{path}: frames differ in composition or order of atoms; give frames of one molecule")
    if len(frames) < MIN_FRAMES:
        raise InputError(f"{path}: {len(frames)} frames; a dimension needs at least {MIN_FRAMES}")
    return np.stack([frame.positions for frame in frames]), numbers


def report(path: Path, n_seeds: int) -> str:
    """Estimates of the dimension in words: slope of δ(P), TwoNN and Levina–Bickel, in the invariant descriptor."""
    positions, numbers = read_frames(path)
    points = descriptor(positions, numbers)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(points))
    test, train = points[order[: len(points) // 5]], points[order[len(points) // 5 :]]
    largest = len(train) // n_seeds
    sizes = np.array([largest // 2**k for k in range(10) if largest // 2**k >= 8][::-1], dtype=np.int64)
    lines = [f"{path}: {len(points)} frames of {len(numbers)} atoms, 3N − 6 = {max(1, 3 * len(numbers) - 6)}"]
    lines.append("metric: Euclidean between inverse distances (1/Å), sorted within each pair of elements")
    if len(sizes) >= 3:
        d_eff = nearest_distances(train, test, sizes, n_seeds).d_eff
        value = plus_minus(d_eff.value, d_eff.low, d_eff.high)
        lines.append(f"δ(P), P = {sizes[0]}–{sizes[-1]}: d_eff = {value} over {n_seeds} seeds")
    lines.append(f"TwoNN: {two_nn(points):.1f}")
    lines.append(f"Levina–Bickel (20 neighbours): {levina_bickel(points, min(20, len(points) - 1)):.1f}")
    lines.append("All three read too low where the data have edges: at d = 12 the slope of δ(P) on a cube reads 10.")
    lines.append("Frames of one trajectory that lie close in time count as one dimension: thin them first.")
    return "\n".join(lines)
