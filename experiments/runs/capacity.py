"""The size of a network, and the channels that make it as large as another (`experiments.config.channel_match`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from experiments.config.channel_match import ChannelMatch, ChannelMatchSpec, network_of, with_network
from experiments.config.run import RunConfig, parse, section_of_model
from experiments.core.errors import InputError
from experiments.data.dataset import AnyDataset, Dataset
from experiments.models import mace, nequip, polynomial, tfn
from experiments.models.architectures import (
    MaceConfig,
    ModelConfig,
    MpnnConfig,
    NequipConfig,
    PolynomialConfig,
    TfnConfig,
)
from experiments.models.networks import network
from experiments.nn.parameters import is_constant

NEAR = 0.1
"""Largest relative mismatch of the nearest number of channels that counts as a match."""


@functools.lru_cache(maxsize=256)
def weights(config: ModelConfig, n_species: int) -> int:
    """Count the trained weights."""
    drawn = network(config, n_species).init(0, torch.float32)
    return sum(value.numel() for name, value in drawn.items() if not is_constant(name))


def features(config: Any) -> int:
    """Count the components of an atom's features in the layer with the most: Σ (2l+1)·channels.

    The sum is over the features that a layer takes from the one before it (of polynomials: those that a product takes,
    densities included). Features that never reach the energy count only if they are computed (`prune=none` of NequIP).
    """
    return _COMPONENTS[type(config)](config) * int(config.channels)


def _most(layers: list[tuple[int, ...]]) -> int:
    """Return Σ (2l+1) of the layer with the most, given the degrees; the first layer's own input, scalars, is 1."""
    return max([1, *(sum(2 * degree + 1 for degree in degrees) for degrees in layers)])


_COMPONENTS: dict[type[ModelConfig], Callable[[Any], int]] = {
    MaceConfig: lambda c: _most([layer.inputs for layer in mace.plan(c)[1:]]),
    NequipConfig: lambda c: _most([tuple(degree for degree, _ in layer.inputs) for layer in nequip.plan(c)[1:]]),
    TfnConfig: lambda c: _most([layer.inputs for layer in tfn.plan(c)[1:]]),
    PolynomialConfig: lambda c: _most([product.inputs for product in polynomial.plan(c)]),
    MpnnConfig: lambda c: 1,
}


def resolve_channels(composed: Mapping[str, Any], config: RunConfig, dataset: AnyDataset) -> RunConfig:
    """Return the run with the number of channels that `match` asks for; any other run as it is.

    Args:
        composed: the configuration that `config` was parsed from.
        config: the run.
        dataset: its data, which tell the number of elements.

    Raises:
        InputError: no number of channels comes near the reference.
    """
    if not isinstance(config.match, ChannelMatchSpec):
        return config
    assert isinstance(dataset, Dataset)  # `match` of other data is refused in parsing
    reference = config.match.model
    match = dataclasses.replace(config.match, model=None if reference is None else network_of(reference))
    chosen, record = match_channels(network_of(config.model), match, len(dataset.elements()))
    section, knobs = section_of_model(with_network(config.model, chosen))
    return parse({**composed, **knobs, "model": section, "match": record.as_dict(), "reference": None})


def match_channels(model: ModelConfig, match: ChannelMatchSpec, n_species: int) -> tuple[ModelConfig, ChannelMatch]:
    """Return the model with match_channels channels, and the count reached; see `channel_match.RULE`.

    Raises:
        InputError: no number of channels comes within `NEAR` of the target.
    """

    def count(config: ModelConfig) -> int:
        return weights(config, n_species) if match.by == "weights" else features(config)

    target = match.count if match.model is None else count(match.model)
    assert target is not None
    one, two, three = (count(_wide(model, channels)) for channels in (1, 2, 3))

    def expected(channels: int) -> int:
        """Return the count with so many channels: a quadratic, as a tensor has at most two axes of channels."""
        n = channels - 1
        return one + n * (two - one) + n * (n - 1) // 2 * (three - 2 * two + one)

    field = next(f for f in dataclasses.fields(model) if f.name == "channels")
    low, high = 1, int(field.metadata["high"])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected(middle) >= target else (middle, high)
    channels = min((low, high), key=lambda c: (abs(expected(c) - target), c))
    reached = ChannelMatch(match.by, match.reference, target, expected(channels))
    if abs(reached.mismatch) > NEAR:
        raise InputError(
            f"match={match.by}: {target} {match.by} of the reference; the nearest that model={model.architecture} "
            f"comes to is {reached.count}, with {channels} channels; accepted: a reference within {NEAR:.0%} of that"
        )
    wide = _wide(model, channels)
    assert count(wide) == reached.count, "the number of weights is no quadratic in the channels"
    return wide, reached


def _wide(model: Any, channels: int) -> ModelConfig:
    wide: ModelConfig = dataclasses.replace(model, channels=channels)
    return wide
