"""A user's own extended XYZ files, read and written; messages name the key, the file and the frame."""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import os
import re
import zlib
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
from experiments.data.comments import REPEATED, contradictions, number_or_text
from experiments.data.dataset import Dataset, Frames

logger = logging.getLogger(__name__)
LARGEST = 1e11
"""Magnitude (Å, eV, eV/Å) that no frame reaches; much beyond it, sums and rounded positions overflow."""
SHOWN = 80
"""Most characters of the file in a message."""
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


def atoms_of_file(path: str | os.PathLike[str], option: str) -> Iterator[tuple[ase.Atoms, str]]:
    """Yield every frame as ASE reads it, with its location for messages.

    Raises `InputError` for a file that is missing, empty, truncated, or not extended XYZ.
    """
    import ase.io  # with all its formats and scipy, a second

    where = f"{option}={os.fspath(path)}"
    # only \n and \r\n end a line; Python's splitlines would also end it at U+2028, U+0085 and form feeds
    lines = [f"{line}\n" for line in _text(Path(path), where).replace("\r\n", "\n").split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise InputError(f"{where}: holds no frames; accepted: at least one")
    start = frame = 0
    while start < len(lines):
        if not lines[start].strip():  # some leave a blank line between frames
            start += 1
            continue
        here = f"{where}, frame {frame} (line {start + 1})"
        try:
            count = int(lines[start])
        except ValueError:
            count = 0
        if count < 1:
            raise InputError(f"{here}: expected the number of atoms, got {lines[start].strip()[:40]!r}")
        block = lines[start : start + count + 2]
        if len(block) < count + 2:
            raise InputError(f"{here}: truncated, {max(0, len(block) - 2)} of {count} atoms are there")
        block[1] = _KEYS.sub(lambda key: f"{key[1]}{'pbc' if key[2].lower() == 'pbc' else key[2].title()}", block[1])
        _check_columns(block, here)
        repeated = contradictions(block[1])
        if key := next((key for key in repeated if key in ("Lattice", "Properties", "pbc")), None):
            raise InputError(f"{here}: {key} is given twice, and not the same; accepted: once")
        try:
            atoms = ase.io.read(io.StringIO("".join(block)), format="extxyz")
        except Exception as error:  # ASE raises whatever its parser stumbles on
            label = error.args[0] if isinstance(error, KeyError) and error.args else None
            if label in (firsts := [line.split()[0] if line.split() else "" for line in block[2:]]):
                hint = " (isotopes are written as their element: H)" if label in ("D", "T") else ""
                raise InputError(
                    f"{here}: atom {firsts.index(label)} is {label!r}, no chemical symbol; accepted: H, He, Li, …{hint}"
                ) from None
            reason = " ".join(str(error).split())
            raise InputError(f"{here}: not extended XYZ ({type(error).__name__}: {reason})") from None
        if repeated:
            atoms.info[REPEATED] = repeated
        yield atoms, here
        start, frame = start + count + 2, frame + 1


_KEYS = re.compile(r"(^|\s)(lattice|properties|pbc)(?=\s*=)", re.IGNORECASE)
"""Keys that some programs (GPUMD) write in small letters; ASE would take them for labels, and the cell for none."""
_PROPERTIES = re.compile(r"""(?:^|\s)Properties\s*=\s*["']?([^\s"']+)""")


def _check_columns(block: list[str], here: str) -> None:
    """Raise `InputError` for an atom whose line has not the columns that `Properties` names; ASE passes over others.

    A blank within a number would shift all that follow, and 10⁴⁰ named columns would be made.
    """
    named = _PROPERTIES.search(block[1])
    counts = [] if named is None else named[1].split(":")[2::3]
    if named is None or not all(count.isascii() and count.isdigit() for count in counts):
        return
    columns = sum(int(count[:SHOWN]) for count in counts)
    found = [len(line.split()) for line in block[2:]]
    for n, count in enumerate(found):
        if count < columns or (count > columns and count != found[0]):
            said = f"as Properties={named[1][:SHOWN]} says"
            raise InputError(f"{here}: atom {n} has {count} columns; accepted: {columns}, {said}")


_BINARY = {
    b"\x89HDF": "HDF5, which is not read",
    b"SQLite format 3": "a database of ASE: data=ase_db",
    b'{"': "JSON; a database of ASE in that format is read by data=ase_db",
    b"PK\x03\x04": "NumPy's .npz; a molecule's file of MD17 or rMD17 is read by data=md17_NAME or data=rmd17_NAME "
    "from $EQUILAW_DATA/md17/ or $EQUILAW_DATA/rmd17/npz_data/ (alone: data.split=trajectory or random)",
    b"- of Ulm": "a trajectory of ASE; write it as extended XYZ (ase convert FILE.traj FILE.xyz)",
    b"\xfd7zXZ": "compressed by xz; unpack it",
    b"BZh": "compressed by bzip2; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it",
}
"""What files of other formats begin with, and the source or command for them."""


def _text(path: Path, where: str) -> str:
    """Return the text of a file, unpacked if it is compressed by gzip (by content, whatever its name)."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[257:262] == b"ustar" or (content[:2] == b"PK" and b".npy" not in content[:SHOWN]):
            raise InputError(f"{where}: is an archive; unpack it; accepted: an extended XYZ file")
        for start, what in _BINARY.items():
            if content.startswith(start):
                raise InputError(f"{where}: is {what}; accepted: an extended XYZ file")
        utf16 = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        return content.decode("utf-16" if utf16 else "utf-8-sig")  # with or without a byte-order mark
    except FileNotFoundError:
        raise InputError(f"{where}: no such file; accepted: an extended XYZ file") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{where}: cannot be read as text ({error}); accepted: an extended XYZ file") from None


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
