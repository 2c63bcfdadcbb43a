"""Which network belongs to which settings: the only place that lists the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from experiments.architectures import MaceConfig, ModelConfig, MpnnConfig, NequipConfig, PolynomialConfig, TfnConfig
from experiments.models.mace import Mace
from experiments.models.mpnn import Mpnn
from experiments.models.nequip import Nequip
from experiments.models.polynomial import Polynomial
from experiments.models.tfn import Tfn
from experiments.tasks.molecules import Network
from experiments.tasks.task import Model


class Trainable(Network, Model, Protocol):
    """A network that a task of molecules evaluates and the engine trains."""


NETWORKS: dict[type[ModelConfig], Callable[[Any, int], Trainable]] = {
    MaceConfig: Mace,
    NequipConfig: Nequip,
    TfnConfig: Tfn,
    PolynomialConfig: Polynomial,
    MpnnConfig: Mpnn,
}
"""Settings → network, made of settings and the number of species."""


def network(config: ModelConfig, n_species: int) -> Trainable:
    """The network of an architecture that is trained (``closed_form`` is false)."""
    return NETWORKS[type(config)](config, n_species)
