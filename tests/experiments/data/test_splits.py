"""Subsets: nested in P, disjoint across seeds while the pool allows, functions of their arguments alone."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.data.distances import descriptor
from experiments.data.parts import correlation_time
from experiments.data.splits import subset, subsets_disjoint, training_subset, trajectory_split

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


def labelled(pool: int, validation: int, **changes: Any) -> Dataset:
    """Make a dataset of single atoms, `pool` and `validation` of them."""
    n = pool + validation
    places = np.zeros((n, 1, 3))
    frames = Frames(
        np.ones((n, 1), np.int64), places, np.arange(n, dtype=np.float64), places, np.zeros((n, 3, 3)), places[:, 0] > 0
    )
    first = frames.take(slice(0, pool))
    return Dataset("atoms", first, frames.take(slice(pool, None)), first.take(slice(0, 1)), **changes)


@given(pool=st.integers(1, 60), validation=st.integers(0, 20), seed=SEEDS, data=st.data())
def test_closed_forms_train_on_the_validation_frames_after_the_pool(
    pool: int, validation: int, seed: int, data: st.DataObject
) -> None:
    made = labelled(pool, validation)
    whole = training_subset(made, pool + validation, seed, closed_form=True)
    assert sorted(made.labelled.energies[whole].tolist()) == list(range(pool + validation))
    P = data.draw(st.integers(1, pool + validation))
    np.testing.assert_array_equal(training_subset(made, P, seed, closed_form=True), whole[:P])
    np.testing.assert_array_equal(training_subset(made, min(P, pool), seed), whole[: min(P, pool)])


@pytest.mark.parametrize(
    ("provenance", "key", "fewer"),
    [
        ({"source": "extxyz", "holdout": None}, "data.holdout_frames", ", or a smaller data.holdout_frames"),
        ({"source": "extxyz", "holdout": "v.xyz"}, "data.holdout=v.xyz", ""),
        ({"source": "acac", "holdout": 4}, "data.holdout", ", or a smaller data.holdout"),
        ({"source": "md17", "holdout": 4, "pool": 36}, "data.holdout", ""),
    ],
)
def test_who_asks_for_too_many_learns_what_others_are_for(provenance: dict[str, Any], key: str, fewer: str) -> None:
    made = labelled(36, 4, provenance=provenance)
    with pytest.raises(InputError) as refused:
        training_subset(made, 40, 0)
    assert str(refused.value) == (
        f"P=40: the pool holds 36 frames, and 4 are set aside for validation ({key}); "
        f"accepted: an integer from 1 to 36{fewer}"
    )
    with pytest.raises(InputError, match=r"^P=41: the pool holds 36 frames and the validation set, .* from 1 to 40$"):
        training_subset(made, 41, 0, closed_form=True)


def test_stays_what_it_was() -> None:
    """Runs and published results name subsets by seed alone: other frames under the same seed are other numbers under
    the same name. If that is meant, raise `data` in experiments.config.run.NUMERICS_RAISED."""
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


def trajectory(rng: np.random.Generator, count: int) -> np.ndarray:
    """Uneven times in no order."""
    return rng.permutation(np.cumsum(rng.uniform(0.1, 1.0, count)))


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(200, 600), gap=st.floats(0, 4))
def test_no_part_of_a_trajectory_comes_within_the_gap_of_another(seed: int, count: int, gap: float) -> None:
    times = trajectory(np.random.default_rng(seed), count)
    split = trajectory_split(times, gap, None, 3, 10)
    parts = [times[index] for index in (split.pool, split.holdout, split.test)]
    assert [len(part) for part in parts[1:]] == [3, 10]
    assert len(parts[0]) > 0.4 * count
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(parts[a][:, None] - parts[b]).min() >= gap * (1 - 1e-12)


def test_test_frames_come_from_all_over_a_trajectory() -> None:
    times = np.arange(10000.0)
    split = trajectory_split(times, 5.0, 500, 50, 100)
    assert np.unique(split.test // 1000).tolist() == list(range(10))
    assert len(split.pool) == 500


@pytest.mark.parametrize(
    ("gap", "sizes", "message"),
    [
        (200.0, (None, 5, 5), r"data\.holdout=5: .* hold 0 frames"),
        (1.0, (None, 30, 5), r"data\.holdout=30"),
        (1.0, (190, 9, 9), "200 frames"),
    ],
)
def test_trajectories_that_are_too_short(gap: float, sizes: tuple[int | None, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trajectory_split(np.arange(200.0), gap, *sizes)


def test_the_correlation_time_is_that_of_the_slowest_motion() -> None:
    """A bond that follows an Ornstein–Uhlenbeck process of known memory, while the energy is white noise."""
    rng, steps, tau = np.random.default_rng(0), 40000, 40.0
    bond = np.empty(steps)
    bond[0], noise = 0.0, rng.standard_normal(steps)
    keep = np.exp(-1 / tau)
    for k in range(1, steps):
        bond[k] = keep * bond[k - 1] + np.sqrt(1 - keep**2) * noise[k]
    positions = np.zeros((steps, 2, 3))
    positions[:, 1, 0] = 1 + 0.03 * bond
    times = 0.5 * np.arange(float(steps))
    frames = Frames(
        numbers=np.full((steps, 2), 1), positions=positions, energies=rng.standard_normal(steps),
        forces=np.zeros((steps, 2, 3)), cells=np.zeros((steps, 3, 3)), pbc=np.zeros((steps, 3), bool),
    )  # fmt: skip
    # two standard errors of τ from 40,000 steps of memory 40: √(4·5·40/40000)·2 ≈ 0.28
    assert correlation_time(frames, times) == pytest.approx(0.5 * tau, rel=0.28)
    order = rng.permutation(steps)
    assert correlation_time(frames.take(order), times[order]) == correlation_time(frames, times)


@pytest.fixture(scope="module")
def chain() -> Dataset:
    """Four atoms whose distances spread unevenly, so that random and farthest subsets differ."""
    rng = np.random.default_rng(4)
    positions = np.cumsum(1 + 0.3 * rng.standard_normal((60, 4, 3)) ** 2, axis=1)
    frames = Frames(
        numbers=np.tile([1, 6, 7, 8], (60, 1)), positions=positions, energies=np.zeros(60), forces=np.zeros((60, 4, 3)),
        cells=np.zeros((60, 3, 3)), pbc=np.zeros((60, 3), bool),
    )  # fmt: skip
    return Dataset(
        "chain", frames, frames.take(slice(0)), frames.take(slice(0, 2)), disjoint_seeds=3, subset="farthest"
    )


def test_farthest_subsets_are_nested_disjoint_and_each_frame_the_farthest(chain: Dataset) -> None:
    points = descriptor(chain.pool.positions, chain.pool.numbers[0])
    blocks = []
    for seed in range(3):
        whole = training_subset(chain, 60, seed)
        assert sorted(whole) == list(range(60))
        for P in (1, 5, 20, 33):
            np.testing.assert_array_equal(training_subset(chain, P, seed), whole[:P])
        block = subset(60, 20, seed, 3)
        assert set(whole[:20]) == set(block)
        blocks.append(set(whole[:20]))
        for n in range(1, 20):  # the slow way: of those left in the block, the one farthest from its nearest
            left = [int(k) for k in block if k not in whole[:n]]
            away = np.array([np.linalg.norm(points[whole[:n]] - points[k], axis=1).min() for k in left])
            assert away[left.index(int(whole[n]))] == pytest.approx(away.max(), rel=1e-6)
    assert not blocks[0] & blocks[1]


def test_farthest_needs_one_molecule(chain: Dataset) -> None:
    numbers = chain.pool.numbers.copy()
    numbers[3, 0] = 6
    mixed = replace(chain, pool=replace(chain.pool, numbers=numbers))
    with pytest.raises(InputError, match=r"data\.subset=farthest: needs frames of one molecule"):
        training_subset(mixed, 4, 0)


def test_the_way_of_drawing_is_part_of_the_data_only_where_it_is_new(chain: Dataset) -> None:
    """Datasets of before keep their digest, and so do their runs."""
    drawn = replace(chain, subset="random")
    parts = [frames.sha256() for frames in (drawn.pool, drawn.holdout, drawn.test)]
    assert drawn.sha256() == hashlib.sha256("|".join([*parts, "3"]).encode()).hexdigest()
    assert chain.sha256() != drawn.sha256()
