"""Single runs that lie far off: one run off by a factor of two at the largest P widens an interval sixfold.

With three seeds or more, a run is compared with the mean of ln ε at its P and a line for its seed, which may well be
better or steeper than the others. Its residual is divided by the scatter of all other residuals (externally
studentised: Cook & Weisberg 1982, §2.2), which the run itself cannot inflate, and is then Student's t. With fewer
seeds, a run is compared with a parabola in ln P through the runs of its own seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.arrays import FloatArray

LEVEL = 0.01
"""Level of the test, Bonferroni over all runs of a curve: one false alarm in a hundred curves."""
LEAST = np.log(1.2)
"""Smallest deviation in ln ε that is named: less cannot spoil an exponent."""


@dataclass(frozen=True)
class Outlier:
    """A run that lies far off its curve."""

    seed: int
    """Index of its seed."""
    size: int
    """Index of its P."""
    factor: float
    """Its error over the one that the other runs of the curve suggest."""
    p: float
    """p value, corrected for the number of runs."""


def find_outlier(log_p: FloatArray, rows: FloatArray) -> Outlier | None:
    """Return the run of a curve that lies furthest off, if it does so beyond chance.

    Args:
        log_p: ln P. [K]
        rows: ln ε, NaN where a run is missing. [S, K]
    """
    s, k = np.nonzero(np.isfinite(rows))
    y = rows[s, k]
    design = _design(log_p, s, k, rows.shape)
    rank = np.linalg.matrix_rank(design)
    dof = len(y) - rank - 1
    if dof < 2:
        return None
    left, values, _ = np.linalg.svd(design, full_matrices=False)
    basis = left[:, values > 1e-10 * values[0]]
    residual = y - basis @ (basis.T @ y)
    free = 1 - (basis**2).sum(axis=1)
    testable = free > 1e-6  # else the run alone decides its fit
    deviation = np.divide(residual, free, out=np.zeros_like(residual), where=testable)
    others = np.maximum((residual @ residual - residual * deviation) / dof, 1e-24)  # round-off of ln ε, squared
    t = deviation * np.sqrt(np.maximum(free, 0.0) / others)
    worst = int(np.argmax(np.abs(t)))
    p = float(min(1.0, 2 * len(y) * special.stdtr(dof, -abs(t[worst]))))
    if p >= LEVEL or abs(deviation[worst]) < LEAST:
        return None
    return Outlier(int(s[worst]), int(k[worst]), float(np.exp(deviation[worst])), p)


def _design(log_p: FloatArray, s: NDArray[np.intp], k: NDArray[np.intp], shape: tuple[int, ...]) -> FloatArray:
    """Return the columns of the model that a run is compared with, for runs of seeds s at sizes k."""
    x = log_p - log_p.mean()
    own = np.eye(shape[0])[s]
    lines = [own, own * x[k][:, None]]
    further = np.eye(shape[1])[k] if shape[0] >= 3 else own * (x[k] ** 2)[:, None]
    return np.concatenate([*lines, further], axis=1)
