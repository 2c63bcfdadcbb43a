"""The published datasets by name: a description, their files, and how to download these.

Each source's file has its own (`published()`); a scan finds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from experiments.core.kinds import sources
from experiments.data.download import RemoteFile, fetch, location, place_of


@dataclass(frozen=True)
class Published:
    """A published dataset.

    `what` describes it in one line; `files` are published; `unpacked` are the members needed of an archive, relative to
    the cache directory; `fetch_all` downloads the missing ones and returns all that is needed. `verified`: the reader
    was tried with the published files, and not only with files made in their form.
    """

    what: str
    files: tuple[RemoteFile, ...]
    fetch_all: Callable[[], list[Path]]
    unpacked: tuple[str, ...] = ()
    verified: bool = False

    @property
    def cached(self) -> bool:
        """Whether all that is needed is on this machine."""
        if self.unpacked:
            return all(location(path).exists() for path in self.unpacked)
        return all(place_of(file).exists() for file in self.files)


def of_files(what: str, files: Iterable[RemoteFile], verified: bool = False) -> Published:
    """Return a dataset of these files, each named once."""
    distinct = tuple({file.path: file for file in files}.values())
    return Published(what, distinct, lambda: [fetch(file) for file in distinct], verified=verified)


def published() -> dict[str, Published]:
    """Return every published dataset by the name that `data=` takes."""
    sets: dict[str, Published] = {}
    for declared in {declared.path: declared for declared in sources({}).values()}.values():
        if "\ndef published(" in declared.path.read_text(encoding="utf-8"):
            sets |= declared.load().published()
    return sets
