"""The state of runs as flat dictionaries of tensors: `params`, `ema`, `constants/NAME` and `optimizer/NAME`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def part(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the entries `kind/name` of a flat state, by name."""
    prefix = f"{kind}/"
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def stack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stack single states along a new pack axis: `[...]` each → `[p, ...]`."""
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


def take(state: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """Return run `i`'s state without the pack axis."""
    return {key: value[i] for key, value in state.items()}


def put(state: Mapping[str, Tensor], i: int, single: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the pack's state with run `i`'s replaced by `single`."""
    new = {}
    for key, value in state.items():
        copy = value.clone()
        copy[i] = single[key]
        new[key] = copy
    return new
