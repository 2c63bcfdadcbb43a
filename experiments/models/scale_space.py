"""The settings of `model=scale_space`; its network is in `networks/scale_space.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.models.contract import NO_DEGREES, Lacks, Readout, network_of_examples, odd


@dataclass(frozen=True)
class ScaleSpaceConfig(Readout):
    """Deep scale-space, Worrall & Welling 2019 (arXiv 1905.11697), on scales 1, 2, 4 and so on."""

    architecture: ClassVar[str] = "scale_space"
    label: ClassVar[str] = "deep scale-space"
    group: ClassVar[str] = "dilations"
    kinds: ClassVar[tuple[str, ...]] = ("images",)
    lacks: ClassVar[Lacks] = NO_DEGREES

    n_scales: int = setting(3, low=1, high=6)
    """Number of scales of the lifted image."""
    kernel_scales: int = setting(2, low=1, high=6)
    """Number of scales that a filter spans."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(12, low=1, high=1024)
    kernel: int = setting(3, low=1, high=15)
    instance_norm: bool = setting(False, since=2)
    """Normalise channels over places and scales before every nonlinearity but the last, and pool by the mean."""

    def __post_init__(self) -> None:
        odd(self.kernel)
        if self.kernel_scales > self.n_scales:
            raise InputError(f"kernel_scales={self.kernel_scales}: accepted: at most n_scales={self.n_scales}")


CONFIG = ScaleSpaceConfig
build = network_of_examples("experiments.models.networks.scale_space", "ScaleSpace")
