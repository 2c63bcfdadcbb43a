"""The settings of `model=ntk`, which is fitted in closed form by `experiments.regression.ntk`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from experiments.core.schema import setting
from experiments.models.contract import Architecture, MoleculeInfo, named
from experiments.models.mace import MaceConfig

FROM_NETWORK = ("L", "nu", "edge_lmax", "n_layers", "channels", "cutoff")
"""Attributes that are the network's: columns of tables; None if it has no such setting."""


@dataclass(frozen=True)
class NtkConfig(Architecture):
    """Ridge regression on the network `of` linearised around its initial weights (Jacot et al. 2018, 1806.07572).

    In a configuration the settings of the network stand beside these; L, ν and the other columns are the network's.
    """

    architecture: ClassVar[str] = "ntk"
    label: ClassVar[str] = "neural tangent kernel"
    closed_form: ClassVar[bool] = True
    shared: ClassVar[tuple[str, ...]] = ("edge_lmax", "n_layers", "channels", "cutoff")
    """Settings of networks that null leaves to the network."""

    of: str = setting("mace")
    network: Any = field(default_factory=MaceConfig)
    """Settings of the network (`NetworkConfig`)."""
    energy_weight: float | None = setting(None, low=0.0)
    """Weight of the energy per atom, in units of the force RMS × 1 Å, beside forces; null: a third of each frame's
    number of atoms, with which an energy counts as much as one force component."""
    force_weight: float = setting(1.0, low=0.0)

    @property
    def name(self) -> str:
        """Name in tables: curves of different networks are different architectures."""
        return f"ntk-{self.of}"

    @property
    def group(self) -> str:
        """Symmetry of the network."""
        return str(self.network.group)

    def __getattr__(self, name: str) -> Any:
        """Return the network's own."""
        if name in FROM_NETWORK:
            return getattr(self.network, name, None)
        raise AttributeError(f"{type(self).__name__} has no {name}")


CONFIG = NtkConfig


def build(config: NtkConfig, info: MoleculeInfo) -> Any:
    """Return the linearised network."""
    return named("experiments.regression.ntk", "Ntk")(config, info.species, lambda: info.mean_neighbours)
