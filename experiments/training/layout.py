"""All parameters of a run as one vector, with matrices of one shape side by side.

An update then takes a handful of operations instead of some for every parameter: networks this small otherwise
spend more time on the optimiser's bookkeeping than on their gradients.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Block:
    """`count` matrices of `rows × columns` at `start` of the vector; vectors have one row."""

    start: int
    count: int
    rows: int
    columns: int

    @property
    def name(self) -> str:
        """Shape of its matrices, as in `16x32`."""
        return f"{self.rows}x{self.columns}"

    def of(self, flat: Tensor) -> Tensor:
        """Return the block's matrices `[p, count, rows, columns]` as a view of `flat` `[p, n]`."""
        size = self.count * self.rows * self.columns
        return flat[:, self.start : self.start + size].reshape(len(flat), self.count, self.rows, self.columns)


class Layout:
    """The place of each parameter in the vector.

    The last two axes of a parameter are its matrix, axes before them (species, degrees) count matrices.
    """

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        """Place the parameters of one run with these `shapes`, without the pack axis."""
        self.shapes = {name: tuple(shapes[name]) for name in sorted(shapes, key=lambda n: (_matrix(shapes[n]), n))}
        self.places: dict[str, tuple[int, int]] = {}
        self.blocks: list[Block] = []
        start = 0
        for matrix, names in itertools.groupby(self.shapes, key=lambda n: _matrix(self.shapes[n])):
            first = start
            for name in names:
                size = math.prod(self.shapes[name])
                self.places[name] = (start, start + size)
                start += size
            self.blocks.append(Block(first, (start - first) // math.prod(matrix), *matrix))
        self.size = start

    def flat(self, params: Mapping[str, Tensor]) -> Tensor:
        """Join parameters `[p, ...]` by name into one vector `[p, n]`."""
        return torch.cat([params[name].reshape(len(params[name]), -1) for name in self.shapes], 1)

    def named(self, flat: Tensor) -> dict[str, Tensor]:
        """Return the parameters `[p, ...]` by name as views of the vector `[p, n]`."""
        return {
            name: flat[:, slice(*self.places[name])].reshape(len(flat), *shape) for name, shape in self.shapes.items()
        }


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (1, math.prod(shape)) if len(shape) < 2 else (shape[-2], shape[-1])
