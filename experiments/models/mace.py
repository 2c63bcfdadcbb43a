"""The settings of `model=mace`; its network is in `networks/mace.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, network_of_molecules, widths_of


@dataclass(frozen=True)
class MaceConfig(Architecture):
    """MACE, Batatia et al. 2022 (arXiv 2206.07697)."""

    architecture: ClassVar[str] = "mace"
    label: ClassVar[str] = "MACE"
    group: ClassVar[str] = "E(3)"

    L: int = setting(1, low=0, high=3)
    """Highest degree of the messages passed between layers."""
    nu: int = setting(3, low=1, high=3)
    """Correlation order: number of neighbour factors in a product."""
    edge_lmax: int = setting(3, low=0, high=3)
    """Highest degree inside a layer."""
    n_layers: int = setting(2, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(5, low=2, high=12)
    radial_hidden: tuple[int, ...] = setting((64, 64, 64), low=1, high=1024)
    readout_hidden: int = setting(16, low=1, high=1024)
    first_residual: bool = setting(False, since=2)
    """Whether the first layer has a residual too, and the same node map for all elements; false: as published."""


CONFIG = MaceConfig
build = network_of_molecules("experiments.models.networks.mace", "Mace")
widths = widths_of("experiments.models.networks.mace")
