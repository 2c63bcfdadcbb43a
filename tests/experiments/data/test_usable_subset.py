"""Subsets that cannot give a baseline are named before anything starts; all others pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from experiments.core.errors import InputError
from experiments.data.baseline import fit_baseline, usable_subset
from experiments.data.dataset import Dataset, Frames
from experiments.data.splits import training_subset


def frames(compositions: list[tuple[int, ...]]) -> Frames:
    n = max(map(len, compositions))
    numbers = np.array([[*c, *[0] * (n - len(c))] for c in compositions])
    count = len(numbers)
    return Frames(
        numbers=numbers, positions=np.zeros((count, n, 3)), energies=numbers.sum(1).astype(float),
        forces=np.zeros((count, n, 3)), cells=np.zeros((count, 3, 3)), pbc=np.zeros((count, 3), bool),
    )  # fmt: skip


WATER, METHANE, METHANOL, OXYGEN = (8, 1, 1), (6, 1, 1, 1, 1), (6, 8, 1, 1, 1, 1), (8, 8)


def dataset(pool: list[tuple[int, ...]], test: list[tuple[int, ...]]) -> Dataset:
    return Dataset("d", frames(pool), frames(test[:1]), frames(test), disjoint_seeds=1)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("P", range(1, 13))
def test_it_refuses_what_a_run_would_refuse(P: int, seed: int) -> None:
    made = dataset([WATER, METHANE, METHANOL, OXYGEN] * 3, [WATER, METHANE, METHANOL])
    train = made.pool.take(training_subset(made, P, seed))
    try:
        baseline = fit_baseline(train.numbers, train.energies)
        for part in (made.holdout, made.test):
            baseline.predict(part.numbers)
        fails = False
    except InputError:
        fails = True
    if fails:
        with pytest.raises(InputError, match=rf"P={P}, seed={seed}: the training frames .*accepted: larger P"):
            usable_subset(made, P, seed)
    else:
        assert (usable_subset(made, P, seed) == training_subset(made, P, seed)).all()


def test_known_free_atoms_or_one_composition_need_nothing() -> None:
    mixed = dataset([WATER, METHANE] * 4, [WATER, METHANE])
    with pytest.raises(InputError, match="hold no"):
        usable_subset(mixed, 1, 0)
    assert len(usable_subset(replace(mixed, isolated_energies={1: 0.0, 6: 0.0, 8: 0.0}), 1, 0)) == 1
    assert len(usable_subset(dataset([WATER] * 4, [WATER]), 1, 0)) == 1
    assert len(usable_subset(dataset([WATER] * 4 + [METHANE], [WATER]), 2, 0)) == 2  # what only the pool holds
    cells: list[tuple[int, ...]] = [(14, 14), (14, 14, 14)]
    assert len(usable_subset(dataset([*cells, *cells], cells), 1, 0)) == 1  # any frame of one element will do


def test_the_part_that_asks_too_much_is_named_and_a_larger_P_only_where_it_helps() -> None:
    of_water = replace(dataset([WATER] * 6, [WATER]), further={"peroxide": frames([(8, 8, 1, 1)])})
    with pytest.raises(InputError, match=r"of H2O2 \(data\.tests\.peroxide\); accepted: data\.isolated_atoms=FILE"):
        usable_subset(of_water, 3, 0)
    rare = dataset([WATER] * 9 + [(8, 8, 1, 1)], [(8, 8, 1, 1)])
    with pytest.raises(
        InputError, match=r"of H2O2 \(validation frames\); accepted: larger P, or data\.isolated_atoms=FILE"
    ):
        usable_subset(rare, 1, 0)
