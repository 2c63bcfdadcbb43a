"""A user's own databases of ASE (SQLite, JSON), energies in eV and forces in eV/Å.

Labels are looked up among a row's calculator results, its key-value pairs, and its data (SchNetPack's convention).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import ase
import numpy as np

from experiments.core.errors import InputError
from experiments.data.dataset import Dataset
from experiments.data.sources.extxyz import ExtxyzConfig, dataset_of_files


@dataclass(frozen=True)
class AseDbConfig(ExtxyzConfig):
    """The settings of `experiments.data.sources.extxyz.ExtxyzConfig`, for files that `ase.db` reads."""

    source: ClassVar[str] = "ase_db"
    kind: ClassVar[str] = "molecules"


def ase_db(config: AseDbConfig) -> Dataset:
    """Read the dataset of `config`. Raises `InputError` naming key, file and row of unusable input."""
    return dataset_of_files(config, "ase_db", atoms_of_db)


def atoms_of_db(path: str, option: str) -> Iterator[tuple[ase.Atoms, str]]:
    """Yield every row as ASE's atoms, by ascending number, with its location for messages.

    Raises `InputError` for a file that is missing, empty, or no database.
    """
    import ase.db

    where = f"{option}={path}"
    if not Path(path).is_file():
        raise InputError(f"{where}: no such file; accepted: a database of ASE (.db or .json)")
    count = 0
    try:
        with ase.db.connect(path) as database:
            for row in database.select(sort="id"):
                atoms = row.toatoms()
                atoms.info.update(row.key_value_pairs)
                for key, value in row.data.items():
                    atoms.info[key] = value[0] if np.shape(value) == (1,) else value
                yield atoms, f"{where}, row {row.id}"
                count += 1
    except InputError:
        raise
    except Exception as error:  # errors of sqlite, json and ASE
        reason = " ".join(str(error).split())
        raise InputError(f"{where}: not a database of ASE ({type(error).__name__}: {reason})") from None
    if count == 0:
        raise InputError(f"{where}: holds no rows; accepted: at least one")


load = ase_db
