"""Molecules as densities on a grid: frames of xTB datasets, each rotated at random, a Gaussian for every atom.

Each element has a channel. The label is invariant to rotations: the class of the isomer, or the energy. Isomers have
the same atoms, so only their geometry tells them apart. Frames, splits and their cache are those of
`experiments.data.sources.xtb`, a dataset for each molecule; the grids are computed from them and not cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from ase.data import chemical_symbols
from ase.formula import Formula
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset
from experiments.data.examples import Examples, ExampleSet
from experiments.data.sampling.molecule import find_molecule
from experiments.data.sources.xtb import XtbConfig, xtb

HEIGHT = 10.0
"""Height of an atom's Gaussian: the mean square of a channel is then about one, on which networks train better
(measured)."""
_PARTS = ("pool", "holdout", "test")
_STREAM = 512  # keeps these rotations apart from every other use of a small seed


@dataclass(frozen=True)
class VoxelsConfig:
    """Densities on a grid of isomers (GFN2-xTB frames, as data=molecule), rotated at random.

    The label is the isomer or the energy.
    """

    source: ClassVar[str] = "voxels"
    kind: ClassVar[str] = "voxels"

    molecules: tuple[str, ...] = setting(  # their frames are in the identity instead
        ("butadiene", "2-butyne", "methylenecyclopropane", "bicyclobutane", "cyclobutene"), identity=False
    )
    """Isomers: common names, names of ASE's collection, or .xyz files."""
    target: str = setting("molecule", choices=("molecule", "energy"))
    """The label: molecule: classes; energy: eV per atom (then a single molecule is allowed)."""
    side: int = setting(8, low=4, high=64)
    """Voxels in each direction."""
    spacing: float = setting(0.9, above=0.0)
    """Side of a voxel in Å; atoms outside of the grid are cut off."""
    width: float = setting(0.5, above=0.0)
    """Standard deviation of an atom's Gaussian in Å."""
    turned: bool = setting(True)
    """Rotate each frame at random; false: leave it as it is."""
    noise: float = setting(0.0, low=0.0)
    """Standard deviation of white noise on every voxel, in units of an atom's height."""
    temperature: float = setting(300.0, above=0)
    """Temperature in K."""
    pool: int = setting(1280, low=1)
    """Frames of all molecules to draw training subsets from, equally many of each (to one frame)."""
    holdout: int = setting(65, low=1)
    """Frames of the validation set; never trained on."""
    test: int = setting(400, low=1)
    """Frames of the test set, from walkers of their own."""
    walkers: int = setting(8, low=3)
    """Independent chains of each molecule."""
    seed: int = setting(0, low=0)
    """Seed of the chains and of the rotations."""
    disjoint_seeds: int = setting(5, low=1)
    workers: int | None = setting(None, low=1, identity=False)
    cache: str | None = setting(None, identity=False)

    def __post_init__(self) -> None:
        count = len(self.molecules)
        if count == 0 or len(set(self.molecules)) < count:
            raise InputError(f"molecules={list(self.molecules)}: accepted: at least one molecule, each once")
        if self.target == "molecule" and count == 1:
            raise InputError(f"target=molecule: {self.molecules[0]} is the only one; accepted: two molecules or more")
        for name in _PARTS:
            if getattr(self, name) < count:
                raise InputError(f"{name}={getattr(self, name)}: accepted: a frame of each of the {count} molecules")


def voxels(config: VoxelsConfig) -> ExampleSet:
    """Make the dataset of `config`.

    Raises `InputError` for molecules that are not isomers, before any is generated, and as
    `experiments.data.sources.xtb.xtb` does.
    """
    formula = _formula(config.molecules)
    shared = ("temperature", "walkers", "seed", "disjoint_seeds", "workers", "cache")
    settings = {name: getattr(config, name) for name in shared}
    datasets = []
    for k, molecule in enumerate(config.molecules):
        shares = {name: len(range(k, getattr(config, name), len(config.molecules))) for name in _PARTS}
        datasets.append(xtb(XtbConfig(**{**settings, **shares, "molecule": molecule})))
    classes = config.target == "molecule"
    return ExampleSet(
        name=f"{formula}_{config.temperature:g}K_{config.target}_voxels",
        kind="voxels",
        pool=grid_examples(datasets, "pool", config),
        holdout=grid_examples(datasets, "holdout", config),
        test=grid_examples(datasets, "test", config),
        n_classes=len(datasets) if classes else None,
        quantity="" if classes else "energy",
        unit="" if classes else "eV/atom",
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "voxels", **asdict(config), "frames": [dict(data.provenance) for data in datasets]},
    )


def grid_examples(datasets: Sequence[Dataset], part: str, config: VoxelsConfig) -> Examples:
    """Compute densities `[frames, elements, side, side, side]` of a part of every dataset, with labels.

    Datasets alternate, so that the beginning of any length holds equally many frames of each (to one). Labels are the
    dataset's place in the list, or energies per atom (eV).
    """
    frames = [getattr(data, part) for data in datasets]
    elements = datasets[0].elements()
    count = sum(map(len, frames))
    inputs = np.zeros((count, len(elements), *[config.side] * 3), np.float32)
    energies, kinds = np.zeros(count), np.arange(count) % len(frames)
    for i, kind in enumerate(kinds):
        frame = frames[kind].take(slice(i // len(frames), i // len(frames) + 1))
        real = frame.numbers[0] > 0
        numbers, positions = frame.numbers[0][real], frame.positions[0][real]
        centred = positions - positions.mean(0)
        rng = np.random.default_rng([_STREAM, config.seed, _PARTS.index(part), i])
        rotation = Rotation.random(rng=rng)  # drawn in any case, so that the noise does not depend on `turned`
        if config.turned:
            centred = centred @ rotation.as_matrix()
        noise = config.noise * rng.standard_normal(inputs.shape[1:])
        for channel, element in enumerate(elements):
            inputs[i, channel] = HEIGHT * (density(centred[numbers == element], config) + noise[channel])
        energies[i] = frame.energies[0] / len(numbers)
    return Examples(inputs, kinds.astype(np.int64) if config.target == "molecule" else energies)


def density(positions: NDArray[np.float64], config: VoxelsConfig) -> NDArray[np.float64]:
    """Return Σ_i exp(−|x − x_i|²/2σ²) at the centres x of voxels, `[side, side, side]`.

    Atoms lie at `positions` x_i `[n, 3]` (Å) from the middle of the grid.
    """
    axis = (np.arange(config.side) - (config.side - 1) / 2) * config.spacing
    factors = np.exp(-0.5 * ((axis - positions[..., None]) / config.width) ** 2)  # [n, 3, side]
    return np.asarray(np.einsum("nx,ny,nz->xyz", *factors.transpose(1, 0, 2)))


def _formula(molecules: Sequence[str]) -> str:
    """Return the common formula of the molecules, in Hill's order. Raises `InputError` if they are not isomers."""
    known: dict[str, str] = {}
    for name in molecules:
        numbers = find_molecule(name).numbers
        known[name] = Formula.from_list([chemical_symbols[z] for z in numbers]).format("hill")
    first = molecules[0]
    for name, formula in known.items():
        if formula != known[first]:
            raise InputError(
                f"data.molecules: {first} is {known[first]} and {name} is {formula}; accepted: isomers, which have the "
                "same atoms"
            )
    return known[first]


load = voxels
