"""Moderated t: the variances of few seeds, shrunk towards what the curves of a table have in common (Smyth 2004).

The variances of M curves scatter about a common value: σ² ~ d₀·s₀²/χ²(d₀). Prior variance s₀² and degrees of freedom d₀
are estimated from the logarithms of the curves' own variances (Smyth 2004, §6.2). A curve with the variance s² of d
degrees of freedom then has (d₀·s₀² + d·s²)/(d₀ + d) with d₀ + d, at most those of all curves together. Curves that
differ in their noise make d₀ small, and nothing is shrunk. A curve of one seed has no variance of its own.

Two seeds give a slope one degree of freedom, with which eight curves hardly tell d₀: equal noise and such as differs by
a factor of two look alike. What lines leave of the seeds' runs has more degrees of freedom and differs between curves
as the noise does. The smaller of both d₀ counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from analysis.arrays import FloatArray
from analysis.fits.noise import Spread
from analysis.fits.uncertainty import LEVEL, MANY

FEWEST = 3
"""Curves with a variance of their own from which on there is a prior: from two, chance decides its strength."""


@dataclass(frozen=True)
class Prior:
    """What the curves of T tables say about the variance of any of them; without curves nothing (zero everywhere)."""

    dof: FloatArray
    """Strength d₀ in degrees of freedom. [T]"""
    variance: FloatArray
    """Variance s₀² of ln ε, relative to that of nested noise (`Spread.scale`). [T]"""
    pooled: FloatArray
    """Degrees of freedom of all curves together, which no interval exceeds. [T]"""
    curves: int = 0
    """Number of curves behind it."""


NO_PRIOR = Prior(np.zeros(1), np.zeros(1), np.full(1, np.inf))
"""The prior of a curve that stands alone."""


def estimate_prior(
    variance: FloatArray, dof: FloatArray, scatter: tuple[FloatArray, FloatArray] | None = None
) -> Prior:
    """Estimate the prior of T tables of M curves each (Smyth 2004, §6.2).

    Curves without noise or without degrees of freedom do not count; from fewer than `FEWEST` there is no prior.

    Args:
        variance: the curves' variances over their scales. [T, M]
        dof: their degrees of freedom. [T, M]
        scatter: variance of the runs about lines of their seeds, and its degrees of freedom, zero where there is none;
            it tells how far the curves' noise differs, not its size. [T, M'] each
    """
    counts = _counted(variance, dof)
    n = counts.sum(axis=1)
    mean, excess = _logs(variance, dof)
    if scatter is not None:
        excess = np.where(_counted(*scatter).sum(axis=1) >= FEWEST, np.maximum(excess, _logs(*scatter)[1]), excess)
    strength = np.where(excess > 0, 2 * inverse_trigamma(np.maximum(excess, 1e-8)), float(MANY))
    strength = np.minimum(strength, MANY)
    own = np.exp(mean + special.digamma(strength / 2) - np.log(strength / 2))
    enough = n >= FEWEST
    return Prior(
        np.where(enough, strength, 0.0),
        np.where(enough, own, 0.0),
        np.where(enough, np.where(counts, dof, 0.0).sum(axis=1), np.inf),
        int(n.max(initial=0)),
    )


def _counted(variance: FloatArray, dof: FloatArray) -> NDArray[np.bool_]:
    """Return which curves say something of their noise, [T, M]."""
    return np.asarray((dof > 0) & (variance > 1e-24))  # round-off of ln ε, squared


def _logs(variance: FloatArray, dof: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean of ln σ̂² less its bias, and how much more it varies than chance explains: [T, M] → [T] each."""
    counts = _counted(variance, dof)
    n = counts.sum(axis=1)
    half = np.where(counts, dof, 2.0) / 2
    logs = np.log(np.where(counts, variance, 1.0)) - special.digamma(half) + np.log(half)
    mean = np.where(counts, logs, 0.0).sum(axis=1) / np.maximum(n, 1)
    excess = np.where(counts, (logs - mean[:, None]) ** 2, 0.0).sum(axis=1) / (np.maximum(n, 2) - 1)
    return mean, excess - np.where(counts, special.polygamma(1, half), 0.0).sum(axis=1) / np.maximum(n, 1)


def inverse_trigamma(y: FloatArray) -> FloatArray:
    """Return x with ψ′(x) = y > 0, by Newton's method on 1/ψ′ (Smyth 2004, appendix)."""
    x = 0.5 + 1 / y
    for _ in range(20):
        slope = special.polygamma(1, x)
        x = x + slope * (1 - slope / y) / special.polygamma(2, x)
    return np.asarray(x)


@dataclass(frozen=True)
class Margin:
    """Standard errors and half widths of estimates; NaN where there is no variance."""

    error: FloatArray
    """Standard error, with the shared test set. [...]"""
    dof: FloatArray
    """Degrees of freedom. [...]"""
    half: FloatArray
    """Half the width of the interval. [...]"""


def margin(spread: Spread, dof: FloatArray, prior: Prior, level: float = LEVEL) -> Margin:
    """Return standard error, degrees of freedom and half width of estimates: arrays [N, ...] as those of `spread`.

    The variance of the shared test set counts as known, with hundreds of frames against a handful of seeds; the degrees
    of freedom are then d·(sum / variance)² (Satterthwaite 1946). From few seeds these are too many if the scatter
    comes out small by chance. The half width is therefore at least the one without the known variance, which can only
    widen an interval.

    Args:
        spread: variances of the estimates.
        dof: degrees of freedom of the curve's own variance, unless `spread` has them for each estimate. [N]
        prior: of the table of each curve, or one for all.
        level: coverage of the interval.
    """
    shape = (-1,) + (1,) * (spread.variance.ndim - 1)
    d, d0, s0, most = (values.reshape(shape) for values in (dof, prior.dof, prior.variance, prior.pooled))
    if spread.dof is not None:
        d = spread.dof
    total = np.broadcast_to(d + d0, spread.variance.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = (d0 * s0 * spread.scale + d * spread.variance) / total * spread.factor
        freedom = np.minimum(total, np.maximum(most, d))
        known = np.where(np.isfinite(spread.known), spread.known, 0.0)
        ratio = np.where(known > 0, (variance + known) / variance, 1.0)
        both = np.minimum(freedom * ratio**2, MANY)
        error = np.sqrt(variance + known)
        half = np.maximum(quantile(both, level) * error, quantile(freedom, level) * np.sqrt(variance))
    possible = total >= 1
    return Margin(*(np.where(possible, values, np.nan) for values in (error, both, half)))


def quantile(dof: FloatArray, level: float = LEVEL) -> FloatArray:
    """Return the two-sided quantile of Student's t for fractional degrees of freedom; NaN below zero."""
    return np.asarray(special.stdtrit(dof, 0.5 + level / 2))
