"""How large a network is, and how many channels make it as large as another (`experiments.config.channel_match`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch

from experiments.config.channel_match import ChannelMatch, ChannelMatchSpec
from experiments.config.run import RunConfig, jsonable, parse
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
"""Where even the nearest number of channels misses its target by more than this share, there is no match."""


@functools.lru_cache(maxsize=256)
def weights(config: ModelConfig, n_species: int) -> int:
    """Number of trained weights."""
    drawn = network(config, n_species).init(0, torch.float32)
    return sum(value.numel() for name, value in drawn.items() if not is_constant(name))


def features(config: Any) -> int:
    """Components of an atom's features where they are most: Σ (2l+1)·channels over what a layer takes from the one
    before it (of polynomials: what a product takes, densities included); what never reaches the energy only where it
    is computed (`prune=none` of NequIP)."""
    return _COMPONENTS[type(config)](config) * int(config.channels)


def _most(layers: list[tuple[int, ...]]) -> int:
    """Σ (2l+1) of the layer with the most; the first layer's own input, scalars, is 1."""
    return max([1, *(sum(2 * degree + 1 for degree in degrees) for degrees in layers)])


_COMPONENTS: dict[type[ModelConfig], Callable[[Any], int]] = {
    MaceConfig: lambda c: _most([layer.inputs for layer in mace.plan(c)[1:]]),
    NequipConfig: lambda c: _most([tuple(degree for degree, _ in layer.inputs) for layer in nequip.plan(c)[1:]]),
    TfnConfig: lambda c: _most([layer.inputs for layer in tfn.plan(c)[1:]]),
    PolynomialConfig: lambda c: _most([product.inputs for product in polynomial.plan(c)]),
    MpnnConfig: lambda c: 1,
}


def resolve_channels(composed: Mapping[str, Any], config: RunConfig, dataset: AnyDataset) -> RunConfig:
    """The run with the number of channels that `match` asks for; any other run as it is.

    `composed` is the configuration that `config` was parsed from.

    Raises:
        InputError: no number of channels comes near the reference.
    """
    if not isinstance(config.match, ChannelMatchSpec):
        return config
    assert isinstance(dataset, Dataset)  # else the wish is refused
    model, record = match_channels(config.model, config.match, len(dataset.elements()))
    section = {"architecture": model.architecture, **jsonable(dataclasses.asdict(model))}
    knobs = {knob: section.pop(knob, None) for knob in ("L", "nu")}
    return parse({**composed, **knobs, "model": section, "match": record.as_dict(), "reference": None})


def match_channels(model: ModelConfig, match: ChannelMatchSpec, n_species: int) -> tuple[ModelConfig, ChannelMatch]:
    """The model with matched channels, and what came of it; see `channel_match.RULE`."""

    def count(config: ModelConfig) -> int:
        return weights(config, n_species) if match.by == "weights" else features(config)

    target = match.count if match.model is None else count(match.model)
    assert target is not None
    one, two, three = (count(_wide(model, channels)) for channels in (1, 2, 3))

    def expected(channels: int) -> int:
        """Every tensor has at most two axes of channels: a quadratic in their number, known from three of them."""
        n = channels - 1
        return one + n * (two - one) + n * (n - 1) // 2 * (three - 2 * two + one)

    field = next(f for f in dataclasses.fields(model) if f.name == "channels")
    low, high = 1, int(field.metadata["high"])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected(middle) >= target else (middle, high)
    channels = min((low, high), key=lambda c: (abs(expected(c) - target), c))
    found = ChannelMatch(match.by, match.reference, target, expected(channels))
    if abs(found.mismatch) > NEAR:
        raise InputError(
            f"match={match.by}: {target} {match.by} of the reference; the nearest that model={model.architecture} "
            f"comes to is {found.count}, with {channels} channels; accepted: a reference within {NEAR:.0%} of that"
        )
    wide = _wide(model, channels)
    assert count(wide) == found.count, "the number of weights is no quadratic in the channels"
    return wide, found


def _wide(model: Any, channels: int) -> ModelConfig:
    wide: ModelConfig = dataclasses.replace(model, channels=channels)
    return wide
