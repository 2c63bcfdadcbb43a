"""Two curves cut to what both have, and what is decided from their differences: power, floors, many pairs, datasets.

Runs of one seed have the same training subsets in both curves (subsets depend on the dataset and the seed alone), so
everything is computed within a seed, on the P that both curves have, and then over seeds. Where seeds differ in their P
or curves in their seeds, all runs count (module `stacked`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd
from scipy import stats

from analysis.arrays import FloatArray
from analysis.curve import Curve, nanmean
from analysis.fits.remainder import Kappa
from analysis.fits.training import logs as logs_of
from analysis.fits.uncertainty import LEVEL, Interval, line, t_quantile

POWER = 0.8
"""Power at which a design's smallest detectable difference is quoted."""
FLOOR_SIZES = 5
"""Number of values of P needed to tell a floor from a slope (three parameters, two to spare)."""


class Survival(StrEnum):
    """Whether a difference of exponents survives floors fitted in both curves."""

    SURVIVES = "survives"
    """With a floor fitted in both curves the interval still excludes zero, with the same sign."""
    VANISHES = "vanishes"
    """With floors the interval includes zero and excludes the plain difference, or the sign changes: it was floor."""
    UNCERTAIN = "uncertain"
    """With floors the interval includes zero and the plain difference alike: it may be floor."""
    NO_DIFFERENCE = "no_difference"
    """The plain difference does not exclude zero."""
    NOT_TESTABLE = "not_testable"
    """Too few P or seeds, or floors that are not identified."""


@dataclass(frozen=True)
class Pair:
    """Two curves cut to the seeds and sizes that both have."""

    first: Curve
    """The reference."""
    second: Curve
    """The curve compared with it."""
    log_p: FloatArray
    """ln P of the common sizes. [K]"""
    first_log: FloatArray
    """ln ε of the first curve for the common seeds that are complete in both. [S, K]"""
    second_log: FloatArray
    """ln ε of the second curve. [S, K]"""
    paired: bool
    """Whether rows are matched by seed; else they are independent samples (S may differ)."""
    half: Pair | None = None
    """The same runs after half the schedule; None if some have no such error, or an error of zero."""
    pool: float = np.inf
    """Frames of the pool from which both curves' seeds draw overlapping subsets; infinite if they are disjoint or not
    known."""
    published: tuple[Published | None, Published | None] = (None, None)
    """What is published of the scatter of each curve that is given by means alone."""
    runs: tuple[FloatArray, FloatArray] | None = None
    """ln ε of all seeds of both curves, NaN where a run is missing, if there are more runs than those of the common
    complete seeds; rows are matched if these are. [S', K] each"""

    @property
    def rows(self) -> tuple[FloatArray, FloatArray]:
        """What the means of both curves come from: all runs, or those of the common complete seeds, [S, K] each."""
        return (self.first_log, self.second_log) if self.runs is None else self.runs

    @property
    def empty(self) -> bool:
        """Whether a curve has no mean for some P."""
        return not all(np.isfinite(rows).any(axis=0).all() for rows in self.rows)

    @property
    def most_runs(self) -> tuple[int, int]:
        """The most runs of each curve at a P; with one there is no scatter over seeds."""
        first, second = (int(np.isfinite(rows).sum(axis=0).max(initial=0)) for rows in self.rows)
        return first, second

    @property
    def scatter(self) -> str:
        """Where the scatter is from: `seeds`, `residuals` of a line, or `published` with the means of one curve."""
        if any(one is not None for one in self.published):
            return "published"
        return "seeds" if max(map(len, self.rows)) > 1 else "residuals"


@dataclass(frozen=True)
class Published:
    """Standard deviations over runs that are published with their means."""

    sd: FloatArray
    """Relative standard deviation. [K]"""
    n_runs: FloatArray
    """Number of runs behind it, two at least. [K]"""


def pair(first: Curve, second: Curve) -> Pair | None:
    """Cut two curves to the sizes, and if possible the seeds, that both have; None for fewer than two common sizes."""
    sizes = np.intersect1d(first.sizes, second.sizes)
    if len(sizes) < 2:
        return None
    both = (first, second)
    logs, halves = zip(*(_logs(curve, sizes) for curve in both), strict=True)
    whole = [np.flatnonzero(np.isfinite(rows).all(axis=1)) for rows in logs]
    known = [{curve.seeds[row]: row for row in rows} for curve, rows in zip(both, whole, strict=True)]
    seeded = first.has_seeds and second.has_seeds
    common = [seed for seed in known[0] if seed in known[1]] if seeded else []
    single = len(common) == 1 == max(len(rows) for rows in whole)  # two runs on the same subsets
    runs, matched = _all_runs(both, logs) if seeded else (None, False)
    if runs is not None and not matched and single:
        runs = None  # further runs of one curve, which nothing tells from the noise of the other
    if paired := (matched if runs is not None else len(common) >= 2 or single):
        whole = [np.array([rows[seed] for seed in common], dtype=int) for rows in known]
    a, b, half_a, half_b = (logs[0][whole[0]], logs[1][whole[1]], halves[0][whole[0]], halves[1][whole[1]])
    pool = min(np.inf if curve.overlapping is False else curve.pool for curve in both)
    published = (_published(first, sizes), _published(second, sizes))
    found = Pair(first, second, np.log(sizes), a, b, paired, None, pool, published, runs)
    if not (np.isfinite(half_a).all() and np.isfinite(half_b).all()):
        return found
    before = None if runs is None else _arranged(both, halves, _seeds_of(both, logs), matched)
    if runs is not None and before is not None:
        gaps = [np.isfinite(now) & ~np.isfinite(then) for now, then in zip(runs, before, strict=True)]
        if any(gap.any() for gap in gaps):
            before = None  # some runs lack the shorter schedule: the complete seeds tell what training does
    half = replace(found, first_log=half_a, second_log=half_b, published=(None, None), runs=before)
    return found if half.empty else replace(found, half=half)


def _logs(curve: Curve, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return ln ε after the whole and half the schedule at some sizes, NaN where a run is missing: [S, K] each.

    A seed with an error of zero, which has no logarithm, leaves as a whole: without that run alone its slope would be
    too small.
    """
    at = np.isin(curve.sizes, sizes)
    zero = (curve.error[:, at] == 0).any(axis=1, keepdims=True)
    whole, half = (np.where(zero, np.nan, logs_of(values[:, at])) for values in (curve.error, curve.half_budget))
    return whole, half


def _all_runs(
    both: tuple[Curve, Curve], logs: Sequence[FloatArray]
) -> tuple[tuple[FloatArray, FloatArray] | None, bool]:
    """Return all runs of two curves with seeds, and whether their rows are matched: they share two seeds or more.

    None for the runs if no gaps tell them from those of the common complete seeds, or a curve has none at some P.
    """
    seeds = _seeds_of(both, logs)
    matched = len(set(seeds[0]) & set(seeds[1])) >= 2
    runs = _arranged(both, logs, seeds, matched)
    there = [np.isfinite(rows) for rows in runs]
    if all(one.all() for one in there) or not all(one.any(axis=0).all() for one in there):
        return None, matched
    return runs, matched


def _seeds_of(both: tuple[Curve, Curve], logs: Sequence[FloatArray]) -> list[list[str]]:
    """Return the seeds of both curves that have a run."""
    return [
        [seed for seed, row in zip(curve.seeds, rows, strict=True) if np.isfinite(row).any()]
        for curve, rows in zip(both, logs, strict=True)
    ]


def _arranged(
    both: tuple[Curve, Curve], logs: Sequence[FloatArray], seeds: Sequence[Sequence[str]], matched: bool
) -> tuple[FloatArray, FloatArray]:
    """Return the runs of both curves, with a row for each seed of either if they are matched, else of its own."""
    either = dict.fromkeys((*seeds[0], *seeds[1]))
    first, second = (
        pd.DataFrame(rows, index=curve.seeds).reindex(list(either if matched else own)).to_numpy()
        for curve, rows, own in zip(both, logs, seeds, strict=True)
    )
    return first, second


def _published(curve: Curve, sizes: FloatArray) -> Published | None:
    """Return what is published of the scatter of a curve of means at some sizes [K]; None for runs of its own."""
    if curve.error_sd is None or curve.n_runs is None or len(curve.seeds) > 1:
        return None
    at = np.isin(curve.sizes, sizes)
    with np.errstate(divide="ignore", invalid="ignore"):
        sd, n_runs = (curve.error_sd / curve.error)[0, at], curve.n_runs[0, at]
    return Published(sd, n_runs) if np.isfinite(sd).all() and bool((n_runs >= 2).all()) else None


def after_training(pair: Pair, kappa: Kappa) -> list[Pair]:
    """Return the pair as all further training would leave it, for both ends of the range of κ and the estimate.

    By the law of the remainder (`fits.training`) at every point: ln ε falls once more by 1/(2^κ − 1) of what the second
    half of the schedule brought. Empty without errors after half the schedule.
    """
    half = pair.half
    if half is None:
        return []
    left = {1.0 / (2.0 ** float(k) - 1.0) for k in (kappa.low, kappa.value, kappa.high)}

    def later(now: FloatArray, before: FloatArray, share: float) -> FloatArray:
        return now + share * (now - before)

    result = []
    for share in sorted(left):
        runs = None
        if pair.runs is not None and half.runs is not None:
            runs = (later(pair.runs[0], half.runs[0], share), later(pair.runs[1], half.runs[1], share))
        first, second = later(pair.first_log, half.first_log, share), later(pair.second_log, half.second_log, share)
        result.append(replace(pair, first_log=first, second_log=second, half=None, runs=runs))
    return result


def train_floor_difference(pair: Pair) -> float:
    """Return Δβ with each curve's floor set to its training error at the largest P; NaN without training errors.

    For exact minimisers E[train] ≤ floor ≤ E[test], so each β is the smallest that this bracket allows.
    """
    betas = []
    for curve, rows in zip((pair.first, pair.second), pair.rows, strict=True):
        train = nanmean(curve.train_error)[-1]
        mean = np.exp(nanmean(rows))
        if not np.isfinite(train) or train >= 0.98 * mean.min():  # the rest is floor: there is no slope
            return np.nan
        betas.append(-line(pair.log_p, np.log(mean - train))[0])
    return betas[1] - betas[0]


def survival(plain: Interval, floored: Interval) -> Survival:
    """Decide from the plain difference and that with floors whether the difference survives floors."""
    if not excludes_zero(plain):
        return Survival.NO_DIFFERENCE if np.isfinite(plain.low) else Survival.NOT_TESTABLE
    if not np.isfinite(floored.low):
        return Survival.NOT_TESTABLE
    if excludes_zero(floored):
        return Survival.SURVIVES if np.sign(floored.value) == np.sign(plain.value) else Survival.VANISHES
    return Survival.UNCERTAIN if floored.low <= plain.value <= floored.high else Survival.VANISHES


def excludes_zero(interval: Interval) -> bool:
    """Return whether zero lies outside the interval; False if there is no interval."""
    return bool(interval.low > 0 or interval.high < 0)


def detectable(interval: Interval, level: float = LEVEL, power: float = POWER) -> float:
    """Return the smallest |Δβ| that a two-sided t test at level 1 − `level` detects with the given power.

    Solves power = P(|T'| > t) for the non-central t of the interval's degrees of freedom.
    """
    from statsmodels.stats.power import TTestPower  # here, because `--help` imports this module and needs no statistics

    if interval.dof < 1 or not interval.error > 0:
        return np.nan
    n_samples = interval.dof + 1
    effect = TTestPower().solve_power(nobs=n_samples, alpha=1 - level, power=power)  # difference over its spread
    return float(interval.error * effect * np.sqrt(n_samples))


def holm(p_values: FloatArray) -> FloatArray:
    """Return Holm's step-down adjusted p values (Holm 1979), [M] → [M]; NaN stays NaN and does not count."""
    from statsmodels.stats.multitest import multipletests  # here: see `detectable`

    adjusted, tested = np.full(len(p_values), np.nan), np.isfinite(p_values)
    if tested.any():
        adjusted[tested] = multipletests(p_values[tested], method="holm")[1]
    return adjusted


def common_slope(slopes: FloatArray) -> tuple[float, float]:
    """Return F and p value of one exponent for all curves: two-way analysis of variance, curves × seeds.

    There is no interaction term; NaN if the seeds do not scatter.

    Args:
        slopes: β of each seed (rows) in each curve (columns), at least two of each. [S, M]
    """
    n_seeds, n_curves = slopes.shape
    grand = slopes.mean()
    between = n_seeds * ((slopes.mean(axis=0) - grand) ** 2).sum() / (n_curves - 1)
    residual = slopes - slopes.mean(axis=0) - slopes.mean(axis=1, keepdims=True) + grand
    dof = (n_seeds - 1) * (n_curves - 1)
    within = (residual**2).sum() / dof
    if not within > 0:
        return np.nan, np.nan
    ratio = float(between / within)
    return ratio, float(stats.f.sf(ratio, n_curves - 1, dof))


def random_effects(values: FloatArray, errors: FloatArray, level: float = LEVEL) -> tuple[Interval, float]:
    """Return the mean over datasets with its interval, and the standard deviation between datasets (random effects).

    DerSimonian & Laird's between-dataset variance with the t interval of Hartung, Knapp, Sidik and Jonkman (IntHout et
    al. 2014), whose variance is never below the one that the errors alone give (factor max(1, q), Knapp & Hartung
    2003): datasets that agree by chance would else give intervals that are too narrow.

    Args:
        values: an estimate per dataset. [M], M ≥ 2
        errors: its standard error. [M]
        level: coverage of the interval.
    """
    from statsmodels.stats.meta_analysis import combine_effects  # here: see `detectable`

    with np.errstate(invalid="ignore", divide="ignore"):  # roots of negative variances, and 1/0 where all agree
        pooled = combine_effects(values, errors**2, method_re="dl", use_t=True)
    if pooled.tau2 > 0:
        mean, variance, scale = pooled.mean_effect_re, pooled.var_eff_w_re, pooled.scale_hksj_re
    else:  # no variance between datasets: their weights are those of a fixed effect
        mean, variance, scale = pooled.mean_effect_fe, pooled.var_eff_w_fe, pooled.scale_hksj_fe
    error = float(np.sqrt(variance * max(1.0, scale)))
    half = t_quantile(len(values) - 1, level) * error
    interval = Interval(float(mean), float(mean) - half, float(mean) + half, error, len(values) - 1)
    return interval, float(np.sqrt(max(0.0, pooled.tau2)))


def p_words(p: float) -> str:
    """Format a p value: `p = 0.012`, `p < 0.001`; `no test` for NaN."""
    return "no test" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
