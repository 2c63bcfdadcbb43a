"""What kind of examples each source of data makes; architectures say which kinds they take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KINDS = {
    "xtb": "molecules",
    "star": "molecules",
    "polynomial": "molecules",
    "extxyz": "molecules",
    "ase_db": "molecules",
    "rmd17": "molecules",
    "md17": "molecules",
    "3bpa": "molecules",
    "acac": "molecules",
    "ethanol_pbe": "molecules",
    "mlearn": "molecules",
    "water": "molecules",
    "qm9": "molecules",
    "sphere": "points",
    "torus": "points",
    "digits": "images",
    "mnist1d": "series",
    "tetris": "clouds",
    "voxels": "voxels",
    "jets": "momenta",
}
"""By the name that `data.source` gives."""


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Of the examples of a data section; None where its source is unknown."""
    return KINDS.get(str(data.get("source")))


def sources_of(kind: str) -> str:
    """The sources of a kind, for messages."""
    return ", ".join(source for source, held in KINDS.items() if held == kind)
