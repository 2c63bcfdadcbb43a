"""Metrics between frames: their invariances, what they must distinguish, and nearest frames as by trying all."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from experiments.data.distances import NEIGHBOURS, aligned_rmsd, descriptor, distance_table

NUMBERS = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
Array = Any


def plain_rmsd(first: Array, second: Array) -> float:
    """After the best proper rotation by scipy; atoms as they come."""
    a, b = first - first.mean(0), second - second.mean(0)
    rotation, _ = Rotation.align_vectors(b, a)
    return float(np.sqrt(((rotation.apply(a) - b) ** 2).sum(1).mean()))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_metrics_are_invariant(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame = rng.normal(size=(9, 3)) * 1.5
    order = np.concatenate([rng.permutation(2), [2], 3 + rng.permutation(6)])  # like atoms among themselves
    moved = Rotation.random(rng=rng).apply(frame)[order] + rng.normal(size=3)
    both = descriptor(np.stack([frame, moved]), NUMBERS)
    assert both[0] == pytest.approx(both[1], rel=1e-9)
    assert aligned_rmsd(frame, moved[None], NUMBERS) == pytest.approx(0.0, abs=1e-6)  # √ of round-off


def test_rmsd_of_a_mirror_image_is_not_zero() -> None:
    frame = np.random.default_rng(0).normal(size=(4, 3))
    assert aligned_rmsd(frame, frame[None] * [1, 1, -1], np.array([1, 6, 7, 8]))[0] > 0.05


@pytest.mark.parametrize("seed", range(5))
def test_rmsd_is_the_least_over_all_permutations(seed: int) -> None:
    """Frames of one conformer, like atoms relabelled: as by trying every permutation."""
    rng = np.random.default_rng(seed)
    numbers = np.array([6, 8, 1, 1, 1, 1])
    frame = rng.normal(size=(6, 3)) * 1.5
    others = frame + 0.1 * rng.normal(size=(4, 6, 3))
    others[2:] = others[2:][:, np.concatenate([[0, 1], 2 + rng.permutation(4)])]
    found = aligned_rmsd(frame, others, numbers)
    for value, other in zip(found, others, strict=True):
        best = min(plain_rmsd(frame, other[[0, 1, *p]]) for p in permutations((2, 3, 4, 5)))
        assert value == pytest.approx(best, rel=1e-7)


def test_nearest_frames_are_those_found_by_trying_all() -> None:
    rng = np.random.default_rng(0)
    numbers = np.array([8, 1, 1])
    bond, angle = rng.uniform(0.9, 1.05, (130, 2)), rng.uniform(1.5, 2.2, 130)
    frames = np.zeros((130, 3, 3))
    frames[:, 1, 0] = bond[:, 0]
    frames[:, 2, 0], frames[:, 2, 1] = bond[:, 1] * np.cos(angle), bond[:, 1] * np.sin(angle)
    test, pool = frames[:10], frames[10:]
    energies = rng.normal(size=10), rng.normal(size=120)
    orders = {0: np.arange(60), 1: np.arange(60, 120)}
    table = distance_table(test, pool, numbers, orders, [5, 60], energies)
    assert len(table) == 2 * 2 * 2 * 10
    assert table.loc[table["P"] == 5, "d6"].isna().all()
    part = table[(table["space"] == "aligned_rmsd") & (table["P"] == 60) & (table["subset_seed"] == 1)]
    for t, row in enumerate(part.itertuples()):
        tried = np.array([
            min(plain_rmsd(test[t], pool[f]), plain_rmsd(test[t], pool[f][[0, 2, 1]])) for f in orders[1]
        ])  # fmt: skip
        expected = np.sort(tried)[:NEIGHBOURS]
        assert [getattr(row, f"d{k + 1}") for k in range(NEIGHBOURS)] == pytest.approx(expected, rel=1e-6)
        gap = abs(energies[0][t] - energies[1][orders[1][tried.argmin()]]) / 3
        assert row.label_gap == pytest.approx(gap)
    deltas = table.groupby(["space", "subset_seed", "P"])["d1"].mean().unstack()
    assert (deltas[60] < deltas[5]).all()
