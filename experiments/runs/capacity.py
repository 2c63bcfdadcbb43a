"""The size of a network, and the channels that make it as large as another (`experiments.config.channel_match`)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from experiments.config.channel_match import ChannelMatch, ChannelMatchSpec, network_of, with_network
from experiments.config.parse import parse
from experiments.config.run import RunConfig, section_of_model
from experiments.core.errors import InputError
from experiments.data.dataset import AnyDataset, Dataset
from experiments.models.contract import ModelConfig
from experiments.models.networks import network
from experiments.models.registry import origin, widths
from experiments.nn.parameters import is_constant

MOST = 4096
"""Most channels that a match chooses if the setting has no end of its own."""
NEAR = 0.1
"""Largest relative mismatch of the nearest number of channels that counts as a match."""


@functools.lru_cache(maxsize=256)
def weights(config: ModelConfig, species: int | tuple[int, ...]) -> int:
    """Count the trained weights of a network of molecules of these elements (or of so many)."""
    drawn = network(config, species, neighbours=1.0).init(0, torch.float32)
    return sum(value.numel() for name, value in drawn.items() if not is_constant(name))


def features(config: ModelConfig) -> int:
    """Count the components of an atom's features in the layer with the most (`widths` of the architecture's file).

    Raises:
        InputError: the file has no `widths`, or it returns something else than positive integers.
    """
    count = widths(config)
    if count is None:
        raise origin(config).fault("widths is missing, and match=features needs it; accepted: match=weights | null")
    found = count(config)
    several = isinstance(found, Sequence) and len(found) > 0
    if not several or not all(isinstance(width, int) and width > 0 for width in found):
        raise origin(config).fault(f"widths returned {found!r}; accepted: a list of integers ≥ 1, one for each layer")
    return max(found)


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
    chosen, record = match_channels(network_of(config.model), match, tuple(dataset.elements()))
    section, knobs = section_of_model(with_network(config.model, chosen))
    return parse({**composed, **knobs, "model": section, "match": record.as_dict(), "reference": None})


def match_channels(
    model: ModelConfig, match: ChannelMatchSpec, species: int | tuple[int, ...]
) -> tuple[ModelConfig, ChannelMatch]:
    """Return the model with match_channels channels, and the count reached; see `channel_match.RULE`.

    Raises:
        InputError: no number of channels comes within `NEAR` of the target, or the count is no quadratic in them.
    """

    def count(config: ModelConfig) -> int:
        return weights(config, species) if match.by == "weights" else features(config)

    target = match.count if match.model is None else count(match.model)
    assert target is not None
    one, two, three = (count(_wide(model, channels)) for channels in (1, 2, 3))

    def expected(channels: int) -> int:
        """Return the count with so many channels: a quadratic, as a tensor has at most two axes of channels."""
        n = channels - 1
        return one + n * (two - one) + n * (n - 1) // 2 * (three - 2 * two + one)

    field = next(f for f in dataclasses.fields(model) if f.name == "channels")
    low, high = 1, int(field.metadata.get("high", MOST))
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
    if count(wide) != reached.count:
        raise origin(model).fault(
            f"match={match.by}: the number of {match.by} is no quadratic in the channels; accepted: match=null"
        )
    return wide, reached


def _wide(model: Any, channels: int) -> ModelConfig:
    wide: ModelConfig = dataclasses.replace(model, channels=channels)
    return wide
