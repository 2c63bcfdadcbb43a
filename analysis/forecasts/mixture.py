"""The predictive distribution of a learning curve beyond its last point.

ln ε is a power law with a floor, plus a discrepancy, plus noise:

    ln ε(P) = α + ln((1 − φ)·(P/P_max)^(−β) + φ) + δ(ln P) + noise

No form is right, and how wrong one is correlates over P: δ is a Gaussian process whose local slope drifts, an
integrated Wiener process that starts at P_max in both directions. α has a flat prior and is integrated out. β, φ, the
size of the drift and, where seeds do not give it, that of the noise have priors on grids. What a curve says about a
larger P is then a mixture of normal distributions, weighed by how well each combination describes the curve: curves
that several forms describe get the spread of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from analysis.arrays import FloatArray
from analysis.fits.floor import shape
from analysis.fits.noise import nested

BETAS = np.concatenate([[0.0], np.geomspace(0.03, 2.5, 22)])
"""Exponents of the grid."""
FLOORS = np.concatenate([[0.0], np.linspace(0.1, 0.9, 9), [0.96]])
"""Floors of the grid, as fractions of the error at P_max."""
NO_FLOOR = 0.4
"""Prior probability of no floor; the others share the rest evenly."""
STEEP = 0.6
"""Scale of the prior of β, exp(−β/STEEP): published exponents lie below one (Hestness et al. 2017)."""
DRIFTS = np.array([0.01, 0.03, 0.06, 0.1])
"""Standard deviations of the drift of the local exponent over one unit of ln P. Larger ones widen the intervals of all
curves for the sake of few, which the factors do at less cost: up to 0.3 made those of LCDB at ×8 wider by 16 %."""
NOISES = np.geomspace(0.004, 0.4, 9)
"""Relative noise of a curve without seeds."""
AROUND = np.array([0.6, 0.8, 1.0, 1.25, 1.6])
"""Noise of a curve with seeds, over the one that they show."""
SHARED = 0.5
"""Share of the noise that correlates over P as nested subsets do; the rest is that of each training."""
NEGLIGIBLE = 1e-4
"""Total weight of the components that are left out, the lightest ones."""
HALVINGS = 13
"""Bisections of a quantile, after which it is interpolated: the rest, 10⁻⁴ of the range, is straight."""


@dataclass(frozen=True)
class Mixture:
    """Normal mixtures of ln ε at M sizes."""

    weight: FloatArray
    """Weights, which sum to one. [J]"""
    mean: FloatArray
    """Means of ln ε. [J, M]"""
    sd: FloatArray
    """Standard deviations, of the mean over the curve's seeds. [J, M]"""
    run_sd: FloatArray
    """Those of a single new run. [J, M]"""
    asymptote: FloatArray
    """ln of each component's floor; −∞ without one. [J]"""
    noise: float
    """Relative noise of the mean over the curve's seeds."""
    run_noise: float
    """That of a single run."""

    def quantiles(self, levels: FloatArray, *, run: bool = False) -> FloatArray:
        """Return the quantiles of ln ε at `levels` [Q]: [Q, M]."""
        sd = self.run_sd if run else self.sd
        reach = 8 * sd.max(axis=0)
        low = np.broadcast_to(self.mean.min(axis=0) - reach, (len(levels), sd.shape[1])).copy()
        high = np.broadcast_to(self.mean.max(axis=0) + reach, low.shape).copy()
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            under = self._below(middle, sd) < levels[:, None]
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        start, end = self._below(low, sd), self._below(high, sd)
        share = (levels[:, None] - start) / np.maximum(end - start, 1e-12)  # ends that coincide: either will do
        return np.asarray(low + np.clip(share, 0.0, 1.0) * (high - low))

    def _below(self, places: FloatArray, sd: FloatArray) -> FloatArray:
        """Return the probability of less than `places` [Q, M]: [Q, M]."""
        return np.stack([self.weight @ special.ndtr((place - self.mean) / sd) for place in places])


@dataclass(frozen=True)
class Noise:
    """What is known about the noise of a curve's errors."""

    runs: int
    """Runs behind each error."""
    sd: float
    """Relative standard deviation of a single run; NaN if seeds do not tell it."""
    dof: float
    """Degrees of freedom behind `sd`."""


def predict(log_p: FloatArray, y: FloatArray, noise: Noise, ahead: FloatArray) -> Mixture:
    """Return the predictive distribution of ln ε.

    Args:
        log_p: ln P, ascending, at least three. [K]
        y: ln of the errors' means over runs. [K]
        noise: of these.
        ahead: ln P to predict. [M]
    """
    shifted, further = log_p - log_p[-1], ahead - log_p[-1]
    prior, table, forward = _forms(tuple(shifted.tolist()), tuple(further.tolist()))
    known = np.isfinite(noise.sd) and noise.dof > 0
    sds = noise.sd * AROUND if known else NOISES
    log_sd_prior = _chi(AROUND, noise.dof) if known else np.zeros(len(NOISES))
    drift, sd = (values.ravel() for values in np.meshgrid(DRIFTS, sds, indexing="ij"))
    log_scale_prior = np.tile(log_sd_prior, len(DRIFTS))
    scatter = sd / np.sqrt(noise.runs)
    own = scatter[:, None, None] ** 2 * _noise(shifted, shifted, np.eye(len(shifted)))
    cross = np.broadcast_to(
        scatter[:, None, None] ** 2 * SHARED * np.exp(-np.abs(further[:, None] - shifted) / 2),
        (len(sd), len(further), len(shifted)),
    )
    bend = drift[:, None, None] ** 2
    inverse = np.linalg.inv(own + bend * _drift(shifted, shifted))
    cross = cross + bend * _drift(further, shifted)
    residual = y - table  # [G, K]
    ones = inverse.sum(axis=2)  # C⁻¹1
    total = ones.sum(axis=1)
    level = ones @ residual.T / total[:, None]
    squares = ((residual @ inverse) * residual).sum(axis=2) - total[:, None] * level**2
    _, log_det = np.linalg.slogdet(inverse)
    log_weight = prior + log_scale_prior[:, None] + 0.5 * (log_det - np.log(total))[:, None] - 0.5 * squares
    weight = np.exp(log_weight - log_weight.max())
    ordered = np.sort(weight, axis=None)
    least = ordered[np.searchsorted(np.cumsum(ordered), NEGLIGIBLE * ordered.sum())]
    s, g = np.nonzero(weight >= least)
    weight = weight[s, g] / weight[s, g].sum()
    pull = cross @ inverse
    rest = 1 - pull.sum(axis=2)  # [S, M]
    linear = pull + rest[..., None] * (ones / total[:, None])[:, None]
    mean = forward[g] + (linear @ residual.T).transpose(0, 2, 1)[s, g]
    at = bend[:, :, 0] * np.abs(further) ** 3 / 3
    latent = at - (pull * cross).sum(axis=2) + rest**2 / total[:, None]
    variance = np.maximum(latent + scatter[:, None] ** 2, 1e-16)
    alone = np.maximum(latent + scatter[:, None] ** 2 + sd[:, None] ** 2, 1e-16)
    floor = np.tile(FLOORS, len(BETAS))
    with np.errstate(divide="ignore"):
        asymptote = level[s, g] + np.log(floor[g])
    run_noise = float(np.sqrt(weight @ sd[s] ** 2))
    scales = np.sqrt(variance)[s], np.sqrt(alone)[s]
    return Mixture(weight, mean, *scales, asymptote, run_noise / np.sqrt(noise.runs), run_noise)


@lru_cache(maxsize=256)
def _forms(shifted: tuple[float, ...], further: tuple[float, ...]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the log prior of every form [G], and its shape at the curve's sizes [G, K] and ahead [G, M]."""
    beta, phi = (grid.ravel() for grid in np.meshgrid(BETAS, FLOORS, indexing="ij"))
    spacing = np.tile(np.gradient(BETAS)[:, None], len(FLOORS)).ravel()
    of_floor = np.where(phi == 0, NO_FLOOR, (1 - NO_FLOOR) / (len(FLOORS) - 1))
    prior = np.log(spacing * of_floor) - beta / STEEP
    return prior, *(shape(np.array(x), beta[:, None], phi[:, None]) for x in (shifted, further))


def _noise(a: FloatArray, b: FloatArray, same: FloatArray) -> FloatArray:
    return SHARED * nested(a) + (1 - SHARED) * same


def _drift(a: FloatArray, b: FloatArray) -> FloatArray:
    """Return the covariance of an integrated Wiener process that starts at zero in both directions: [A, B].

    ∫₀ˢ∫₀ᵗ min(u, v) = s²·(3t − s)/6 for 0 ≤ s ≤ t (Rasmussen & Williams 2006, eq. 6.28); zero across the start.
    """
    x, y = a[:, None], b[None, :]
    small, large = np.minimum(np.abs(x), np.abs(y)), np.maximum(np.abs(x), np.abs(y))
    return np.asarray(np.where(x * y > 0, small**2 * (3 * large - small) / 6, 0.0))


def _chi(ratio: FloatArray, dof: float) -> FloatArray:
    """Return the log density of a true standard deviation `ratio` times the one found with `dof` degrees of freedom."""
    return np.asarray(-dof * np.log(ratio) - dof / (2 * ratio**2))
