"""MD17 (Chmiela et al., Sci. Adv. 3, e1603015, 2017): DFT trajectories of single molecules, 0.5 fs a step.

These are the original labels; the revised set (`experiments.data.sources.rmd17`) is free of their numerical noise. The
two are never mixed: their files have different keys, and each reader refuses the other's.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import ase.formula
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.units import kcal, mol

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import RemoteFile, fetch
from experiments.data.parts import random_dataset, trajectory_dataset
from experiments.data.published import Published, of_files

KCAL_MOL = kcal / mol
"""1 kcal/mol in eV (thermochemical calorie of 4.184 J)."""
STEP = 0.5
"""Time step of the trajectories, fs."""
FORMULAS = {
    "aspirin": "C9H8O4", "azobenzene": "C12H10N2", "benzene": "C6H6", "ethanol": "C2H6O", "malonaldehyde": "C3H4O2",
    "naphthalene": "C10H8", "paracetamol": "C8H9NO2", "salicylic": "C7H6O3", "toluene": "C7H8", "uracil": "C4H4N2O2",
}  # fmt: skip
"""The ten molecules of MD17 and of rMD17."""
# Names and folder as in PyTorch Geometric (datasets/md17.py), SchNetPack and TorchMD-Net; no checksum is published.
_FILES = {molecule: f"md17_{molecule}.npz" for molecule in FORMULAS} | {
    "benzene": "md17_benzene2017.npz",
    "azobenzene": "azobenzene_dft.npz",
    "paracetamol": "paracetamol_dft.npz",
}
_FOLDER = "http://www.quantum-machine.org/gdml/data/npz"
KEYS = ("z", "R", "E", "F")


@dataclass(frozen=True)
class Md17Config:
    """MD17, with its original labels: DFT trajectories of ten molecules. Downloaded at the first use.

    data=md17_aspirin, or data=md17 data.molecule=NAME. For new work use rmd17: these labels are noisy.
    """

    source: ClassVar[str] = "md17"
    kind: ClassVar[str] = "molecules"

    molecule: str = setting("aspirin", choices=tuple(FORMULAS))
    """One of the ten molecules."""
    split: str = setting("trajectory", choices=("trajectory", "random"))
    """How parts are taken: trajectory: stretches of the trajectory, apart in time; random: test frames have neighbours
    in time among the training frames."""
    pool: int | None = setting(10240, low=1)
    """Frames to draw training subsets from; null: all that are left."""
    holdout: int = setting(64, low=0)
    """Frames of the validation set; never trained on."""
    test: int = setting(1000, low=1)
    """Frames of the test set."""
    gap: float = setting(5.0, low=0)
    """Time between frames of different parts, in correlation times (split=trajectory)."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}, of extended XYZ in eV and eV/Å: each has its own errors and curves."""
    disjoint_seeds: int = setting(5, low=1)


def file_of(molecule: str) -> RemoteFile:
    """Return the published file of a molecule."""
    name = _FILES[molecule]
    return RemoteFile(f"md17/{name}", (f"{_FOLDER}/{name}",))


def md17(config: Md17Config) -> Dataset:
    """Load the dataset of `config`; download it at the first use.

    Raises `InputError` if the download fails, the file cannot be read, or the trajectory is too short for the parts.
    """
    path = fetch(file_of(config.molecule))
    numbers, positions, energies, forces = read_npz(path, KEYS, config.molecule)
    frames = molecule_frames(numbers, positions, energies * KCAL_MOL, forces * KCAL_MOL)
    name, provenance = f"md17_{config.molecule}", {"source": "md17", "file": path.name, **asdict(config)}
    if config.split == "random":
        return random_dataset(name, frames, config, provenance)
    times = STEP * np.arange(len(frames), dtype=np.float64)
    return trajectory_dataset(name, frames, times, config.gap, config, provenance)


def read_npz(path: Path, keys: tuple[str, str, str, str], molecule: str) -> tuple[Ints, Floats, Floats, Floats]:
    """Read atomic numbers `[N]`, positions `[F, N, 3]`, energies `[F]` and forces `[F, N, 3]` in the file's units.

    Raises `InputError` for other keys (the other edition of MD17), another molecule, and shapes that do not fit.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            missing = [key for key in keys if key not in data.files]
            if missing:
                edition = "the revised MD17" if "nuclear_charges" in data.files else "some other set"
                edition = "the original MD17" if {"R", "F"} <= set(data.files) else edition
                raise InputError(
                    f"{path}: no {', '.join(missing)} in it but {', '.join(data.files)}, which is {edition}; "
                    f"accepted: a file with {', '.join(keys)}"
                )
            z, x, e, f = (np.asarray(data[key]) for key in keys)
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:  # numpy's errors for a file that is no archive, or an incomplete one
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: not a complete .npz file ({' '.join(str(error).split())}); delete it") from None
    numbers, energies = z.astype(np.int64), e.astype(np.float64).reshape(len(x), -1)
    if x.ndim != 3 or x.shape[1:] != (len(numbers), 3) or f.shape != x.shape or energies.shape[1] != 1:
        raise InputError(f"{path}: shapes {z.shape}, {x.shape}, {e.shape}, {f.shape} of {', '.join(keys)} do not fit")
    formula = ase.formula.Formula(FORMULAS[molecule]).count()
    counts = {chemical_symbols[n]: int((numbers == n).sum()) for n in np.unique(numbers)}
    if counts != {symbol: formula[symbol] for symbol in sorted(formula, key=atomic_numbers.__getitem__)}:
        raise InputError(f"{path}: holds {''.join(f'{s}{n}' for s, n in counts.items())}, not {molecule}")
    return numbers, x.astype(np.float64), energies[:, 0], f.astype(np.float64)


def molecule_frames(numbers: Ints, positions: Floats, energies: Floats, forces: Floats) -> Frames:
    """Build frames of one molecule, not periodic: `[N]`, `[F, N, 3]` Å, `[F]` eV, `[F, N, 3]` eV/Å."""
    count = len(positions)
    return Frames(
        numbers=np.tile(numbers, (count, 1)),
        positions=positions,
        energies=energies,
        forces=forces,
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


load = md17


def published() -> dict[str, Published]:
    """Return the sets to download, one file each."""
    what = "MD17, original labels, one trajectory"
    return {f"md17_{molecule}": of_files(what, [file_of(molecule)]) for molecule in FORMULAS}
