"""The kind of examples that each source of data makes; architectures say which kinds they take.

Found by a scan of the sources' files, which imports none of them: some bring libraries that take a second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.core import plugins
from experiments.core.plugins import Declaration

OWN = plugins.own(Path(__file__).resolve().parents[1] / "data" / "sources", "experiments.data.sources", "source")
"""The program's own sources by `data.source`."""
KINDS = {name: str(declared.attributes["kind"]) for name, declared in OWN.items()}
"""Kind of examples by `data.source`, of the program's own."""


def sources(data: Mapping[str, Any]) -> Mapping[str, Declaration]:
    """Return the sources that a data section may name: the program's own, and a user's.

    A section of a user's source says in `plugins` where its folder is, so that every process finds it.
    """
    users = plugins.folders(data.get("plugins"))
    return plugins.declarations(OWN, "source", users, "sources") if users else OWN


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Return the kind of examples of a data section; None if its source is unknown."""
    name = str(data.get("source"))
    if name in KINDS:
        return KINDS[name]
    declared = sources(data).get(name)
    return None if declared is None else str(declared.attributes.get("kind"))


FILE_SOURCES = ("extxyz", "ase_db")
"""Sources of a user's own files."""


def varied_by_tests(data: Mapping[str, Any]) -> str | None:
    """Return the setting that the values of `data.tests` are of, beside files; None: they are files alone."""
    declared = sources(data).get(str(data.get("source")))
    said = None if declared is None else declared.attributes.get("tests_vary")
    return said if isinstance(said, str) else None


def is_test_file(data: Mapping[str, Any], value: object) -> bool:
    """Return whether a value of `data.tests` is a file, and not a value of the source's own setting (`tests_vary`).

    Where the source has such a setting, a file has an ending: `scan.xyz`.
    """
    if data.get("source") in FILE_SOURCES or varied_by_tests(data) is None:
        return True
    return isinstance(value, str) and re.search(r"\.[A-Za-z]\w*$", value) is not None


def surely_periodic(data: Mapping[str, Any]) -> bool:
    """Return whether all frames of a data section are periodic, as far as its source says so (files do not).

    The source's class attribute `periodic` is true, or names the setting that makes them so where it exceeds one.
    """
    declared = sources(data).get(str(data.get("source")))
    said = None if declared is None else declared.attributes.get("periodic")
    copies = data.get(said) if isinstance(said, str) else None
    return said is True or (isinstance(copies, int) and copies > 1)


def sources_of(kind: str) -> str:
    """List the program's own sources of a kind, for messages."""
    return ", ".join(source for source, held in KINDS.items() if held == kind)
