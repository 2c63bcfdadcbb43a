"""The settings of `model=cnn`; its network is in `networks/cnn.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Lacks, Readout, network_of_examples, odd


@dataclass(frozen=True)
class CnnConfig(Readout):
    """Convolutional network of as many dimensions as the images have."""

    architecture: ClassVar[str] = "cnn"
    label: ClassVar[str] = "CNN"
    group: ClassVar[str] = "translations"
    kinds: ClassVar[tuple[str, ...]] = ("series", "images", "voxels")
    lacks: ClassVar[Lacks] = NO_DEGREES

    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    kernel: int = setting(5, low=1, high=15)
    """Pixels of a kernel's side, odd."""
    copies: int = setting(1, low=1, high=64)
    """Copies of an image in training: itself and `copies` − 1 rotated ones."""
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over the grid before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        odd(self.kernel)


CONFIG = CnnConfig
build = network_of_examples("experiments.models.networks.cnn", "Cnn")
