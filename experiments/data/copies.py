"""Published files taken from a directory instead of the network: copied to where they belong, checked, or named."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from experiments.core import files
from experiments.core.errors import InputError
from experiments.data.download import RemoteFile, cache_root, digest_of, place_of, verify


def take(name: str, wanted: Sequence[RemoteFile], folder: Path) -> list[Path]:
    """Copy the files of the set `name` that are not on this machine yet from `folder`; the places of them all.

    A file may lie in `folder` as under the cache directory (`dataset_acac/train_300K.xyz`), as its other copies are
    called (`acac/train_300K.xyz`), or at its top. Nothing is written to `folder`.

    Raises:
        InputError: no such folder; files that it lacks, or has with another checksum than the published one (what
            there was is kept all the same).
    """
    if not folder.is_dir():
        raise InputError(f"--from {folder}: no such directory; accepted: one with files of {name}")
    lacking: list[str] = []
    wrong: list[str] = []
    for file in wanted:
        if place_of(file).is_file():
            continue
        copies = [(path, called) for path, called in _candidates(file, folder) if path.is_file()]
        right = [(path, called) for path, called in copies if file.sha256 in (None, digest_of(path))]
        if right:
            path, called = right[0]
            _copy(path, cache_root() / called)
        elif copies:
            wrong.append(str(copies[0][0]))
        else:
            lacking.append(file.path)
    places = [place_of(file) for file in wanted]
    for file, place in zip(wanted, places, strict=True):
        if place.is_file():
            verify(place, file.sha256)  # of files without a known checksum it is recorded here
    if lacking or wrong:
        here = sum(place.is_file() for place in places)
        faults = [f"not in {folder}: {', '.join(lacking)}"] if lacking else []
        faults += [f"with another SHA-256 than the published file: {', '.join(wrong)}"] if wrong else []
        raise InputError(
            f"{name}: {here} of {len(wanted)} files are here now; {'; '.join(faults)}; without --from, fetch downloads "
            "what is missing"
        )
    return places


def _candidates(file: RemoteFile, folder: Path) -> Iterator[tuple[Path, str]]:
    """Where a copy may lie in `folder`, and the place under the cache directory that it is then copied to.

    That is the file's own place, or for a copy of another format (told by its suffix) the first that is known for it.
    Names without their folder (`training.json` of which element?) will do where a checksum tells files apart.
    """
    for called in (file.path, *file.others):
        suffix = Path(called).suffix
        target = next(place for place in (file.path, *file.others) if Path(place).suffix == suffix)
        yield folder / called, target
        if file.sha256 is not None or called == file.path:
            yield folder / Path(called).name, target


def _copy(source: Path, target: Path) -> None:
    files.writable(target.parent, "EQUILAW_DATA")
    with files.whole(target) as aside:
        shutil.copyfile(source, aside)
