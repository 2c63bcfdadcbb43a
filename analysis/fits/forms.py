"""The curved forms, fitted by scipy from several starts: one break (BNSL), the sigmoid-like M4, and Huber's power law.

    bnsl_1   ε = b·P^(−c₀)·(1 + (P/d)^(1/f))^(−c₁·f)       Caballero et al. 2022, eq. 1 with n = 1, a = 0
    m4       (ε − c)/(ε₀ − ε)^α = b·P^(−β)                  Alabdulmohsin et al. 2022, M4
    power_huber   ε = a·P^(−β) with Huber's loss on the log residuals (summed, not averaged)

The first two have five parameters: they serve to detect a break or a plateau, seldom to quote an exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.optimize import OptimizeResult, least_squares
from scipy.special import expit, log_expit

from analysis.arrays import FloatArray

HUBER_K = 1.345
"""Huber's tuning constant in units of the residual scale: 95 % efficiency on normal noise (Huber 1981)."""
HUBER_SCALE_FLOOR = 1e-3
"""Smallest residual scale, in ln ε: below it every point counts as on the line (Hoffmann et al. 2022 use δ = 1e-3)."""

_FIRST, _FINALISTS, _LAST = 20, 2, 200
"""Evaluations for every start, number of the best starts that continue, and evaluations for these."""


class SolverStatus(StrEnum):
    """How scipy's least squares ended."""

    CONVERGED = "converged"
    """A tolerance was met inside the bounds; usable."""
    BOUND_HIT = "bound_hit"
    """A parameter sits at its bound: the form has more freedom than the data can pin down."""
    MAX_ITER = "max_iter"
    """The evaluations ran out; inspect the fit before using it."""


@dataclass(frozen=True)
class CurvedForm:
    """A form with more parameters than a power law, as a function of θ in a scaled, centred parameterisation."""

    name: str
    """Name in records."""
    n_parameters: int
    """Free parameters."""
    predict: Callable[[FloatArray, FloatArray], FloatArray]
    """ln ε from θ and ln P − (mean ln P). [n], [K] → [K]"""
    bounds: tuple[FloatArray, FloatArray]
    """Lower and upper bounds of θ."""
    starts: Callable[[FloatArray, FloatArray], list[FloatArray]]
    """Starting points from centred ln P and ln ε."""
    beta: Callable[[FloatArray], float]
    """The exponent of the form from θ."""


@dataclass(frozen=True)
class Solution:
    """The best of several least-squares fits."""

    theta: FloatArray
    """Parameters in the form's own scaling."""
    sse: float
    """Sum of squared log residuals."""
    status: SolverStatus
    """How the best start ended."""


def solve(form: CurvedForm, x: FloatArray, y: FloatArray, starts: Sequence[FloatArray] | None = None) -> Solution:
    """Fit a form by least squares in log space from every start and return the best solution.

    Args:
        form: the form.
        x: ln P minus a constant. [K]
        y: ln ε. [K]
        starts: starting points; the form's own if not given.
    """

    def residual(theta: FloatArray) -> FloatArray:
        return form.predict(theta, x) - y

    low, high = form.bounds

    def descend(start: FloatArray, evaluations: int) -> OptimizeResult:
        inside = np.clip(start, low + 1e-9, high - 1e-9)
        return least_squares(residual, inside, bounds=(low, high), x_scale="jac", max_nfev=evaluations)

    first = [descend(start, _FIRST) for start in (form.starts(x, y) if starts is None else starts)]
    first.sort(key=lambda result: float(result.cost))
    last = [result if result.status > 0 else descend(result.x, _LAST) for result in first[:_FINALISTS]]
    best = min(last, key=lambda result: float(result.cost))
    status = SolverStatus.MAX_ITER if best.status == 0 else SolverStatus.CONVERGED
    if status is SolverStatus.CONVERGED and bool(np.any(best.active_mask != 0)):
        status = SolverStatus.BOUND_HIT
    return Solution(np.asarray(best.x), float(2 * best.cost), status)


def _bnsl(theta: FloatArray, x: FloatArray) -> FloatArray:
    """Return ln ε at x for θ = (ln b, c₀, c₁, ln d, ln f); (x − ln d)/f may be large, so its log is taken stably."""
    log_b, c0, c1, log_d, log_f = theta
    sharpness = np.exp(log_f)
    return np.asarray(log_b - c0 * x - c1 * sharpness * np.logaddexp(0.0, (x - log_d) / sharpness))


def _bnsl_starts(x: FloatArray, y: FloatArray) -> list[FloatArray]:
    slope = float(-np.polyfit(x, y, 1)[0])
    span = x[-1] - x[0]
    places = (x[0] + span / 3, x[0] + 2 * span / 3)
    return [
        np.array([y.mean(), c0, slope * 2 - c0, place, -1.0]) for place in places for c0 in (0.3 * slope, 1.7 * slope)
    ]


BNSL = CurvedForm(
    name="bnsl_1",
    n_parameters=5,
    predict=_bnsl,
    # exponents within ±8 (as for the floor form); the break within the reach of any grid; width e^-3 … e^1.5 in ln P
    bounds=(np.array([-60.0, -8.0, -8.0, -20.0, -3.0]), np.array([60.0, 8.0, 8.0, 20.0, 1.5])),
    starts=_bnsl_starts,
    beta=lambda theta: float(theta[1] + theta[2]),
)


def _m4(theta: FloatArray, x: FloatArray) -> FloatArray:
    """Return ln ε at x for θ = (ln ε₀, logit(c/ε₀), ln α, β, k).

    ε = c + (ε₀ − c)·σ(u), in which u solves ln σ(u) − α·ln(1 − σ(u)) = k − β·x.

    The left side rises with u between slopes 1 and α, so Newton's method from the asymptote converges.
    """
    log_top, logit_floor, log_alpha, beta, k = theta
    alpha = np.exp(log_alpha)
    target = k - beta * x
    u = np.where(target < 0, target, target / alpha)
    for _ in range(40):
        value = log_expit(u) - alpha * log_expit(-u) - target
        step = value / (expit(-u) + alpha * expit(u))
        u = u - np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    share = expit(logit_floor)
    return np.asarray(log_top + np.log(share + (1 - share) * expit(u)))


def _m4_starts(x: FloatArray, y: FloatArray) -> list[FloatArray]:
    slope = max(float(-np.polyfit(x, y, 1)[0]), 0.05)
    top = float(y.max())
    return [
        np.array([top + head, floor, 0.0, slope * steeper, -head])
        for head in (0.2, 2.0)
        for floor in (-2.0, -6.0)
        for steeper in (1.0, 1.8)
    ]


M4 = CurvedForm(
    name="m4",
    n_parameters=5,
    predict=_m4,
    # plateau within e^±60; floor share 1e-7 … 0.999 of it; α within e^±3; exponent within the floor form's reach
    bounds=(np.array([-60.0, -16.0, -3.0, 0.0, -60.0]), np.array([60.0, 7.0, 3.0, 8.0, 60.0])),
    starts=_m4_starts,
    beta=lambda theta: float(theta[3]),
)


def huber_line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of a line under Huber's loss (Huber 1981); NaN for fewer than three points.

    The loss is scaled by the normalised median absolute residual of the least-squares line.

    Args:
        x: ln P. [K]
        y: ln ε, NaN left out. [K]
    """
    good = np.isfinite(y)
    if good.sum() < 3:
        return np.nan, np.nan
    centre = x[good].mean()
    shifted, values = x[good] - centre, y[good]
    slope, level = np.polyfit(shifted, values, 1)
    residual = values - level - slope * shifted
    scale = max(1.4826 * float(np.median(np.abs(residual))), HUBER_SCALE_FLOOR)  # 1.4826: MAD of a normal → its sd

    def from_line(theta: FloatArray) -> FloatArray:
        return np.asarray(values - theta[0] - theta[1] * shifted)

    result = least_squares(from_line, [level, slope], loss="huber", f_scale=HUBER_K * scale)
    return float(result.x[1]), float(result.x[0] - result.x[1] * centre)
