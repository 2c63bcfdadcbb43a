"""The settings of `model=steerable3d`; its network is in `networks/steerable3d.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Lacks, Readout, network_of_examples, odd


@dataclass(frozen=True)
class Steerable3dConfig(Readout):
    """3D steerable CNN, Weiler et al. 2018 (arXiv 1807.02547)."""

    architecture: ClassVar[str] = "steerable3d"
    label: ClassVar[str] = "3D steerable CNN"
    group: ClassVar[str] = "SE(3)"
    kinds: ClassVar[tuple[str, ...]] = ("voxels",)
    lacks: ClassVar[Lacks] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the features."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(4, low=1, high=256)
    """Channels of every degree."""
    kernel: int = setting(5, low=3, high=9)
    """Voxels of a kernel's side, odd."""
    n_rings: int = setting(3, low=1, high=8)
    """Number of rings of a kernel."""
    instance_norm: bool = setting(True)
    """Normalise fields over the grid before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        odd(self.kernel)


CONFIG = Steerable3dConfig
build = network_of_examples("experiments.models.networks.steerable3d", "Steerable3d")
