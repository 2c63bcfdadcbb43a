"""Least squares within bounds for many small problems at once: projected Levenberg–Marquardt steps (Moré 1978)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray

Model = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
"""Values [N, K] and derivatives [N, K, p] from parameters [N, p] and places [N, K]."""
TOLERANCE = 1e-8
"""Relative decrease of the sum of squares by a step that was taken in full at which a fit has ended."""
_EASED, _TIGHTENED = 0.2, 5.0  # of the damping after a step that helps, and after one that does not


@dataclass(frozen=True)
class Problems:
    """N problems, padded to K places."""

    x: FloatArray
    """Places. [N, K]"""
    y: FloatArray
    """Values to be fitted; anything where `present` is False. [N, K]"""
    present: NDArray[np.bool_]
    """Which places count. [N, K]"""

    def take(self, index: NDArray[np.intp]) -> Problems:
        """Return some of the problems; repetitions are allowed."""
        return Problems(self.x[index], self.y[index], self.present[index])


@dataclass(frozen=True)
class Minima:
    """Where the fits ended."""

    theta: FloatArray
    """Parameters. [N, p]"""
    sse: FloatArray
    """Sum of squared residuals. [N]"""
    ended: NDArray[np.bool_]
    """Whether a fit met its tolerance before steps ran out. [N]"""


def minimise(
    model: Model, problems: Problems, start: FloatArray, low: FloatArray, high: FloatArray, steps: int
) -> Minima:
    """Fit every problem from its start.

    Args:
        model: values and derivatives.
        problems: what is fitted.
        start: parameters to start from, clipped to the bounds. [N, p]
        low: lower bounds. [p]
        high: upper bounds. [p]
        steps: evaluations of the model at most.
    """
    theta = np.clip(start, low, high)
    residual, jacobian = _linearise(model, problems, theta)
    sse = (residual**2).sum(axis=1)
    ended = np.zeros(len(theta), dtype=bool)
    damping = np.full(len(theta), 1e-2)
    active = np.arange(len(theta))
    for _ in range(steps):
        step = _step(residual, jacobian, theta[active], damping[active], low, high)
        proposal = np.clip(theta[active] + step, low, high)
        part = problems.take(active)
        new_residual, new_jacobian = _linearise(model, part, proposal)
        new_sse = (new_residual**2).sum(axis=1)
        old = sse[active]
        better = new_sse <= old
        # 1e-24: round-off of a squared ln ε in double precision
        still = better & (old - new_sse <= TOLERANCE * old + 1e-24) & (damping[active] <= 1.0)
        still |= np.abs(proposal - theta[active]).max(axis=1) < 1e-10  # no step of any length improves it
        still |= new_sse < 1e-24
        taken = active[better]
        theta[taken], sse[taken] = proposal[better], new_sse[better]
        damping[active] = np.where(better, np.maximum(damping[active] * _EASED, 1e-12), damping[active] * _TIGHTENED)
        residual = np.where(better[:, None], new_residual, residual)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        ended[active[still]] = True
        active, residual, jacobian = active[~still], residual[~still], jacobian[~still]
        if not len(active):
            break
    return Minima(theta, sse, ended)


def _linearise(model: Model, problems: Problems, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return y − model [N, K] and the derivatives of the model [N, K, p], zero where nothing is fitted."""
    value, jacobian = model(theta, problems.x)
    return np.where(problems.present, problems.y - value, 0.0), jacobian * problems.present[:, :, None]


def _step(
    residual: FloatArray,
    jacobian: FloatArray,
    theta: FloatArray,
    damping: FloatArray,
    low: FloatArray,
    high: FloatArray,
) -> FloatArray:
    """Return the damped Gauss–Newton steps, [N, p]; parameters at a bound that would leave it are held."""
    gradient = np.einsum("nkp,nk->np", jacobian, residual)
    normal = np.einsum("nkp,nkq->npq", jacobian, jacobian)
    held = ((theta <= low) & (gradient < 0)) | ((theta >= high) & (gradient > 0))
    gradient = np.where(held, 0.0, gradient)
    normal = np.where(held[:, :, None] | held[:, None, :], 0.0, normal)
    diagonal = np.einsum("npp->np", normal)
    floor = 1e-10 * np.maximum(diagonal.max(axis=1, keepdims=True), 1e-30)
    normal = normal + np.eye(theta.shape[1]) * (damping[:, None] * np.maximum(diagonal, floor) + floor)[:, :, None]
    return np.asarray(np.linalg.solve(normal, gradient[:, :, None])[:, :, 0])
