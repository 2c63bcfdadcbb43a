"""How often what `fit` says of a curve holds: exponents with and without floors, few seeds, breaks, outlying runs.

Curves are ε = a·P^(−β) + c with log noise of nested subsets, initial weights and the shared test set, as in module
`calibrate`, P = 16, 32, 64, … What is applied to them is the code that `fit` applies to tables: intervals of the
recommended form, and of the slope over the last three octaves, whose truth is the slope of the curve without noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate, standard_errors
from analysis.calibration.comparison_rates import Held
from analysis.calibration.progress import watched
from analysis.fits.binomial import measure_counts
from analysis.fits.breaks import find_breaks
from analysis.fits.flags import BREAK_LEVEL
from analysis.fits.intervals import (
    Conclusion,
    Measured,
    Priors,
    Sample,
    conclude,
    local_window,
    measure,
    priors_of,
    sample_of_runs,
    slope_weights,
)
from analysis.fits.noise import nested
from analysis.fits.outliers import find_outlier
from analysis.fits.uncertainty import LEVEL

PLAIN, WITH_FLOOR, SINGLE, FOUND, QUIET = 0.93, 0.88, 0.90, 0.90, 0.97
"""Shares that count as met: coverage without a floor, with one or with P_max the whole pool, with one seed; breaks and
outlying runs that are found; clean curves in which no run is named (a test at 1 %)."""
ALARMS = 0.05
"""Rate at which plain power laws may be flagged as broken."""
MISJUDGED = 0.88
"""Share of plain power laws without a flag that counts as met if their noise is not what the test assumes."""
BLOCK = 1000
"""Curves that are fitted at once."""
N_TEST = 1000
"""Test examples behind a simulated error rate."""
FIRST_RATE = 0.4
"""Error rate at the smallest P, less the Bayes error."""
BREAK = 0.2
"""Change of slope of the broken power laws, at the middle size."""
BROKEN = [(s, k, 1) for s in (1, 2, 3, 5) for k in (7, 9)] + [(s, k, 8) for s in (1, 2) for k in (7, 9)]
"""Seeds, sizes and curves of the tables with breaks."""
FACTOR = 2.0
"""Error of an outlying run at P_max over what it should be."""


@dataclass(frozen=True)
class Case:
    """Tables of one kind whose curves are put to the test."""

    name: str
    """Description."""
    curve: Scenario
    """Their curves."""
    least: float
    """Coverage of the interval of β that counts as met; that of the last octaves needs no floor and has `PLAIN`."""
    curves: int = 1
    """Curves of a table, which lend each other degrees of freedom."""
    spread: float = 0.0
    """Standard deviation of ln(noise) between the curves of a table."""
    pooled: bool = False
    """The largest P is the whole pool, which all seeds share."""
    summarised: bool = False
    """Only means ± sd over the seeds are known."""
    counted: bool = False
    """Errors are error rates, with the Bayes error as floor: `floor_share` is then this error itself."""
    further: int = 0
    """Further seeds that have the `at` smallest sizes alone."""
    at: int = 0
    """Number of these sizes."""
    falling: float = 0.0
    """Exponent with which the noise of ln ε falls with P; it is that of `curve` in the geometric middle."""


def cases() -> list[Case]:
    """Return what is simulated."""
    grid = [(s, k) for s in (2, 3, 5) for k in (5, 7, 9)]
    found = [Case(_name(s, k), _curve(s, k), PLAIN) for s, k in grid]
    found += [
        Case(f"{_name(s, k)}, floor {share:.0%}", _curve(s, k, floor_share=share), WITH_FLOOR)
        for share in (0.1, 0.3)
        for s, k in grid
    ]
    found += [
        Case(f"8 curves, {_name(s, 7)}, noise × e^±{spread:g}", _curve(s, 7), SINGLE if s == 1 else PLAIN, 8, spread)
        for s in (1, 2, 3, 5)
        for spread in (0.0, 0.3, 0.7)
    ]
    found += [
        Case(f"8 curves, {_name(s, 7)}, floor 30%", _curve(s, 7, floor_share=0.3), WITH_FLOOR, 8) for s in (1, 2, 3)
    ]
    found += [Case(f"{_name(s, 7)}, P_max = pool", _curve(s, 7), WITH_FLOOR, pooled=True) for s in (2, 3, 5, 10)]
    found += [Case(f"{_name(5, 7)}, floor 10%, P_max = pool", _curve(5, 7, floor_share=0.1), WITH_FLOOR, pooled=True)]
    found += [Case(_name(1, k), _curve(1, k), SINGLE) for k in (4, 5, 7, 9)]
    found += [
        Case(f"{_name(1, 7)}, floor {share:.0%}", _curve(1, 7, floor_share=share), WITH_FLOOR) for share in (0.1, 0.3)
    ]
    found += [
        Case(f"{_name(1, 7)}, independent points", _curve(1, 7, subset=0.0, init=0.06), SINGLE),
        Case(f"{_name(5, 7)}, β = 0.1", _curve(5, 7, beta=0.1), PLAIN),
        Case(f"{_name(3, 7)}, test set 4%", _curve(3, 7, test=0.04), PLAIN),
    ]
    found += [Case(f"mean ± sd ({s}), K=7", _curve(s, 7), PLAIN, summarised=True) for s in (3, 5)]
    found += [
        Case(
            f"error rates, {_name(s, 9)}, Bayes error {floor:.0%}",
            _curve(s, 9, floor_share=floor),
            SINGLE if s == 1 else WITH_FLOOR if floor else PLAIN,
            counted=True,
        )
        for s in (1, 3, 5)
        for floor in (0.0, 0.02, 0.1)
    ]
    return found + _uneven_cases()


def _uneven_cases() -> list[Case]:
    """Return curves with more seeds at small P."""

    def case(words: str, curve: Scenario, further: int, at: int, falling: float = 0.0, curves: int = 1) -> Case:
        least = WITH_FLOOR if curve.floor_share else PLAIN
        name = f"{words}{_name(curve.n_seeds, curve.n_sizes)}, {further} more at {at} P"
        return Case(name, curve, least, curves, further=further, at=at, falling=falling)

    grid = [(1, 5, 3, 1), (2, 5, 4, 2), (3, 5, 4, 2), (4, 4, 4, 2), (4, 7, 4, 3)]
    found = [case("", _curve(s, k), more, at) for s, k, more, at in grid]
    found += [case("floor 30%, ", _curve(4, 7, floor_share=0.3), 4, 3)]
    found += [case("noise ∝ P^−0.3, ", _curve(s, k), more, at, 0.3) for s, k, more, at in grid]
    return [*found, case("8 curves, ", _curve(3, 7), 4, 3, curves=8)]


def _name(n_seeds: int, n_sizes: int) -> str:
    return f"S={n_seeds}, K={n_sizes}"


def _curve(n_seeds: int, n_sizes: int, **changes: float) -> Scenario:
    return Scenario("", n_seeds, n_sizes, **{"test": 0.01, **changes})  # type: ignore[arg-type]  # all are floats


def measure_fits(n: int = 2000, seed: int = 0) -> Iterator[Held]:
    """Measure every case with n curves each, and more where tables have several; then breaks and outlying runs."""
    rng = np.random.default_rng(seed)
    for case in watched(cases(), "fits"):
        yield from coverage(case, n if case.curves == 1 else max(2, n // 4), rng)
    for n_seeds, n_sizes, curves in watched(BROKEN, "breaks"):
        yield from breaks(n_seeds, n_sizes, n, rng, curves)
    for n_seeds, n_sizes in watched([(3, 5), (3, 7), (5, 7)], "outlying runs"):
        yield from outlying_runs(n_seeds, n_sizes, n, rng)


def coverage(case: Case, n: int, rng: np.random.Generator) -> list[Held]:
    """Return how often the intervals of β and of the slope over the last octaves hold the truth, from n tables."""
    hits: list[FloatArray] = []
    local: list[FloatArray] = []
    tables = max(1, BLOCK // case.curves)
    for start in range(0, n, tables):
        found, one, truth = _block(case, min(tables, n - start), rng)
        hits.append(((found.low <= case.curve.beta) & (case.curve.beta <= found.high)).astype(float))
        local.append((np.abs(one.local.value - truth) <= found.local.half).astype(float))
    least = SINGLE if case.curve.n_seeds == 1 and not case.further else WITH_FLOOR if case.pooled else PLAIN
    return [
        _held("β is covered", case.name, LEVEL, case.least, np.concatenate(hits)),
        _held("last octaves are covered", case.name, LEVEL, least, np.concatenate(local)),
    ]


def _block(case: Case, tables: int, rng: np.random.Generator) -> tuple[Conclusion, Measured, float]:
    """Simulate tables: return intervals, what they come from, and the true slope over the last octaves."""
    n = tables * case.curves
    curve = case.curve
    log_p, sem = np.log(16.0) + np.log(2.0) * np.arange(curve.n_sizes), None
    if case.counted:
        clean = FIRST_RATE * np.exp(-curve.beta * (log_p - log_p[0])) + curve.floor_share
        rate = np.minimum(clean * np.exp(_noise(curve, n, rng)), 1.0)
        total = np.full(rate.shape, float(N_TEST))
        one = measure_counts(log_p, rng.binomial(N_TEST, rate).astype(float), total)
    else:
        scale = np.exp(case.spread * rng.normal(size=(n, 1, 1)))
        if case.pooled:
            rows = _clean(curve, log_p) + _pooled_noise(curve, log_p, n, rng)
        else:
            log_p, rows = simulate(replace(curve, n_seeds=curve.n_seeds + case.further), n, rng)
            scale = scale * np.exp(-case.falling * (log_p - log_p.mean()))
            rows = _clean(curve, log_p) + scale * (rows - _clean(curve, log_p))
            sem = standard_errors(curve, n, rng) * scale[:, 0]
        clean = np.exp(_clean(curve, log_p))
        one = measure(_sample(case, log_p, rows, sem))
    start = local_window(log_p)
    truth = float(slope_weights(log_p[start:]) @ np.log(clean[start:]))
    priors = priors_of([one], case.curves) if case.curves > 1 else Priors()
    return conclude(one, priors), one, truth


def _sample(case: Case, log_p: FloatArray, rows: FloatArray, sem: FloatArray | None) -> Sample:
    pool = float(np.exp(log_p[-1])) if case.pooled else np.inf
    if case.further:
        runs = rows.copy()
        runs[:, case.curve.n_seeds :, case.at :] = np.nan
        return sample_of_runs(log_p, runs, rows[:, : case.curve.n_seeds], pool, sem)
    if not case.summarised:
        return Sample(log_p, rows, pool, sem)
    counts = np.full((len(rows), len(log_p)), float(rows.shape[1]))
    return Sample(log_p, rows.mean(axis=1, keepdims=True), pool, sem, rows.std(axis=1, ddof=1), counts)


def _clean(curve: Scenario, log_p: FloatArray) -> FloatArray:
    """Return ln ε without noise: [K]."""
    power = np.exp(-curve.beta * log_p)
    return np.asarray(np.log(power + curve.floor_share / (1 - curve.floor_share) * power[-1]))


def _noise(curve: Scenario, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw log noise of nested subsets and initial weights: [n, S, K]."""
    shape = (n, curve.n_seeds, curve.n_sizes)
    root = np.linalg.cholesky(nested(np.log(2.0) * np.arange(curve.n_sizes)))
    return curve.subset * rng.normal(size=shape) @ root.T + curve.init * rng.normal(size=shape)


def _pooled_noise(curve: Scenario, log_p: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw log noise of seeds that draw nested subsets from a pool of P_max frames: [n, S, K].

    What they share, √(P/P_max) times the deviation of the pool, is common to all seeds; the rest is their own.
    """
    shared = np.exp((log_p - log_p[-1]) / 2)
    own = nested(log_p) - np.outer(shared, shared)
    root = np.linalg.cholesky(own + 1e-12 * np.eye(len(log_p)))  # own is zero at P_max
    shape = (n, curve.n_seeds, curve.n_sizes)
    subsets = rng.normal(size=shape) @ root.T + rng.normal(size=(n, 1, 1)) * shared
    return np.asarray(curve.subset * subsets + curve.init * rng.normal(size=shape))


def breaks(n_seeds: int, n_sizes: int, n: int, rng: np.random.Generator, curves: int = 1) -> list[Held]:
    """Return how often a change of slope by `BREAK` is flagged, how often at best, and how often power laws are not.

    At best: by tests with the same rate of false alarms that know what has to be told from the data.
    """
    curve = _curve(n_seeds, n_sizes)
    n -= n % curves
    log_p, rows = simulate(curve, n, rng)
    hinge = np.maximum(log_p - log_p[n_sizes // 2], 0.0)
    broken, clean = (_flagged(log_p, one, curves) for one in (rows + BREAK * hinge, rows))
    name = f"{f'{curves} curves, ' if curves > 1 else ''}{_name(n_seeds, n_sizes)}"
    case = f"{name}, β ± {BREAK:g}"
    known = best_detection(log_p, curve, hinge, rng) if curves == 1 else {}
    nested_only, falling = _other_noise(curve, log_p, n, rng)
    return [
        _held("break is flagged", case, FOUND, FOUND, broken),
        *(Held(f"the best test, {words}", case, FOUND, 0.0, share, 0.0, 1.0) for words, share in known.items()),
        _held("no break, no flag", name, 1 - ALARMS, 1 - ALARMS, 1 - clean),
        _held(
            "no break, no flag",
            f"{name}, noise of subsets",
            1 - ALARMS,
            MISJUDGED,
            1 - _flagged(log_p, nested_only, curves),
        ),
        _held(
            "no break, no flag", f"{name}, noise ∝ P^−0.3", 1 - ALARMS, MISJUDGED, 1 - _flagged(log_p, falling, curves)
        ),
    ]


def best_detection(
    log_p: FloatArray, curve: Scenario, hinge: FloatArray, rng: np.random.Generator, draws: int = 50_000
) -> dict[str, float]:
    """Return in which share of curves a change of slope along `hinge` [K] is found if more were known.

    With the covariance of the noise known: by the largest normal statistic of generalised least squares over all inner
    sizes. With the place known, and the covariance but for its size: by the t test of the same estimate, the most
    powerful unbiased one (Lehmann & Romano 2005, §5.2).
    """
    octaves = np.abs(log_p[:, None] - log_p) / np.log(2)
    own = curve.subset**2 * nested(log_p) + curve.init**2 * np.eye(len(log_p))
    covariance = own / curve.n_seeds + curve.test**2 * curve.test_correlation**octaves
    white = np.linalg.inv(np.linalg.cholesky(covariance))
    basis, _ = np.linalg.qr(white @ np.stack([np.ones_like(log_p), log_p], axis=1))
    white = white - basis @ (basis.T @ white)
    away = BREAK * white @ hinge
    distance, dof = float(np.linalg.norm(away)), len(log_p) - 3 + (curve.n_seeds - 1) * (len(log_p) - 1)
    places = np.maximum(log_p - log_p[1:-1, None], 0.0) @ white.T
    places = places / np.linalg.norm(places, axis=1, keepdims=True)
    noise = rng.normal(size=(draws, len(log_p)))
    highest = np.quantile(np.abs(noise @ places.T).max(axis=1), 1 - ALARMS)
    t = (distance + noise[:, 0]) / np.sqrt(rng.chisquare(dof, size=draws) / dof)
    return {
        "noise known": float((np.abs((noise + away) @ places.T).max(axis=1) > highest).mean()),
        "place known": float((np.abs(t) > stats.t.isf(ALARMS / 2, dof)).mean()),
    }


def _other_noise(curve: Scenario, log_p: FloatArray, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return power laws with noise from subsets alone, and with noise that falls with P: [n, S, K] each."""
    clean = _clean(curve, log_p)
    whole = float(np.hypot(curve.subset, curve.init))
    subsets = clean + _noise(replace(curve, subset=whole, init=0.0), n, rng)
    return subsets, clean + _noise(curve, n, rng) * np.exp(-0.3 * (log_p - log_p.mean()))


def _flagged(log_p: FloatArray, rows: FloatArray, curves: int) -> FloatArray:
    return (find_breaks(log_p, rows, curves=curves).p < BREAK_LEVEL).astype(float)


def outlying_runs(n_seeds: int, n_sizes: int, n: int, rng: np.random.Generator) -> list[Held]:
    """Return how often the run that is off by `FACTOR` at P_max is named, and how often none is in clean curves."""
    log_p, rows = simulate(_curve(n_seeds, n_sizes), n, rng)
    clean = np.array([float(find_outlier(log_p, one) is None) for one in rows])
    rows[:, 0, -1] += np.log(FACTOR)
    runs = [find_outlier(log_p, one) for one in rows]
    named = np.array([float(one is not None and (one.seed, one.size) == (0, n_sizes - 1)) for one in runs])
    name = _name(n_seeds, n_sizes)
    return [
        _held("outlying run is named", f"{name}, × {FACTOR:g} at P_max", FOUND, FOUND, named),
        _held("no outlier, no flag", name, 0.99, QUIET, clean),
    ]


def _held(statement: str, case: str, nominal: float, least: float, holds: FloatArray) -> Held:
    share = float(holds.mean())
    return Held(statement, case, nominal, least, share, float(np.sqrt(share * (1 - share) / len(holds))), 1.0)


def missed(measured: list[Held]) -> str:
    """Return in a line of text what was missed."""
    late = [f"{one.statement} ({one.case}): {100 * one.measured:.1f} %" for one in measured if not one.met]
    return "missed: " + ("; ".join(late) or "nothing")
