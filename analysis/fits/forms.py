"""The curved forms, fitted from several starts: one break (BNSL), the sigmoid-like M4, and Huber's power law.

    bnsl_1   ε = b·P^(−c₀)·(1 + (P/d)^(1/f))^(−c₁·f)       Caballero et al. 2022, eq. 1 with n = 1, a = 0
    m4       (ε − c)/(ε₀ − ε)^α = b·P^(−β)                  Alabdulmohsin et al. 2022, M4
    power_huber   ε = a·P^(−β) with Huber's loss on the log residuals (summed, not averaged)

The first two have five parameters: they serve to detect a break or a plateau, never to quote an exponent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy.special import expit, log_expit

from analysis.arrays import FloatArray
from analysis.fits.levenberg import Model, Problems, minimise

HUBER_K = 1.345
"""Huber's tuning constant in units of the residual scale: 95 % efficiency on normal noise (Huber 1981)."""
HUBER_SCALE_FLOOR = 1e-3
"""Smallest residual scale, in ln ε: below it every point counts as on the line (Hoffmann et al. 2022 use δ = 1e-3)."""

_FIRST, _FINALISTS, _LAST = 40, 2, 300
"""Steps from every start, number of the best starts that continue, and steps for these."""
_HUBER_ROUNDS = 100


class SolverStatus(StrEnum):
    """How the least squares ended."""

    CONVERGED = "converged"
    """A tolerance was met inside the bounds; usable."""
    BOUND_HIT = "bound_hit"
    """A parameter sits at its bound: the form has more freedom than the data can pin down."""
    MAX_ITER = "max_iter"
    """The steps ran out; inspect the fit before using it."""


@dataclass(frozen=True)
class CurvedForm:
    """A form with more parameters than a power law, as a function of θ in a scaled, centred parameterisation."""

    name: str
    """Name in records."""
    n_parameters: int
    """Free parameters."""
    model: Model
    """ln ε and its derivatives by θ, from θ and ln P − (mean ln P), for many curves."""
    bounds: tuple[FloatArray, FloatArray]
    """Lower and upper bounds of θ."""
    starts: Callable[[FloatArray, FloatArray], list[FloatArray]]
    """Starting points from centred ln P and ln ε."""
    beta: Callable[[FloatArray], float]
    """The exponent of the form from θ."""

    def predict(self, theta: FloatArray, x: FloatArray) -> FloatArray:
        """Return ln ε of one curve: θ [n], ln P − (mean ln P) [K] → [K]."""
        return np.asarray(self.model(theta[None], x[None])[0][0])


@dataclass(frozen=True)
class Solution:
    """The best of several least-squares fits."""

    theta: FloatArray
    """Parameters in the form's own scaling."""
    sse: float
    """Sum of squared log residuals."""
    status: SolverStatus
    """How the best start ended."""


Task = tuple[FloatArray, FloatArray, Sequence[FloatArray]]
"""Centred ln P [K], ln ε [K] and the starting points of one fit."""


def solve(form: CurvedForm, x: FloatArray, y: FloatArray, starts: Sequence[FloatArray] | None = None) -> Solution:
    """Fit a form by least squares in log space from every start and return the best solution.

    Args:
        form: the form.
        x: ln P minus a constant. [K]
        y: ln ε. [K]
        starts: starting points; the form's own if not given.
    """
    return solve_all(form, [(x, y, form.starts(x, y) if starts is None else starts)])[0]


def solve_all(form: CurvedForm, tasks: Sequence[Task]) -> list[Solution]:
    """Fit a form to many curves at once: every start for a few steps, then the best of each curve to the end."""
    if not tasks:
        return []
    width = max(len(x) for x, _, _ in tasks)
    x, y, present = np.zeros((len(tasks), width)), np.zeros((len(tasks), width)), np.zeros((len(tasks), width), bool)
    for i, (places, values, _) in enumerate(tasks):
        n = len(places)
        x[i, :n], y[i, :n], present[i, :n] = places, values, True
    problems = Problems(x, y, present)
    owner = np.concatenate([np.full(len(starts), i) for i, (_, _, starts) in enumerate(tasks)])
    low, high = form.bounds
    first = minimise(
        form.model,
        problems.take(owner),
        np.concatenate([np.array(starts) for _, _, starts in tasks]),
        low,
        high,
        _FIRST,
    )
    order = np.lexsort((first.sse, owner))
    rank = np.arange(len(owner)) - np.searchsorted(owner[order], owner[order])
    kept = order[rank < _FINALISTS]
    last = minimise(form.model, problems.take(owner[kept]), first.theta[kept], low, high, _LAST)
    solutions = []
    for i in range(len(tasks)):
        mine = np.flatnonzero(owner[kept] == i)
        best = mine[np.argmin(last.sse[mine])]
        theta = last.theta[best]
        status = SolverStatus.CONVERGED if last.ended[best] else SolverStatus.MAX_ITER
        if status is SolverStatus.CONVERGED and bool(np.any((theta <= low) | (theta >= high))):
            status = SolverStatus.BOUND_HIT
        solutions.append(Solution(theta, float(last.sse[best]), status))
    return solutions


def _bnsl(theta: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ln ε and its derivatives for θ = (ln b, c₀, c₁, ln d, ln f): [N, 5], [N, K] → [N, K], [N, K, 5].

    (x − ln d)/f may be large, so its log is taken stably.
    """
    log_b, c0, c1, log_d, log_f = (column[:, None] for column in theta.T)
    sharpness = np.exp(log_f)
    z = (x - log_d) / sharpness
    soft, step = np.logaddexp(0.0, z), expit(z)
    value = log_b - c0 * x - c1 * sharpness * soft
    derivatives = (np.ones_like(x), -x, -sharpness * soft, c1 * step, -c1 * sharpness * (soft - z * step))
    return value, np.stack(derivatives, axis=2)


def _bnsl_starts(x: FloatArray, y: FloatArray) -> list[FloatArray]:
    slope = float(-np.polyfit(x, y, 1)[0])
    span = x[-1] - x[0]
    places = (x[0] + share * span for share in (0.15, 0.35, 0.5, 0.65, 0.85))
    return [
        np.array([y.mean(), c0, slope * 2 - c0, place, -1.0]) for place in places for c0 in (0.3 * slope, 1.7 * slope)
    ]


BNSL = CurvedForm(
    name="bnsl_1",
    n_parameters=5,
    model=_bnsl,
    # exponents within ±8 (as for the floor form); the break within the reach of any grid; width e^-3 … e^1.5 in ln P
    bounds=(np.array([-60.0, -8.0, -8.0, -20.0, -3.0]), np.array([60.0, 8.0, 8.0, 20.0, 1.5])),
    starts=_bnsl_starts,
    beta=lambda theta: float(theta[1] + theta[2]),
)


def _m4(theta: FloatArray, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ln ε and its derivatives for θ = (ln ε₀, logit(c/ε₀), ln α, β, k): [N, 5], [N, K] → [N, K], [N, K, 5].

    ε = c + (ε₀ − c)·σ(u), in which u solves ln σ(u) − α·ln(1 − σ(u)) = k − β·x.

    The left side rises with u between slopes 1 and α, so Newton's method from the asymptote converges.
    """
    log_top, logit_floor, log_alpha, beta, k = (column[:, None] for column in theta.T)
    alpha = np.exp(log_alpha)
    target = k - beta * x
    u = np.where(target < 0, target, target / alpha)
    for _ in range(40):
        up, down = expit(u), expit(-u)
        step = (log_expit(u) - alpha * log_expit(-u) - target) / (down + alpha * up)
        u = u - np.clip(step, -5, 5)
        if np.abs(step).max() < 1e-10:
            break
    up, down = expit(u), expit(-u)
    rise = 1 / (down + alpha * up)
    share = expit(logit_floor)
    total = share + (1 - share) * up
    by_u = (1 - share) * up * down / total
    derivatives = (
        np.ones_like(x),
        share * (1 - share) * down / total,
        by_u * rise * alpha * log_expit(-u),
        -by_u * rise * x,
        by_u * rise,
    )
    return log_top + np.log(total), np.stack(derivatives, axis=2)


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
    model=_m4,
    # plateau within e^±60; floor share 1e-7 … 0.999 of it; α within e^±3; exponent within the floor form's reach
    bounds=(np.array([-60.0, -16.0, -3.0, 0.0, -60.0]), np.array([60.0, 7.0, 3.0, 8.0, 60.0])),
    starts=_m4_starts,
    beta=lambda theta: float(theta[3]),
)


def huber_lines(x: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slopes and intercepts of lines under Huber's loss (Huber 1981), [S] each; NaN for fewer than three points.

    The loss is scaled by the normalised median absolute residual of the least-squares line; iteratively reweighted
    least squares (Holland & Welsch 1977) finds its minimum.

    Args:
        x: ln P. [K]
        rows: ln ε, NaN left out. [S, K]
    """
    present = np.isfinite(rows)
    y = np.where(present, rows, 0.0)
    slope, level = _weighted_lines(x, y, present.astype(float))
    scale = np.zeros(len(rows))
    enough = present.sum(axis=1) >= 3
    residual = np.where(present, np.abs(y - level[:, None] - slope[:, None] * x), np.nan)
    # 1.4826: median absolute deviation of a normal → its standard deviation
    scale[enough] = 1.4826 * np.nanmedian(residual[enough], axis=1)
    limit = HUBER_K * np.maximum(scale, HUBER_SCALE_FLOOR)[:, None]
    for _ in range(_HUBER_ROUNDS):
        residual = np.abs(y - level[:, None] - slope[:, None] * x)
        new, level = _weighted_lines(x, y, present * np.minimum(1.0, limit / np.maximum(residual, limit * 1e-12)))
        moved = np.abs(new - slope)
        slope = new
        if not np.any(moved[enough] > 1e-10):
            break
    return np.where(enough, slope, np.nan), np.where(enough, level, np.nan)


def _weighted_lines(x: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slopes [S] and intercepts [S] of least-squares lines with weights [S, K]."""
    total = np.maximum(weight.sum(axis=1), 1e-300)
    centre = (weight @ x) / total
    shifted = x - centre[:, None]
    slope = (weight * shifted * y).sum(axis=1) / np.maximum((weight * shifted**2).sum(axis=1), 1e-300)
    return slope, (weight * y).sum(axis=1) / total - slope * centre
