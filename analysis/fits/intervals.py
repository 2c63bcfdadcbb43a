"""Exponents with their intervals, for N curves at once that share sizes and number of seeds.

`measure` takes what each curve says by itself: its plain slope, its slope over the last three octaves, and the scores
of exponents beside a floor (module `profile`). The curves of a table then give a prior for the variances (module
`moderation`), and `conclude` the intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.fits.floor import FLAT, FloorBatch, Polish, fit_floor
from analysis.fits.moderation import NO_PRIOR, Margin, Prior, estimate_prior, margin
from analysis.fits.noise import Noise, Spread, of_residuals, of_seeds, of_summaries, within
from analysis.fits.profile import Ends, Profile, ends, profile
from analysis.fits.uncertainty import LEVEL, Interval
from analysis.fits.uneven import best_means, of_runs, working

FLOOR_SIZES = 5
"""Number of values of P from which on a floor can be recommended: its three parameters, and two to spare."""
FEWEST_SIZES = 4
"""Number of values of P from which on one is fitted at all."""
OCTAVES = 3
"""Octaves of P at the large end over which the local exponent is taken."""


@dataclass(frozen=True)
class Sample:
    """The errors of N curves; numbers of runs behind each error instead of seeds where only means are known."""

    log_p: FloatArray
    """ln P, ascending. [K]"""
    rows: FloatArray
    """ln ε without gaps; one row if there is one seed, or none. [N, S, K]"""
    pool: float = np.inf
    """Frames of the pool from which the seeds draw overlapping subsets; infinite if they are disjoint or not known."""
    sem: FloatArray | None = None
    """Relative standard errors of the test errors. [N, K]"""
    sd: FloatArray | None = None
    """Relative standard deviation over the runs behind each mean, for rows that are means. [N, K]"""
    n_runs: FloatArray | None = None
    """Number of these runs, two at least. [N, K]"""
    runs: FloatArray | None = None
    """ln ε of all seeds, NaN where one has no run, if seeds differ in their sizes; the mean of `rows` is then that of
    all runs. [N, S', K]"""

    @property
    def mean(self) -> FloatArray:
        """Mean of ln ε over seeds, shape [N, K]."""
        return np.asarray(self.rows.mean(axis=1))

    def noise(self, design: FloatArray) -> Noise:
        """Return the noise; with a single seed from the residuals of a fit with the derivatives `design` [N, K, p]."""
        if self.sd is not None and self.n_runs is not None:
            return of_summaries(self.log_p, self.sd, self.n_runs, self.sem)
        if self.runs is not None:
            return of_runs(self.log_p, self.runs, self.pool, self.sem)
        if self.rows.shape[1] > 1:
            return of_seeds(self.log_p, self.rows, self.pool, self.sem)
        return of_residuals(self.log_p, self.rows[:, 0], design, self.sem)


def sample_of_runs(
    log_p: FloatArray,
    runs: FloatArray,
    rows: FloatArray,
    pool: float = np.inf,
    sem: FloatArray | None = None,
) -> Sample:
    """Return the sample of curves whose seeds differ in their sizes.

    Args:
        log_p: ln P. [K]
        runs: ln ε, NaN where a run is missing; the N curves lack the same. [N, S', K]
        rows: ln ε without gaps of some seeds, which stand for all once they are moved to the mean of all. [N, S, K]
        pool: as in `Sample`.
        sem: as in `Sample`.
    """
    moved = rows + (best_means(working(log_p), runs) - rows.mean(axis=1))[:, None]
    return Sample(log_p, moved, pool, sem, runs=runs)


@dataclass(frozen=True)
class Linear:
    """An exponent that is linear in ln ε: β = Σₖ wₖ·ln εₖ."""

    per_seed: FloatArray
    """Exponent of each seed. [N, S]"""
    spread: Spread
    """Its variance. [N]"""
    dof: FloatArray
    """Degrees of freedom behind this. [N]"""

    @property
    def value(self) -> FloatArray:
        """Mean over seeds, shape [N]."""
        return np.asarray(self.per_seed.mean(axis=1))

    def margin(self, prior: Prior, level: float = LEVEL) -> Margin:
        """Return standard error and half width, shape [N] each."""
        return margin(self.spread, self.dof, prior, level)


@dataclass(frozen=True)
class Floored:
    """What the curves say about an exponent beside a floor."""

    fits: FloorBatch
    """Least-squares fits to the means over seeds: the seeds share exponent and floor, each has its own prefactor."""
    per_seed: FloatArray
    """Exponent of each seed, linearised about the joint fit. [N, S]"""
    profile: Profile
    """Score tests of exponents."""
    spread: Spread
    """Variance of the score at the plain slope. [N]"""
    dof: FloatArray
    """Degrees of freedom behind the variances. [N]"""

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Whether the exponent is identified, shape [N]: a flat curve can be all floor."""
        return np.asarray((self.fits.status <= Polish.NO_FLOOR) & (self.fits.beta >= FLAT))


@dataclass(frozen=True)
class Measured:
    """What N curves say by themselves."""

    sample: Sample
    """Their errors."""
    power: Linear
    """The plain slope."""
    local: Linear
    """The slope over the last octaves."""
    floored: Floored | None
    """With a floor; None for fewer than `FEWEST_SIZES` values of P."""

    @property
    def scatter(self) -> tuple[FloatArray, FloatArray]:
        """Variance of the runs about lines of their seeds, and its degrees of freedom, zero for one seed: [N] each."""
        rows = self.sample.rows
        if rows.shape[1] < 2 or rows.shape[2] < 3:
            return np.zeros(len(rows)), np.zeros(len(rows))
        noise = within(self.sample.log_p, rows)
        return noise.covariances[0][:, 0, 0], noise.dof


@dataclass(frozen=True)
class Priors:
    """Priors of the variances of a table's curves, one for each kind of estimate, whose noise differs in kind."""

    power: Prior = NO_PRIOR
    """Of plain slopes."""
    local: Prior = NO_PRIOR
    """Of slopes over the last octaves."""
    floored: Prior = NO_PRIOR
    """Of scores beside a floor."""


@dataclass(frozen=True)
class Conclusion:
    """Exponents with their intervals; arrays [N]."""

    power: Margin
    """Of the plain slope."""
    local: Margin
    """Of the slope over the last octaves."""
    ends: Ends | None
    """Interval of β if there may be a floor or not; None for too few sizes."""
    floor: NDArray[np.bool_]
    """Whether the exponent with a floor is recommended: the plain power law is excluded."""
    value: FloatArray
    """The recommended exponent."""
    low: FloatArray
    """Lower end of its interval."""
    high: FloatArray
    """Upper end."""
    identified: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """Whether the exponent with a floor has an interval."""


def slope_weights(log_p: FloatArray) -> FloatArray:
    """Return w with β = Σₖ wₖ·ln εₖ for the least-squares slope: [K] → [K]."""
    shifted = log_p - log_p.mean()
    return np.asarray(-shifted / (shifted @ shifted))


def local_window(log_p: FloatArray) -> int:
    """Return the index of the first of the last three octaves' sizes; two sizes are taken at least."""
    inside = log_p >= log_p[-1] - OCTAVES * np.log(2) - 1e-9  # round-off of a logarithm
    return min(int(np.argmax(inside)), len(log_p) - 2)


def power_law(sample: Sample) -> Linear:
    """Return the plain slopes of curves."""
    return _linear(sample, slope_weights(sample.log_p), sample.noise(_line_design(sample)))


def _line_design(sample: Sample) -> FloatArray:
    x = sample.log_p
    return np.broadcast_to(np.stack([np.ones_like(x), x], axis=1), (len(sample.rows), len(x), 2))


def measure(sample: Sample) -> Measured:
    """Return what curves say by themselves."""
    x = sample.log_p
    start = local_window(x)
    last = np.concatenate([np.zeros(start), slope_weights(x[start:])])
    power = power_law(sample)
    floored = _floored(sample, power) if len(x) >= FEWEST_SIZES else None
    # With four sizes the form with a floor leaves residuals that say nothing.
    bent = _line_design(sample) if floored is None or len(x) < FLOOR_SIZES else _floor_design(x, floored.fits)
    return Measured(sample, power, _linear(sample, last, sample.noise(bent)), floored)


def _linear(sample: Sample, weights: FloatArray, noise: Noise) -> Linear:
    spread = noise.spread(np.broadcast_to(weights, (len(sample.rows), len(weights))))
    return Linear(sample.rows @ weights, spread, noise.dof if spread.dof is None else spread.dof)


def _floored(sample: Sample, power: Linear) -> Floored:
    mean = sample.mean
    fits = fit_floor(sample.log_p, mean)
    noise = sample.noise(_floor_design(sample.log_p, fits))
    tests = profile(sample.log_p, mean, power.value, noise)
    weights = fits.weights(sample.log_p, np.isfinite(mean))
    per_seed = fits.beta[:, None] + np.einsum("nsk,nk->ns", sample.rows - mean[:, None], weights)
    plain = tests.spread.at(np.zeros(len(mean), dtype=int))
    return Floored(fits, per_seed, tests, plain, noise.dof if plain.dof is None else plain.dof)


def _floor_design(log_p: FloatArray, fits: FloorBatch) -> FloatArray:
    """Return the derivatives of the fitted ln ε by α, β and φ: [N, K, 3]."""
    shifted = log_p - log_p[-1]
    growth, phi = np.exp(-fits.beta[:, None] * shifted), fits.phi[:, None]
    total = (1 - phi) * growth + phi
    return np.stack([np.ones_like(total), -shifted * (1 - phi) * growth / total, (1 - growth) / total], axis=2)


def conclude(one: Measured, priors: Priors = Priors(), level: float = LEVEL) -> Conclusion:  # frozen
    """Return the intervals, and the form to recommend."""
    power, local = one.power.margin(priors.power, level), one.local.margin(priors.local, level)
    value = one.power.value
    low, high = value - power.half, value + power.half
    nothing = np.zeros(len(value), dtype=bool)
    if one.floored is None:
        return Conclusion(power, local, None, nothing, value, low, high, nothing)
    spans = ends(one.floored.profile, one.floored.dof, priors.floored, low, high, level)
    identified = one.floored.usable & np.isfinite(spans.high) & np.isfinite(spans.low)
    considered = identified & (len(one.sample.log_p) >= FLOOR_SIZES)
    chosen = considered & ~spans.power
    return Conclusion(
        power,
        local,
        spans,
        chosen,
        np.where(chosen, one.floored.fits.beta, value),
        np.where(considered, spans.low, low),
        np.where(considered, spans.high, high),
        identified,
    )


def priors_of(measured: Sequence[Measured], curves: int = 1) -> Priors:
    """Return the priors of T tables, repeated for each of their curves.

    Args:
        measured: curves of one table (each with N = 1), or one item with N = T·M curves of T tables.
        curves: number M of curves of a table in one item; 1 for a single table given as several items.
    """
    if not measured:
        return Priors()
    shape = (-1, curves) if curves > 1 else (1, -1)
    columns = zip(*(one.scatter for one in measured), strict=True)
    variance, freedom = (np.concatenate(column).reshape(shape) for column in columns)

    def prior(parts: Sequence[Linear | Floored]) -> Prior:
        if not parts:
            return NO_PRIOR
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.concatenate([part.spread.variance / part.spread.scale for part in parts])
        dof = np.concatenate([part.dof for part in parts])
        found = estimate_prior(ratio.reshape(shape), dof.reshape(shape), (variance, freedom))
        if curves == 1:
            return found
        return replace(
            found,
            dof=np.repeat(found.dof, curves),
            variance=np.repeat(found.variance, curves),
            pooled=np.repeat(found.pooled, curves),
        )

    return Priors(
        prior([one.power for one in measured]),
        prior([one.local for one in measured]),
        prior([one.floored for one in measured if one.floored is not None]),
    )


def interval(value: float, one: Margin) -> Interval:
    """Return an estimate with its margin, of one curve."""
    error, dof, half = (float(np.ravel(values)[0]) for values in (one.error, one.dof, one.half))
    return Interval(value, value - half, value + half, error, dof if np.isfinite(dof) else 0.0)


def slope_of_one(log_p: FloatArray, y: FloatArray, prior: Prior = NO_PRIOR, level: float = LEVEL) -> Interval:
    """Return the slope of a single run's y over ln P, [K] each, with an interval that allows for nested subsets.

    Also for the difference of two single runs, y = ln ε₂ − ln ε₁, whether or not they share their subsets. Without a
    prior it takes three sizes.
    """
    sample = Sample(log_p, y[None, None])
    line = np.stack([np.ones_like(log_p), log_p], axis=1)[None]
    one = _linear(sample, -slope_weights(log_p), sample.noise(line))
    return interval(float(one.value[0]), one.margin(prior, level))
