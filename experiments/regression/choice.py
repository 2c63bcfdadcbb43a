"""What every ridge regression here has in common: its result, the choice of λ and the span of the intercepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.core.arrays import Floats

Criterion = Literal["frames", "gcv"]
FALLING = 1e-2
"""Relative gain of the score over the last step to the smallest λ from which on the floor counts as binding: 0.5 % of
the error."""
RECOVERED = 1e-10
"""Score over the mean square of the labels below which they count as learned, whatever λ could do: errors of 1e-5."""


@dataclass(frozen=True)
class Choice:
    """A chosen λ.

    penalty   λ itself; None: nothing to learn, or nothing to learn it from
    facts     ridge, effective_parameters, score and criterion of `RidgeFit`
    at_floor  λ is the smallest that round-off allows, the score still fell there, and labels are not learned yet
    """

    penalty: float | None
    facts: tuple[float, float, float, str]
    at_floor: bool = False


@dataclass(frozen=True)
class RidgeFit:
    """A fit: `coefficients` `[M]`, `unpenalised` `[d]`.

    ridge                 λ over the largest eigenvalue of XᵀX (X without the directions of the intercept)
    effective_parameters  trace of the hat matrix, the intercept included
    score                 mean squared residual of the criterion per row, in the units of y²
    criterion             name of the score that chose λ; `given` if λ was given
    at_floor              λ would be smaller if the arithmetic had more digits: the error is too large
    """

    coefficients: Floats
    unpenalised: Floats
    ridge: float
    effective_parameters: float
    score: float
    criterion: str
    at_floor: bool = False


def binds(score: float, before: float, squares: float) -> bool:
    """Return whether the smallest λ there is, of this `score`, is too large for the labels.

    Args:
        score: at the smallest λ.
        before: at the next larger one.
        squares: mean square of the labels.
    """
    return bool(score < before * (1 - FALLING) and score > RECOVERED * squares)


def orthonormal(columns: Floats) -> Floats:
    """Return an orthonormal basis `[F, rank]` of the span of `[F, d]`."""
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(u[:, s > 1e-10 * max(1e-300, s.max(initial=0.0))])  # counts of atoms: zeros are round-off


def constants(unpenalised: Floats, rest: Floats) -> Floats:
    """Return the least-squares coefficients `[d]` of the intercepts for what the features leave."""
    return np.asarray(np.linalg.lstsq(unpenalised, rest, rcond=1e-10)[0], dtype=np.float64)


def generalised_score(
    values: Floats, projections: Floats, rows: int, penalties: Floats, missing: int = 0, outside: float = 0.0
) -> Floats:
    """Return the scores (RSS/n) / (1 − tr H/n)² of generalised cross-validation, one a penalty.

    Golub, Heath & Wahba 1979 (doi 10.1080/00401706.1979.10489751) eq. 1.4.

    Args:
        values: eigenvalues of XXᵀ or XᵀX, `[k]`.
        projections: of the labels on the left singular vectors, `[k]`.
        rows: n, intercepts not counted.
        penalties: the λ.
        missing: directions of the rows that no coefficient can reach.
        outside: squares of the labels in those.
    """
    left = penalties[:, None] / (values + penalties[:, None])  # [λ, k]
    return np.asarray(rows * (left**2 @ projections**2 + outside) / (left.sum(1) + missing) ** 2)
