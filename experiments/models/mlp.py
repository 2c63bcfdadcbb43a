"""The settings of `model=mlp`; its network is in `networks/mlp.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Architecture, Lacks, network_of_examples


@dataclass(frozen=True)
class MlpConfig(Architecture):
    """Multilayer perceptron on the pixels: no symmetry."""

    architecture: ClassVar[str] = "mlp"
    label: ClassVar[str] = "perceptron"
    group: ClassVar[str] = "none"
    kinds: ClassVar[tuple[str, ...]] = ("series", "images", "voxels", "clouds")
    lacks: ClassVar[Lacks] = NO_DEGREES

    n_layers: int = setting(2, low=1, high=8)
    """Number of hidden layers."""
    channels: int = setting(27, low=1, high=4096)
    """Channels of a hidden layer."""


CONFIG = MlpConfig
build = network_of_examples("experiments.models.networks.mlp", "Mlp")
