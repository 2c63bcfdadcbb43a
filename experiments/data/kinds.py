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
    "water": "molecules",
    "qm9": "molecules",
    "sphere": "molecules",  # in their form: whether a model is made for points is said where they are read
    "torus": "molecules",
    "digits": "images",
    "mnist1d": "series",
    "tetris": "clouds",
    "voxels": "voxels",
    "jets": "momenta",
}
"""By the name that ``data.source`` gives."""


def kind_of(data: Mapping[str, Any]) -> str | None:
    """Of the examples of a data section; None where its source is unknown."""
    return KINDS.get(str(data.get("source")))
