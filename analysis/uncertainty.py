"""Intervals: t over seeds, ordinary least squares where there is one seed.

Training subsets nest within a seed, so a seed's errors correlate across P (about √(P/P′)); different seeds are
independent. The unit of replication is therefore the seed: one slope per seed, and a t interval over these slopes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

FloatArray = NDArray[np.float64]

LEVEL = 0.95
"""Nominal coverage of every interval."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `low`, `high` and `error` are NaN where nothing can be said."""

    value: float
    """Point estimate."""
    low: float
    """Lower end of the interval of nominal coverage `LEVEL`."""
    high: float
    """Upper end."""
    error: float
    """Standard error."""
    dof: int
    """Degrees of freedom behind it."""


def t_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Mean ± t(S − 1)·sd/√S of independent values, NaN left out.

    Args:
        values: one value per seed. [S]
    """
    present = values[np.isfinite(values)]
    n = len(present)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, np.nan, 0)
    mean = float(present.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, np.nan, 0)
    error = float(present.std(ddof=1) / np.sqrt(n))
    half = t_quantile(n - 1, level) * error
    return Interval(mean, mean - half, mean + half, error, n - 1)


def line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Slope and intercept of y over x by least squares, NaN left out; NaN where fewer than two points remain."""
    good = np.isfinite(y)
    if good.sum() < 2:
        return np.nan, np.nan
    centre = x[good].mean()
    shifted = x[good] - centre
    slope = float(shifted @ y[good] / (shifted @ shifted))
    return slope, float(y[good].mean() - slope * centre)


def lines(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Slope and intercept of every row of y [S, K] over x [K]. [S], [S]"""
    pairs = np.array([line(x, row) for row in y]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def ols_interval(x: FloatArray, y: FloatArray, level: float = LEVEL) -> Interval:
    """Slope of y over x with the textbook t(K − 2) interval; no interval for two points.

    Only for curves without seeds: it takes the K points for independent, which nested subsets are not.
    """
    good = np.isfinite(y)
    slope, intercept = line(x, y)
    n = int(good.sum())
    if n < 3:
        return Interval(slope, np.nan, np.nan, np.nan, 0)
    residual = y[good] - intercept - slope * x[good]
    spread = float(((x[good] - x[good].mean()) ** 2).sum())
    error = float(np.sqrt(residual @ residual / (n - 2) / spread))
    half = t_quantile(n - 2, level) * error
    return Interval(slope, slope - half, slope + half, error, n - 2)


def jackknife_interval(value: float, left_out: FloatArray, level: float = LEVEL) -> Interval:
    """Value ± t(S − 1)·√((S − 1)/S·Σ(vₛ − v̄)²) from the S values without one seed each (Efron & Stein 1981). [S]"""
    n = len(left_out)
    error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    half = t_quantile(n - 1, level) * error
    return Interval(value, value - half, value + half, error, n - 1)


def t_quantile(dof: int, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t."""
    return float(stats.t.ppf(0.5 + level / 2, dof))


def two_sided(value: float, error: float, dof: int) -> float:
    """p value of a t test that the true value is zero; NaN without degrees of freedom.

    A standard error at round-off is no evidence for a value at round-off: noiseless zeros give p = 1.
    """
    if not np.isfinite(error) or dof < 1:
        return np.nan
    if error <= 1e-10 * (1 + abs(value)):
        return 1.0 if abs(value) < 1e-8 else 0.0
    return float(2 * stats.t.sf(abs(value) / error, dof))
