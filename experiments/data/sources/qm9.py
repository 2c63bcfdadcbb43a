"""QM9 (Ramakrishnan et al., Sci. Data 1, 140022, 2014): 133,885 relaxed molecules at B3LYP/6-31G(2df,p).

Energies only: train with `training.force_weight=0`. The 3054 molecules whose geometry no longer fits their
formula (the authors' list) are left out.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

import numpy as np
from ase.data import atomic_numbers
from ase.units import Hartree

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.cache import cached_frames
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import RemoteFile, fetch, verify
from experiments.data.parts import random_dataset
from experiments.data.published import Published, of_files

# Figshare collection 978904; the checksums are those of TensorFlow Datasets (datasets/qm9/checksums.tsv).
ARCHIVE = RemoteFile(
    "qm9/dsgdb9nsd.xyz.tar.bz2",
    ("https://ndownloader.figshare.com/files/3195389", "https://springernature.figshare.com/ndownloader/files/3195389"),
    "3a63848ac80691bdb8d41834b575afad345b9300d7a2db0c38adb7f6eaa8360c",
)
UNCHARACTERIZED = RemoteFile(
    "qm9/uncharacterized.txt",
    ("https://ndownloader.figshare.com/files/3195404", "https://springernature.figshare.com/ndownloader/files/3195404"),
    "3aa5115d540b356de94791d4a74c3bf1ed91c469ecf52a4f5d7cc0506fe02e24",
)
# Columns of the second line of a file, after "gdb": index A B C mu alpha homo lumo gap r2 zpve U0 U H G Cv.
_COLUMNS = {"U0": 11, "U": 12, "H": 13, "G": 14}
# Energies of the free atoms in Hartree, from the authors' atomref.txt.
_ATOMS = {
    "H": (-0.500273, -0.498857, -0.497912, -0.510927),
    "C": (-37.846772, -37.845355, -37.844411, -37.861317),
    "N": (-54.583861, -54.582445, -54.581501, -54.598897),
    "O": (-75.064579, -75.063163, -75.062219, -75.079532),
    "F": (-99.718730, -99.717314, -99.716370, -99.733544),
}
_READER = 1  # raise it whenever the same files give other frames


@dataclass(frozen=True)
class Qm9Config:
    """QM9: energies of 130,831 relaxed molecules at B3LYP/6-31G(2df,p). Downloaded at the first use.

    There are no forces: data=qm9 training.force_weight=0
    """

    source: ClassVar[str] = "qm9"
    kind: ClassVar[str] = "molecules"

    property: str = setting("U0", choices=tuple(_COLUMNS))
    """The label: energy at 0 K (U0), at 298.15 K (U), enthalpy (H), free energy (G)."""
    pool: int | None = setting(20480, low=1)
    """Molecules to draw training subsets from; null: all that are left."""
    holdout: int = setting(256, low=0)
    """Molecules of the validation set; never trained on."""
    test: int = setting(2000, low=1)
    """Molecules of the test set."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}, of extended XYZ in eV and eV/Å: each has its own errors and curves."""
    disjoint_seeds: int = setting(5, low=1)


def qm9(config: Qm9Config) -> Dataset:
    """Load the dataset of `config`; download it at the first use.

    Raises `InputError` if the download fails or a file cannot be read.
    """
    archive, excluded = fetch(ARCHIVE), fetch(UNCHARACTERIZED)
    digests = [verify(archive, ARCHIVE.sha256), verify(excluded, UNCHARACTERIZED.sha256)]
    column = _COLUMNS[config.property]
    frames = cached_frames(
        f"qm9_{config.property}",
        {"sha256": digests, "column": column, "reader": _READER},
        lambda: _read(archive, _indices(excluded), column),
    )
    column_index = list(_COLUMNS).index(config.property)
    return random_dataset(
        f"qm9_{config.property}",
        frames,
        config,
        {"source": "qm9", **asdict(config)},
        isolated_energies={int(atomic_numbers[s]): values[column_index] * Hartree for s, values in _ATOMS.items()},
    )


def _indices(path: Path) -> set[int]:
    """Read the numbers of the excluded molecules: the first word of the lines between the two rulers."""
    lines = takewhile(lambda line: re.match(r"\s*\d+\s+\S", line), path.read_text().splitlines()[9:])
    excluded = {int(line.split()[0]) for line in lines}
    if not excluded:
        raise InputError(f"{path}: lists no molecules; delete it to have it downloaded again")
    return excluded


def _read(archive: Path, excluded: set[int], column: int) -> Frames:
    molecules = sorted(m for m in _molecules(archive, column) if m[0] not in excluded)
    if not molecules:
        raise InputError(f"{archive}: holds no molecules; delete it to have it downloaded again")
    count, atoms = len(molecules), max(len(numbers) for _, _, numbers, _ in molecules)
    numbers, positions = np.zeros((count, atoms), np.int64), np.zeros((count, atoms, 3))
    for f, (_, _, z, x) in enumerate(molecules):
        numbers[f, : len(z)], positions[f, : len(z)] = z, x
    return Frames(
        numbers=numbers,
        positions=positions,
        energies=np.array([energy for _, energy, _, _ in molecules]) * Hartree,
        forces=np.full((count, atoms, 3), np.nan),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


def _molecules(archive: Path, column: int) -> Iterator[tuple[int, float, list[int], list[list[float]]]]:
    """Yield index, energy (Hartree), atomic numbers and positions (Å) of every molecule; `*^` marks an exponent."""
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name.endswith(".xyz") else None
                if stream is None:
                    continue
                lines = stream.read().decode().replace("*^", "e").splitlines()
                try:
                    atoms = [line.split() for line in lines[2 : 2 + int(lines[0])]]
                    values = lines[1].split()
                    yield (
                        int(values[1]),
                        float(values[1 + column]),
                        [int(atomic_numbers[atom[0]]) for atom in atoms],
                        [[float(value) for value in atom[1:4]] for atom in atoms],
                    )
                except (ValueError, KeyError, IndexError):
                    raise InputError(
                        f"{archive}: {member.name} is not a file of QM9; accepted: the published archive"
                    ) from None
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputError(
            f"{archive}: not a complete archive ({error}); delete it to have it downloaded again"
        ) from None


load = qm9


def published() -> dict[str, Published]:
    """Return the set to download."""
    return {"qm9": of_files("130,831 relaxed molecules, energies only", [ARCHIVE, UNCHARACTERIZED])}
