"""The settings of `model=nequip`; its network is in `networks/nequip.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, network_of_molecules, widths_of


@dataclass(frozen=True)
class NequipConfig(Architecture):
    """NequIP, Batzner et al. 2021 (arXiv 2101.03164). It has no ν: a message holds one neighbour."""

    architecture: ClassVar[str] = "nequip"
    label: ClassVar[str] = "NequIP"
    group: ClassVar[str] = "E(3)"
    lacks: ClassVar[Lacks] = {"nu": 1}

    L: int = setting(1, low=0, high=3)
    """Highest degree of the node features."""
    edge_lmax: int | None = setting(None, low=0, high=3)
    """Highest degree of the edges' harmonics; null: L, as published. After construction always a number."""
    parity: bool = setting(True)
    """Features of both parities; false: only those of natural parity (−1)^l."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(32, low=1, high=1024)
    """Channels of every degree and parity."""
    embedding: int | None = setting(None, low=1, high=1024)
    """Channels of the embedding of elements; null: channels. After construction always a number."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    bessel_trainable: bool = setting(True)
    """Whether the frequencies of the radial basis are weights."""
    cutoff_power: int = setting(6, low=2, high=12)
    radial_hidden: tuple[int, ...] = setting((64, 64, 64), low=1, high=1024)
    readout_hidden: int | None = setting(16, low=1, high=1024)
    """Channels between the two linear maps of the readout; null: a single map."""
    self_connection: str = setting("species", choices=("species", "embedding"))
    """Input that weighs the matrices of a self-connection: the element, or its embedding."""
    first_self_connection: bool = setting(True)
    """Whether the first layer has a self-connection."""
    prune: str = setting("all", choices=("all", "last", "none"))
    """Layers in which weights that cannot reach the energy are left out; the function is the same."""
    species_scales: bool = setting(False, since=2)
    """Whether the energies of atoms have a trained factor for every element."""

    def __post_init__(self) -> None:
        for name, natural in (("edge_lmax", self.L), ("embedding", self.channels)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, natural)

    @property
    def edge_order(self) -> int:
        """`edge_lmax` as a number."""
        assert self.edge_lmax is not None
        return self.edge_lmax

    @property
    def embedding_channels(self) -> int:
        """`embedding` as a number."""
        assert self.embedding is not None
        return self.embedding


CONFIG = NequipConfig
build = network_of_molecules("experiments.models.networks.nequip", "Nequip")
widths = widths_of("experiments.models.networks.nequip")
