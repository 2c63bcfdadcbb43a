"""Revised MD17 (Christensen & von Lilienfeld, Mach. Learn.: Sci. Technol. 1, 045018, 2020): PBE/def2-SVP, tight.

100,000 frames of each of ten molecules from the trajectories of MD17 (99,988 of azobenzene), with new labels. They are
not in order of time; `old_indices` gives the position of each in the trajectory. The authors publish five index splits
of 1000 + 1000 frames and warn against training on more than 1000: frames are correlated in time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from experiments.core.arrays import Ints
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset
from experiments.data.download import RemoteFile, location, unpack
from experiments.data.parts import dataset_of_split, random_dataset, trajectory_dataset
from experiments.data.published import Published
from experiments.data.sources.md17 import FORMULAS, KCAL_MOL, STEP, molecule_frames, read_npz
from experiments.data.splits import Split

KEYS = ("nuclear_charges", "coords", "energies", "forces")
FOLDS = 5
# Figshare article 12672038, version 3; the mirror is the Materials Cloud Archive (pfffs-fff86). The SHA-256 is from a
# public repository, and agrees with the first twelve digits in another (load-atoms).
ARCHIVE = RemoteFile(
    "rmd17/rmd17.tar.bz2",
    (
        "https://figshare.com/ndownloader/files/23950376",
        "https://archive.materialscloud.org/records/pfffs-fff86/files/rmd17.tar.bz2",
    ),
    "cddeea2ec2c4b22a9de16a9a65a3eeedac5b29da9c99c20bbff0153912bf922b",
)
SPLITS = {
    (part, fold): f"rmd17/splits/index_{part}_{fold:02d}.csv"
    for part in ("train", "test")
    for fold in range(1, FOLDS + 1)
}
_HOLDOUT_STREAM = 20200707


@dataclass(frozen=True)
class Rmd17Config:
    """Revised MD17: PBE/def2-SVP, 100,000 frames of each of ten molecules.

    Downloaded at the first use (1 GB for all ten). data=rmd17_aspirin, or data=rmd17 data.molecule=NAME
    """

    source: ClassVar[str] = "rmd17"
    kind: ClassVar[str] = "molecules"

    molecule: str = setting("aspirin", choices=tuple(FORMULAS))
    """One of the ten molecules."""
    split: str = setting("published", choices=("published", "trajectory", "random"))
    """How parts are taken: published: an index split of the authors; trajectory: stretches of the trajectory, apart in
    time; random: test frames have neighbours in time among the training frames."""
    fold: int = setting(1, low=1, high=FOLDS)
    """Which of the five published splits (1000 training and 1000 test frames each)."""
    pool: int | None = setting(None, low=1)
    """Frames to draw training subsets from; null: all that are left (published: 950)."""
    holdout: int = setting(50, low=0)
    """Frames of the validation set; never trained on."""
    test: int = setting(1000, low=1)
    """Frames of the test set (published splits: all of their 1000)."""
    gap: float = setting(5.0, low=0)
    """Time between frames of different parts, in correlation times (split=trajectory)."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}, of extended XYZ in eV and eV/Å: each has its own errors and curves."""
    disjoint_seeds: int = setting(5, low=1)


def rmd17(config: Rmd17Config) -> Dataset:
    """Load the dataset of `config`; download it at the first use.

    Raises `InputError` if the download fails, a file cannot be read, or there are too few frames for the parts.
    """
    path, splits = fetch_rmd17(config.molecule, config.split == "published")
    numbers, positions, energies, forces = read_npz(path, KEYS, config.molecule)
    frames = molecule_frames(numbers, positions, energies * KCAL_MOL, forces * KCAL_MOL)
    name, provenance = f"rmd17_{config.molecule}", {"source": "rmd17", "file": path.name, **asdict(config)}
    if config.split == "published":
        train, test = (read_index(splits[part, config.fold], len(frames)) for part in ("train", "test"))
        if config.holdout >= len(train):
            raise InputError(
                f"data.holdout={config.holdout}: the split has {len(train)} training frames; accepted: fewer"
            )
        order = np.random.default_rng([_HOLDOUT_STREAM, len(train)]).permutation(len(train))
        pool, holdout = train[np.sort(order[config.holdout :])], train[np.sort(order[: config.holdout])]
        pool = pool[: config.pool]
        return dataset_of_split(
            name, f"published_{config.fold}", frames, Split(pool, holdout, test), config, provenance
        )
    if config.split == "random":
        return random_dataset(name, frames, config, provenance)
    with np.load(path, allow_pickle=False) as data:
        if "old_indices" not in data.files:
            raise InputError(
                f"{path}: no old_indices in it, so its order in time is unknown; accepted: data.split=random"
            )
        times = STEP * np.asarray(data["old_indices"], dtype=np.float64)
    return trajectory_dataset(name, frames, times, config.gap, config, provenance)


def fetch_rmd17(molecule: str, splits: bool = True) -> tuple[Path, dict[tuple[str, int], Path]]:
    """Return the molecule's file and, if wanted, those of the index splits by part and fold.

    The archive of all molecules is downloaded and unpacked at the first use, which takes minutes. Without splits the
    molecule's file alone will do.
    """
    data = {name: f"rmd17/npz_data/rmd17_{name}.npz" for name in FORMULAS}
    members = [*data.values(), *SPLITS.values()]
    wanted = [data[molecule], *(SPLITS.values() if splits else ())]
    others = [name for name in members if name not in wanted]
    try:
        paths = unpack(ARCHIVE, wanted, "rmd17", also=others)
    except InputError as error:
        alone = location(data[molecule])
        if not splits or not alone.exists():
            raise
        raise InputError(
            f"{error}; without the published splits, {alone} alone will do: data.split=trajectory or random"
        ) from None
    return paths[data[molecule]], {key: paths[name] for key, name in SPLITS.items() if splits}


def read_index(path: Path, frames: int) -> Ints:
    """Read the indices of a published split, one a line.

    Raises `InputError` if they are not different indices below `frames`.
    """
    try:
        index = np.loadtxt(path, dtype=np.int64, ndmin=1)
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: not a list of indices ({error}); delete it to have it unpacked again") from None
    if len(np.unique(index)) != len(index) or not ((index >= 0) & (index < frames)).all() or len(index) == 0:
        raise InputError(f"{path}: not {len(index)} different indices below {frames}")
    return index


load = rmd17


def published() -> dict[str, Published]:
    """Return the sets to download: one archive for all molecules."""
    what = "revised MD17, PBE/def2-SVP, 100,000 frames, five index splits (1.1 GB for all ten)"

    def one(molecule: str) -> Published:
        def fetch_all() -> list[Path]:
            path, splits = fetch_rmd17(molecule)
            return [path, *splits.values()]

        return Published(what, (ARCHIVE,), fetch_all, (f"rmd17/npz_data/rmd17_{molecule}.npz", *SPLITS.values()))

    return {f"rmd17_{molecule}": one(molecule) for molecule in FORMULAS}
