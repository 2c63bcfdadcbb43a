"""From one set of frames to a dataset: pool, holdout and test, apart in time where the frames are a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from experiments.core.arrays import Floats
from experiments.data.dataset import Dataset, Frames
from experiments.data.distances import descriptor
from experiments.data.sampling.sampler import autocorrelation_time
from experiments.data.splits import Split, random_split, trajectory_split

COMPONENTS = 3
"""Principal components of the geometry that are followed."""
_FRAMES = 20_000  # of them at most: slow motions are resolved by far fewer


class SplitSizes(Protocol):
    """The settings that every source with one set of frames has."""

    @property
    def pool(self) -> int | None:
        """Frames to draw training subsets from; None: all that are left."""
        ...

    @property
    def holdout(self) -> int:
        """Frames for the diagnosis of convergence."""
        ...

    @property
    def test(self) -> int:
        """Test frames."""
        ...

    @property
    def disjoint_seeds(self) -> int:
        """Seeds whose subsets do not overlap."""
        ...


def random_dataset(name: str, frames: Frames, sizes: SplitSizes, provenance: Mapping[str, Any], **more: Any) -> Dataset:
    """A dataset whose parts are drawn at random, once and for all; `more` are further fields of it."""
    split = random_split(len(frames), sizes.pool, sizes.holdout, sizes.test)
    return dataset_of_split(name, "random", frames, split, sizes, provenance, **more)


def trajectory_dataset(
    name: str, frames: Frames, times: Floats, gap: float, sizes: SplitSizes, provenance: Mapping[str, Any]
) -> Dataset:
    """A dataset whose parts are stretches of a trajectory, `gap` correlation times apart.

    Args:
        times: of the frames in fs. [F]
    """
    tau = correlation_time(frames, times)
    split = trajectory_split(times, gap * tau, sizes.pool, sizes.holdout, sizes.test)
    facts = {**provenance, "correlation_time_fs": tau, "gap_fs": gap * tau}
    return dataset_of_split(name, "trajectory", frames, split, sizes, facts)


def dataset_of_split(
    name: str,
    test_set: str,
    frames: Frames,
    split: Split,
    sizes: SplitSizes,
    provenance: Mapping[str, Any],
    **more: Any,
) -> Dataset:
    """The parts of `split` as a dataset."""
    return Dataset(
        name=name,
        pool=frames.take(split.pool),
        holdout=frames.take(split.holdout),
        test=frames.take(split.test),
        test_set=test_set,
        disjoint_seeds=sizes.disjoint_seeds,
        provenance=provenance,
        **more,
    )


def correlation_time(frames: Frames, times: Floats) -> float:
    """The integrated autocorrelation time of the slowest of energy and geometry, in the unit of `times`.

    Geometry are the leading principal components of the inverse interatomic distances (torsions move these most).
    Frames may be unevenly spaced, as a random choice from a trajectory is: series are interpolated linearly onto a
    regular grid of as many points.

    Args:
        frames: of one molecule, not periodic.
        times: of the frames, in any order. [F]
    """
    order = np.argsort(times, kind="stable")
    slowest = _time_of(frames.energies[order], times[order])
    thinned = order[np.unique(np.linspace(0, len(order) - 1, min(_FRAMES, len(order))).astype(np.int64))]
    real = frames.numbers[0] > 0
    points = descriptor(frames.positions[thinned][:, real], frames.numbers[0][real])
    points = points - points.mean(axis=0)
    _, _, axes = np.linalg.svd(points.T @ points)  # rows: directions of largest variance first
    for series in (points @ axes[:COMPONENTS].T).T:
        slowest = max(slowest, _time_of(series, times[thinned]))
    return slowest


def _time_of(series: Floats, times: Floats) -> float:
    """Of one series at ascending `times`."""
    if len(times) < 3 or times[-1] <= times[0]:
        return 0.0
    grid = np.linspace(times[0], times[-1], len(times))
    memory = autocorrelation_time(np.interp(grid, times, series)[None])
    return memory.tau * float(grid[1] - grid[0])
