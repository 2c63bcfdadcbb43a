"""Bootstrap of exponents and floors over seeds, vectorised over curves and replicates, status kept for each.

Resampling seeds keeps the correlation of nested subsets within a seed. If all seeds share one test set, its frames can
be resampled too (`resample_frames`), which gives intervals of the errors themselves.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.floor import fit_floor

_BLOCK = 64_000  # fits at a time and thread: some 100 MB of work arrays at nine values of P


@dataclass(frozen=True)
class Bootstrap:
    """Replicates of both forms for many curves on one grid of P."""

    beta: FloatArray
    """Exponent of the power law. [C, R]"""
    beta_floor: FloatArray
    """Exponent of the power law with floor. [C, R]"""
    floor: FloatArray
    """Floor c, in the unit of the error. [C, R]"""
    status: NDArray[np.int8]
    """How each floor fit ended, a `floor.Polish`. [C, R]"""

    def interval(self, values: FloatArray, level: float = 0.95) -> tuple[FloatArray, FloatArray]:
        """Return the percentile interval of replicates: [C, R] → low [C], high [C].

        Percentiles over few seeds are too narrow by about √((S − 1)/S) and ignore the tails of t. They serve for
        quantities that have no value per seed; everything else uses the t interval over seeds.
        """
        low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=1)
        return low, high


def bootstrap(
    log_p: FloatArray, log_error: FloatArray, n_replicates: int, seed: int = 0, threads: int = 2
) -> Bootstrap:
    """Resample seeds with replacement and refit both forms to every replicate's mean curve.

    Args:
        log_p: ln P, ascending. [K]
        log_error: ln ε of complete seeds. [C, S, K]
        n_replicates: replicates R per curve.
        seed: of the resampling; the same for any number of threads.
        threads: worker threads (numpy releases the lock).
    """
    n_curves, n_seeds, n_sizes = log_error.shape
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=(n_curves, n_replicates)) / n_seeds
    shifted = log_p - log_p.mean()
    shape = (n_curves, n_replicates)
    beta, beta_floor, floor = (np.empty(shape) for _ in range(3))
    status = np.empty(shape, dtype=np.int8)

    def work(block: slice) -> None:
        means = weights[block] @ log_error[block]  # [c, R, K]
        beta[block] = -(means @ shifted) / (shifted @ shifted)
        fit = fit_floor(log_p, means.reshape(-1, n_sizes))
        rows = means.shape[:2]
        beta_floor[block], floor[block] = fit.beta.reshape(rows), fit.floor.reshape(rows)
        status[block] = fit.status.reshape(rows)

    size = max(1, _BLOCK // n_replicates)
    blocks = [slice(start, min(start + size, n_curves)) for start in range(0, n_curves, size)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, blocks))
    return Bootstrap(beta, beta_floor, floor, status)


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
