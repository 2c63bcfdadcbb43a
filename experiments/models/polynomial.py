"""The settings of `model=polynomial`; its network is in `networks/polynomial.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, network_of_molecules, widths_of


@dataclass(frozen=True)
class PolynomialConfig(Architecture):
    """Polynomials of ⊗ and ⊕ (Geiger, "Youth in high dimensions", 2022): one sum over neighbours, ν − 1 products."""

    architecture: ClassVar[str] = "polynomial"
    label: ClassVar[str] = "equivariant polynomial"
    group: ClassVar[str] = "E(3)"

    L: int = setting(1, low=0, high=3)
    """Highest degree handed from one product to the next."""
    nu: int = setting(3, low=1, high=4)
    """Correlation order: number of neighbour factors of the highest product."""
    edge_lmax: int = setting(3, low=0, high=3)
    """Highest degree of the neighbour density, the factor of every product."""
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(5, low=2, high=12)


CONFIG = PolynomialConfig
build = network_of_molecules("experiments.models.networks.polynomial", "Polynomial")
widths = widths_of("experiments.models.networks.polynomial")
