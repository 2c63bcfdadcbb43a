"""Bootstrap of mean errors over seeds and test frames."""

from __future__ import annotations

import numpy as np

from analysis.arrays import FloatArray


def resample_frames(frame_errors: FloatArray, n_replicates: int, seed: int = 0, *, squared: bool = False) -> FloatArray:
    """Resample mean errors over seeds and test frames (hierarchical bootstrap).

    The test frames are the same for every run, so one draw of frames serves all seeds and P of a replicate.

    Args:
        frame_errors: error of every test frame (mean squared error if `squared`), unit or unit². [S, K, F]
        n_replicates: replicates R.
        seed: of the resampling.
        squared: take the root of the mean over frames.

    Returns:
        ln of the seeds' geometric-mean error of each replicate. [R, K]
    """
    n_seeds, _, n_frames = frame_errors.shape
    rng = np.random.default_rng(seed)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=n_replicates) / n_seeds  # [R, S]
    frames = rng.multinomial(n_frames, np.full(n_frames, 1 / n_frames), size=n_replicates) / n_frames  # [R, F]
    means = np.einsum("skf,rf->rsk", frame_errors, frames, optimize=True)
    logs = np.log(means) / (2 if squared else 1)
    return np.asarray(np.einsum("rs,rsk->rk", seeds, logs))
