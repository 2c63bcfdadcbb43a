"""Which training frames each update sees: a function of (seed, step) alone, so that a resume needs no replay."""

from __future__ import annotations

import numpy as np

from experiments.data.dataset import Ints


def batches(seed: int, P: int, batch_size: int, steps: Ints) -> Ints:
    """Positions in the subset, ``[len(steps), batch_size]``.

    The stream of frames is one shuffle of the P frames after another; update ``s`` takes the ``batch_size`` next
    ones, also where that crosses from one shuffle into the next, and where P is smaller than a batch.
    """
    place = steps[:, None] * batch_size + np.arange(batch_size)
    epochs, within = np.divmod(place, P)
    picked = np.empty_like(place)
    for epoch in np.unique(epochs):
        shuffle = np.random.Generator(np.random.Philox(key=[seed, int(epoch)])).permutation(P)
        chosen = epochs == epoch
        picked[chosen] = shuffle[within[chosen]]
    return picked
