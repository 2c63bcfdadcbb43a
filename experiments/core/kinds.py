"""The kind of examples that each source of data makes; architectures say which kinds they take."""

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
    "ethanol_small": "molecules",
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
"""Kind of examples by `data.source`."""


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Return the kind of examples of a data section; None if its source is unknown."""
    return KINDS.get(str(data.get("source")))


def sources_of(kind: str) -> str:
    """List the sources of a kind, for messages."""
    return ", ".join(source for source, held in KINDS.items() if held == kind)
