"""A network of another package with our settings and names, and reading its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.models.contract import ModelConfig


@dataclass(frozen=True)
class ConvertedNetwork:
    """A network of another package: E = Σ_atoms (scale·e_i + per_atom[species]).

    config     our settings of the same network
    elements   atomic numbers by species, in the order of the package
    weights    of one run, by our names (float64)
    scale      eV
    per_atom   `[S]` eV
    precision  `float32` or `float64`, as the package has the weights
    """

    config: ModelConfig
    elements: Sequence[int]
    weights: Mapping[str, Tensor]
    scale: float
    per_atom: Floats
    precision: str


def named(state: Mapping[str, Tensor], name: str) -> Tensor:
    """Return a weight of the package's state.

    Raises:
        InputError: there is none of this name.
    """
    if name not in state:
        raise InputError(f"{name}: not in the state; accepted: a whole network")
    return state[name]


def shaped(weights: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Reshape the weights to the shapes of `like`, our own; missing ones keep the values of `like`.

    Raises:
        InputError: a weight has another number of entries.
    """
    out = {}
    for name, own in like.items():
        value = weights.get(name, own)
        if value.numel() != own.numel():
            raise InputError(f"{name}: {value.numel()} numbers in the state; accepted: {tuple(own.shape)}")
        out[name] = value.reshape(own.shape).to(own.dtype).clone()
    return out
