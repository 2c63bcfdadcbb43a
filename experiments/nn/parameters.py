"""Declaring and drawing weights: every tensor from its own generator, so that adding one never changes another.

Function-class identities (one layer ⇒ L irrelevant, …) then hold exactly, weight for weight, and not only on average:
two networks that share a path share its weights at equal seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parameter:
    """A weight tensor with normally distributed entries of zero mean.

    name     key in the dictionary of parameters
    shape    shape of one block
    std      standard deviation of the entries
    blocks   names of the blocks that are drawn one by one and joined along the last axis
    """

    name: str
    shape: tuple[int, ...]
    std: float = 1.0
    blocks: tuple[str, ...] = ("",)

    def draw(self, seed: int, dtype: torch.dtype) -> Tensor:
        """Draw the entries for `seed`, the same on every machine and, up to rounding, in every dtype."""
        return (
            torch.cat([_normal(seed, f"{self.name}{block}", self.shape) for block in self.blocks], -1)
            .to(dtype)
            .mul(self.std)
        )


def _normal(seed: int, name: str, shape: tuple[int, ...]) -> Tensor:
    digest = hashlib.sha256(f"{seed} {name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def draw_all(parameters: Sequence[Parameter], seed: int, dtype: torch.dtype) -> dict[str, Tensor]:
    """Draw all parameters of one run, by name."""
    return {parameter.name: parameter.draw(seed, dtype) for parameter in parameters}


def is_constant(name: str) -> bool:
    """Return whether an entry of a model's parameters is a constant, which is not trained."""
    return name.startswith("constant.")
