"""The training frames of each update and their rotations: functions of (seed, step) alone, so that a resume needs no
replay."""

from __future__ import annotations

import numpy as np

from experiments.core.arrays import Floats, Ints

_ROTATIONS = 2**32  # above every seed: keeps the rotations apart from the shuffles


def batches(seed: int, P: int, batch_size: int, steps: Ints) -> Ints:
    """Return the batches of the updates `steps` as positions in the training subset, `[len(steps), batch_size]`.

    The stream of frames is one shuffle of the P frames after another; update `s` takes the `batch_size` next
    ones, also if that crosses from one shuffle into the next, and if P is smaller than a batch.
    """
    place = steps[:, None] * batch_size + np.arange(batch_size)
    epochs, within = np.divmod(place, P)
    picked = np.empty_like(place)
    for epoch in np.unique(epochs):
        shuffle = np.random.Generator(np.random.Philox(key=[seed, int(epoch)])).permutation(P)
        chosen = epochs == epoch
        picked[chosen] = shuffle[within[chosen]]
    return picked


def rotations(seed: int, batch_size: int, steps: Ints) -> Floats:
    """Draw a rotation for every frame of every batch, `[len(steps), batch_size, 3, 3]`: uniform on SO(3), independent.

    They are the rotations of normalised quaternions of normal numbers (Muller 1959, doi 10.1145/377939.377946).
    """
    drawn = [
        np.random.Generator(np.random.Philox(key=[seed + _ROTATIONS, int(s)])).standard_normal((batch_size, 4))
        for s in steps
    ]
    q = np.stack(drawn)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
