"""The settings of `model=lorentz`; its network is in `networks/lorentz.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Lacks, Readout, network_of_examples


@dataclass(frozen=True)
class LorentzConfig(Readout):
    """Lorentz group network, Bogatskiy et al. 2020 (arXiv 2006.04780), of scalars, four-vectors and tensors."""

    architecture: ClassVar[str] = "lorentz"
    label: ClassVar[str] = "Lorentz group network"
    group: ClassVar[str] = "SO+(1,3)"
    kinds: ClassVar[tuple[str, ...]] = ("momenta",)
    lacks: ClassVar[Lacks] = {"nu": 1}

    L: int = setting(1, low=1, high=2)
    """Highest rank of the tensors of a particle: 1: scalars and four-vectors; 2: also those of second rank."""
    n_layers: int = setting(3, low=1, high=8)
    channels: int = setting(8, low=1, high=256)
    """Channels of scalars, of four-vectors and of each kind of tensors."""
    width: int = setting(8, low=1, high=256)
    """Hidden units of the function of p_ij² that weighs a pair of particles."""


CONFIG = LorentzConfig
build = network_of_examples("experiments.models.networks.lorentz", "Lorentz")
