"""Capacity controls: `match=weights|features` asks for as many channels as give a model the size of its reference.

The channels of a linearised network (`model=ntk`) are those of the network that it linearises.
The reference is the same model with other knobs (`reference.L=1`), or a number (`reference.count`). NequIP's paper
has two such controls, both at L = 0 and both matched to its network of L = 1 alone; here every L can be matched.
Torch-free: sizes depend on the number of elements in the data, and `experiments.runs.capacity` counts them once that
is known.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.core.errors import InputError
from experiments.core.schema import build, read, setting
from experiments.models.contract import ModelConfig
from experiments.models.ntk import NtkConfig

RULE = "the number of channels whose count is nearest to the target, the smaller of two; all else as configured"
CHOICES = ("weights", "features")
KNOBS = ("L", "nu", "edge_lmax", "n_layers", "channels")
"""Settings in which the reference may differ from the model."""


def network_of(model: ModelConfig) -> ModelConfig:
    """Return the model whose channels are chosen and counted: of a linearised network, the network."""
    return model.network if isinstance(model, NtkConfig) else model


def with_network(model: ModelConfig, network: Any) -> ModelConfig:
    """Return `model` with another network in the place of `network_of(model)`."""
    if isinstance(model, NtkConfig):
        return dataclasses.replace(model, network=network)
    chosen: ModelConfig = network
    return chosen


@dataclass(frozen=True)
class Reference:
    """The model to match in size: the same one with these changes; null: as in the model itself."""

    L: int | None = setting(None, low=0)
    """Its L."""
    nu: int | None = setting(None, low=1)
    """Its nu."""
    edge_lmax: int | None = setting(None, low=0)
    """Its edge order."""
    n_layers: int | None = setting(None, low=1)
    """Its number of layers."""
    channels: int | None = setting(None, low=1)
    """Its channels."""
    count: int | None = setting(None, low=1)
    """The number to match itself, in place of a model that has it; another architecture's n_parameters, say."""

    def given(self) -> dict[str, int]:
        """Return the keys that were set."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class ChannelMatchSpec:
    """A request for as many weights or features (`by`) as `model` has, or `count`; `reference` is how it was named."""

    by: str
    reference: Mapping[str, int]
    model: ModelConfig | None
    count: int | None


@dataclass(frozen=True)
class ChannelMatch:
    """The outcome of a channel match, as the run records it.

    by         weights, or features: components of an atom's features in the widest layer
    reference  how the reference was named
    target     the reference's count
    count      the model's own
    """

    by: str
    reference: Mapping[str, int]
    target: int
    count: int

    @property
    def mismatch(self) -> float:
        """Relative mismatch, (count − target)/target."""
        return (self.count - self.target) / self.target

    def as_dict(self) -> dict[str, Any]:
        """Return the entries for configuration and result."""
        return {
            "by": self.by,
            "reference": dict(self.reference),
            "target": self.target,
            "count": self.count,
            "mismatch": self.mismatch,
            "rule": RULE,
        }

    @staticmethod
    def parse(content: Mapping[str, Any]) -> ChannelMatch:
        """Read what `as_dict` wrote.

        Raises:
            InputError: the content is something else.
        """
        try:
            return read(ChannelMatch, content)
        except InputError:
            raise InputError(f"match={dict(content)!r}: accepted: null | weights | features") from None


def reference_of(section: Any) -> Reference:
    """Check the section `reference`; null or absent: nothing set.

    Raises:
        InputError: unknown key, wrong type, value out of range.
    """
    if section is not None and not isinstance(section, Mapping):
        raise InputError(f"reference={section!r}: accepted: {', '.join(f.name for f in dataclasses.fields(Reference))}")
    return build(Reference, section or {}, "reference.")
