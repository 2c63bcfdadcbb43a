"""What a run cannot learn from is told before the run exists, in sweeps of every point."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config.parse import parse
from experiments.config.suits import check_run
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.data.load import dataset_of
from slurm.plan import plan
from tests.experiments.finished import configuration, molecules

ONE = ((6, 8, 1, 1),)
NEAREST = {"architecture": "nearest"}


def run(tmp_path: Path, P: int = 4) -> dict[str, Any]:
    changes = {"model": NEAREST, "L": None, "nu": None, "P": P}
    return configuration(tmp_path, "ace", changes)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = dataset_of(parse(run(tmp_path)).data)
    assert isinstance(made, Dataset)
    return replace(made, pool=molecules(8, ONE), holdout=molecules(3, ONE, 1), test=molecules(3, ONE, 2))


def periodic(frames: Frames) -> Frames:
    return replace(frames, pbc=np.ones_like(frames.pbc), cells=np.tile(9 * np.eye(3), (len(frames), 1, 1)))


def test_methods_of_one_molecule(tmp_path: Path, dataset: Dataset) -> None:
    config = parse(run(tmp_path))
    check_run(config, dataset)
    check_run(replace(config, P=10), dataset)  # two of the validation frames
    other = molecules(3, ((8, 6, 1, 1),))
    for changed, said in (
        (replace(dataset, test=other), r"train, test set test: frame 0 holds O C H H: model=nearest compares"),
        (replace(dataset, test=periodic(dataset.test)), r"train, test set test: frame 0 is periodic: model=nearest"),
        (replace(dataset, further={"hot": other}), r"train, data\.tests\.hot: frame 0 holds O C H H"),
        (replace(dataset, pool=periodic(dataset.pool)), r"train, training frames: frame 0 is periodic.*pbc=\"F F F\""),
    ):
        with pytest.raises(InputError, match=said):
            check_run(config, changed)


def test_a_sweep_starts_nothing(tmp_path: Path) -> None:
    """Not one failed run a point, on as many nodes of a cluster."""
    with pytest.raises(InputError, match=r"training frames: frame \d holds .*: model=nearest compares frames of one"):
        plan(lambda point: {**run(tmp_path), "seed": int(point[0][5:])}, [["seed=0"], ["seed=1"]], dataset_of)
    lacking = {"data.forces_key": None, "P": 30}
    with pytest.raises(InputError, match=r"model\.force_weight=1: .* has no forces; accepted: 0"):
        plan(lambda point: configuration(tmp_path, "ace", lacking), [[]], dataset_of)
    assert not (tmp_path / "store").exists()
