"""The keys that every data section has besides those of its source: which subset trains, how many frames test."""

from __future__ import annotations

from dataclasses import dataclass

from experiments.core.schema import setting

SUBSETS = ("random", "farthest")
MOST_SEED = 2**31 - 1
"""Largest seed of a run, a subset, initial weights."""


@dataclass(frozen=True)
class SubsetKeys:
    """The choice of training subsets and test frames."""

    subset: str = setting("random", choices=SUBSETS)
    """How subsets are drawn: random, or farthest (each next frame the one farthest from those taken)."""
    subset_seed: int | None = setting(None, low=0, high=MOST_SEED)
    """Which subset of the pool trains; null: the run's seed."""
    test_frames: int | None = setting(None, low=1, since=2)
    """Test frames to use, a fixed choice of them, the same for every run; null: all."""
