"""The settings of `model=krr`, which is fitted in closed form by `experiments.regression.krr`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class KrrConfig(Architecture):
    """Kernel ridge regression of energies and forces on inverse distances, as Chmiela et al. 2017, 2018 (sGDML)."""

    architecture: ClassVar[str] = "krr"
    label: ClassVar[str] = "kernel ridge"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Lacks] = {"L": None, "nu": None}
    takes_periodic: ClassVar[bool] = False

    kernel: str = setting("matern52", choices=("matern52", "gaussian"))
    length: float | None = setting(None, above=0.0)
    """Length scale in 1/Å; null: chosen by leaving out training frames."""
    symmetrise: bool = setting(True)
    """Average over the permutations of like atoms that keep the molecule's bonds."""
    energy_weight: float | None = setting(None, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces; null: a third of each frame's
    number of atoms, with which an energy counts as much as one force component."""
    force_weight: float = setting(1.0, low=0.0)


CONFIG = KrrConfig
build = fitted("experiments.regression.krr", "Krr")
