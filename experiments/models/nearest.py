"""The settings of `model=nearest`, which is fitted in closed form by `experiments.regression.nearest`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class NearestConfig(Architecture):
    """The labels of the nearest training frame: the Lipschitz reference, with errors of order δ(P) ~ P^(−1/d)."""

    architecture: ClassVar[str] = "nearest"
    label: ClassVar[str] = "nearest neighbour"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Lacks] = {"L": None, "nu": None}
    takes_periodic: ClassVar[bool] = False

    metric: str = setting("descriptor", choices=("descriptor", "aligned_rmsd"))
    """See `experiments.data.distances`."""


CONFIG = NearestConfig
build = fitted("experiments.regression.nearest", "Nearest")
