"""The networks, made from the settings of the files beside this folder (`experiments.models.registry`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch

from experiments.models.contract import ExampleInfo, ModelConfig, MoleculeInfo
from experiments.models.networks.plain import PlainNetwork
from experiments.models.registry import build, origin
from experiments.tasks import classification
from experiments.tasks.molecules import Network
from experiments.tasks.task import Model


class Trainable(Network, Model, Protocol):
    """A network for molecules that the task can evaluate and the engine can train."""


class ExampleTrainable(classification.Network, Model, Protocol):
    """A network for other examples that the task can evaluate and the engine can train."""


def network(
    config: ModelConfig, species: int | Sequence[int], neighbours: float | Callable[[], float] | None = None
) -> Trainable:
    """Make the network of an architecture that is trained on molecules.

    Args:
        config: its settings.
        species: ascending atomic numbers of the elements, or their number.
        neighbours: mean number of neighbours of an atom, or what counts them; plain modules may ask for it.

    Raises:
        InputError: a user's file returns something that cannot be trained.
    """
    info = MoleculeInfo(species, neighbours)
    made = build(config, info)
    if isinstance(made, torch.nn.Module) and not hasattr(made, "energies"):
        return PlainNetwork(config, info, made)
    for name in ("init", "energies"):
        if not callable(getattr(made, name, None)):
            raise origin(config).fault(f"build returned {type(made).__name__}; accepted: a torch.nn.Module")
    return made  # type: ignore[no-any-return]


def example_network(config: ModelConfig, shape: tuple[int, ...], outputs: int) -> ExampleTrainable:
    """Make the network for examples of a shape, with one output per class (or a single number)."""
    made = build(config, ExampleInfo(shape, outputs))
    for name in ("init", "outputs"):
        if not callable(getattr(made, name, None)):
            raise origin(config).fault(
                f"build returned {type(made).__name__} without {name}; accepted: init(seed, dtype) and "
                "outputs(params, inputs) with an axis of packed runs (a plain module learns from molecules alone)"
            )
    return made  # type: ignore[no-any-return]
