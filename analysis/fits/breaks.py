"""Whether the slope of a curve changes: at some P, beyond the noise of its runs.

A hinge at each inner size, less its part along a line, is a contrast of the means of ln ε whose value is the change of
slope there. Its noise comes from what is left of the runs when the common curve and a line for each seed are removed,
which has more degrees of freedom than seeds: (S − 1)(K − 2), fewer for the correlation of nested subsets. With one seed
it comes from the residuals of the hinge fit itself. Bonferroni's correction over the places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.arrays import FloatArray
from analysis.fits.moderation import NO_PRIOR, margin
from analysis.fits.noise import Noise, nested, of_residuals


@dataclass(frozen=True)
class Breaks:
    """The most significant change of slope of each of N curves; NaN where none can be tested."""

    place: FloatArray
    """ln P at which the slope changes. [N]"""
    change: FloatArray
    """β above it less β below. [N]"""
    p: FloatArray
    """p value, corrected for the number of places. [N]"""


def find_breaks(log_p: FloatArray, rows: FloatArray, sem: FloatArray | None = None) -> Breaks:
    """Return the most significant change of slope of each curve.

    Args:
        log_p: ln P. [K]
        rows: ln ε without gaps. [N, S, K]
        sem: relative standard errors of the test errors, if known. [N, K]
    """
    n, n_seeds, n_sizes = rows.shape
    if n_sizes < 4:
        return Breaks(*(np.full(n, np.nan) for _ in range(3)))
    line = np.stack([np.ones_like(log_p), log_p], axis=1)
    basis, _ = np.linalg.qr(line)
    hinges = np.maximum(log_p - log_p[1:-1, None], 0.0)  # [K - 2, K]
    contrasts = -(hinges - hinges @ basis @ basis.T)
    contrasts = contrasts / np.abs((contrasts * hinges).sum(axis=1, keepdims=True))
    weights = np.broadcast_to(contrasts, (n, *contrasts.shape))
    changes = rows.mean(axis=1) @ contrasts.T  # [N, K - 2]
    if n_seeds > 1:
        pooled = within(log_p, rows, sem)
        one = margin(pooled.spread(weights), pooled.dof, NO_PRIOR)
        errors, dofs = one.error, one.dof
    else:
        parts = []
        for k in range(n_sizes - 2):
            design = np.broadcast_to(np.column_stack([line, hinges[k]]), (n, n_sizes, 3))
            noise = of_residuals(log_p, rows[:, 0], design, sem)
            parts.append(margin(noise.spread(weights[:, k]), noise.dof, NO_PRIOR))
        errors, dofs = (np.stack(values, axis=1) for values in zip(*((m.error, m.dof) for m in parts), strict=True))
    tiny = 1e-9  # round-off of a slope of ln ε
    with np.errstate(invalid="ignore"):
        p = 2 * special.stdtr(dofs, -np.abs(changes) / np.maximum(errors, tiny))
    p = np.where(np.isfinite(errors), np.where(np.abs(changes) < 10 * tiny, 1.0, p), np.nan)
    best = np.argmin(np.where(np.isnan(p), np.inf, p), axis=1)
    each = np.arange(n)
    return Breaks(log_p[1:-1][best], changes[each, best], np.minimum(1.0, p[each, best] * (n_sizes - 2)))
