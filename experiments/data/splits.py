"""Splits into pool, validation set and test set, and training subsets of the pool.

A dataset is split once (`random_split`, `trajectory_split`), the same for every run. Of its pool each run trains on a
subset: nested in P within a seed, and disjoint across seeds while the pool is large enough.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.core.arrays import Floats, Ints
from experiments.core.errors import InputError
from experiments.core.kinds import FILE_SOURCES
from experiments.data.dataset import AnyDataset, ByIdentity, Dataset
from experiments.data.distances import comparable, descriptor

_STREAM = 20220713  # keeps these permutations apart from every other use of a small seed
_SPLIT_STREAM = 20201124
_TEST_STREAM = 20260111
_VALIDATION_STREAM = 20261130
_WINDOWS = 10


def training_subset(dataset: AnyDataset, P: int, subset_seed: int, closed_form: bool = False) -> Ints:
    """Return indices `[P]` into the pool of `dataset`, drawn by its method (`data.subset`).

    A fit in closed form has no use for validation frames: above the pool they train it too, with indices from the
    pool's size on (`Dataset.labelled`). Smaller subsets are the same for all models.

    Raises `InputError` if P exceeds these frames, and if the method does not apply to such frames.
    """
    pool, more = len(dataset.pool), len(dataset.holdout)
    if closed_form and pool < P <= pool + more and subset_seed >= 0:
        last = pool + np.random.default_rng([_VALIDATION_STREAM, subset_seed]).permutation(more)
        return np.concatenate([training_subset(dataset, pool, subset_seed), last])[:P]
    if pool < P:
        raise InputError(f"P={P}: {_too_few(dataset, closed_form)}")
    if dataset.subset == "random":
        return subset(pool, P, subset_seed, dataset.disjoint_seeds)
    _check(pool, P, subset_seed, dataset.disjoint_seeds)
    if not isinstance(dataset, Dataset):
        raise InputError(f"data.subset={dataset.subset}: needs frames of one molecule, not periodic; accepted: random")
    return _farthest(dataset, subset_seed, P)


def _too_few(dataset: AnyDataset, closed_form: bool) -> str:
    """Return in words how many frames there are to train on, what others are for, and how to change it."""
    pool, more = len(dataset.pool), len(dataset.holdout)
    text = f"the pool holds {pool} frames"
    if closed_form or more == 0:
        text += f" and the validation set, which closed forms train on too, {more}" if more else ""
        return f"{text}; accepted: an integer from 1 to {pool + more}"
    facts: Mapping[str, Any] = getattr(dataset, "provenance", {})
    own = facts.get("holdout")  # a number of frames, or a user's file of them
    cut = isinstance(own, int) and facts.get("pool") is None  # from the same frames as the pool
    key = f"data.holdout={own}" if isinstance(own, str) else "data.holdout"
    if own is None and facts.get("source") in FILE_SOURCES:
        cut, key = True, "data.holdout_frames"
    fewer = f", or a smaller {key}" if cut else ""
    return f"{text}, and {more} are set aside for validation ({key}); accepted: an integer from 1 to {pool}{fewer}"


def subset(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> Ints:
    """Return indices `[P]` of the training frames in a pool of `pool_size`; a function of the arguments alone.

    Nested: the subset of a smaller P is the beginning of that of a larger one. Seeds 0 … disjoint_seeds − 1 share
    one permutation, of which each takes its own block of ⌊pool_size / disjoint_seeds⌋ first and then the blocks
    after it, cyclically: they are disjoint while P fits a block. Every further group of `disjoint_seeds` seeds
    does the same with another permutation: disjoint within the group, independent of the other groups.

    Raises `InputError` if P exceeds the pool, or for a negative seed.
    """
    _check(pool_size, P, subset_seed, disjoint_seeds)
    group, member = divmod(subset_seed, disjoint_seeds)
    permutation = np.random.default_rng([_STREAM, group]).permutation(pool_size)
    start = member * (pool_size // disjoint_seeds)
    return np.roll(permutation, -start)[:P].astype(np.int64)


def subsets_disjoint(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> bool:
    """Return whether this subset shares no frame with those of the other seeds 0 … disjoint_seeds − 1 at this P."""
    _check(pool_size, min(P, pool_size), subset_seed, disjoint_seeds)
    return subset_seed < disjoint_seeds and pool_size // disjoint_seeds >= P


def _check(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> None:
    if not 1 <= P <= pool_size:
        raise InputError(f"P={P}: the pool holds {pool_size} frames; accepted: an integer from 1 to {pool_size}")
    if subset_seed < 0:
        raise InputError(f"data.subset_seed={subset_seed}: accepted: an integer ≥ 0")
    if disjoint_seeds < 1:
        raise InputError(f"data.disjoint_seeds={disjoint_seeds}: accepted: an integer ≥ 1")


def fixed_choice(count: int, wanted: int) -> Ints:
    """Return indices `[wanted]` into `count` examples, ascending; a function of the arguments, nested in `wanted`."""
    order = np.random.default_rng([_TEST_STREAM, count]).permutation(count)
    return np.sort(order[:wanted]).astype(np.int64)


def _farthest(dataset: Dataset, subset_seed: int, P: int) -> Ints:
    count = 1 << (P - 1).bit_length()  # the next power of two, so that a grid of P costs little more than its last
    return _farthest_order(ByIdentity(dataset), subset_seed, min(count, len(dataset.pool)))[:P]


@functools.lru_cache(maxsize=16)
def _farthest_order(key: ByIdentity, subset_seed: int, count: int) -> Ints:
    """Return the first `count` frames in farthest-point order, `[count]`.

    The seed starts with the first frame of its random permutation, then always takes the frame farthest from those
    taken: of its own block until that is used up, then of the rest of the pool.
    """
    dataset = key.dataset
    frames = dataset.pool
    real = frames.numbers[0] > 0
    if not comparable(frames, frames.numbers[0]):
        raise InputError("data.subset=farthest: needs frames of one molecule, not periodic; accepted: random")
    points = descriptor(frames.positions[:, real], frames.numbers[0][real])  # [F, D] 1/Å
    shuffled = subset(len(frames), len(frames), subset_seed, dataset.disjoint_seeds)
    block = len(frames) // dataset.disjoint_seeds
    return farthest_points(points, shuffled, max(1, block), count)


def farthest_points(points: Floats, candidates: Ints, block: int, count: int) -> Ints:
    """Order points greedily, each next one farthest from those taken (Gonzalez 1985).

    Args:
        points: coordinates `[F, D]`.
        candidates: indices `[C]` into `points`; the first of them is taken first.
        block: number of leading candidates that are taken before all others.
        count: number of points to take.

    Returns:
        Indices `[count]` into `points`, nested in `count`.
    """
    taken = np.empty(count, dtype=np.int64)
    norms = (points**2).sum(axis=1)
    nearest = np.full(len(candidates), np.inf)  # squared distance of each candidate to those taken
    chosen = 0
    for n in range(count):
        taken[n] = candidates[chosen]
        away = norms[candidates] + norms[taken[n]] - 2 * (points[candidates] @ points[taken[n]])
        np.minimum(nearest, np.maximum(away, 0.0), out=nearest)
        nearest[chosen] = -1.0
        part = nearest[:block] if n + 1 < block else nearest
        chosen = int(np.argmax(part))
    return taken


@dataclass(frozen=True)
class Split:
    """Indices of the frames of each part, ascending; no frame is in two of them."""

    pool: Ints
    holdout: Ints
    test: Ints


def random_split(frames: int, pool: int | None, holdout: int, test: int) -> Split:
    """Draw test frames, holdout and `pool` other frames (None: all others) at random, the same in every run.

    Raises `InputError` if there are too few frames.
    """
    _check_sizes(frames, pool, holdout, test)
    order = np.random.default_rng([_SPLIT_STREAM, frames]).permutation(frames)
    rest = order[test + holdout :]
    return Split(np.sort(rest[:pool]), np.sort(order[test : test + holdout]), np.sort(order[:test]))


def trajectory_split(times: Floats, gap: float, pool: int | None, holdout: int, test: int) -> Split:
    """Take test frames and holdout from contiguous stretches of a trajectory, and the pool from the rest.

    The trajectory is cut into ten equal windows of time, or fewer so that each is twenty gaps long. The last tenth of
    each is for test frames, and a twentieth, one gap before it, for the holdout, both spread evenly over their
    stretches; frames closer than `gap` to a stretch are left out. So test frames come from all over the trajectory,
    and none has a neighbour in time in another part.

    Args:
        times: of the frames, `[F]`, in any order and unit.
        gap: shortest time between frames of two parts, in the unit of `times`.
        pool: number of frames of the pool, drawn at random from those that are left (None: all of them).
        holdout: number of frames of the holdout.
        test: number of test frames.

    Raises:
        InputError: the trajectory is too short for so many frames and such a gap.
    """
    count = len(times)
    _check_sizes(count, pool, holdout, test)
    order = np.argsort(times, kind="stable")
    t = times[order]
    duration = float(t[-1] - t[0])
    windows = _WINDOWS if gap == 0 else int(np.clip(duration / (20 * gap), 1, _WINDOWS))
    length = duration / windows
    window = np.minimum((t - t[0]) // length, windows - 1) if length > 0 else np.zeros(count)
    left = length - (t - t[0] - window * length)  # to the end of the window
    of_test = left <= 0.1 * length
    of_holdout = (left >= 0.1 * length + gap) & (left <= 0.15 * length + gap)
    # the beginning of a window must stay away from the test stretch before it, and the pool from the holdout after it
    since = np.where(window > 0, length - left, np.inf)
    of_pool = (left >= 0.15 * length + 2 * gap) & (since >= gap)
    chosen_test = _spread(np.flatnonzero(of_test), test, "test", gap)
    chosen_holdout = _spread(np.flatnonzero(of_holdout), holdout, "holdout", gap)
    rest = np.flatnonzero(of_pool)
    if len(rest) < (pool or 1):
        raise InputError(
            f"data.pool={pool}: {len(rest)} of {count} frames are left at {gap:g} (data.gap) or more from test frames; "
            "accepted: fewer frames, or a smaller data.gap"
        )
    drawn = np.random.default_rng([_SPLIT_STREAM, count, 1]).permutation(len(rest))[:pool]
    return Split(np.sort(order[rest[drawn]]), np.sort(order[chosen_holdout]), np.sort(order[chosen_test]))


def _spread(candidates: Ints, count: int, name: str, gap: float) -> Ints:
    """Choose `count` of the candidates, evenly spaced. Raises `InputError` if there are fewer."""
    if len(candidates) < count:
        raise InputError(
            f"data.{name}={count}: the stretches set aside for it hold {len(candidates)} frames (data.gap: {gap:g})"
        )
    return candidates[np.linspace(0, len(candidates) - 1, count).round().astype(np.int64)] if count else candidates[:0]


def _check_sizes(frames: int, pool: int | None, holdout: int, test: int) -> None:
    if holdout + test + (pool or 1) > frames:
        raise InputError(
            f"data.pool={pool} data.holdout={holdout} data.test={test}: accepted: at most {frames} frames in total"
            + ("" if pool is None or holdout + test >= frames else " (data.pool=null: all that are left)")
        )
