"""Differences of exponents of two curves, whose intervals the other curves of the table may narrow.

Few seeds say little of their own scatter: with two, a t interval is five times as wide as with five. The pairs of a
table have similar noise, however, and lend each other degrees of freedom (moderated t: Smyth 2004, module
`analysis.fits.moderation`). Pairs that share curves are not independent: of M curves that hang together by pairs, M − 1
differences do not follow from the others, and no interval has more degrees of freedom than these. A pair of single
runs, which has no scatter over seeds, takes it from the residuals of a line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.arrays import FloatArray
from analysis.comparisons.paired import FLOOR_SIZES, Pair, after_training
from analysis.comparisons.stacked import both_uneven, noise_of, stack_of
from analysis.fits.floor import FLAT, Polish, fit_floor
from analysis.fits.intervals import slope_weights
from analysis.fits.moderation import NO_PRIOR, Prior, estimate_prior, margin, quantile
from analysis.fits.noise import Spread, form, nested, pool_share
from analysis.fits.remainder import Kappa
from analysis.fits.uncertainty import LEVEL, Interval
from analysis.fits.uneven import Uneven

_NOTHING = Interval(np.nan, np.nan, np.nan, np.nan, 0)


@dataclass(frozen=True)
class Lent:
    """What the pairs of a table say of the variance in any of them."""

    pairs: Prior = NO_PRIOR
    """Of the difference of two curves with matched seeds."""
    curves: Prior = NO_PRIOR
    """Of a single curve."""

    @property
    def dof(self) -> float:
        """Degrees of freedom that a pair with matched seeds gains."""
        return float(np.minimum(self.pairs.dof, self.pairs.pooled)[0])


ALONE = Lent()
"""For a pair that stands alone."""


def lend(pairs: Sequence[Pair]) -> Lent:
    """Return what pairs of one table say of the variance in any of them."""
    matched = [one for one in pairs if one.paired]
    curves: dict[str, tuple[FloatArray, FloatArray]] = {}
    for one in pairs:
        for curve, rows in zip((one.first, one.second), one.rows, strict=True):
            curves.setdefault(curve.name, (one.log_p, rows[np.isfinite(rows).any(axis=1)]))
    by_pair = estimate_prior(*_columns([_relative(difference_spread(one)) for one in matched if not one.empty]))
    if np.isfinite(by_pair.pooled[0]):
        share = _independent(matched) / len(matched)
        by_pair = replace(by_pair, pooled=np.maximum(1.0, by_pair.pooled * share))
    known = [(log_p, rows) for log_p, rows in curves.values() if np.isfinite(rows).any(axis=0).all()]
    return Lent(by_pair, estimate_prior(*_columns([relative_variance(log_p, rows[None]) for log_p, rows in known])))


def _columns(found: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    """Return variances and degrees of freedom [1] each of M curves as those of one table: [1, M] each."""
    variance, dof = (np.array([float(one[i][0]) for one in found])[None] for i in range(2))
    return variance, dof


def relative_variance(log_p: FloatArray, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the variance of slopes, relative to nested noise of one, and its degrees of freedom: [N, S, K] → [N]."""
    return _relative(_slope_spread(log_p, rows))


def _relative(found: tuple[Spread, FloatArray]) -> tuple[FloatArray, FloatArray]:
    spread, dof = found
    return spread.variance / spread.scale, dof


def _slope_spread(log_p: FloatArray, rows: FloatArray, pool: float = np.inf) -> tuple[Spread, FloatArray]:
    """Return the variances of slopes and their degrees of freedom [N]: ln ε, or its difference, [N, S, K]."""
    noise, weights = noise_of(log_p, rows, pool), slope_weights(log_p)
    return noise.spread(np.broadcast_to(weights, (len(rows), len(weights)))), noise.dof


def difference_spread(pair: Pair) -> tuple[Spread, FloatArray]:
    """Return the variance of the difference of slopes of two curves with matched seeds, and its degrees of freedom."""
    first, second = (rows[None] for rows in pair.rows)
    if (np.isfinite(first) == np.isfinite(second)).all():
        return _slope_spread(pair.log_p, second - first, pair.pool)
    _, uneven = both_uneven(pair.log_p, first, second)
    return uneven_spread(pair.log_p, uneven, pair.pool)


def uneven_spread(log_p: FloatArray, uneven: Uneven, pool: float = np.inf) -> tuple[Spread, FloatArray]:
    """Return the same from the scatter of both curves' runs, stacked."""
    weights = slope_weights(log_p)
    found = uneven.moments(np.broadcast_to(np.concatenate([-weights, weights]), (len(uneven.scatter), 2 * len(log_p))))
    scale = np.full(found.single.shape, form(weights, nested(log_p)))
    factor = found.mean / found.unit + pool_share(log_p, weights, pool)
    return Spread(found.single, scale, factor, np.full(scale.shape, np.nan), found.dof), found.dof


def _independent(pairs: Sequence[Pair]) -> int:
    """Return how many of the differences of pairs do not follow from the others: curves less groups of them."""
    import networkx as nx  # here, because `--help` imports this module and needs no graphs

    graph = nx.Graph((one.first.name, one.second.name) for one in pairs)
    return int(graph.number_of_nodes() - nx.number_connected_components(graph))


def slope_difference(pair: Pair, level: float = LEVEL, lent: Lent = ALONE) -> Interval:
    """Return β(second) − β(first) with a (moderated) t interval over paired seeds; Welch's if seeds do not match.

    Of single runs the residuals of a line give the interval; there is none for two sizes.
    """
    if pair.empty:
        return _NOTHING
    if pair.paired:
        return _slope(pair, lent.pairs, level)
    stacked = stack_of(pair, lent.curves)
    weights = slope_weights(pair.log_p)
    value, variance, dof = stacked.contrast(np.concatenate([-weights, weights])[None])
    return _interval(value.item(), variance.item(), dof.item(), level)


def _slope(pair: Pair, prior: Prior, level: float) -> Interval:
    spread, freedom = difference_spread(pair)
    one = margin(spread, freedom, prior, level)
    first, second = (part @ slope_weights(pair.log_p) for part in np.split(stack_of(pair).mean[0], 2))
    value = float(second - first)
    error, dof, half = (float(x[0]) for x in (one.error, one.dof, one.half))
    return Interval(value, value - half, value + half, error, dof if np.isfinite(dof) else 0.0)


def floor_difference(pair: Pair, level: float = LEVEL, lent: Lent = ALONE) -> Interval:
    """Return β(second) − β(first) with one floor per curve that its seeds share; NaN if it is not identified.

    The exponents are those of least-squares fits to the means of ln ε over seeds, with a prefactor for each seed, and
    the interval is that of the contrast by which they depend on these means, linearised about the fits.
    """
    if len(pair.log_p) < FLOOR_SIZES or pair.empty:
        return _NOTHING
    stacked = stack_of(pair, lent.curves)
    means = stacked.mean.reshape(2, -1)
    fits = fit_floor(pair.log_p, means)
    if not ((fits.status <= Polish.NO_FLOOR) & (fits.beta >= FLAT)).all():
        return _NOTHING
    by_first, by_second = fits.weights(pair.log_p, np.isfinite(means))
    _, variance, dof = stacked.contrast(np.concatenate([-by_first, by_second])[None])
    return _interval(float(fits.beta[1] - fits.beta[0]), variance.item(), dof.item(), level)


def with_training(pair: Pair, kappa: Kappa, lent: Lent = ALONE) -> Interval:
    """Return Δβ with the hull of its interval and the one after all further training; NaN if that is unknown.

    The latter's noise is that of two schedules, and so not what other pairs lend.
    """
    delta = slope_difference(pair, lent=lent)
    further = [slope_difference(one) for one in after_training(pair, kappa)]
    if not further:
        return replace(delta, low=np.nan, high=np.nan)
    low, high = min(one.low for one in (delta, *further)), max(one.high for one in (delta, *further))
    return replace(delta, low=low, high=high)


def _interval(value: float, variance: float, dof: float, level: float) -> Interval:
    if not np.isfinite(variance):
        return Interval(value, np.nan, np.nan, np.nan, 0)
    error = float(np.sqrt(max(variance, 0.0)))  # round-off, where there is no noise
    half = float(quantile(np.array(dof), level)) * error
    return Interval(value, value - half, value + half, error, dof)
