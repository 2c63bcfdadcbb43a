"""A summary of a dataset: sizes, dimension, energy and force scales, distances of test to training frames, plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.data.baseline import fit_baseline
from experiments.data.dataset import Dataset, Frames
from experiments.data.distances import SPACES, comparable, distance_table
from experiments.data.splits import training_subset

if TYPE_CHECKING:
    import pandas as pd

TEST_FRAMES = 200
"""Number of evenly spaced test frames whose distances are measured: δ(P) to a few per cent, in seconds."""
POINTS = 2000
"""Number of evenly spaced frames in the histograms."""


@dataclass(frozen=True)
class Card:
    """A dataset's summary.

    `facts` maps names to printed values; `distances` is the table of `experiments.data.distances.distance_table`, or
    None for frames of several molecules and for periodic ones.
    """

    facts: dict[str, str]
    distances: pd.DataFrame | None


def card_of(dataset: Dataset, seeds: Sequence[int], test_frames: int = TEST_FRAMES) -> Card:
    """Summarise a dataset.

    δ(P) is the mean distance of `test_frames` test frames to the nearest training frame, over the subsets of `seeds`.
    """
    pool = dataset.pool
    atoms = (pool.numbers > 0).sum(1)
    facts = {
        "frames": f"pool {len(pool)}, holdout {len(dataset.holdout)}, test {len(dataset.test)} ({dataset.test_set})",
        "atoms": f"{atoms.min()}" if atoms.min() == atoms.max() else f"{atoms.min()} to {atoms.max()}",
        "d": dimension(pool),
        "disjoint subsets": f"{dataset.disjoint_seeds} seeds up to P = {len(pool) // dataset.disjoint_seeds}",
    }
    if pool.has_forces:
        facts["force RMS"] = f"{_rms(pool):.3f} eV/Å (a component)"
    energies = _energies(pool)
    facts["energy sd"] = f"{1000 * energies.std():.1f} meV an atom (about what composition explains)"
    for name in ("correlation_time_fs", "gap_fs", "stride_steps"):
        if name in dataset.provenance:
            facts[name.replace("_", " ")] = f"{dataset.provenance[name]:.4g}"
    largest = min(1024, max(1, len(pool) // dataset.disjoint_seeds))
    sizes = [2**k for k in range(largest.bit_length())]
    distances = subset_distances(dataset, sizes, seeds, test_frames)
    if distances is not None:
        for space, unit in SPACES.items():
            mean = distances[distances["space"] == space].groupby("P")["d1"].mean()
            facts[f"δ(P), {space}"] = ", ".join(f"{P}: {mean[P]:.3g}" for P in mean.index) + f" {unit}"
    facts["sha256"] = dataset.sha256()
    return Card(facts, distances)


def dimension(frames: Frames) -> str:
    """Return the number of coordinates that an energy can depend on, with its formula, as text."""
    if frames.points is not None:
        return f"points with {frames.points.shape[1]} coordinates"
    sizes = np.unique((frames.numbers > 0).sum(1))
    periodic = bool(frames.pbc.all(1).any())
    lost, rule = (3, "3N − 3, periodic") if periodic else (6, "3N − 6")
    values = sorted({max(1 if n == 2 else 0, 3 * int(n) - lost) for n in sizes})
    shown = f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"
    return f"{shown} ({rule})"


def subset_distances(
    dataset: Dataset, sizes: Sequence[int], seeds: Sequence[int], test_frames: int = TEST_FRAMES
) -> pd.DataFrame | None:
    """Measure distances of test frames to the training subsets of the given sizes and seeds.

    Returns the table of `experiments.data.distances.distance_table` with leading columns dataset and test_set; None
    if frames differ in their atoms, are periodic, or are points.
    """
    test, pool = dataset.test, dataset.pool
    numbers = test.numbers[0]
    real = numbers > 0
    if not (comparable(test, numbers) and comparable(pool, numbers)):
        return None
    used = _evenly(len(test), test_frames)
    table = distance_table(
        test.positions[used][:, real],
        pool.positions[:, real],
        numbers[real],
        {seed: training_subset(dataset, max(sizes), seed) for seed in seeds},
        sorted(sizes),
        (test.energies[used], pool.energies),
    )
    table.insert(0, "test_set", dataset.test_set)
    table.insert(0, "dataset", dataset.name)
    return table


def draw(dataset: Dataset, card: Card, path: Path) -> None:
    """Write a PNG to `path`: histograms of energies, force components and interatomic distances, and δ(P)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    pool = dataset.pool.take(_evenly(len(dataset.pool), POINTS))
    test = dataset.test.take(_evenly(len(dataset.test), POINTS))
    figure = Figure(figsize=(9, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    both = (("pool", pool, "C0"), ("test", test, "C1"))
    panels: list[tuple[Any, str, str, Any]] = [
        (axes[0, 0], "energy about what composition explains", "meV an atom", lambda f: 1000 * _energies(f)),
        (axes[1, 0], "interatomic distance", "Å", _pair_distances),
    ]
    if dataset.pool.has_forces:
        panels.append((axes[0, 1], "force component", "eV/Å", lambda f: f.forces[f.numbers > 0].ravel()))
    else:
        axes[0, 1].text(0.5, 0.5, "no forces", ha="center", va="center", transform=axes[0, 1].transAxes)
        axes[0, 1].set_axis_off()
    for axis, title, unit, values_of in panels:
        shown = [(name, values_of(frames), color) for name, frames, color in both]
        shown = [(name, values[np.isfinite(values)], color) for name, values, color in shown]
        everything = np.concatenate([values for _, values, _ in shown])
        bins = np.histogram_bin_edges(everything, bins=60) if len(everything) else np.linspace(0, 1, 2)
        for name, values, color in shown:
            if len(values) == 0:
                continue
            axis.hist(values, bins=bins, density=True, histtype="step", color=color, label=name)
        axis.set_xlabel(f"{title} ({unit})")
        axis.set_ylabel("density")
    axes[0, 1].set_yscale("log" if dataset.pool.has_forces else "linear")
    axes[0, 0].legend(frameon=False)
    _draw_distances(axes[1, 1], card.distances)
    figure.suptitle(
        f"{dataset.name}: {card.facts['frames']}; {card.facts['atoms']} atoms, d = {card.facts['d']}", fontsize=10
    )
    figure.savefig(path, format="png", dpi=130)


def _draw_distances(axis: Any, table: pd.DataFrame | None) -> None:
    if table is None:
        axis.text(0.5, 0.5, "no distances: several molecules, or boxes", ha="center", transform=axis.transAxes)
        axis.set_axis_off()
        return
    for space, unit in SPACES.items():
        mean = table[table["space"] == space].groupby("P")["d1"].mean()
        axis.loglog(mean.index, mean / mean.iloc[0], marker="o", label=f"{space} (P = 1: {mean.iloc[0]:.3g} {unit})")
    axis.set_xlabel("P")
    axis.set_ylabel("δ(P) / δ(1)")
    axis.legend(frameon=False, fontsize=8)


def _evenly(count: int, at_most: int) -> Ints:
    """Return at most `at_most` evenly spaced indices below `count`."""
    return (
        np.unique(np.linspace(0, count - 1, min(at_most, count)).astype(np.int64)) if count else np.zeros(0, np.int64)
    )


def _rms(frames: Frames) -> float:
    return float(np.sqrt((frames.forces[frames.numbers > 0] ** 2).mean()))


def _energies(frames: Frames) -> Floats:
    """Return energies per atom minus the baseline (the mean, if none can be fitted), `[F]` in eV."""
    try:
        known = fit_baseline(frames.numbers, frames.energies).predict(frames.numbers)
    except InputError:
        known = np.full(len(frames), frames.energies.mean())
    return np.asarray((frames.energies - known) / (frames.numbers > 0).sum(1))


def _pair_distances(frames: Frames, at_most: float = 6.0) -> Floats:
    """Return all distances below `at_most` Å between atoms of a frame, in at most 200 frames.

    Periodic images are not searched.
    """
    some = frames.take(_evenly(len(frames), 200))
    i, j = np.triu_indices(some.numbers.shape[1], 1)
    real = (some.numbers[:, i] > 0) & (some.numbers[:, j] > 0)
    away = np.linalg.norm(some.positions[:, i] - some.positions[:, j], axis=2)
    return np.asarray(away[real & (away < at_most)])
