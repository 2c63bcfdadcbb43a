"""A user's own extended XYZ files, read and written; messages name the key, the file and the frame."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np
from ase.data import chemical_symbols

from experiments.core import files
from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.checks import check_frames, marks
from experiments.data.comments import REPEATED, number_or_text
from experiments.data.dataset import Dataset, Frames
from experiments.data.xyz_file import atoms_of_file

logger = logging.getLogger(__name__)
LARGEST = 1e11
"""Magnitude (Å, eV, eV/Å) that no frame reaches; much beyond it, sums and rounded positions overflow."""
_HOLDOUT_STREAM = 20220207  # keeps the choice of the holdout apart from every other use of a small seed


@dataclass(frozen=True)
class ExtxyzConfig:
    """Your own frames in extended XYZ: data=extxyz data.train=FILE data.test=FILE.

    Energies in eV, forces in eV/Å.
    """

    source: ClassVar[str] = "extxyz"
    kind: ClassVar[str] = "molecules"

    train: str = setting(identity=False)
    """File with the frames to train on."""
    test: str = setting(identity=False)
    """File with the test frames, the same for every run."""
    holdout: str | None = setting(None, identity=False)
    """File with the validation frames; null: taken from the training file."""
    holdout_frames: int | None = setting(None, low=1)
    """Number of validation frames taken from the training file; null: a tenth of it, at most 50."""
    isolated_atoms: str | None = setting(None, identity=False)
    """File with one single-atom frame for each element; null: least squares over compositions."""
    energy_key: str = setting("energy")
    """Name of the energy (eV) in the files."""
    forces_key: str | None = setting("forces")
    """Name of the forces (eV/Å) in the files; null: there are none (train with training.force_weight=0)."""
    name: str | None = setting(None)
    """Name of the dataset in tables; null: directory and stem of the training file."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}: each has its own errors and curves; they may be added to finished runs."""
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        _check_key(self.energy_key, "energy_key")
        if self.forces_key is not None:
            _check_key(self.forces_key, "forces_key")


def extxyz(config: ExtxyzConfig) -> Dataset:
    """Read the dataset of `config`. Raises `InputError` naming key, file and frame of unusable input."""
    return dataset_of_files(config, "extxyz", atoms_of_file)


def dataset_of_files(
    config: ExtxyzConfig, source: str, atoms_of: Callable[[str, str], Iterator[tuple[ase.Atoms, str]]]
) -> Dataset:
    """Build the dataset of files that `atoms_of(path, option)` reads, a generator of frames and their locations."""
    keys = (config.energy_key, config.forces_key)
    free: dict[int, float] = {}

    def read(path: str, option: str) -> Frames:
        molecules, alone = molecules_of(atoms_of(path, option), f"{option}={path}")
        if not molecules:
            raise InputError(f"{option}={path}: holds nothing but free atoms; accepted: frames of several atoms")
        if option == "data.train":
            free.update(isolated_of(iter(alone), keys[0]))
        return frames_of(iter(molecules), *keys)

    train, test = read(config.train, "data.train"), read(config.test, "data.test")
    if config.holdout is not None:
        pool, holdout = train, read(config.holdout, "data.holdout")
    else:
        count = config.holdout_frames or max(1, min(50, len(train) // 10))
        if count >= len(train):
            raise InputError(
                f"data.holdout_frames={count}: {config.train} holds {len(train)} frames and at least one must remain; "
                "accepted: data.holdout=FILE or a smaller number"
            )
        order = np.random.default_rng([_HOLDOUT_STREAM, len(train)]).permutation(len(train))
        pool, holdout = train.take(np.sort(order[count:])), train.take(np.sort(order[:count]))
    shared = len(set(marks(train)) & set(marks(test)))
    isolated = free or None
    if config.isolated_atoms is not None:
        isolated = isolated_of(atoms_of(config.isolated_atoms, "data.isolated_atoms"), keys[0])
    names = {f"data.train={config.train}": train, f"data.test={config.test}": test}
    if config.holdout is not None:
        names[f"data.holdout={config.holdout}"] = holdout
    check_frames(names, f"data.train={config.train}", isolated)
    atoms = max(part.numbers.shape[1] for part in (pool, holdout, test))
    path = Path(config.train).resolve()
    return Dataset(
        name=config.name or f"{path.parent.name}_{path.stem}",
        pool=pool.padded(atoms),
        holdout=holdout.padded(atoms),
        test=test.padded(atoms),
        test_set=Path(config.test).stem,
        isolated_energies=isolated,
        disjoint_seeds=config.disjoint_seeds,
        provenance={
            "source": source,
            "train": config.train,
            "test": config.test,
            "holdout": config.holdout,
            "isolated_atoms": config.isolated_atoms,
            "energy_key": config.energy_key,
            "forces_key": config.forces_key,
            "test_frames_also_in_train": shared,
        },
    )


def read_frames(
    path: str | os.PathLike[str], energy_key: str = "energy", forces_key: str | None = "forces", *, option: str = "file"
) -> Frames:
    """Read all frames of an extended XYZ file; frames with fewer atoms than the largest are padded.

    Lattice vectors of directions that are not periodic are dropped. `option` is the setting to name in messages.
    Without a `forces_key` forces are unknown (NaN).

    Raises `InputError` for a file that is missing, empty or truncated, for labels that are missing or of the wrong
    shape, for numbers that are not finite, and for periodic directions without volume.
    """
    return frames_of(atoms_of_file(path, option), energy_key, forces_key)


def molecules_of(
    read: Iterator[tuple[ase.Atoms, str]], where: str
) -> tuple[list[tuple[ase.Atoms, str]], list[tuple[ase.Atoms, str]]]:
    """Split frames of a file into those to learn from and free atoms, whose energies are a baseline (as in MACE, GAP).

    A free atom is a frame of one atom that is not periodic: it has no geometry to learn.
    """
    molecules: list[tuple[ase.Atoms, str]] = []
    alone: list[tuple[ase.Atoms, str]] = []
    for atoms, here in read:
        (alone if len(atoms) == 1 and not atoms.pbc.any() else molecules).append((atoms, here))
    if alone and molecules:
        names = ", ".join(dict.fromkeys(str(atoms.symbols) for atoms, _ in alone))
        logger.warning(
            "%s: %d frames of one free atom (%s) are no examples to learn from; those of data.train give the energies "
            "of free atoms, as data.isolated_atoms=FILE would",
            where,
            len(alone),
            names,
        )
    return molecules, alone


def frames_of(read: Iterator[tuple[ase.Atoms, str]], energy_key: str, forces_key: str | None) -> Frames:
    """Convert ASE's atoms, each with its location for messages, to frames (see `read_frames`)."""
    parts = [_one_frame(atoms, energy_key, forces_key, where) for atoms, where in read]
    atoms = max(part.numbers.shape[1] for part in parts)
    padded = [part.padded(atoms) for part in parts]
    names = ("numbers", "positions", "energies", "forces", "cells", "pbc")
    return Frames(*(np.concatenate([getattr(part, name) for part in padded]) for name in names))


def read_isolated(path: str | os.PathLike[str], energy_key: str = "energy") -> dict[int, float]:
    """Read energies (eV) of free atoms by atomic number, from a file with one single-atom frame for each element.

    Raises `InputError` for frames of several atoms and for two energies of one element.
    """
    return isolated_of(atoms_of_file(path, "data.isolated_atoms"), energy_key)


def isolated_of(read: Iterator[tuple[ase.Atoms, str]], energy_key: str) -> dict[int, float]:
    """Return energies (eV) of free atoms from ASE's atoms with locations (see `read_isolated`)."""
    energies: dict[int, float] = {}
    for atoms, where in read:
        if len(atoms) != 1:
            raise InputError(f"{where}: has {len(atoms)} atoms; a file of isolated atoms holds one atom a frame")
        number = int(atoms.numbers[0])
        energy = _energy(atoms, energy_key, where)
        if energies.setdefault(number, energy) != energy:
            raise InputError(
                f"{where}: a second, different energy for {chemical_symbols[number]}; accepted: one of each"
            )
    return energies


def write_frames(
    path: str | os.PathLike[str], frames: Frames, energy_key: str = "energy", forces_key: str = "forces"
) -> None:
    """Write extended XYZ that reads back bit for bit (`xyz_text`); the file appears complete or not at all."""
    files.write_bytes(Path(path), xyz_text(frames, energy_key, forces_key).encode())


def xyz_text(frames: Frames, energy_key: str = "energy", forces_key: str = "forces") -> str:
    """Return frames as extended XYZ with all digits.

    ASE's writer is not used because it rounds positions and forces to eight decimals.
    """
    _check_key(energy_key, "energy_key")
    _check_key(forces_key, "forces_key")
    lines = []
    for f in range(len(frames)):
        real = np.flatnonzero(frames.numbers[f])
        header = [f"Properties=species:S:1:pos:R:3:{forces_key}:R:3", f"{energy_key}={float(frames.energies[f])!r}"]
        if frames.pbc[f].any():
            header.append(f'Lattice="{" ".join(_digits(frames.cells[f].ravel()))}"')
        header.append(f'pbc="{" ".join("FT"[int(p)] for p in frames.pbc[f])}"')
        lines += [str(len(real)), " ".join(header)]
        for n in real:
            numbers = _digits(np.concatenate([frames.positions[f, n], frames.forces[f, n]]))
            lines.append(" ".join([chemical_symbols[frames.numbers[f, n]], *numbers]))
    return "\n".join([*lines, ""])


def _digits(values: Floats) -> list[str]:
    return [repr(value) for value in values.tolist()]  # Python's shortest digits that read back exactly


def _check_key(key: str, option: str) -> None:
    if not re.fullmatch(r"[A-Za-z_][\w-]*", key):
        raise InputError(f"{option}={key!r}: accepted: the name of a property, of letters, digits, '_' and '-'")


def label_of(atoms: ase.Atoms, key: str) -> Any:
    """Return a label by its name in the file; ASE moves names that it knows, such as 'energy', into a calculator."""
    for labels in (atoms.info, atoms.arrays, {} if atoms.calc is None else atoms.calc.results):
        if key in labels:
            return labels[key]
    return None


def names_of(atoms: ase.Atoms) -> str:
    """Return the names of all labels of a frame, for messages."""
    results = () if atoms.calc is None else atoms.calc.results
    return ", ".join(sorted({*atoms.info, *atoms.arrays, *results} - {"numbers", "positions", REPEATED})) or "none"


def _energy(atoms: ase.Atoms, key: str, where: str) -> float:
    value = label_of(atoms, key)
    if value is None:
        bare = next((name for name in atoms.info if isinstance(number_or_text(name), float)), None)
        hint = "" if bare is None else f"; a number without a name is not read: write {key}={bare}"
        raise InputError(f"{where}: no energy {key!r} (data.energy_key); the frame has: {names_of(atoms)}{hint}")
    if several := atoms.info.get(REPEATED, {}).get(key):
        raise InputError(f"{where}: energy {key!r} is given {len(several)} times: {', '.join(several)}; accepted: once")
    if isinstance(value, (bool, np.bool_, str)) or np.ndim(value) != 0:
        raise InputError(f"{where}: energy {key!r} is {value!r}; accepted: one number in eV")
    if not abs(value) < LARGEST:  # nor is NaN
        raise InputError(f"{where}: energy {key!r} is {value}; accepted: a finite number below {LARGEST:g} eV")
    return float(value)


def _one_frame(atoms: ase.Atoms, energy_key: str, forces_key: str | None, where: str) -> Frames:
    energy = _energy(atoms, energy_key, where)
    forces = np.zeros((len(atoms), 3)) if forces_key is None else label_of(atoms, forces_key)
    if forces is None:
        raise InputError(f"{where}: no forces {forces_key!r} (data.forces_key); the frame has: {names_of(atoms)}")
    forces = np.asarray(forces)
    if forces.shape != (len(atoms), 3) or forces.dtype.kind not in "fi":
        raise InputError(
            f"{where}: forces {forces_key!r} have shape {forces.shape} of {forces.dtype}; "
            f"accepted: {len(atoms)} × 3 numbers in eV/Å"
        )
    for name, values in (("positions", atoms.positions), (f"forces {forces_key!r}", forces)):
        if not (good := np.abs(values) < LARGEST).all():  # false for NaN too
            n = int(np.argmin(good.all(1)))
            found = values[n].tolist()
            raise InputError(f"{where}: {name} of atom {n} are {found}; accepted: finite numbers below {LARGEST:g}")
    if (atoms.numbers < 1).any():
        raise InputError(f"{where}: atom {int(np.argmin(atoms.numbers))} is of no element; accepted: chemical symbols")
    cell = np.where(atoms.pbc[:, None], np.asarray(atoms.cell), 0.0)
    directions = cell[atoms.pbc]
    if not (np.abs(cell) < LARGEST).all() or np.linalg.matrix_rank(directions) < len(directions):
        raise InputError(f"{where}: pbc={atoms.pbc.tolist()}; accepted: as many independent vectors in Lattice")
    return Frames(
        numbers=atoms.numbers[None].astype(np.int64),
        positions=atoms.positions[None].astype(np.float64),
        energies=np.array([energy]),
        forces=forces[None].astype(np.float64) if forces_key is not None else np.full((1, len(atoms), 3), np.nan),
        cells=cell[None].astype(np.float64),
        pbc=atoms.pbc[None].astype(bool),
    )


load = extxyz
