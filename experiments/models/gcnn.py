"""The settings of `model=gcnn`; its network is in `networks/gcnn.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Lacks, Readout, network_of_examples, odd


@dataclass(frozen=True)
class GcnnConfig(Readout):
    """Group-equivariant convolutional network, Cohen & Welling 2016 (arXiv 1602.07576)."""

    architecture: ClassVar[str] = "gcnn"
    label: ClassVar[str] = "G-CNN"
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Lacks] = NO_DEGREES

    symmetry: str = setting("p4", choices=("p4", "p4m"))
    """Translations and rotations by 90°, for p4m also mirrors."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(6, low=1, high=1024)
    """Channels of every element of the point group."""
    kernel: int = setting(5, low=1, high=15)
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over the group before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        odd(self.kernel)

    @property
    def group(self) -> str:
        """Symmetry group."""
        return self.symmetry


CONFIG = GcnnConfig
build = network_of_examples("experiments.models.networks.gcnn", "Gcnn")
