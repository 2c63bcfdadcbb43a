"""Least squares for a power law with a floor, for thousands of curves at once.

Model (Hestness et al. 2017, eq. 1; M2 of Alabdulmohsin et al. 2022), in log space:

    ln ε(P) = α + ln((1 − φ)·(P/P_max)^(−β) + φ),   0 ≤ φ < 1,  β ≥ 0

with ε(P_max) = e^α, floor c = φ·e^α and prefactor a = (1 − φ)·e^α·P_max^β. α enters linearly and is eliminated
(variable projection, Golub & Pereyra 1973), which leaves a bounded problem in two variables. Its minimum is found by
a search over a grid (one matrix product for all curves, so no choice of starting point matters) and polished by
projected Levenberg–Marquardt steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.uncertainty import TINY

BETA_MAX = 8.0
"""Largest exponent searched: four times the steepest rate any theory here names (−2 in Hestness's survey)."""
PHI_MAX = 0.999
"""Largest floor fraction at P_max; beyond it the power-law part is below any noise."""
FLAT = 0.02
"""Joint exponent below which a curve counts as flat, a factor 1.1 in error over two decades of P: noise alone decides
whether such a fit has β ≈ 0 and no floor, or any β and nothing but floor."""
_FIELDS = ("alpha", "beta", "phi", "sse", "status", "log_p_max")
_STEPS = 200  # flat valleys (no floor in sight, β ≈ 0) need the most; they leave the working set when done
_CHUNK = 32_768


class Polish(IntEnum):
    """How the polishing of one fit ended."""

    CONVERGED = 0
    """A minimum inside the bounds."""
    NO_FLOOR = 1
    """The minimum lies at φ = 0: a plain power law; usable."""
    DEGENERATE = 2
    """The minimum lies at another bound (β = 0, β = BETA_MAX or φ = PHI_MAX): β is not identified."""
    MAX_ITER = 3
    """Steps ran out before the tolerance was met: inspect the fit before using it."""


@dataclass(frozen=True)
class FloorBatch:
    """Fits of many curves that share their values of P."""

    alpha: FloatArray
    """ln ε(P_max) of the fit. [N]"""
    beta: FloatArray
    """Exponent. [N]"""
    phi: FloatArray
    """Floor as a fraction of ε(P_max). [N]"""
    sse: FloatArray
    """Sum of squared log residuals. [N]"""
    status: NDArray[np.int8]
    """A `Polish` value. [N]"""
    log_p_max: FloatArray
    """ln of the largest P that entered. [N]"""

    @property
    def floor(self) -> FloatArray:
        """Floor c, in the unit of the error, shape [N]."""
        return np.asarray(self.phi * np.exp(self.alpha))

    @property
    def prefactor(self) -> FloatArray:
        """Prefactor a (error of the power-law part at P = 1), in the unit of the error, shape [N]."""
        return np.asarray((1 - self.phi) * np.exp(self.alpha + self.beta * self.log_p_max))

    def log_error(self, log_p: FloatArray) -> FloatArray:
        """Return the fitted ln ε at given ln P: [M] → [N, M]."""
        shifted = log_p - self.log_p_max[:, None]  # [N, M]
        return np.asarray(self.alpha[:, None] + shape(shifted, self.beta[:, None], self.phi[:, None]))

    def weights(self, log_p: FloatArray, present: NDArray[np.bool_]) -> FloatArray:
        """Return the derivatives of β by ln ε at each P, linearised about the fit; zero at missing points. [N, K].

        φ is held fixed if it is zero; else its direction is projected out (Frisch & Waugh 1933).

        Args:
            log_p: ln P. [K]
            present: points that were fitted. [N, K]
        """
        shifted = log_p - self.log_p_max[:, None]
        growth = np.exp(-self.beta[:, None] * shifted)
        phi = self.phi[:, None]
        total = (1 - phi) * growth + phi
        count = present.sum(axis=1, keepdims=True)
        by_beta, by_phi = (
            np.where(present, column - (column * present).sum(axis=1, keepdims=True) / count, 0.0)
            for column in (-shifted * (1 - phi) * growth / total, (1 - growth) / total)
        )
        by_phi = np.where(phi > 1e-9, by_phi, 0.0)
        along = (by_beta * by_phi).sum(axis=1, keepdims=True) / np.maximum((by_phi**2).sum(axis=1, keepdims=True), TINY)
        left = by_beta - along * by_phi
        return np.asarray(left / np.maximum((left**2).sum(axis=1, keepdims=True), TINY))


def shape(shifted: FloatArray, beta: FloatArray, phi: FloatArray) -> FloatArray:
    """Return ln((1 − φ)·e^(−β·shifted) + φ) with shifted = ln(P / P_max); the arguments broadcast."""
    return np.asarray(np.log((1 - phi) * np.exp(-beta * shifted) + phi))


def fit_floor(log_p: FloatArray, log_error: FloatArray) -> FloorBatch:
    """Fit every row of `log_error` by least squares; a row may lack points (NaN) as long as three remain.

    Args:
        log_p: ln P, ascending. [K]
        log_error: ln ε. [N, K]
    """
    present = np.isfinite(log_error)
    assert present.sum(axis=1).min() >= 3
    if present.all():
        return _fit_complete(log_p, log_error)
    columns: list[FloatArray] = [np.empty(len(log_error)) for _ in range(6)]
    for pattern in np.unique(present, axis=0):
        rows = (present == pattern).all(axis=1)
        part = _fit_complete(log_p[pattern], log_error[np.ix_(rows, pattern)])
        for whole, name in zip(columns, _FIELDS, strict=True):
            whole[rows] = getattr(part, name)
    alpha, beta, phi, sse, status, log_p_max = columns
    return FloorBatch(alpha, beta, phi, sse, status.astype(np.int8), log_p_max)


def joint_betas(log_p: FloatArray, log_error: FloatArray) -> FloatArray:
    """Return an exponent per seed from fits whose seeds share exponent and floor: [N, S, K] → [N, S].

    With a prefactor for each seed, least squares over all seeds is the fit to the means of ln ε. Fits within single
    noisy seeds are biased, and their t interval covers 80 instead of 90 % (ten seeds, seven sizes, a floor of 30 % in
    one of two curves); that of the joint fit covers 91 %. Seed s has the joint exponent plus Σₖ wₖ·(ln εₛₖ − mean), w
    the derivatives of β by ln ε (`FloorBatch.weights`): the mean over seeds is the joint exponent, and the scatter
    gives its error. NaN where β is not identified: a flat curve can be all floor.

    Args:
        log_p: ln P, ascending. [K], K ≥ 3
        log_error: ln ε without gaps. [N, S, K]
    """
    mean = log_error.mean(axis=1)
    fits = fit_floor(log_p, mean)
    weights = fits.weights(log_p, np.isfinite(mean))
    betas = fits.beta[:, None] + np.einsum("nsk,nk->ns", log_error - mean[:, None], weights)
    identified = (fits.status <= Polish.NO_FLOOR) & (fits.beta >= FLAT)
    return np.where(identified[:, None], betas, np.nan)


def _fit_complete(log_p: FloatArray, log_error: FloatArray) -> FloorBatch:
    shifted = log_p - log_p[-1]
    beta_grid, phi_grid, table = _grid(tuple(shifted.tolist()))
    parts = [
        _polish(shifted, chunk, *_search(chunk, beta_grid, phi_grid, table))
        for chunk in np.array_split(log_error, max(1, -(-len(log_error) // _CHUNK)))
    ]
    alpha, beta, phi, sse, status = (np.concatenate([part[i] for part in parts]) for i in range(5))
    return FloorBatch(alpha, beta, phi, sse, status.astype(np.int8), np.full(len(alpha), log_p[-1]))


@lru_cache(maxsize=64)
def _grid(shifted: tuple[float, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the candidates β [G] and φ [G] of the grid, and their centred shapes [G, K]."""
    beta = np.concatenate([[0.0], np.geomspace(0.02, BETA_MAX, 40)])
    phi = np.concatenate([[0.0], np.linspace(0.05, 0.9, 18), [0.95, 0.98, 0.995]])
    b, f = (grid.ravel() for grid in np.meshgrid(beta, phi, indexing="ij"))
    table = shape(np.array(shifted), b[:, None], f[:, None])
    return b, f, table - table.mean(axis=1, keepdims=True)


def _search(y: FloatArray, beta: FloatArray, phi: FloatArray, table: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the best candidate of the grid for each curve y [N, K]: β [N] and φ [N].

    ‖y − h‖² = ‖y‖² − 2·y·h + ‖h‖² needs one matrix product for all of them.
    """
    centred = (y - y.mean(axis=1, keepdims=True)).astype(np.float32)  # single precision only picks the start
    half_norm = (0.5 * (table**2).sum(axis=1)).astype(np.float32)
    transposed = table.astype(np.float32).T
    best = np.empty(len(y), dtype=np.int64)
    for start in range(0, len(y), 4096):  # keeps the score matrix in cache
        block = slice(start, start + 4096)
        with np.errstate(invalid="ignore"):  # OpenBLAS may raise this flag on finite numbers (numpy issue 24067)
            best[block] = np.argmax(centred[block] @ transposed - half_norm, axis=1)
    return beta[best].copy(), phi[best].copy()


def _polish(
    shifted: FloatArray, y: FloatArray, beta: FloatArray, phi: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, NDArray[np.int8]]:
    """Refine (β, φ) by projected Levenberg–Marquardt steps, α eliminated; return α, β, φ, sse and status, [N] each.

    Finished curves leave the working set.
    """
    centred = y - y.mean(axis=1, keepdims=True)
    sse = np.empty(len(y))
    status = np.full(len(y), Polish.MAX_ITER, dtype=np.int8)
    active = np.arange(len(y))
    damping = np.full(len(y), 1e-3)
    residual, jacobian = _linearise(shifted, centred, beta, phi)
    sse[:] = (residual**2).sum(axis=1)
    for _ in range(_STEPS):
        step, slope = _step(residual, jacobian, beta[active], phi[active], damping[active])
        new_beta = np.clip(beta[active] + step[:, 0], 0.0, BETA_MAX)
        new_phi = np.clip(phi[active] + step[:, 1], 0.0, PHI_MAX)
        new_residual, new_jacobian = _linearise(shifted, centred[active], new_beta, new_phi)
        new_sse = (new_residual**2).sum(axis=1)
        old_sse = sse[active]
        better = new_sse <= old_sse
        moved = np.abs(new_beta - beta[active]) + np.abs(new_phi - phi[active])
        # A squared log residual below 1e-24 is round-off of ln ε in double precision.
        done = (better & (old_sse - new_sse <= 1e-10 * old_sse + 1e-24) & (moved < 1e-4)) | (
            slope < 1e-12 * np.sqrt(old_sse)
        )
        done |= ~better & (damping[active] > 1e8)  # no step of any length improves: a minimum to round-off
        take = active[better]
        beta[take], phi[take], sse[take] = new_beta[better], new_phi[better], new_sse[better]
        damping[active] = np.where(better, np.maximum(damping[active] * 0.2, 1e-9), damping[active] * 6.0)
        residual = np.where(better[:, None], new_residual, residual)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        status[active[done]] = Polish.CONVERGED
        keep = ~done
        active, residual, jacobian = active[keep], residual[keep], jacobian[keep]
        if not len(active):
            break
    finished = status == Polish.CONVERGED
    status[finished & (phi <= 1e-9)] = Polish.NO_FLOOR
    status[finished & ((beta <= 1e-9) | (beta >= BETA_MAX) | (phi >= PHI_MAX))] = Polish.DEGENERATE
    alpha = y.mean(axis=1) - shape(shifted, beta[:, None], phi[:, None]).mean(axis=1)
    return alpha, beta, phi, sse, status


def _linearise(
    shifted: FloatArray, centred: FloatArray, beta: FloatArray, phi: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the residuals y − h [N, K] and the derivatives of h by β and φ [N, 2, K], all centred over K."""
    growth = np.exp(-beta[:, None] * shifted)  # [N, K], ≥ 1
    total = (1 - phi[:, None]) * growth + phi[:, None]
    h = np.log(total)
    jacobian = np.empty((len(beta), 2, len(shifted)))
    jacobian[:, 0] = -shifted * (1 - phi[:, None]) * growth / total
    jacobian[:, 1] = (1 - growth) / total
    jacobian -= jacobian.mean(axis=2, keepdims=True)
    return centred - (h - h.mean(axis=1, keepdims=True)), jacobian


def _step(
    residual: FloatArray, jacobian: FloatArray, beta: FloatArray, phi: FloatArray, damping: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the damped Gauss–Newton step [N, 2] and the norm of the projected gradient [N]."""
    gradient = np.einsum("nik,nk->ni", jacobian, residual)  # descent direction
    value = np.stack([beta, phi], axis=1)
    upper = np.array([BETA_MAX, PHI_MAX])
    pinned = ((value <= 0) & (gradient < 0)) | ((value >= upper) & (gradient > 0))  # pushes out of the box: hold it
    gradient = np.where(pinned, 0.0, gradient)
    normal = np.einsum("nik,njk->nij", jacobian, jacobian)
    a = normal[:, 0, 0] * (1 + damping) + 1e-300
    c = normal[:, 1, 1] * (1 + damping) + 1e-300
    b = np.where(pinned.any(axis=1), 0.0, normal[:, 0, 1])
    determinant = np.maximum(a * c - b * b, 1e-300)
    step = np.stack(
        [
            (c * gradient[:, 0] - b * gradient[:, 1]) / determinant,
            (a * gradient[:, 1] - b * gradient[:, 0]) / determinant,
        ],
        axis=1,
    )
    return np.asarray(step), np.asarray(np.linalg.norm(gradient, axis=1))
