"""Liquid water (Cheng et al., PNAS 116, 1110, 2019): 1593 periodic boxes of 64 H2O, revPBE0-D3.

The file is in atomic units (Bohr, Hartree, Hartree/Bohr) and is converted here. Its first 1000 frames were chosen to be
far from each other, the rest come from path-integral dynamics; they have no common order in time, so test frames are
drawn at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
from ase.units import Bohr, Hartree

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.cache import cached_frames
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import RemoteFile, fetch, verify
from experiments.data.parts import random_dataset
from experiments.data.published import Published, of_files
from experiments.data.sources.extxyz import read_frames

# The authors' repository, at the commit that added the data and on its main branch. No checksum is published.
_REPOSITORY = "https://raw.githubusercontent.com/BingqingCheng/ab-initio-thermodynamics-of-water"
FILE = RemoteFile(
    "water/dataset_1593.xyz",
    tuple(
        f"{_REPOSITORY}/{at}/training-set/dataset_1593.xyz"
        for at in ("1fbec3baa990f60b5966a9c2a73db1b74dc74794", "master")
    ),
)
_READER = 1  # raise it whenever the same file gives other frames


@dataclass(frozen=True)
class WaterConfig:
    """Liquid water, revPBE0-D3: 1593 periodic boxes of 64 molecules (Cheng et al. 2019).

    Downloaded at the first use.
    """

    source: ClassVar[str] = "water"
    kind: ClassVar[str] = "molecules"
    periodic: ClassVar[bool] = True

    pool: int | None = setting(None, low=1)
    """Frames to draw training subsets from; null: all that are left (1329)."""
    holdout: int = setting(64, low=0)
    """Frames of the validation set; never trained on."""
    test: int = setting(200, low=1)
    """Frames of the test set, drawn at random: the set has no order in time."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}, of extended XYZ in eV and eV/Å: each has its own errors and curves."""
    disjoint_seeds: int = setting(5, low=1)


def water(config: WaterConfig) -> Dataset:
    """Load the dataset of `config`; download it at the first use.

    Raises `InputError` if the download fails, the file cannot be read, or its lengths are not in Bohr.
    """
    path = fetch(FILE)
    frames = cached_frames("water", {"sha256": verify(path, FILE.sha256), "reader": _READER}, lambda: _read(str(path)))
    return random_dataset("water", frames, config, {"source": "water", **asdict(config)})


def _read(path: str) -> Frames:
    frames = read_frames(path, "TotEnergy", "force", option="water")
    # 64 molecules at 1 g/cm³ fill a cube of 12.4 Å or 23.5 Bohr: another density means that lengths are not in Bohr
    sides = frames.cells.mean(axis=0).diagonal()
    density = 18.015 / 6.02214076e23 * (frames.numbers[0] == 8).sum() / (np.prod(sides * Bohr) * 1e-24)
    if not 0.5 < density < 2:
        raise InputError(f"{path}: {density:.2g} g/cm³ if its lengths are in Bohr; accepted: the published file")
    return replace(
        frames,
        positions=frames.positions * Bohr,
        cells=frames.cells * Bohr,
        energies=frames.energies * Hartree,
        forces=frames.forces * (Hartree / Bohr),
    )


load = water


def published() -> dict[str, Published]:
    """Return the set to download."""
    return {"water": of_files("liquid water, revPBE0-D3, 1593 periodic boxes of 64 molecules", [FILE])}
