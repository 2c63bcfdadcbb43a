"""The inverse Cholesky factor of a matrix, in place and in pieces of bounded size, between which somebody is told.

LAPACK does the same in one call, during which a pass of minutes can neither be stopped nor show how far it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import blas, lapack

from experiments.core.arrays import Floats

BLOCK = 512
"""Columns handled at a time."""
Tick = Callable[[float], None]
"""Hears of the floating-point operations done since the last call; it may raise to stop."""


def work(n: float) -> float:
    """Return the floating-point operations of `invert` for `n` rows."""
    return 2 * n**3 / 3


def silent(operations: float) -> None:
    """Hear of operations and do nothing."""


def invert(a: Floats, tick: Tick = silent) -> None:
    """Replace the lower triangle of `a` `[n, n]` (Fortran order) by that of L⁻¹, where a = L Lᵀ there.

    The upper triangle is neither read nor changed; only panels of `BLOCK` columns are allocated.

    Raises:
        LinAlgError: the matrix is not positive.
    """
    starts = range(0, len(a), BLOCK)
    for start in starts:
        _factorise(a, start)
        tick(2.0 * (len(a) - start) * start * BLOCK)
    for start in reversed(starts):
        _invert(a, start)
        tick(float(len(a) - start) ** 2 * BLOCK)


def _factorise(a: Floats, start: int) -> None:
    """Replace a panel of columns by that of L; those before it are done."""
    end = min(len(a), start + BLOCK)
    panel = np.asfortranarray(a[start:, start:end])
    if start:
        panel = np.asfortranarray(panel - a[start:, :start] @ a[start:end, :start].T)
    corner, problem = lapack.dpotrf(panel[: end - start], lower=1, clean=1)
    if problem != 0:
        raise np.linalg.LinAlgError(f"a matrix of {len(a)} rows is not positive from row {start + problem} on")
    _put(a, start, end, corner)
    if end < len(a):
        a[end:, start:end] = blas.dtrsm(1.0, corner, panel[end - start :], side=1, lower=1, trans_a=1)


def _invert(a: Floats, start: int) -> None:
    """Replace a panel of columns of L by that of its inverse; those after it are done."""
    end = min(len(a), start + BLOCK)
    corner, problem = lapack.dtrtri(np.tril(a[start:end, start:end]), lower=1)
    if problem != 0:
        raise np.linalg.LinAlgError(f"a factor of {len(a)} rows has a zero in row {start + problem}")
    below = a[end:, start:end] @ corner
    for first in range(end, len(a), BLOCK):
        last = min(len(a), first + BLOCK)
        own = np.tril(a[first:last, first:last]) @ below[first - end : last - end]
        a[first:last, start:end] = -(a[first:last, end:first] @ below[: first - end]) - own
    _put(a, start, end, corner)


def _put(a: Floats, start: int, end: int, lower: Floats) -> None:
    """Write a triangle and leave the one above it."""
    a[start:end, start:end] = np.triu(a[start:end, start:end], 1) + np.tril(lower)
