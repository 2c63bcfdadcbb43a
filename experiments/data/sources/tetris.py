"""3D Tetris: four cubes joined in eight ways, two of them mirror images (Thomas et al. 2018, arXiv 1802.08219, §4.1).

Training examples show every shape in one orientation, test examples in any; points come in random order, with noise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.transform import Rotation

from experiments.core.schema import setting
from experiments.data.examples import Examples, ExampleSet

SHAPES = np.array(
    [
        [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0]],  # chiral
        [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, -1, 0]],  # its mirror image
        [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]],  # square
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3]],  # line
        [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]],  # corner
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0]],  # L
        [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 1]],  # T
        [[0, 0, 0], [1, 0, 0], [1, 1, 0], [2, 1, 0]],  # zigzag
    ],
    np.float64,
)
"""Centres of the cubes in units of their edges, `[8, 4, 3]`."""


@dataclass(frozen=True)
class TetrisConfig:
    """Settings of Tetris.

    `orientations` of training examples: one (of every shape) or all (at random, as those of the test always are);
    `noise`: standard deviation of every coordinate in edges; the rest counts examples.
    """

    source: ClassVar[str] = "tetris"
    kind: ClassVar[str] = "clouds"

    orientations: str = setting("one", choices=("one", "all"))
    noise: float = setting(0.1, low=0.0, high=1.0)
    pool: int = setting(1280, low=1)
    holdout: int = setting(64, low=1)
    test: int = setting(800, low=1)
    seed: int = setting(0, low=0)
    disjoint_seeds: int = setting(5, low=1)


def tetris(config: TetrisConfig) -> ExampleSet:
    """Make the dataset of `config`.

    Pool, holdout and test each have a stream of `seed`, so that their examples do not depend on each other's sizes.
    """
    rotated = config.orientations == "all"
    return ExampleSet(
        name="tetris" if not rotated else "tetris_turned",
        kind="clouds",
        pool=_examples(config, config.pool, 0, rotated),
        holdout=_examples(config, config.holdout, 1, True),
        test=_examples(config, config.test, 2, True),
        n_classes=len(SHAPES),
        disjoint_seeds=config.disjoint_seeds,
        provenance={"source": "tetris", **asdict(config)},
    )


def _examples(config: TetrisConfig, count: int, stream: int, rotated: bool) -> Examples:
    """Draw examples, each from its own random stream: a longer set begins with the shorter one."""
    inputs = np.zeros((count, *SHAPES.shape[1:]), np.float32)
    labels = np.zeros(count, np.int64)
    for i in range(count):
        rng = np.random.default_rng([config.seed, stream, i])
        labels[i] = rng.integers(len(SHAPES))
        points = SHAPES[labels[i]] - SHAPES[labels[i]].mean(0)
        rotation = Rotation.random(rng=rng).as_matrix()
        moved = points @ (rotation.T if rotated else np.eye(3)) + config.noise * rng.standard_normal(points.shape)
        inputs[i] = moved[rng.permutation(len(points))]
    return Examples(inputs, labels)


load = tetris
