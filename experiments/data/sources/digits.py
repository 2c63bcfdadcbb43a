"""Handwritten digits, each once at a random place, angle or size: the task for the symmetries of the plane.

The 1,797 images of 8 × 8 pixels that scikit-learn ships (the test part of the UCI set "Optical recognition of
handwritten digits"). The transformation of an image is drawn from `seed` and the image's number alone; the sizes of
pool, holdout and test only decide which images these hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from experiments.core.arrays import Ints
from experiments.core.errors import InputError
from experiments.core.schema import setting
from experiments.data.examples import Examples, ExampleSet
from experiments.data.image_transforms import transform_image

SIDE = 8
"""Pixels of a digit's side as shipped."""
INK = 4.0
"""Value of the darkest pixel: the mean square of an image is then about one."""
_STREAM = 64  # keeps these draws apart from every other use of a small seed


@dataclass(frozen=True)
class DigitsConfig:
    """Settings of the digits.

    `change`: the transformation of every digit on its canvas of `canvas`² pixels: shifted (by whole pixels, within the
    canvas), rot90 (rotated by a multiple of 90°, exactly), rotated (by any angle), scaled (between its own size and
    the canvas's, evenly in the logarithm). `holdout` and `test` count images; the rest of the 1,797 is the pool.
    """

    source: ClassVar[str] = "digits"
    kind: ClassVar[str] = "images"

    change: str = setting("rotated", choices=("shifted", "rot90", "rotated", "scaled"))
    canvas: int = setting(16, low=SIDE, high=64)
    holdout: int = setting(97, low=1)
    test: int = setting(500, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)

    def __post_init__(self) -> None:
        if self.holdout + self.test >= 1797:
            raise InputError(
                f"holdout={self.holdout}, test={self.test}: nothing is left of the 1,797 digits to train on"
            )


def digits(config: DigitsConfig) -> ExampleSet:
    """Make the dataset of `config`; it takes milliseconds, so nothing is cached.

    Raises `InputError` if scikit-learn is not installed.
    """
    images, labels = shipped()
    order = np.random.default_rng([_STREAM, config.seed]).permutation(len(images))
    changed = np.stack([_changed(images[i], config, int(i)) for i in order])[:, None]  # one channel
    examples = Examples(changed, labels[order])
    test, holdout, pool = examples.in_order(config.test, config.holdout)
    return ExampleSet(
        name=f"digits_{config.change}",
        kind="images",
        test=test,
        holdout=holdout,
        pool=pool,
        n_classes=10,
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "digits", **asdict(config)},
    )


def shipped() -> tuple[NDArray[np.float64], Ints]:
    """Return scikit-learn's images `[1797, 8, 8]`, from 0 to `INK`, and the digits `[1797]` that they show."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError("data.source=digits: scikit-learn is missing; pip install --editable '.[groups]'") from None
    bunch = load_digits()
    return bunch.images * (INK / 16.0), bunch.target.astype(np.int64)


def _changed(image: NDArray[np.float64], config: DigitsConfig, number: int) -> NDArray[np.float32]:
    rng = np.random.default_rng([_STREAM, config.seed, number])
    return _CHANGES[config.change](image, config.canvas, rng)


Change = Callable[[NDArray[np.float64], int, np.random.Generator], NDArray[np.float32]]


def _shifted(image: NDArray[np.float64], canvas: int, rng: np.random.Generator) -> NDArray[np.float32]:
    top, left = rng.integers(0, canvas - SIDE + 1, 2)
    shifted = np.zeros((canvas, canvas), np.float32)
    shifted[top : top + SIDE, left : left + SIDE] = image
    return shifted


def _rot90(image: NDArray[np.float64], canvas: int, rng: np.random.Generator) -> NDArray[np.float32]:
    upright = transform_image(image, canvas, 0.0, _fitting(canvas))
    return np.ascontiguousarray(np.rot90(upright, int(rng.integers(4))))


def _rotated(image: NDArray[np.float64], canvas: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return transform_image(image, canvas, float(rng.uniform(0, 2 * np.pi)), _fitting(canvas))


def _scaled(image: NDArray[np.float64], canvas: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return transform_image(image, canvas, 0.0, float(np.exp(rng.uniform(0, np.log(canvas / SIDE)))))


def _fitting(canvas: int) -> float:
    """Return the largest magnification (≥ 1) at which no corner leaves the canvas at any angle."""
    return max(1.0, canvas / SIDE / math.sqrt(2))


_CHANGES: dict[str, Change] = {"shifted": _shifted, "rot90": _rot90, "rotated": _rotated, "scaled": _scaled}


load = digits
