"""MNIST-1D: ten curves of 40 numbers, shifted, stretched and noisy (Greydanus & Kobak 2020, arXiv 2011.14439).

Made by the authors' generator (package `mnist1d`), with their settings. It shifts curves around a circle, a symmetry
that a periodic convolution has.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np

from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.examples import Examples, ExampleSet


@dataclass(frozen=True)
class Mnist1dConfig:
    """Counts of curves, in total a multiple of ten (equally many of every digit), and the generator's `seed`."""

    source: ClassVar[str] = "mnist1d"
    kind: ClassVar[str] = "series"

    pool: int = setting(4000, low=1)
    holdout: int = setting(100, low=1)
    test: int = setting(900, low=1)
    seed: int = setting(42, low=0, high=2**32 - 1)
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        if self.total % 10:
            raise InputError(f"pool + holdout + test = {self.total}: accepted: a multiple of 10")

    @property
    def total(self) -> int:
        """Number of all curves."""
        return self.pool + self.holdout + self.test


def mnist1d(config: Mnist1dConfig) -> ExampleSet:
    """Make the dataset of `config`; it takes about a second, so nothing is cached.

    Raises `InputError` if the generator is not installed.
    """
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError:
        raise InputError("data.source=mnist1d: mnist1d is missing; pip install --editable '.[groups]'") from None
    arguments = get_dataset_args()
    arguments.num_samples, arguments.seed = config.total, config.seed
    before = random.getstate(), np.random.get_state()  # noqa: NPY002  # the generator seeds both of these
    try:
        generated = make_dataset(arguments)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
    inputs = np.concatenate([generated["x"], generated["x_test"]])[:, None].astype(np.float32)
    examples = Examples(inputs, np.concatenate([generated["y"], generated["y_test"]]).astype(np.int64))
    test, holdout, pool = examples.in_order(config.test, config.holdout)
    return ExampleSet(
        name="mnist1d",
        kind="series",
        test=test,
        holdout=holdout,
        pool=pool,
        n_classes=10,
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "mnist1d", **asdict(config)},
    )


load = mnist1d
