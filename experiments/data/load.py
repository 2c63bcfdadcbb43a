"""From the section ``data`` of a configuration to a dataset: one entry for every source."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from experiments.data.dataset import Dataset
from experiments.data.extxyz import ExtxyzConfig, extxyz
from experiments.data.polynomial_teacher import PolynomialTeacherConfig, polynomial
from experiments.data.star import StarConfig, star
from experiments.data.xtb import XtbConfig, xtb
from experiments.errors import InputError
from experiments.schema import build, identity_of

SourceConfig = XtbConfig | StarConfig | PolynomialTeacherConfig | ExtxyzConfig


@dataclass(frozen=True)
class _Source:
    config: type[SourceConfig]
    make: Callable[[Any], Dataset]


_SOURCES = {
    "xtb": _Source(XtbConfig, xtb),
    "star": _Source(StarConfig, star),
    "polynomial": _Source(PolynomialTeacherConfig, polynomial),
    "extxyz": _Source(ExtxyzConfig, extxyz),
}


def parse(section: Mapping[str, Any]) -> SourceConfig:
    """The checked settings of a data section; nothing is read or generated.

    ``section`` holds ``source`` (xtb, star, polynomial or extxyz) and that source's own keys. Raises ``InputError`` for
    an unknown source or key, a missing key, a wrong type, a value out of range.
    """
    rest = {key: value for key, value in section.items() if value != "???"}  # Hydra's mark of a key not given
    source = rest.pop("source", None)
    if source not in _SOURCES:
        raise InputError(f"data.source={source!r}: accepted: {', '.join(_SOURCES)}")
    return build(_SOURCES[source].config, rest, "data.")


def load(section: Mapping[str, Any]) -> Dataset:
    """The dataset of a data section: read, computed, or generated once and kept (see :func:`parse`)."""
    settings = parse(section)
    return next(source for source in _SOURCES.values() if source.config is type(settings)).make(settings)


def identity(section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the content, without those that do not (paths, worker processes, cache)."""
    return {"source": section.get("source"), **identity_of(parse(section))}


Section = tuple[tuple[str, Any], ...]
"""A data section that can be a key of a cache."""


def key_of(section: Mapping[str, Any]) -> Section:
    """The section as a key; ``dict`` of it is a section again, lists having become tuples."""
    return tuple(sorted((name, tuple(v) if isinstance(v, list) else v) for name, v in section.items()))


def dataset_of(section: Mapping[str, Any]) -> Dataset:
    """The dataset, loaded once a process."""
    return _dataset(key_of(section))


@functools.lru_cache(maxsize=4)
def _dataset(section: Section) -> Dataset:
    return load({key: list(value) if isinstance(value, tuple) else value for key, value in section})
