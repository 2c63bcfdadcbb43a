"""3BPA, acetylacetone and ethanol: molecules with tests beyond the training distribution, in extended XYZ, eV, eV/Å.

3BPA (27 atoms, ωB97X/6-31G(d)): Kovács et al., J. Chem. Theory Comput. 17, 7696, 2021; acetylacetone (15 atoms,
PBE+D3/def2-SVP) and ethanol (9 atoms, PBE/def2-SVP, geometries of revised MD17): Batatia et al., arXiv 2205.06643.
The published training and test files are kept as they are. Scans have energies alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.cache import cached_frames
from experiments.data.dataset import Dataset, Frames
from experiments.data.download import RemoteFile, fetch, verify
from experiments.data.published import Published, of_files
from experiments.data.sources.extxyz import read_frames, read_isolated

# A fixed commit of the authors' repository, then its main branch. File names are those of the repository, whose
# README of 3BPA calls the dihedral test test_dih_beta.
_COMMIT = "29e6d467317e4b5967b7ea5cbee54de953fa0d45"
_REPOSITORY = "https://raw.githubusercontent.com/davkovacs/BOTNet-datasets"
# Taken from copies of the published files (of their length there); the others are recorded at the first download.
_SHA256 = {
    "dataset_3BPA/train_300K.xyz": "d109971fab90e2231ad931a83eb704c8d940f5c7d7a8de27fe3b84ea18634c0a",
    "dataset_3BPA/train_mixedT.xyz": "bc108532964b2ed259eaaabf82e5dfaffa5bda9ac384fc2afabcce192a49250b",
    "dataset_3BPA/iso_atoms.xyz": "e12a2465a2612bf38fd5dabdf64d4b57fc58ce9610a858c54ea1142d517c053f",
    "dataset_acac/train_300K.xyz": "8f5706d6902360555a5be59395612d2afc3489a75688388a58e7275fdad68af3",
    "dataset_acac/train_600K.xyz": "180c2538508f7810a623c279426f44953ee7cfb2af77e48ea3986ff97645a71c",
    "dataset_acac/test_MD_300K.xyz": "2291f3186a3cc6a5e05e92952c84a9237ca53f862d78fd3316a769360719ec43",
    "dataset_acac/test_MD_600K.xyz": "d5a5bba154ec43f915eb7529f86ec3af60e6f911743859daba030181a0378ff7",
    "dataset_acac/test_dihedral.xyz": "0c2246a593579de5a4450698d5f4ba5802b095824b7f211aa5889339967c6809",
    "dataset_acac/test_H_transfer.xyz": "ea4d76c79cf4cfccd2f93eaf755172b0b648886c4907eb0f82dff07a77530743",
    "dataset_acac/isolated_atoms.xyz": "b74f321b453374621b447d65c60979f70df1b7182c8ee0215388b2c574f33823",
    "dataset_ethanol/train.xyz": "a26a16d8910581fa321fedc3bd3dfe31f2460e8cbfdc7a8f65243f4fd7250dd0",
    "dataset_ethanol/test_MD.xyz": "b8726933d5b9083989d8e3cc7013c18e0950cf0cbc6f6cd570fdb9759001031c",
    "dataset_ethanol/test_H_removal.xyz": "8d9f13272eb1c7570edaf6afc31e6f8670df38c41b82611504878576708b1a1c",
    "dataset_ethanol/test_norm_mode_874.xyz": "13f363e0c141dc25af4d8f59668623a27e024c781a07a52f8565fc6bb0e58f99",
    "dataset_ethanol/test_norm_mode_3005.xyz": "9412f0ac3562ee3f307e823eae5f6a9b793e1805feea908f58c9d24a0068f6b0",
    "dataset_ethanol/isolated_atoms.xyz": "a2a662390f31ad623ce493038e680bc34214f88d4432566bf8fbd0761be57583",
}
_FOLDERS = {"dataset_3BPA": "3bpa", "dataset_acac": "acac", "dataset_ethanol": "rmd17_ethanol"}
"""Folders of the repository, and what copies of them are called."""
_SPLIT = "split"
_SPLIT_FRAMES = 100  # of the 500 training frames: 400 stay for training and validation
_HOLDOUT_STREAM = 20220513
_READER = 1  # raise it whenever the same file gives other frames


@dataclass(frozen=True)
class BpaConfig:
    """3BPA (27 atoms), ωB97X/6-31G(d): train at one temperature, test at others. Downloaded at the first use."""

    source: ClassVar[str] = "3bpa"
    kind: ClassVar[str] = "molecules"

    train: str = setting("300K", choices=("300K", "mixedT"))
    """The 500 training frames: at 300 K, or at 300, 600 and 1200 K (mixedT)."""
    test: str = setting("300K", choices=("300K", "600K", "1200K", "dih", "split"))
    """Test frames: at one temperature, dihedral scans (dih), or 100 of the training frames, set aside (split): for
    curves without the test files."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: TEST, …}, TEST being one that test accepts: each has its own errors and curves."""
    holdout: int = setting(50, low=0)
    """Frames of the validation set, taken from the training frames; never trained on."""
    disjoint_seeds: int = setting(5, low=1)


@dataclass(frozen=True)
class AcacConfig:
    """Acetylacetone (15 atoms), PBE+D3/def2-SVP: train at one temperature, test at others.

    Downloaded at the first use.
    """

    source: ClassVar[str] = "acac"
    kind: ClassVar[str] = "molecules"

    train: str = setting("300K", choices=("300K", "600K"))
    """The 500 training frames: at 300 K or at 600 K."""
    test: str = setting("MD_300K", choices=("MD_300K", "MD_600K", "dihedral", "H_transfer"))
    """Test frames: at one temperature, a dihedral scan, or a proton that moves (H_transfer); the last two: energies
    only."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: TEST, …}, TEST being one that test accepts: each has its own errors and curves."""
    holdout: int = setting(50, low=0)
    """Frames of the validation set, taken from the training frames; never trained on."""
    disjoint_seeds: int = setting(5, low=1)


@dataclass(frozen=True)
class EthanolPbeConfig:
    """Ethanol (9 atoms), PBE/def2-SVP: frames of revised MD17, scans as further tests. Downloaded at the first use."""

    source: ClassVar[str] = "ethanol_pbe"
    kind: ClassVar[str] = "molecules"

    test: str = setting("MD", choices=("MD", "H_removal", "norm_mode_874", "norm_mode_3005"))
    """Test frames: MD (1000 frames), the hydroxyl's hydrogen taken away (H_removal, 60), or displaced along a normal
    mode, named by its wavenumber in 1/cm (37 and 18); the last three have energies only."""
    tests: Mapping[str, str] | None = setting(None, identity=False)
    """Further test sets, {NAME: TEST, …}, TEST being one that test accepts: each has its own errors and curves."""
    holdout: int = setting(50, low=0)
    """Frames of the validation set, taken from the 1000 training frames; never trained on."""
    disjoint_seeds: int = setting(5, low=1)


def bpa_files(train: str, test: str) -> dict[str, RemoteFile]:
    """Return the files of 3BPA by part: train, test (unless split off the training frames), isolated."""
    tests = {} if test == _SPLIT else {"test": f"test_{test}"}
    return _files("dataset_3BPA", {"train": f"train_{train}", **tests, "isolated": "iso_atoms"})


def acac_files(train: str, test: str) -> dict[str, RemoteFile]:
    """Return the files of acetylacetone by part: train, test, isolated."""
    return _files("dataset_acac", {"train": f"train_{train}", "test": f"test_{test}", "isolated": "isolated_atoms"})


def ethanol_pbe_files(test: str) -> dict[str, RemoteFile]:
    """Return the files of ethanol by their part."""
    return _files("dataset_ethanol", {"train": "train", "test": f"test_{test}", "isolated": "isolated_atoms"})


def bpa(config: BpaConfig) -> Dataset:
    """Load 3BPA, downloading it at the first use. Raises `InputError` if that fails or a file cannot be read."""
    return _dataset("3bpa", f"3bpa_{config.train}", bpa_files(config.train, config.test), config)


def acac(config: AcacConfig) -> Dataset:
    """Load acetylacetone; download it at the first use. Raises `InputError` if that fails or a file is unusable."""
    return _dataset("acac", f"acac_{config.train}", acac_files(config.train, config.test), config)


def ethanol_pbe(config: EthanolPbeConfig) -> Dataset:
    """Load ethanol at PBE/def2-SVP; see `acac`."""
    return _dataset("ethanol_pbe", "ethanol_pbe", ethanol_pbe_files(config.test), config)


def _files(folder: str, names: Mapping[str, str]) -> dict[str, RemoteFile]:
    files = {}
    for part, name in names.items():
        path = f"{folder}/{name}.xyz"
        urls = tuple(f"{_REPOSITORY}/{at}/{path}" for at in (_COMMIT, "main"))
        stems = dict.fromkeys((name, name.removesuffix("_MD")))  # the README of ethanol says test.xyz
        copies = tuple(f"{_FOLDERS[folder]}/{stem}.xyz" for stem in stems)
        files[part] = RemoteFile(path, urls, _SHA256.get(path), copies)
    return files


def _dataset(
    source: str, name: str, remote: Mapping[str, RemoteFile], config: BpaConfig | AcacConfig | EthanolPbeConfig
) -> Dataset:
    train = _read(source, remote["train"])
    order = np.random.default_rng([_HOLDOUT_STREAM, len(train)]).permutation(len(train))
    if "test" in remote:
        test = _read(source, remote["test"])
    else:  # from the end, so that the validation set is the same whatever tests
        test = train.take(np.sort(order[-_SPLIT_FRAMES:]))
        order = order[:-_SPLIT_FRAMES]
    if config.holdout >= len(order):
        raise InputError(f"data.holdout={config.holdout}: there are {len(order)} training frames; accepted: fewer")
    provenance: dict[str, Any] = {"source": source, **asdict(config)}
    return Dataset(
        name=name,
        pool=train.take(np.sort(order[config.holdout :])),
        holdout=train.take(np.sort(order[: config.holdout])),
        test=test,
        test_set=config.test,
        isolated_energies=read_isolated(fetch(remote["isolated"])),
        disjoint_seeds=config.disjoint_seeds,
        provenance=provenance,
    )


def _read(source: str, remote: RemoteFile) -> Frames:
    path = fetch(remote)
    key = {"sha256": verify(path, remote.sha256), "reader": _READER}
    forces = "forces" if _has_forces(path) else None
    name = f"{source}_{Path(remote.path).stem}"
    return cached_frames(name, key, lambda: read_frames(path, forces_key=forces, option=source))


def _has_forces(path: Path) -> bool:
    """Return whether the first frame has forces, by its header (a file that lacks them in later frames is refused)."""
    with open(path, encoding="utf-8", errors="replace") as stream:
        stream.readline()
        return ":forces:R:3" in stream.readline()


def load(config: BpaConfig | AcacConfig | EthanolPbeConfig) -> Dataset:
    """Load the dataset of one of the settings above."""
    if isinstance(config, BpaConfig):
        return bpa(config)
    if isinstance(config, AcacConfig):
        return acac(config)
    return ethanol_pbe(config)


def published() -> dict[str, Published]:
    """Return the sets to download, each with all of its training and test files."""
    bpa_parts = (("300K", "300K"), ("mixedT", "600K"), ("300K", "1200K"), ("300K", "dih"))
    acac_parts = (("300K", "MD_300K"), ("600K", "MD_600K"), ("300K", "dihedral"), ("300K", "H_transfer"))
    tests = ("MD", "H_removal", "norm_mode_874", "norm_mode_3005")
    return {
        "3bpa": of_files(
            "3BPA at 300, 600, 1200 K and dihedral scans, 27 atoms",
            (file for parts in bpa_parts for file in bpa_files(*parts).values()),
        ),
        "acac": of_files(
            "acetylacetone at 300 and 600 K, a dihedral scan, a proton transfer",
            (file for parts in acac_parts for file in acac_files(*parts).values()),
            verified=True,
        ),
        "ethanol_pbe": of_files(
            "ethanol of revised MD17, a bond broken, two normal modes",
            (file for test in tests for file in ethanol_pbe_files(test).values()),
            verified=True,
        ),
    }
