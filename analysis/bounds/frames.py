"""Frames of one molecule from a file, and their distances."""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.errors import InputError
from experiments.data.distances import distance_table

MIN_FRAMES = 100
"""Smallest number of frames from which a dimension is estimated."""
TEST_FRAMES = 200
"""Largest number of test frames: they give δ(P) to a few per cent, in seconds."""


def read_frames(path: Path) -> tuple[FloatArray, NDArray[np.int64]]:
    """Read positions [F, N, 3] in Å and atomic numbers [N] of the frames of one molecule, all in one order of atoms.

    Raises InputError for a file that ASE cannot read, and for frames that differ in atoms or are too few.
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


def distances(path: Path, n_seeds: int) -> pd.DataFrame:
    """Measure distances of a fifth of the frames (at most `TEST_FRAMES`) to nested subsets of the others.

    Subsets are disjoint across `n_seeds` seeds. Returns a table as described in module `distances`.

    Raises InputError for frames that cannot be used.
    """
    positions, numbers = read_frames(path)
    order = np.random.default_rng(0).permutation(len(positions))
    n_test = min(TEST_FRAMES, len(positions) // 5)
    test, pool = positions[order[:n_test]], positions[order[n_test:]]
    largest = len(pool) // n_seeds
    sizes = [largest // 2**k for k in range(10) if largest // 2**k >= 8][::-1]
    if len(sizes) < 2:
        raise InputError(f"{path}: {len(positions)} frames are too few for {n_seeds} subsets; give fewer --seeds")
    subsets = {seed: np.arange(seed * largest, (seed + 1) * largest) for seed in range(n_seeds)}
    table = distance_table(test, pool, numbers, subsets, sizes)
    return table.assign(dataset=path.stem, test_set="")
