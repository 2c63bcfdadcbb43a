"""Molecules as densities on a grid: the frames of an xTB dataset, each turned at random, a Gaussian for every atom.

A channel an element. Labels are the energies per atom (eV), which no rotation changes. Frames, splits and their cache
are those of :mod:`experiments.data.xtb`; the grids follow from them and are not kept.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from experiments.data.dataset import Frames
from experiments.data.examples import Examples, ExampleSet
from experiments.data.xtb import XtbConfig, xtb
from experiments.schema import setting

HEIGHT = 10.0
"""Of an atom's Gaussian: the mean square of a channel is then about one, which networks train on better (measured)."""
_STREAM = 512  # keeps these rotations apart from every other use of a small seed


@dataclass(frozen=True)
class VoxelsConfig:
    """``side`` voxels of ``spacing`` Å in each direction about a molecule's centre, Gaussians of standard deviation
    ``width`` Å (an atom farther out than the grid is cut); ``turned``: each frame by a rotation of its own, else as it
    is. The rest as in :class:`experiments.data.xtb.XtbConfig`.
    """

    molecule: str = setting("methanol", identity=False)  # its frames are in the identity instead
    side: int = setting(10, low=4, high=64)
    spacing: float = setting(0.6, above=0.0)
    width: float = setting(0.5, above=0.0)
    turned: bool = setting(True)
    temperature: float = setting(500.0, above=0)
    pool: int = setting(1280, low=1)
    holdout: int = setting(64, low=1)
    test: int = setting(400, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)
    workers: int | None = setting(None, low=1, identity=False)
    cache: str | None = setting(None, identity=False)


def voxels(config: VoxelsConfig) -> ExampleSet:
    """The dataset of ``config``; see :func:`experiments.data.xtb.xtb` for what it raises."""
    names = ("molecule", "temperature", "pool", "holdout", "test", "seed", "disjoint_seeds", "workers", "cache")
    frames = xtb(XtbConfig(**{name: getattr(config, name) for name in names}))
    elements = frames.elements()
    return ExampleSet(
        name=f"{frames.name}_voxels",
        kind="voxels",
        pool=gridded(frames.pool, elements, config, 0),
        holdout=gridded(frames.holdout, elements, config, 1),
        test=gridded(frames.test, elements, config, 2),
        n_classes=None,
        quantity="energy",
        unit="eV",
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "voxels", **asdict(config), "frames": dict(frames.provenance)},
    )


def gridded(frames: Frames, elements: list[int], config: VoxelsConfig, stream: int) -> Examples:
    """Densities ``[frames, elements, side, side, side]`` and energies per atom (eV)."""
    inputs = np.zeros((len(frames), len(elements), *[config.side] * 3), np.float32)
    for i, (numbers, positions) in enumerate(zip(frames.numbers, frames.positions, strict=True)):
        real = numbers > 0
        centred = positions[real] - positions[real].mean(0)
        if config.turned:
            centred = (
                centred @ Rotation.random(rng=np.random.default_rng([_STREAM, config.seed, stream, i])).as_matrix()
            )
        for channel, element in enumerate(elements):
            inputs[i, channel] = HEIGHT * density(centred[numbers[real] == element], config)
    return Examples(inputs, frames.energies / (frames.numbers > 0).sum(1))


def density(positions: NDArray[np.float64], config: VoxelsConfig) -> NDArray[np.float64]:
    """Σ exp(−|x − x_i|²/2σ²) at the centres of voxels, of atoms at ``positions`` ``[n, 3]`` (Å) about the middle."""
    axis = (np.arange(config.side) - (config.side - 1) / 2) * config.spacing
    factors = np.exp(-0.5 * ((axis - positions[..., None]) / config.width) ** 2)  # [n, 3, side]
    return np.asarray(np.einsum("nx,ny,nz->xyz", *factors.transpose(1, 0, 2)))
