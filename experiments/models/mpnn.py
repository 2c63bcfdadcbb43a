"""The settings of `model=mpnn`; its network is in `networks/mpnn.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, Lacks, network_of_both


@dataclass(frozen=True)
class MpnnConfig(Architecture):
    """Message passing on components of relative vectors: the baseline without rotation symmetry (Ngo & Ravanbakhsh,
    arXiv 2510.09768; Brehmer et al., arXiv 2410.23179). Its features have no degrees, its messages no ν."""

    architecture: ClassVar[str] = "mpnn"
    label: ClassVar[str] = "MPNN"
    group: ClassVar[str] = "T(3)"
    kinds: ClassVar[tuple[str, ...]] = ("molecules", "clouds")
    lacks: ClassVar[Lacks] = {"L": 0, "nu": 1}

    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(64, low=1, high=2048)
    """Channels of node features and of every hidden layer."""
    message_layers: int = setting(2, low=1, high=4)
    """Hidden layers of the perceptron that makes messages."""
    cutoff: float = setting(5.0, above=0.0, high=50.0)
    """Cutoff radius in Å."""
    n_bessel: int = setting(8, low=1, high=64)
    cutoff_power: int = setting(6, low=2, high=12)


CONFIG = MpnnConfig
build = network_of_both("experiments.models.networks.mpnn", "Mpnn")


def widths(config: MpnnConfig) -> tuple[int, ...]:
    """Return the components of an atom's features: the channels, in every layer."""
    return (config.channels,)
