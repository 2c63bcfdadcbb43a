"""The settings of `model=ace`, which is fitted in closed form by `experiments.regression.ace`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, fitted


@dataclass(frozen=True)
class AceConfig(Architecture):
    """Linear ACE, Drautz 2019 (doi 10.1103/PhysRevB.99.014104), fitted in closed form."""

    architecture: ClassVar[str] = "ace"
    label: ClassVar[str] = "linear ACE"
    closed_form: ClassVar[bool] = True
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Lacks] = {"L": 0}

    nu: int = setting(2, low=1, high=4)
    edge_lmax: int = setting(3, low=0, high=3)
    n_radial: int = setting(8, low=1, high=32)
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    energy_weight: float | None = setting(None, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces; null: a third of each frame's
    number of atoms, with which an energy counts as much as one force component."""
    force_weight: float = setting(1.0, low=0.0)


CONFIG = AceConfig
build = fitted("experiments.regression.ace", "Ace")
