"""The settings of `model=momenta`; its network is in `networks/momenta.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Architecture, Lacks, network_of_examples


@dataclass(frozen=True)
class MomentaConfig(Architecture):
    """Network on the components of four-momenta, symmetric under permutations alone (deep sets)."""

    architecture: ClassVar[str] = "momenta"
    label: ClassVar[str] = "deep sets of momenta"
    group: ClassVar[str] = "none"
    kinds: ClassVar[tuple[str, ...]] = ("momenta",)
    lacks: ClassVar[Lacks] = NO_DEGREES

    n_layers: int = setting(2, low=1, high=8)
    """Hidden layers on a particle, and as many on the sum."""
    channels: int = setting(24, low=1, high=1024)


CONFIG = MomentaConfig
build = network_of_examples("experiments.models.networks.momenta", "Momenta")
