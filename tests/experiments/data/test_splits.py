"""Subsets: nested in P, disjoint across seeds while the pool allows, functions of their arguments alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.data.splits import subset, subsets_disjoint
from experiments.errors import InputError

POOLS = st.integers(1, 300)
SEEDS = st.integers(0, 40)
GROUPS = st.integers(1, 12)


@given(pool=POOLS, seed=SEEDS, group=GROUPS, data=st.data())
def test_nested_and_valid(pool: int, seed: int, group: int, data: st.DataObject) -> None:
    larger = data.draw(st.integers(1, pool))
    smaller = data.draw(st.integers(1, larger))
    indices = subset(pool, larger, seed, group)
    assert indices.shape == (larger,)
    assert len(set(indices.tolist())) == larger
    assert 0 <= indices.min() <= indices.max() < pool
    np.testing.assert_array_equal(subset(pool, smaller, seed, group), indices[:smaller])


@given(group=st.integers(1, 12), block=st.integers(1, 40), data=st.data())
def test_disjoint_while_the_pool_allows(group: int, block: int, data: st.DataObject) -> None:
    pool = group * block + data.draw(st.integers(0, group - 1))
    base = group * data.draw(st.integers(0, 3))  # holds within every group of seeds
    taken = np.concatenate([subset(pool, block, base + seed, group) for seed in range(group)])
    assert len(set(taken.tolist())) == group * block


@given(pool=POOLS, group=GROUPS, data=st.data())
def test_says_whether_disjoint(pool: int, group: int, data: st.DataObject) -> None:
    size, seed = data.draw(st.integers(1, pool)), data.draw(st.integers(0, group - 1))
    mine = set(subset(pool, size, seed, group).tolist())
    others = [set(subset(pool, size, other, group).tolist()) for other in range(group) if other != seed]
    if subsets_disjoint(pool, size, seed, group):
        assert all(mine.isdisjoint(other) for other in others)
    elif others:
        assert size > pool // group


def test_beyond_the_group() -> None:
    assert not subsets_disjoint(100, 10, 5, 5)
    assert subsets_disjoint(100, 20, 4, 5)
    assert not subsets_disjoint(100, 21, 4, 5)
    assert set(subset(100, 20, 5, 5).tolist()) != set(subset(100, 20, 0, 5).tolist())


def test_the_whole_pool() -> None:
    assert sorted(subset(17, 17, 3, 5).tolist()) == list(range(17))


def test_stays_what_it_was() -> None:
    """Published results name subsets by seed alone: a change here changes every run's identity without saying so."""
    assert subset(20, 4, 0, 5).tolist() == [16, 19, 2, 13]
    assert subset(20, 4, 1, 5).tolist() == [1, 9, 10, 14]
    assert subset(20, 4, 7, 5).tolist() == [13, 12, 2, 5]


@pytest.mark.parametrize("size", [0, -3, 11])
def test_more_than_the_pool(size: int) -> None:
    with pytest.raises(InputError, match=f"P={size}: the pool holds 10 frames"):
        subset(10, size, 0, 5)


def test_bad_seeds() -> None:
    with pytest.raises(InputError, match="subset_seed=-1"):
        subset(10, 5, -1, 5)
    with pytest.raises(InputError, match="disjoint_seeds=0"):
        subset(10, 5, 0, 0)
