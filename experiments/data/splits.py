"""Which frames of the pool train: nested in P within a seed, disjoint across seeds while the pool allows."""

from __future__ import annotations

import numpy as np

from experiments.data.dataset import Ints
from experiments.errors import InputError

_STREAM = 20220713  # keeps these permutations apart from every other use of a small seed


def subset(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> Ints:
    """Indices ``[P]`` of the training frames in a pool of ``pool_size``; a function of the arguments alone.

    Nested: the subset of a smaller P is the beginning of that of a larger one. Seeds 0 … disjoint_seeds − 1 share
    one permutation, of which each takes its own block of ⌊pool_size / disjoint_seeds⌋ first and then the blocks
    after it, cyclically: they are disjoint while P fits a block. Every further group of ``disjoint_seeds`` seeds
    does the same with another permutation: disjoint within the group, independent of the other groups.

    Raises ``InputError`` where P exceeds the pool.
    """
    _check(pool_size, P, subset_seed, disjoint_seeds)
    group, member = divmod(subset_seed, disjoint_seeds)
    permutation = np.random.default_rng([_STREAM, group]).permutation(pool_size)
    start = member * (pool_size // disjoint_seeds)
    return np.roll(permutation, -start)[:P].astype(np.int64)


def subsets_disjoint(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> bool:
    """Whether this subset shares no frame with those of the other seeds 0 … disjoint_seeds − 1 at the same P."""
    _check(pool_size, P, subset_seed, disjoint_seeds)
    return subset_seed < disjoint_seeds and pool_size // disjoint_seeds >= P


def _check(pool_size: int, P: int, subset_seed: int, disjoint_seeds: int) -> None:
    if not 1 <= P <= pool_size:
        raise InputError(f"P={P}: the pool holds {pool_size} frames; P must be an integer from 1 to {pool_size}")
    if subset_seed < 0:
        raise InputError(f"data.subset_seed={subset_seed}: must be an integer ≥ 0")
    if disjoint_seeds < 1:
        raise InputError(f"data.disjoint_seeds={disjoint_seeds}: must be an integer ≥ 1")
