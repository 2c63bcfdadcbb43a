"""How often statements about two curves hold: Δβ of few seeds, floors, equal-error ratios, molecules, designs.

Curves are those of module `calibrate`, with noise of 5 % from nested subsets and 3 % from initial weights, drawn anew
for every curve; what is applied to them is what `compare` and `design` apply to tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import combinations

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.calibration.gaps import Gaps, floored, uneven_differences
from analysis.comparisons.conditions import LEVEL as ONE_SIDED
from analysis.comparisons.conditions import MARGIN, Differences
from analysis.comparisons.design import MAX_SEEDS, POWER, NoiseLevel, condition_power, fewest, fewest_with_further
from analysis.comparisons.differences import relative_variance
from analysis.comparisons.equal_error import ratios
from analysis.comparisons.paired import random_effects
from analysis.comparisons.stacked import Stacked, noise_of, stack
from analysis.fits.intervals import slope_weights
from analysis.fits.moderation import Prior, estimate_prior, margin, quantile
from analysis.fits.uncertainty import LEVEL
from analysis.fits.uneven import best_means, working
from experiments.core.files import json_number

CURVE = Scenario("", 1, 7, test=0.0)
"""Noise and sizes of the curves."""
SHIFT = float(np.log(2.0))
"""ln of the true equal-error ratio: the first curve needs twice the frames."""
CURVES = 4
"""Curves of a table, whose pairs lend each other degrees of freedom."""
FLOOR = 0.3
"""Floor of the second curve of each pair as a share of its error at P_max, where floors are fitted."""
MOLECULES = 5
"""Datasets of the means over molecules."""


GAPS = (Gaps(1, 3, 1), Gaps(2, 4, 2), Gaps(4, 4, 3))
"""What is simulated."""


@dataclass(frozen=True)
class Held:
    """How often a statement held in simulated tables of one kind."""

    statement: str
    """What was stated."""
    case: str
    """Of which tables."""
    nominal: float
    """Share of tables in which it should hold."""
    least: float
    """Smallest share that counts as met."""
    measured: float
    """Share of tables in which it held; of those in which the statement was made."""
    error: float
    """Its binomial standard error."""
    made: float
    """Share of tables in which the statement was made."""

    @property
    def met(self) -> bool:
        """Whether the share is at least `least`, within two standard errors; also if the statement was never made."""
        return not self.measured < self.least - 2 * self.error


def measure_comparisons(n: int = 4000, seed: int = 0) -> Iterator[Held]:
    """Measure every statement in every case, from n tables each."""
    rng = np.random.default_rng(seed)
    for n_seeds in (1, 2, 3, 5):
        for unequal in (0.0, 0.4):
            yield from slope_coverage(n_seeds, unequal, n, rng)
    for n_seeds in (1, 2, 3, 5, 10):
        yield floor_coverage(n_seeds, n, rng)
    for n_seeds in (1, 2, 3, 5):
        for beta in (0.02, 0.2, 0.6):
            yield equal_error_coverage(n_seeds, beta, n, rng)
        yield flatness(n_seeds, n, rng)
    for n_seeds in (3, 5):
        for spread in (0.0, 0.5, 1.0, 2.0):
            yield molecule_coverage(n_seeds, spread, n, rng)
    for difference in (0.03, 0.06):
        yield difference_power(difference, n, rng)
    for noise in (0.5, 1.0):
        yield equivalence_power(noise, n, rng)
    for gaps in GAPS:
        for falling in (0.0, 0.3):
            yield from slope_coverage(gaps.seeds, 0.0, n, rng, replace(gaps, falling=falling))
            yield floor_coverage(gaps.seeds, n, rng, replace(gaps, falling=falling))
            yield equal_error_coverage(gaps.seeds, 0.6, n, rng, replace(gaps, falling=falling))
        for shared in (0.0, 0.5, 0.9) if gaps.seeds > 1 else ():
            yield from lopsided_coverage(gaps, shared, n, rng)
    yield difference_power_further(0.06, n, rng)


def _held(statement: str, case: str, nominal: float, least: float, holds: FloatArray, made: float = 1.0) -> Held:
    share = float(np.mean(holds)) if len(holds) else np.nan
    error = float(np.sqrt(share * (1 - share) / max(len(holds), 1)))
    return Held(statement, case, nominal, least, share, error, made)


def _tables(
    n_seeds: int,
    n: int,
    rng: np.random.Generator,
    *,
    beta: float = 0.5,
    unequal: float = 0.0,
    gaps: Gaps | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return ln P [K] and ln ε of the curves of n tables [n, M, S, K], whose noise differs by a factor e^(±unequal)."""
    further = 0 if gaps is None else gaps.further
    log_p, rows = simulate(replace(CURVE, n_seeds=n_seeds + further, beta=beta), n * CURVES, rng)
    clean = -beta * log_p
    noise = (rows - clean).reshape(n, CURVES, n_seeds + further, -1)
    noise = noise * np.exp(unequal * rng.normal(size=(n, CURVES, 1, 1)))
    if gaps is None:
        return log_p, clean + noise
    return log_p, gaps.cut(clean + noise * np.exp(-gaps.falling * (log_p - log_p.mean())))


def table_prior(log_p: FloatArray, rows: FloatArray, share: float = 1.0) -> Prior:
    """Return the prior of each table from its curves, or differences of curves, [n, M, S, K].

    `share` of their degrees of freedom are those of differences that do not follow from others.
    """
    n, m = rows.shape[:2]
    variance, dof = relative_variance(log_p, rows.reshape(n * m, *rows.shape[2:]))
    prior = estimate_prior(variance.reshape(n, m), dof.reshape(n, m))
    return replace(prior, pooled=share * prior.pooled)


def slope_coverage(
    n_seeds: int, unequal: float, n: int, rng: np.random.Generator, gaps: Gaps | None = None
) -> Iterator[Held]:
    """Measure how often Δβ of a table's pairs holds the true one: seeds matched, and not."""
    log_p, curves = _tables(n_seeds, n, rng, unequal=unequal, gaps=gaps)
    pairs = list(combinations(range(CURVES), 2))
    rows = np.stack([curves[:, j] - curves[:, i] for i, j in pairs], axis=1)
    prior = table_prior(log_p, rows, (CURVES - 1) / len(pairs))
    first = rows[:, 0]
    noise, weights = noise_of(log_p, first), slope_weights(log_p)
    half = margin(noise.spread(np.broadcast_to(weights, (n, len(weights)))), noise.dof, prior).half
    case = f"{_name(n_seeds, gaps)}, {CURVES} curves{', of unequal noise' if unequal else ''}"
    least = 0.9 if n_seeds == 1 and gaps is None else 0.93
    covers = np.abs(best_means(working(log_p), first) @ weights) <= half
    yield _held("Δβ, seeds matched", case, LEVEL, least, covers.astype(float))
    stacked = stack(log_p, curves[:, 0], curves[:, 1], paired=False, prior=table_prior(log_p, curves))
    holds = _contrast_holds(stacked, np.concatenate([-weights, weights])[None, None], 0.0)
    yield _held("Δβ, seeds not matched", case, LEVEL, least, holds)


def lopsided_coverage(gaps: Gaps, shared: float, n: int, rng: np.random.Generator) -> Iterator[Held]:
    """Measure how often Δβ holds the true one if one curve alone has further seeds, without and with a floor in it.

    The curves share a part of the variance of their noise, as networks on the same subsets do.
    """
    log_p, curves = _tables(gaps.seeds, n, rng, gaps=replace(gaps, at=CURVE.n_sizes))
    clean = -0.5 * log_p
    first, second, common = (curves[:, i] - clean for i in range(3))
    first, second = (np.sqrt(shared) * common + np.sqrt(1 - shared) * own for own in (first, second))
    second[:, gaps.seeds :] = np.nan
    first = gaps.cut(first)
    case = f"{gaps.name} of one curve, {shared:.0%} shared"
    lift = np.log(np.exp(clean) + FLOOR / (1 - FLOOR) * np.exp(clean[-1]))
    plain = uneven_differences(log_p, first + clean, second + clean)[0]
    beside = uneven_differences(log_p, first + lift, second + clean)[1]
    yield _held("Δβ, seeds matched", case, LEVEL, 0.93, _holds(plain))
    yield _held("Δβ beside floors", case, LEVEL, 0.88, *_given(beside))


def _given(found: Differences) -> tuple[FloatArray, float]:
    """Return what `_holds` says of the differences that are given, and their share."""
    known = np.isfinite(found.value)
    return _holds(found)[known], float(known.mean())


def _holds(found: Differences) -> FloatArray:
    """Return 1 where the interval of a difference holds 0, else 0: [n]."""
    return (np.abs(found.value) <= quantile(found.dof, LEVEL) * found.error).astype(float)


def _contrast_holds(stacked: Stacked, weights: FloatArray, truth: FloatArray | float) -> FloatArray:
    """Return 1 where the interval of a contrast with weights [n, 1, 2K] holds the truth, else 0, shape [n]."""
    value, variance, dof = (part.reshape(len(stacked.mean)) for part in stacked.contrast(weights))
    return (np.abs(value - truth) <= quantile(dof, LEVEL) * np.sqrt(variance)).astype(float)


def floor_coverage(n_seeds: int, n: int, rng: np.random.Generator, gaps: Gaps | None = None) -> Held:
    """Return how often Δβ beside floors holds the true one, 0, where the second curve has a floor of 30 %."""
    log_p, curves = _tables(n_seeds, n, rng, gaps=gaps)
    clean = -0.5 * log_p
    curves[:, 1] += np.log(np.exp(clean) + FLOOR / (1 - FLOOR) * np.exp(clean[-1])) - clean
    stacked = stack(log_p, curves[:, 0], curves[:, 1], paired=True, prior=table_prior(log_p, curves))
    case = f"{_name(n_seeds, gaps)}, floor of {FLOOR:.0%} in one"
    return _held("Δβ beside floors", case, LEVEL, 0.88, *_given(floored(log_p, stacked)))


def equal_error_coverage(n_seeds: int, beta: float, n: int, rng: np.random.Generator, gaps: Gaps | None = None) -> Held:
    """Return how often the interval of an equal-error ratio holds 2, where one is given: the curves are not flat."""
    log_p, curves = _tables(n_seeds, n, rng, beta=beta, gaps=gaps)
    curves[:, 1] -= beta * SHIFT
    found = ratios(log_p, stack(log_p, curves[:, 0], curves[:, 1], paired=True, prior=table_prior(log_p, curves)))
    given = ~found.flat.any(axis=1)
    holds = (found.low <= SHIFT) & (found.high >= SHIFT)
    case = f"β = {beta:g}, {_name(n_seeds, gaps)}"
    least = 0.9 if n_seeds == 1 and gaps is None else 0.93
    return _held("equal-error ratio", case, LEVEL, least, holds[given].astype(float), float(given.mean()))


def flatness(n_seeds: int, n: int, rng: np.random.Generator) -> Held:
    """Return how often no ratio is given for two curves with β = 0, where none exists."""
    log_p, curves = _tables(n_seeds, n, rng, beta=0.0)
    found = ratios(log_p, stack(log_p, curves[:, 0], curves[:, 1], paired=True, prior=table_prior(log_p, curves)))
    return _held("flat curves have no ratio", _seeds(n_seeds), 1.0, 0.98, found.flat.any(axis=1).astype(float))


def _seeds(n_seeds: int) -> str:
    return f"{n_seeds} seed{'s' * (n_seeds > 1)}"


def _name(n_seeds: int, gaps: Gaps | None) -> str:
    return _seeds(n_seeds) if gaps is None else gaps.name


def molecule_coverage(n_seeds: int, spread: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often the mean Δβ over molecules holds the true one; `spread` is theirs, in standard errors of one."""
    gain = 0.1
    curve = replace(CURVE, n_seeds=n_seeds)
    log_p, first = simulate(curve, n * MOLECULES, rng)
    rows = simulate(replace(curve, beta=curve.beta + gain), n * MOLECULES, rng)[1] - first
    prior = table_prior(log_p, rows.reshape(n, MOLECULES, n_seeds, -1))
    each = Prior(
        np.repeat(prior.dof, MOLECULES), np.repeat(prior.variance, MOLECULES), np.repeat(prior.pooled, MOLECULES)
    )
    noise, weights = noise_of(log_p, rows), slope_weights(log_p)
    errors = margin(noise.spread(np.broadcast_to(weights, (len(rows), len(weights)))), noise.dof, each).error
    true_error = np.sqrt(2 / n_seeds) * NoiseLevel(curve.subset, curve.init).slope_error(log_p)
    means = (rows @ weights).mean(axis=1) + spread * true_error * rng.normal(size=len(rows))
    means, errors = means.reshape(n, MOLECULES), errors.reshape(n, MOLECULES)
    intervals = [random_effects(*both)[0] for both in zip(means, errors, strict=True)]
    holds = np.array([float(one.low <= gain <= one.high) for one in intervals])
    case = f"{MOLECULES} molecules, {n_seeds} seeds, sd between {spread:g} errors"
    return _held("mean over molecules", case, LEVEL, 0.93, holds)


def difference_power(difference: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often a difference is shown with as many seeds as `design` names."""
    seeds, deltas = _designed((difference, np.inf), ONE_SIDED / 2, 1.0, n, rng)
    shown = np.abs(_t(deltas + difference)) > stats.t.isf(ONE_SIDED / 2, seeds - 1)
    return _held("difference is shown", f"Δβ = {difference:g}, {seeds} seeds", POWER, POWER, shown.astype(float))


def difference_power_further(difference: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often a difference is shown with as many seeds as `design` names beside four more at two sizes."""
    gaps = Gaps(_designed((difference, np.inf), ONE_SIDED / 2, 1.0, 1, rng)[0], 4, 2)
    log_p, _ = simulate(CURVE, 1, rng)
    noise = NoiseLevel(CURVE.subset, CURVE.init)
    further = (gaps.further, gaps.at)
    seeds = fewest_with_further(log_p, noise, further, (difference, np.inf), ONE_SIDED / 2, gaps.seeds)
    gaps = replace(gaps, seeds=seeds)
    both = [gaps.cut(simulate(replace(CURVE, n_seeds=seeds + gaps.further), n, rng)[1]) for _ in range(2)]
    found = uneven_differences(log_p, *both)[0]
    shown = np.abs(found.value + difference) > quantile(found.dof, 1 - ONE_SIDED) * found.error
    return _held("difference is shown", f"Δβ = {difference:g}, {gaps.name}", POWER, POWER, shown.astype(float))


def equivalence_power(noise: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often equal exponents are shown to be equivalent with as many seeds as `design` names."""
    seeds, deltas = _designed((MARGIN, MARGIN), ONE_SIDED, noise, n, rng)
    threshold = stats.t.isf(ONE_SIDED, seeds - 1)
    shown = (_t(deltas + MARGIN) > threshold) & (_t(MARGIN - deltas) > threshold)
    case = f"±{MARGIN:g}, noise × {noise:g}, {seeds} seeds"
    return _held("equivalence is shown", case, POWER, POWER, shown.astype(float))


def _designed(
    distances: tuple[float, float], level: float, noise: float, n: int, rng: np.random.Generator
) -> tuple[int, FloatArray]:
    """Return the seeds that a condition needs, and Δβ of so many seeds in n pairs of equal exponents: [n, S]."""
    curve = replace(CURVE, subset=noise * CURVE.subset, init=noise * CURVE.init)
    log_p, _ = simulate(curve, 1, rng)
    spread = float(np.sqrt(2) * NoiseLevel(curve.subset, curve.init).slope_error(log_p))
    seeds = fewest(lambda s: condition_power(distances, spread, s, level) >= POWER, 2, MAX_SEEDS)
    assert seeds is not None
    both = [_slopes(*simulate(replace(curve, n_seeds=seeds), n, rng)) for _ in range(2)]
    return seeds, both[1] - both[0]


def _slopes(log_p: FloatArray, rows: FloatArray) -> FloatArray:
    """Return β of every seed: [n, S, K] → [n, S]."""
    shifted = log_p - log_p.mean()
    return np.asarray(-(rows @ shifted) / (shifted @ shifted))


def _t(values: FloatArray) -> FloatArray:
    """Return t of the means over seeds: [n, S] → [n]."""
    n_seeds = values.shape[1]
    return np.asarray(values.mean(axis=1) / (values.std(axis=1, ddof=1) / np.sqrt(n_seeds)))


def held_lines(measured: Iterable[Held]) -> Iterator[str]:
    """Describe every measurement in a line of text, as it comes, under a line of heads."""
    yield f"{'statement':28}{'case':60}{'nominal':>8}{'least':>7}{'measured':>10}{'±':>6}{'made':>7}"
    for one in measured:
        numbers = (f"{100 * x:.1f}" for x in (one.nominal, one.least, one.measured, one.error, one.made))
        cells = "".join(f"{number:>{width}}" for number, width in zip(numbers, (8, 7, 10, 6, 7), strict=True))
        yield f"{one.statement:28}{one.case:60}{cells}{'' if one.met else '  MISSED'}"


def held_records(measured: Iterable[Held]) -> list[dict[str, object]]:
    """Return the measurements as records for JSON."""
    return [
        {**asdict(one), "measured": json_number(one.measured), "error": json_number(one.error), "met": one.met}
        for one in measured
    ]
