"""MNIST-1D: the authors' generator, seeded, leaves the global random states unchanged."""

from __future__ import annotations

import random

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data import load
from experiments.data.sources import mnist1d

pytest.importorskip("mnist1d", reason="MNIST-1D needs the extra groups: pip install --editable '.[groups]'")
SMALL = mnist1d.Mnist1dConfig(pool=80, holdout=10, test=30)


def test_the_same_seed_is_the_same_data() -> None:
    one, again = mnist1d.mnist1d(SMALL), mnist1d.mnist1d(SMALL)
    assert one.sha256() == again.sha256()
    other = mnist1d.mnist1d(mnist1d.Mnist1dConfig(pool=80, holdout=10, test=30, seed=1))
    assert other.sha256() != one.sha256()
    assert one.shape == (1, 40)
    parts = [one.pool, one.holdout, one.test]
    assert [len(part) for part in parts] == [80, 10, 30]
    assert (np.bincount(np.concatenate([part.labels for part in parts]).astype(int)) == 12).all()  # of every digit
    inputs = np.concatenate([part.inputs for part in parts])
    assert inputs.mean() == pytest.approx(0, abs=1e-5)
    assert inputs.std() == pytest.approx(1, abs=1e-4)


def test_other_random_numbers_stay_as_they_were() -> None:
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    expected = np.random.rand(), random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    random.seed(3)
    mnist1d.mnist1d(SMALL)
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002


def test_bad_input_has_one_line() -> None:
    with pytest.raises(InputError) as error:
        load.parse({"source": "mnist1d", "test": 901})
    assert str(error.value) == "data: pool + holdout + test = 5001: accepted: a multiple of 10"
