"""The published datasets by name: a description, their files, and how to download these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.data.download import RemoteFile, fetch, location, place_of
from experiments.data.sources import botnet, md17, mlearn, qm9, rmd17, water


@dataclass(frozen=True)
class Published:
    """A published dataset.

    `what` describes it in one line; `files` are published; `unpacked` are the members needed of an archive, relative to
    the cache directory; `fetch_all` downloads the missing ones and returns all that is needed.
    """

    what: str
    files: tuple[RemoteFile, ...]
    fetch_all: Callable[[], list[Path]]
    unpacked: tuple[str, ...] = ()

    @property
    def cached(self) -> bool:
        """Whether all that is needed is on this machine."""
        if self.unpacked:
            return all(location(path).exists() for path in self.unpacked)
        return all(place_of(file).exists() for file in self.files)


def _of_files(what: str, files: Sequence[RemoteFile]) -> Published:
    return Published(what, tuple(files), lambda: [fetch(file) for file in files])


def _rmd17(molecule: str) -> Published:
    paths = (f"rmd17/npz_data/rmd17_{molecule}.npz", *rmd17.SPLITS.values())

    def fetch_all() -> list[Path]:
        path, splits = rmd17.fetch_rmd17(molecule)
        return [path, *splits.values()]

    what = "revised MD17, PBE/def2-SVP, 100,000 frames, five index splits (1.1 GB for all ten)"
    return Published(what, (rmd17.ARCHIVE,), fetch_all, paths)


def published() -> dict[str, Published]:
    """Return every published dataset by the name that `data=` takes."""
    sets = {f"rmd17_{molecule}": _rmd17(molecule) for molecule in md17.FORMULAS}
    for molecule in md17.FORMULAS:
        sets[f"md17_{molecule}"] = _of_files("MD17, original labels, one trajectory", [md17.file_of(molecule)])
    every = [
        botnet.bpa_files(a, b) for a, b in (("300K", "300K"), ("mixedT", "600K"), ("300K", "1200K"), ("300K", "dih"))
    ]
    sets["3bpa"] = _of_files("3BPA at 300, 600, 1200 K and dihedral scans, 27 atoms", _distinct(every))
    every = [
        botnet.acac_files(a, b)
        for a, b in (("300K", "MD_300K"), ("600K", "MD_600K"), ("300K", "dihedral"), ("300K", "H_transfer"))
    ]
    sets["acac"] = _of_files("acetylacetone at 300 and 600 K, a dihedral scan, a proton transfer", _distinct(every))
    every = [botnet.ethanol_pbe_files(test) for test in ("MD", "H_removal", "norm_mode_874", "norm_mode_3005")]
    sets["ethanol_pbe"] = _of_files("ethanol of revised MD17, a bond broken, two normal modes", _distinct(every))
    for element in mlearn.ELEMENTS:
        files = list(mlearn.files_of(element).values())
        sets[f"mlearn_{element.lower()}"] = _of_files(f"crystals of {element}, PBE, the published split", files)
    sets["water"] = _of_files("liquid water, revPBE0-D3, 1593 periodic boxes of 64 molecules", [water.FILE])
    sets["qm9"] = _of_files("130,831 relaxed molecules, energies only", [qm9.ARCHIVE, qm9.UNCHARACTERIZED])
    return sets


def _distinct(every: Sequence[dict[str, RemoteFile]]) -> list[RemoteFile]:
    return list({file.path: file for files in every for file in files.values()}.values())
