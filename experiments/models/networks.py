"""The network of every configuration: the only place that lists the networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from experiments.models.architectures import (
    MaceConfig,
    ModelConfig,
    MpnnConfig,
    NequipConfig,
    PolynomialConfig,
    TfnConfig,
)
from experiments.models.clouds import Clouds
from experiments.models.cnn import Cnn
from experiments.models.gcnn import Gcnn
from experiments.models.group_architectures import (
    CnnConfig,
    GcnnConfig,
    HarmonicConfig,
    LorentzConfig,
    MlpConfig,
    MomentaConfig,
    ScaleSpaceConfig,
    Steerable3dConfig,
)
from experiments.models.harmonic import Harmonic
from experiments.models.lorentz import Lorentz
from experiments.models.mace import Mace
from experiments.models.mlp import Mlp
from experiments.models.momenta import Momenta
from experiments.models.mpnn import Mpnn
from experiments.models.nequip import Nequip
from experiments.models.polynomial import Polynomial
from experiments.models.scale_space import ScaleSpace
from experiments.models.steerable3d import Steerable3d
from experiments.models.tfn import Tfn
from experiments.tasks import classification
from experiments.tasks.molecules import Network
from experiments.tasks.task import Model


class Trainable(Network, Model, Protocol):
    """A network for molecules that the task can evaluate and the engine can train."""


NETWORKS: dict[type[ModelConfig], Callable[[Any, int], Trainable]] = {
    MaceConfig: Mace,
    NequipConfig: Nequip,
    TfnConfig: Tfn,
    PolynomialConfig: Polynomial,
    MpnnConfig: Mpnn,
}
"""Network by settings class; called with the settings and the number of species."""


def network(config: ModelConfig, n_species: int) -> Trainable:
    """Make the network of a trained architecture (`closed_form` is false)."""
    return NETWORKS[type(config)](config, n_species)


class ExampleTrainable(classification.Network, Model, Protocol):
    """A network for other examples that the task can evaluate and the engine can train."""


EXAMPLE_NETWORKS: dict[type[ModelConfig], Callable[[Any, tuple[int, ...], int], ExampleTrainable]] = {
    MlpConfig: Mlp,
    CnnConfig: Cnn,
    GcnnConfig: Gcnn,
    HarmonicConfig: Harmonic,
    ScaleSpaceConfig: ScaleSpace,
    Steerable3dConfig: Steerable3d,
    LorentzConfig: Lorentz,
    MomentaConfig: Momenta,
    MpnnConfig: lambda config, shape, outputs: Clouds(Mpnn(config, 1, outputs), shape),
    TfnConfig: lambda config, shape, outputs: Clouds(Tfn(config, 1, outputs), shape),
}
"""The same for other examples than molecules; called with settings, shape of an input and number of outputs."""


def example_network(config: ModelConfig, shape: tuple[int, ...], outputs: int) -> ExampleTrainable:
    """Make the network for examples of a shape, with one output per class (or a single number)."""
    return EXAMPLE_NETWORKS[type(config)](config, shape, outputs)
