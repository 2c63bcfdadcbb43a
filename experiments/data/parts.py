"""Split one set of frames into pool, validation set (holdout) and test set, at random or along a trajectory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from experiments.core.arrays import Floats
from experiments.data.dataset import Dataset, Frames
from experiments.data.distances import descriptor
from experiments.data.splits import Split, random_split, trajectory_split

COMPONENTS = 3
"""Number of principal components of the geometry whose correlation time is measured."""
_FRAMES = 20_000  # frames for that, at most: slow motions are resolved by far fewer


class SplitSizes(Protocol):
    """Sizes of the parts: settings of every source with one set of frames."""

    @property
    def pool(self) -> int | None:
        """Number of frames to draw training subsets from; None: all that are left."""
        ...

    @property
    def holdout(self) -> int:
        """Number of frames of the validation set."""
        ...

    @property
    def test(self) -> int:
        """Number of test frames."""
        ...

    @property
    def disjoint_seeds(self) -> int:
        """Number of seeds whose training subsets do not overlap."""
        ...


def random_dataset(name: str, frames: Frames, sizes: SplitSizes, provenance: Mapping[str, Any], **more: Any) -> Dataset:
    """Build a dataset whose parts are drawn at random, the same in every run; `more` are further fields of it."""
    split = random_split(len(frames), sizes.pool, sizes.holdout, sizes.test)
    return dataset_of_split(name, "random", frames, split, sizes, provenance, **more)


def trajectory_dataset(
    name: str, frames: Frames, times: Floats, gap: float, sizes: SplitSizes, provenance: Mapping[str, Any]
) -> Dataset:
    """Build a dataset whose parts are stretches of a trajectory, apart in time.

    Args:
        name: of the dataset, in tables.
        frames: of one molecule, not periodic.
        times: of the frames, `[F]` in fs.
        gap: shortest time between frames of two parts, in correlation times.
        sizes: of the parts.
        provenance: facts to record; `correlation_time_fs` and `gap_fs` are added.

    Raises:
        InputError: the trajectory is too short for such parts and such a gap.
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
    """Build a dataset of the parts that `split` gives; `more` are further fields of it."""
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
    """Return the integrated autocorrelation time of the slowest of energy and geometry, in the unit of `times`.

    The geometry is represented by the leading principal components of the inverse interatomic distances (torsions
    move these most). Frames may be unevenly spaced, like a random choice from a trajectory: series are interpolated
    linearly onto a regular grid of as many points.

    Args:
        frames: of one molecule, not periodic.
        times: of the frames, `[F]`, in any order.
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
    """Return the integrated autocorrelation time of one series at ascending `times`, in their unit."""
    if len(times) < 3 or times[-1] <= times[0]:
        return 0.0
    from experiments.data.sampling.sampler import autocorrelation_time  # with ASE's builders of molecules, a second

    grid = np.linspace(times[0], times[-1], len(times))
    memory = autocorrelation_time(np.interp(grid, times, series)[None])
    return memory.tau * float(grid[1] - grid[0])
