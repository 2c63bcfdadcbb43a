"""Examples that are not molecules, an input array and a label each: series, images, voxels, points or four-momenta."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.core.arrays import Floats, Ints
from experiments.data.dataset import content_digest


@dataclass(frozen=True)
class Examples:
    """Inputs and labels of `n` examples.

    `inputs` `[n, …]` float32: series, images and voxels with channels first, clouds `[n, points, 3]`, momenta
    `[n, particles, 4]` (E, p_x, p_y, p_z; all 0 is padding). `labels` `[n]`: classes from 0 on (int64) or numbers
    (float64).
    """

    inputs: NDArray[np.float32]
    labels: Ints | Floats

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Ints | slice) -> Examples:
        """Return the examples at `index`, in that order."""
        return Examples(self.inputs[index], self.labels[index])

    def sha256(self) -> str:
        """Return the hex digest of the content: equal only if every number is equal."""
        return content_digest([self.inputs, self.labels])

    def in_order(self, test: int, holdout: int, pool: int | None = None) -> tuple[Examples, Examples, Examples]:
        """Split in order into `test`, `holdout` and `pool` examples (pool None: all that remain)."""
        end = None if pool is None else test + holdout + pool
        bounds = ((0, test), (test, test + holdout), (test + holdout, end))
        first, second, third = (self.take(slice(*bound)) for bound in bounds)
        return first, second, third


@dataclass(frozen=True)
class ExampleSet:
    """The counterpart of `experiments.data.dataset.Dataset` for examples.

    `kind` of the inputs: series, images, voxels, clouds or momenta. `n_classes` is None if labels are numbers; these
    are then named `quantity` (`energy`: per atom, as in the metrics of molecules) and have the unit `unit`.
    """

    name: str
    kind: str
    pool: Examples
    holdout: Examples
    test: Examples
    n_classes: int | None
    quantity: str = ""
    unit: str = ""
    test_set: str = "test"
    disjoint_seeds: int = 5
    subset: str = "random"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return self.pool.inputs.shape[1:]

    def sha256(self) -> str:
        """Return the hex digest of everything in the data that can change a run's result."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> str:
        parts = [self.pool.sha256(), self.holdout.sha256(), self.test.sha256(), str(self.disjoint_seeds)]
        parts += [self.kind, str(self.n_classes), self.quantity, self.unit]
        return hashlib.sha256("|".join(parts).encode()).hexdigest()
