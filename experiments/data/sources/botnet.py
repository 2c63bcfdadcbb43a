"""3BPA and acetylacetone: two molecules with tests beyond the training distribution, in extended XYZ, eV and eV/Å.

3BPA (27 atoms, ωB97X/6-31G(d)): Kovács et al., J. Chem. Theory Comput. 17, 7696, 2021; acetylacetone (15 atoms,
PBE+D3/def2-SVP): Batatia et al., arXiv 2205.06643. The published training and test files are kept as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.cache import cached_frames
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import RemoteFile, fetch, verify
from experiments.data.sources.extxyz import read_frames, read_isolated

# A fixed commit of the authors' repository, then its main branch. File names are those of its README files (and of
# code that reads them: the README of 3BPA calls the dihedral tests test_dih_beta).
_COMMIT = "e85212391c735fa77cf53a09b2e787e4d3b16fae"
_REPOSITORY = "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets"
# Taken from copies of the published files; the others are recorded at the first download.
_SHA256 = {
    "dataset_3BPA/train_300K.xyz": "d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a",
    "dataset_3BPA/train_mixedT.xyz": "bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b",
    "dataset_3BPA/iso_atoms.xyz": "e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f",
}
_ENERGIES_ONLY = ("test_H_transfer",)
_HOLDOUT_STREAM = 20220513
_READER = 1  # raise it whenever the same file gives other frames


@dataclass(frozen=True)
class BpaConfig:
    """Settings of 3BPA.

    `train`: frames at 300 K or at 300, 600 and 1200 K together; `test`: frames at one temperature, or dihedral scans;
    `holdout` of the 500 training frames are set aside.
    """

    train: str = setting("300K", choices=("300K", "mixedT"))
    test: str = setting("300K", choices=("300K", "600K", "1200K", "dih"))
    holdout: int = setting(50, low=0)
    disjoint_seeds: int = setting(5, low=1)


@dataclass(frozen=True)
class AcacConfig:
    """Settings of acetylacetone.

    `train`: frames at 300 K or at 600 K; `test`: frames at one temperature, a dihedral scan, or the transfer of a
    proton (energies only); `holdout` of the 500 training frames are set aside.
    """

    train: str = setting("300K", choices=("300K", "600K"))
    test: str = setting("MD_300K", choices=("MD_300K", "MD_600K", "dihedral", "H_transfer"))
    holdout: int = setting(50, low=0)
    disjoint_seeds: int = setting(5, low=1)


def bpa_files(train: str, test: str) -> dict[str, RemoteFile]:
    """Return the files of 3BPA by part: train, test, isolated."""
    return _files("dataset_3BPA", {"train": f"train_{train}", "test": f"test_{test}", "isolated": "iso_atoms"})


def acac_files(train: str, test: str) -> dict[str, RemoteFile]:
    """Return the files of acetylacetone by part: train, test, isolated."""
    return _files("dataset_acac", {"train": f"train_{train}", "test": f"test_{test}", "isolated": "isolated_atoms"})


def bpa(config: BpaConfig) -> Dataset:
    """Load 3BPA, downloading it at the first use. Raises `InputError` if that fails or a file cannot be read."""
    return _dataset("3bpa", bpa_files(config.train, config.test), config)


def acac(config: AcacConfig) -> Dataset:
    """Load acetylacetone; download it at the first use. Raises `InputError` if that fails or a file is unusable."""
    return _dataset("acac", acac_files(config.train, config.test), config)


def _files(folder: str, names: Mapping[str, str]) -> dict[str, RemoteFile]:
    files = {}
    for part, name in names.items():
        path = f"{folder}/{name}.xyz"
        files[part] = RemoteFile(
            path, tuple(f"{_REPOSITORY}/{at}/{path}" for at in (_COMMIT, "main")), _SHA256.get(path)
        )
    return files


def _dataset(name: str, remote: Mapping[str, RemoteFile], config: BpaConfig | AcacConfig) -> Dataset:
    train, test = (_read(name, remote[part]) for part in ("train", "test"))
    if config.holdout >= len(train):
        raise InputError(f"data.holdout={config.holdout}: there are {len(train)} training frames; accepted: fewer")
    order = np.random.default_rng([_HOLDOUT_STREAM, len(train)]).permutation(len(train))
    provenance: dict[str, Any] = {"source": name, **asdict(config)}
    return Dataset(
        name=f"{name}_{config.train}",
        pool=train.take(np.sort(order[config.holdout :])),
        holdout=train.take(np.sort(order[: config.holdout])),
        test=test,
        test_set=config.test,
        isolated_energies=read_isolated(fetch(remote["isolated"])),
        disjoint_seeds=config.disjoint_seeds,
        provenance=provenance,
    )


def _read(name: str, remote: RemoteFile) -> Frames:
    path = fetch(remote)
    key = {"sha256": verify(path, remote.sha256), "reader": _READER}
    forces = None if path.stem in _ENERGIES_ONLY else "forces"
    return cached_frames(f"{name}_{path.stem}", key, lambda: read_frames(path, forces_key=forces, option=name))
