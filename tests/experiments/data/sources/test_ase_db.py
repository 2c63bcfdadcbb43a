"""Databases of ASE: labels wherever they are kept, the frames of the same numbers in extended XYZ, clear refusals."""

from __future__ import annotations

from pathlib import Path

import ase
import ase.db
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.load import load
from experiments.data.sources.extxyz import write_frames


def frames(seed: int, count: int) -> Frames:
    rng = np.random.default_rng(seed)
    return Frames(
        numbers=np.tile([8, 1, 1], (count, 1)),
        positions=np.array([[0.0, 0, 0.12], [0, 0.76, -0.47], [0, -0.76, -0.47]])
        + 0.02 * rng.normal(size=(count, 3, 3)),
        energies=-14 + 0.1 * rng.normal(size=count),
        forces=rng.normal(size=(count, 3, 3)),
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


def write(path: Path, made: Frames, style: str) -> str:
    with ase.db.connect(path) as database:
        for f in range(len(made)):
            atoms = ase.Atoms(made.numbers[f], made.positions[f])
            energy, forces = float(made.energies[f]), made.forces[f]
            if style == "calculator":
                atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
                database.write(atoms)
            elif style == "pairs":
                database.write(atoms, key_value_pairs={"dft_energy": energy}, data={"dft_forces": forces})
            else:  # as SchNetPack
                database.write(atoms, data={"dft_energy": np.array([energy]), "dft_forces": forces})
    return str(path)


@pytest.mark.parametrize(
    ("style", "suffix"), [("calculator", "db"), ("calculator", "json"), ("pairs", "db"), ("data", "db")]
)
def test_the_same_frames_as_in_extended_xyz(tmp_path: Path, style: str, suffix: str) -> None:
    keys = {} if style == "calculator" else {"energy_key": "dft_energy", "forces_key": "dft_forces"}
    files = {}
    for part, seed, count in (("train", 0, 12), ("test", 1, 3)):
        made = frames(seed, count)
        files[part] = write(tmp_path / f"{part}.{suffix}", made, style)
        write_frames(tmp_path / f"{part}.xyz", made)
    found = load({"source": "ase_db", **files, **keys})
    xyz = load({"source": "extxyz", **{part: str(tmp_path / f"{part}.xyz") for part in files}})
    assert found.sha256() == xyz.sha256()
    assert found.test_set == "test"


def test_energies_alone(tmp_path: Path) -> None:
    train, test = (write(tmp_path / f"{seed}.db", frames(seed, 12), "calculator") for seed in (0, 1))
    dataset = load({"source": "ase_db", "train": train, "test": test, "forces_key": None})
    assert not dataset.pool.has_forces
    assert not dataset.test.has_forces


def test_what_cannot_be_read(tmp_path: Path) -> None:
    good = write(tmp_path / "good.db", frames(0, 12), "pairs")
    with pytest.raises(InputError, match=r"good\.db, row 1: no energy 'energy' .*the frame has: .*dft_energy"):
        load({"source": "ase_db", "train": good, "test": good})
    with pytest.raises(InputError, match=r"data\.train=.*none\.db: no such file"):
        load({"source": "ase_db", "train": str(tmp_path / "none.db"), "test": good})
    (tmp_path / "bad.db").write_bytes(b"no database at all" * 50)
    with pytest.raises(InputError, match=r"data\.train=.*bad\.db: not a database of ASE"):
        load({"source": "ase_db", "train": str(tmp_path / "bad.db"), "test": good})
