"""How often statements about two curves hold: equal-error ratios, means over molecules, and the power of designs.

Curves are those of module `calibrate`, with noise of 5 % from nested subsets and 3 % from initial weights, drawn anew
for every curve; what is applied to them is what `compare` and `design` apply to tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.comparisons.conditions import LEVEL as ONE_SIDED
from analysis.comparisons.conditions import MARGIN
from analysis.comparisons.design import MAX_SEEDS, POWER, NoiseLevel, condition_power, fewest
from analysis.comparisons.equal_error import ratios, stack
from analysis.comparisons.paired import random_effects
from analysis.fits.uncertainty import LEVEL
from experiments.core.files import json_number

CURVE = Scenario("", 1, 7, test=0.0)
"""Noise and sizes of the curves."""
SHIFT = float(np.log(2.0))
"""ln of the true equal-error ratio: the first curve needs twice the frames."""
MOLECULES = 5
"""Datasets of the means over molecules."""


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
        """Whether the share is at least `least`, within two standard errors."""
        return self.measured >= self.least - 2 * self.error


def measure_comparisons(n: int = 4000, seed: int = 0) -> Iterator[Held]:
    """Measure every statement in every case, from n tables each."""
    rng = np.random.default_rng(seed)
    for n_seeds in (2, 3, 5):
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


def _held(statement: str, case: str, nominal: float, least: float, holds: FloatArray, made: float = 1.0) -> Held:
    share = float(np.mean(holds)) if len(holds) else np.nan
    error = float(np.sqrt(share * (1 - share) / max(len(holds), 1)))
    return Held(statement, case, nominal, least, share, error, made)


def equal_error_coverage(n_seeds: int, beta: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often the interval of an equal-error ratio holds 2, where one is given: the curves are not flat."""
    curve = replace(CURVE, n_seeds=n_seeds, beta=beta)
    log_p, first = simulate(curve, n, rng)
    second = simulate(curve, n, rng)[1] - beta * SHIFT
    found = ratios(log_p, stack(first, second, paired=True))
    given = ~found.flat.any(axis=1)
    holds = (found.low <= SHIFT) & (found.high >= SHIFT)
    case = f"β = {beta:g}, {n_seeds} seeds"
    return _held("equal-error ratio", case, LEVEL, 0.93, holds[given].astype(float), float(given.mean()))


def flatness(n_seeds: int, n: int, rng: np.random.Generator) -> Held:
    """Return how often no ratio is given for two curves with β = 0, where none exists; else it must bound nothing."""
    curve = replace(CURVE, n_seeds=n_seeds, beta=0.0)
    log_p, first = simulate(curve, n, rng)
    found = ratios(log_p, stack(first, simulate(curve, n, rng)[1], paired=True))
    return _held("flat curves have no ratio", f"{n_seeds} seeds", 1.0, 0.98, found.flat.any(axis=1).astype(float))


def molecule_coverage(n_seeds: int, spread: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often the mean Δβ over molecules holds the true one; `spread` is theirs, in standard errors of one."""
    gain = 0.1
    curve = replace(CURVE, n_seeds=n_seeds)
    slopes = []
    for _ in range(2):
        log_p, rows = simulate(curve, n * MOLECULES, rng)
        slopes.append(_slopes(log_p, rows).reshape(n, MOLECULES, n_seeds))
    deltas = slopes[1] - slopes[0] + gain
    error = np.sqrt(2 / n_seeds) * NoiseLevel(curve.subset, curve.init).slope_error(log_p)
    means = deltas.mean(axis=2) + spread * error * rng.normal(size=(n, MOLECULES))
    errors = deltas.std(axis=2, ddof=1) / np.sqrt(n_seeds)
    intervals = [random_effects(*both)[0] for both in zip(means, errors, strict=True)]
    holds = np.array([float(one.low <= gain <= one.high) for one in intervals])
    case = f"{MOLECULES} molecules, {n_seeds} seeds, sd between {spread:g} errors"
    return _held("mean over molecules", case, LEVEL, 0.93, holds)


def difference_power(difference: float, n: int, rng: np.random.Generator) -> Held:
    """Return how often a difference is shown with as many seeds as `design` names."""
    seeds, deltas = _designed((difference, np.inf), ONE_SIDED / 2, 1.0, n, rng)
    shown = np.abs(_t(deltas + difference)) > stats.t.isf(ONE_SIDED / 2, seeds - 1)
    return _held("difference is shown", f"Δβ = {difference:g}, {seeds} seeds", POWER, POWER, shown.astype(float))


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
    yield f"{'statement':28}{'case':52}{'nominal':>8}{'least':>7}{'measured':>10}{'±':>6}{'made':>7}"
    for one in measured:
        numbers = (f"{100 * x:.1f}" for x in (one.nominal, one.least, one.measured, one.error, one.made))
        cells = "".join(f"{number:>{width}}" for number, width in zip(numbers, (8, 7, 10, 6, 7), strict=True))
        yield f"{one.statement:28}{one.case:52}{cells}{'' if one.met else '  MISSED'}"


def held_records(measured: Iterable[Held]) -> list[dict[str, object]]:
    """Return the measurements as records for JSON."""
    return [{**asdict(one), "measured": json_number(one.measured), "met": one.met} for one in measured]
