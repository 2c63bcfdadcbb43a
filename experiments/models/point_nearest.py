"""The settings of `model=point_nearest`, which is fitted in closed form by `experiments.regression.points`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class PointNearestConfig(Architecture):
    """The label of the nearest training point of a teacher: |f − f_nearest| ≤ Lip·δ(P) with δ ~ P^(−1/d)."""

    architecture: ClassVar[str] = "point_nearest"
    label: ClassVar[str] = "nearest point"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "none"
    kinds: ClassVar[tuple[str, ...]] = ("points",)
    lacks: ClassVar[Lacks] = {"L": None, "nu": None}


CONFIG = PointNearestConfig
build = fitted("experiments.regression.points", "PointNearest")
