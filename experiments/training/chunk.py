"""What the updates of a chunk take besides the state of the runs, drawn on the host before the device needs it.

All of it is a function of seeds, settings and steps alone. So a pack draws its next chunk while the device still
computes this one, and draws it anew if runs end in between: the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from experiments.core.arrays import Floats, Ints
from experiments.training.member import Member
from experiments.training.optimizers.optimizer import Optimizer
from experiments.training.order import batches, rotations


@dataclass(frozen=True)
class Request:
    """The updates that a chunk is drawn for.

    Args:
        length: number of updates of every run.
        size: slots of the pack, p.
        batch_size: frames of an update, B.
        places: of the runs in the pack; the other slots are idle.
        names: of the runs.
        steps_done: updates of the runs before the chunk.
        staged: whether the loss's weights change in some run's schedule.
        augment: whether frames are rotated.
    """

    length: int
    size: int
    batch_size: int
    places: tuple[int, ...]
    names: tuple[str, ...]
    steps_done: tuple[int, ...]
    staged: bool
    augment: bool


@dataclass(frozen=True)
class Chunk:
    """Arrays of a chunk, all `[length, p, …]`; of idle slots they mean nothing.

    Args:
        request: what it was drawn for.
        rates: learning rates.
        steps: places in the schedules, counted from 1.
        picked: frames of the batches, `[length, p, B]`, as positions in the pool.
        due: whether the optimiser's state is renewed after the update (`Optimizer.due`).
        weights: of the loss's terms, `[length, p, 3]`; None if they do not change.
        rotations: of the frames, `[length, p, B, 3, 3]`; None if they are not rotated.
    """

    request: Request
    rates: Floats = field(repr=False)
    steps: Floats = field(repr=False)
    picked: Ints = field(repr=False)
    due: NDArray[np.bool_] = field(repr=False)
    weights: Floats | None = field(repr=False)
    rotations: Floats | None = field(repr=False)


def draw(request: Request, members: Sequence[Member], optimizer: Optimizer) -> Chunk:
    """Draw the batches, rates and rotations of a chunk.

    Args:
        request: what to draw.
        members: the runs that `request.places` and `steps_done` belong to.
        optimizer: of all runs.
    """
    length, p, size = request.length, request.size, request.batch_size
    rates = np.zeros((length, p))
    steps = np.ones((length, p))
    picked = np.zeros((length, p, size), dtype=np.int64)
    due = np.zeros((length, p), dtype=bool)
    weights = np.ones((length, p, 3)) if request.staged else None
    drawn = np.tile(np.eye(3), (length, p, size, 1, 1)) if request.augment else None
    for i, member, done in zip(request.places, members, request.steps_done, strict=True):
        counts = range(done, done + length)
        factor: Callable[[int], float] = member.schedule.factor if optimizer.anneals else member.schedule.rise
        rates[:, i] = [member.settings.learning_rate * factor(c) for c in counts]
        places = np.array([member.schedule.step(c) for c in counts])
        steps[:, i] = places + 1
        due[:, i] = [optimizer.due(int(place) + 1) for place in places]
        subset = member.prepared.subset
        picked[:, i] = subset[batches(member.seed, len(subset), size, places)]
        if weights is not None:
            weights[:, i] = [member.weighting_at(c) for c in counts]
        if drawn is not None:
            drawn[:, i] = rotations(member.seed, size, places)
    return Chunk(request, rates, steps, picked, due, weights, drawn)
