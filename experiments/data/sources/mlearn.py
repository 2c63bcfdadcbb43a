"""Crystals of Si, Li, Ge, Mo, Cu and Ni in PBE (Zuo et al., J. Phys. Chem. A 124, 731, 2020).

Periodic frames of four kinds: molecular dynamics, with a vacancy, strained, and surfaces; GAP, MTP, NNP, SNAP and qSNAP
were compared on them (doi 10.1021/acs.jpca.9b08723). The published split into training and test frames is kept. The
files are JSON with pymatgen's structures, in eV, Å and eV/Å; copies in extended XYZ are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import ase
import numpy as np

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.dataset import Dataset
from experiments.data.download import RemoteFile, fetch
from experiments.data.published import Published, of_files
from experiments.data.sources.extxyz import frames_of
from experiments.data.xyz_file import atoms_of_file

ELEMENTS = ("Si", "Li", "Ge", "Mo", "Cu", "Ni")
# The last commit of the authors' repository, which has moved from the second address to the first. No checksum of its
# files is known beforehand.
_COMMIT = "10c427a5480c6281c15c64efaf869b03be04818f"
_REPOSITORIES = tuple(
    f"https://raw.githubusercontent.com/{owner}/mlearn" for owner in ("materialyzeai", "materialsvirtuallab")
)
_DIGITS = 8
"""Decimals of positions and forces: those of extended XYZ as it is usually written, so that the published file and a
copy in that format give the same frames. Forces have no more of them in the published files."""
_HOLDOUT_STREAM = 20190621


@dataclass(frozen=True)
class MlearnConfig:
    """Crystals in PBE: dynamics, vacancies, strains, surfaces; periodic frames of up to 108 atoms.

    Downloaded at the first use. data=mlearn_si, or data=mlearn data.element=Si
    """

    source: ClassVar[str] = "mlearn"
    kind: ClassVar[str] = "molecules"
    periodic: ClassVar[bool] = True

    element: str = setting("Si", choices=ELEMENTS)
    """The element; 214 training and 25 test frames of Si, the others have about as many."""
    holdout: int = setting(20, low=0)
    """Frames of the validation set, taken from the training frames; never trained on."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: FILE, …}, of extended XYZ in eV and eV/Å: each has its own errors and curves."""
    disjoint_seeds: int = setting(5, low=1)


def files_of(element: str) -> dict[str, RemoteFile]:
    """Return the two files of an element by their part."""
    return {"train": _file(element, "training", "train"), "test": _file(element, "test", "test")}


def mlearn(config: MlearnConfig) -> Dataset:
    """Load an element's frames, downloading them at the first use; raise `InputError` for an unusable file."""
    read = {part: list(_atoms_of(fetch(file), config.element)) for part, file in files_of(config.element).items()}
    train = len(read["train"])
    if config.holdout >= train:
        raise InputError(f"data.holdout={config.holdout}: there are {train} training frames; accepted: fewer")
    frames = frames_of(iter([*read["train"], *read["test"]]), "energy", "forces")  # together: padded alike
    order = np.random.default_rng([_HOLDOUT_STREAM, train]).permutation(train)
    return Dataset(
        name=f"mlearn_{config.element.lower()}",
        pool=frames.take(np.sort(order[config.holdout :])),
        holdout=frames.take(np.sort(order[: config.holdout])),
        test=frames.take(np.arange(train, len(frames))),
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "mlearn", **asdict(config)},
    )


def atoms_of_json(path: Path) -> Iterator[tuple[ase.Atoms, str]]:
    """Every entry of a file of mlearn, with the words that say where it stands.

    An entry has `structure`, as pymatgen writes it, and `outputs` with `energy` and `forces`; the rest is not read.
    Raises `InputError` for a file that is cut or of another form.
    """
    try:
        entries = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{path}: not whole JSON ({error}); delete it to have it downloaded again") from None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{path}: not a list of frames; accepted: a file of the mlearn repository")
    for n, entry in enumerate(entries):
        where = f"{path}, frame {n}"
        try:
            atoms = _atoms(entry["structure"])
            atoms.info["energy"] = entry["outputs"]["energy"]
            forces = np.array(entry["outputs"]["forces"], dtype=np.float64)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{where}: not a frame of mlearn ({type(error).__name__}: {reason}); accepted: structure and outputs "
                "with energy and forces"
            ) from None
        if forces.shape != (len(atoms), 3):
            raise InputError(f"{where}: forces of shape {forces.shape} for {len(atoms)} atoms; accepted: 3 for each")
        atoms.arrays["forces"] = _rounded(forces)
        yield atoms, where


def _file(element: str, name: str, short: str) -> RemoteFile:
    urls = tuple(f"{repository}/{_COMMIT}/data/{element}/{name}.json" for repository in _REPOSITORIES)
    published = tuple(f"{folder}{element}/{name}.json" for folder in ("mlearn/", "data/", ""))
    converted = tuple(f"{folder}{element}_{short}.xyz" for folder in ("mlearn/", ""))
    return RemoteFile(f"mlearn/{element}_{name}.json", urls, None, (*published, *converted))


def _atoms_of(path: Path, element: str) -> Iterator[tuple[ase.Atoms, str]]:
    for atoms, where in atoms_of_file(path, "mlearn") if path.suffix == ".xyz" else atoms_of_json(path):
        if set(atoms.get_chemical_symbols()) != {element}:
            raise InputError(f"{where}: holds {atoms.get_chemical_formula()}; accepted: {element} alone")
        yield atoms, where


def _atoms(structure: Any) -> ase.Atoms:
    """Of pymatgen's dictionary: rows of the lattice's matrix are its vectors, `abc` are fractions of them."""
    cell = np.array(structure["lattice"]["matrix"], dtype=np.float64)
    sites = structure["sites"]
    fractions = np.array([site["abc"] for site in sites], dtype=np.float64)
    species = [one["element"] for site in sites for one in site["species"]]
    return ase.Atoms(species, positions=_rounded(fractions @ cell), cell=cell, pbc=True)


def _rounded(values: Floats) -> Floats:
    """To `_DIGITS` decimals, in the way in which text that has as many is read."""
    return np.array([float(f"{value:.{_DIGITS}f}") for value in values.ravel()]).reshape(values.shape)


load = mlearn


def published() -> dict[str, Published]:
    """Return the sets to download, one of each element."""
    what = "crystals of {}, PBE, the published split"
    return {f"mlearn_{one.lower()}": of_files(what.format(one), files_of(one).values()) for one in ELEMENTS}
