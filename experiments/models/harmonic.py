"""The settings of `model=harmonic`; its network is in `networks/harmonic.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Lacks, Readout, network_of_examples, odd


@dataclass(frozen=True)
class HarmonicConfig(Readout):
    """Harmonic network, Worrall et al. 2017 (arXiv 1612.04642)."""

    architecture: ClassVar[str] = "harmonic"
    label: ClassVar[str] = "harmonic network"
    group: ClassVar[str] = "SE(2)"
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Lacks] = NO_DEGREES

    max_order: int = setting(1, low=0, high=4)
    """Highest rotation order of features."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    """Complex channels of every rotation order."""
    kernel: int = setting(5, low=3, high=15)
    n_rings: int = setting(3, low=1, high=16)
    """Number of rings of a filter."""

    def __post_init__(self) -> None:
        odd(self.kernel)


CONFIG = HarmonicConfig
build = network_of_examples("experiments.models.networks.harmonic", "Harmonic")
