"""Intervals: t over seeds, the jackknife, and the variance of the shared test set.

Training subsets nest within a seed, so a seed's errors correlate across P (about √(P/P′)); different seeds are
independent. The unit of replication is therefore the seed: one slope per seed, and a t interval over these slopes.
All seeds are tested on the same frames, so the noise of a finite test set shifts their slopes together and does not
show in their scatter. It is computed from the standard errors of the test errors and added to the variance (module
`moderation`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.arrays import FloatArray

LEVEL = 0.95
"""Nominal coverage of every interval."""
TEST_CORRELATION = 0.9
"""Correlation of the test noise per octave of P: a frame that is hard at P is hard at 2P. Independence would not be the
careful choice: the noise of a slope is then 1.5 times that with 0.9 for five values of P, but 0.9 times for nine.
Measured on errors per frame (MACE on methanol, 400 frames, P = 4 … 64): seed means correlate 0.85 (force MAE) and 0.7
(energy MAE) between neighbouring P, 0.5 and 0.3 between the ends. Of a run's squared standard error, 0.55 and 0.3 are
common to all seeds; the rest shows in their scatter and is counted twice here. Both together, the common noise of β
was 0.5–0.6 of what independence gives. The intervals assume 0.67 and are thus a little too wide; far too wide (99 % for
the nearest neighbour of `calibrate`) if a frame's errors are independent across seeds, and a little too narrow (93 %
for nine values of P, five seeds and 4 % noise) if all of the noise is common and correlates 0.85."""
TINY = 1e-300
"""Keeps a division by a sum of squares that is zero finite."""
MANY = 10_000
"""Degrees of freedom from which t is normal to four digits."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval; `low`, `high` and `error` are NaN if there is no interval."""

    value: float
    """Point estimate."""
    low: float
    """Lower end of the interval of nominal coverage `LEVEL`."""
    high: float
    """Upper end."""
    error: float
    """Standard error."""
    dof: float
    """Degrees of freedom behind it, not always a whole number."""


def t_interval(values: FloatArray, level: float = LEVEL) -> Interval:
    """Return the mean of independent values with its t interval, mean ± t(S − 1)·sd/√S; NaN is left out.

    Args:
        values: one value per seed. [S]
        level: coverage of the interval.
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


def shared_variance(x: FloatArray, weights: FloatArray, sem: FloatArray) -> FloatArray:
    """Return the variance that the shared test set gives to estimates Σₖ wₖ·ln εₖ: [..., K] → [...].

    It is the same for any number of seeds, since they share the frames.

    Args:
        x: ln P. [K]
        weights: derivative of the estimate by ln ε at each P. [..., K]
        sem: standard error of the test error over the error. [..., K]
    """
    correlation = TEST_CORRELATION ** np.abs((x[:, None] - x) / np.log(2))
    scaled = weights * sem
    return np.asarray(((scaled @ correlation) * scaled).sum(axis=-1))


def line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of y over x [K] by least squares; NaN in y is left out; NaN if < 2 points remain."""
    good = np.isfinite(y)
    if good.sum() < 2:
        return np.nan, np.nan
    centre = x[good].mean()
    shifted = x[good] - centre
    slope = float(shifted @ y[good] / (shifted @ shifted))
    return slope, float(y[good].mean() - slope * centre)


def lines(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slopes [S] and intercepts [S] of the rows of y [S, K] over x [K] by least squares."""
    pairs = np.array([line(x, row) for row in y]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def jackknife_interval(value: float, left_out: FloatArray, level: float = LEVEL) -> Interval:
    """Return value ± t(S − 1)·√((S − 1)/S·Σ(vₛ − v̄)²), vₛ the estimate without seed s (Efron & Stein 1981).

    Args:
        value: the estimate from all seeds.
        left_out: the estimates vₛ. [S]
        level: coverage of the interval.
    """
    n = len(left_out)
    error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    half = t_quantile(n - 1, level) * error
    return Interval(value, value - half, value + half, error, n - 1)


def t_quantile(dof: float, level: float = LEVEL) -> float:
    """Return the two-sided quantile of Student's t: a share `level` lies within ± it."""
    return float(special.stdtrit(dof, 0.5 + level / 2))


def two_sided(value: float, error: float, dof: float) -> float:
    """Return the two-sided p value of a t test that the true value is zero; NaN without degrees of freedom.

    If value and standard error are both at round-off, as for noiseless zeros, p = 1.
    """
    if not np.isfinite(error) or dof < 1:
        return np.nan
    if error <= 1e-10 * (1 + abs(value)):
        return 1.0 if abs(value) < 1e-8 else 0.0
    return float(2 * special.stdtr(dof, -abs(value) / error))
