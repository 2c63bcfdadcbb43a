"""The settings of `model=tfn`; its network is in `networks/tfn.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, network_of_both, widths_of


@dataclass(frozen=True)
class TfnConfig(Architecture):
    """Tensor field network, Thomas et al. 2018 (arXiv 1802.08219). It has no ν, and tells mirror images apart."""

    architecture: ClassVar[str] = "tfn"
    label: ClassVar[str] = "TFN"
    group: ClassVar[str] = "SE(3)"
    kinds: ClassVar[tuple[str, ...]] = ("molecules", "clouds")
    lacks: ClassVar[Lacks] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the node features."""
    edge_lmax: int | None = setting(None, low=0, high=3)
    """Highest degree of the filters; null: L. After construction always a number."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_radial: int = setting(16, low=2, high=64)
    """Gaussians between 0 and the cutoff."""
    radial_width: int = setting(16, low=1, high=1024)
    """Hidden units of the radial networks; every path has one of its own."""
    cutoff_power: int = setting(6, low=2, high=12)

    def __post_init__(self) -> None:
        if self.edge_lmax is None:
            object.__setattr__(self, "edge_lmax", self.L)

    @property
    def edge_order(self) -> int:
        """`edge_lmax` as a number."""
        assert self.edge_lmax is not None
        return self.edge_lmax


CONFIG = TfnConfig
build = network_of_both("experiments.models.networks.tfn", "Tfn")
widths = widths_of("experiments.models.networks.tfn")
