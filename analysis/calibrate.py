"""Does a nominal 95 % interval cover 95 %? Simulated curves with known β, and two real nested learners.

Simulated: ε = a·P^(−β) + c with log noise of the choice of subset (nested: correlation √(P/P′) within a seed; or
independent at each P), of the initial weights (independent), and of the finite test set (common to all seeds).
Learners: the nearest neighbour on the 2-torus, whose mean distance falls as P^(−1/2) exactly, and a kernel
interpolator (Laplace teacher and student on the circle, β = 1/2 for the RMSE; Spigler et al. 2019), both on
subsets that nest within a seed and are disjoint across seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.dimension import neighbours
from analysis.fit import AICC_MARGIN, CONVEX, FLOOR_SIZES
from analysis.floor import Polish, fit_floor
from analysis.results import aicc
from analysis.uncertainty import LEVEL, t_quantile

FloatArray = NDArray[np.float64]

ACCEPTED = (0.93, 0.97)
"""Coverage of the default interval that counts as calibrated, where it is claimed."""


@dataclass(frozen=True)
class Scenario:
    """One kind of table whose intervals are put to the test."""

    name: str
    """What is simulated."""
    n_seeds: int
    """Seeds S."""
    n_sizes: int
    """Values of P."""
    beta: float = 0.5
    """True exponent."""
    floor_share: float = 0.0
    """Floor as a share of ε(P_max)."""
    nested: bool = True
    """Subsets nest within a seed (else they are independent at each P)."""
    subset: float = 0.05
    """Log noise of the subset."""
    init: float = 0.03
    """Log noise of the initial weights."""
    test: float = 0.01
    """Log noise of the shared test set, correlated 0.9 per octave of P."""


@dataclass(frozen=True)
class Coverage:
    """Share of simulated tables whose interval holds the true exponent."""

    scenario: str
    """Name of the scenario."""
    method: str
    """Which interval."""
    coverage: float
    """Measured coverage of the nominal 95 % interval."""
    error: float
    """Its binomial standard error."""
    half_width: float
    """Median half width of the interval."""
    bias: float
    """Mean of β̂ − β."""
    claimed: bool
    """Whether the default interval claims its coverage here: no floor, and no randomness shared by all seeds but the
    finite test set."""


def scenarios() -> list[Scenario]:
    """The scenarios of the report: subsets nested or not, 3 and 5 seeds, 5 to 9 values of P, floors of 10–40 %."""
    plain = [
        Scenario(f"{'nested' if nested else 'independent'} subsets, S={s}, K={k}", s, k, nested=nested)
        for nested in (True, False)
        for s in (3, 5)
        for k in (5, 7, 9)
    ]
    special = [
        Scenario("no init effect, S=5, K=7", 5, 7, init=0.0),
        Scenario("large init effect, S=5, K=7", 5, 7, subset=0.01, init=0.1),
        Scenario("small exponent, S=5, K=7", 5, 7, beta=0.1),
    ]
    floors = [
        Scenario(f"floor {share:.0%} of ε(P_max), S={s}, K={k}", s, k, floor_share=share)
        for share in (0.1, 0.4)
        for s in (3, 5)
        for k in (6, 9)
    ]
    return [*plain, *special, *floors]


def simulate(scenario: Scenario, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """ln P [K] and ln ε [n, S, K] of n tables."""
    sizes = 16.0 * 2.0 ** np.arange(scenario.n_sizes)
    power = sizes**-scenario.beta
    clean = power + scenario.floor_share / (1 - scenario.floor_share) * power[-1]
    shape = (n, scenario.n_seeds, scenario.n_sizes)
    octaves = np.abs(np.arange(scenario.n_sizes)[:, None] - np.arange(scenario.n_sizes))
    root = np.linalg.cholesky(np.sqrt(0.5) ** octaves) if scenario.nested else np.eye(scenario.n_sizes)
    shared = np.linalg.cholesky(0.9**octaves)
    noise = scenario.subset * rng.normal(size=shape) @ root.T + scenario.init * rng.normal(size=shape)
    common = scenario.test * rng.normal(size=(n, 1, scenario.n_sizes)) @ shared.T
    return np.log(sizes), np.log(clean) + noise + common


def _slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    shifted = x - x.mean()
    return np.asarray(-(y @ shifted) / (shifted @ shifted))


def seeds_t(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The default: mean and half width of the t interval over per-seed slopes. [n], [n]"""
    return _t(_slopes(x, y))


def _t(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    n_seeds = values.shape[1]
    return values.mean(axis=1), t_quantile(n_seeds - 1) * values.std(axis=1, ddof=1) / np.sqrt(n_seeds)


def ols_means(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What most papers do: least squares on the per-P means, K − 2 degrees of freedom."""
    mean = y.mean(axis=1)
    beta = _slopes(x, mean)
    shifted = x - x.mean()
    residual = mean - mean.mean(axis=1, keepdims=True) + beta[:, None] * shifted
    error = np.sqrt((residual**2).sum(axis=1) / (len(x) - 2) / (shifted @ shifted))
    return beta, t_quantile(len(x) - 2) * error


def floor_seeds_t(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The floor form within each seed, t interval over seeds."""
    n, n_seeds, n_sizes = y.shape
    return _t(fit_floor(x, y.reshape(-1, n_sizes)).beta.reshape(n, n_seeds))


def seed_bootstrap(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Percentile bootstrap over seeds, as a symmetric half width: for comparison, not for use."""
    slopes = _slopes(x, y)
    n_seeds = slopes.shape[1]
    weights = np.random.default_rng(0).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=400) / n_seeds
    low, high = np.quantile(slopes @ weights.T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return (low + high) / 2, (high - low) / 2


def recommended(x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What the program recommends: the rule of `fit._recommend` between power law and floor, for all tables at once."""
    shifted = x - x.mean()
    bends = np.polynomial.polynomial.polyfit(shifted, y.reshape(-1, len(x)).T, 2)[2].reshape(y.shape[:2])
    mean, half = _t(bends)
    error = half / t_quantile(y.shape[1] - 1)
    convex = (len(x) >= FLOOR_SIZES) & (stats.t.sf(mean / error, y.shape[1] - 1) < CONVEX)
    means = y.mean(axis=1)
    power, floored = _line_fit(x, means), fit_floor(x, means)
    shorter, before = _line_fit(x[:-1], means[:, :-1]), fit_floor(x[:-1], means[:, :-1])
    aiccs = [
        np.array([aicc(row, n) for row in means - fitted])
        for n, fitted in ((2, power[:, :1] + power[:, 1:] * x), (3, floored.log_error(x)))
    ]
    misses = [
        np.abs(means[:, -1] - predicted)
        for predicted in (shorter[:, 0] + shorter[:, 1] * x[-1], before.log_error(x[-1:])[:, 0])
    ]
    each = fit_floor(x, y.reshape(-1, len(x))).status.reshape(y.shape[:2])
    usable = (each <= Polish.NO_FLOOR).all(axis=1)
    chosen = usable & (convex | ((aiccs[1] <= aiccs[0] - AICC_MARGIN) & (misses[1] <= misses[0])))
    plain, corrected = seeds_t(x, y), floor_seeds_t(x, y)
    return np.where(chosen, corrected[0], plain[0]), np.where(chosen, corrected[1], plain[1])


def _line_fit(x: FloatArray, rows: FloatArray) -> FloatArray:
    """Intercept and slope of every row. [n, 2]"""
    return np.asarray(np.polynomial.polynomial.polyfit(x, rows.T, 1).T)


Method = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]
METHODS: dict[str, Method] = {
    "power: t over seeds (default)": seeds_t,
    "power: OLS on per-P means": ols_means,
    "power: bootstrap over seeds": seed_bootstrap,
    "power_floor: t over seeds (default)": floor_seeds_t,
    "the recommended of the two": recommended,
}
DEFAULT = "power: t over seeds (default)"


def nearest_neighbour(
    n: int, rng: np.random.Generator, n_seeds: int = 5, dimension: int = 2
) -> tuple[FloatArray, FloatArray]:
    """ln P [K] and ln mean nearest distance [n, S, K] on the unit torus, P = 64 … 2048; β = 1/d."""
    sizes = 64 * 2 ** np.arange(6)
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        test = rng.random((400, dimension))
        for s in range(n_seeds):
            points = rng.random((sizes[-1], dimension))
            for k, size in enumerate(sizes):
                result[i, s, k] = np.log(neighbours(points[:size], test, box=1.0).mean())
    return np.log(sizes.astype(float)), result


def kernel_interpolator(n: int, rng: np.random.Generator, n_seeds: int = 5) -> tuple[FloatArray, FloatArray]:
    """ln P [K] and ln RMSE [n, S, K] of Laplace-kernel interpolation of a Laplace field on the circle; β = 1/2.

    The Laplace field is Markov, so that the interpolator between two training points depends on these two only, and
    its squared error, averaged over teachers, is the bridge's variance u·v/(u + v), u and v the distances to the two
    (correlation length ≫ gap). Averaged over teachers, because β is a property of the ensemble: with one teacher
    shared by all seeds, no interval over seeds knows how that teacher differs from the next (`one_teacher`).
    """
    sizes = 256 * 2 ** np.arange(5)
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        test = rng.random(2000)
        for s in range(n_seeds):
            points = rng.random(sizes[-1])
            for k, size in enumerate(sizes):
                below, above = _neighbours(points[:size], test)
                result[i, s, k] = 0.5 * np.log(np.mean(below * above / (below + above)))
    return np.log(sizes.astype(float)), result


def one_teacher(n: int, rng: np.random.Generator, n_seeds: int = 5) -> tuple[FloatArray, FloatArray]:
    """The same with one drawn field for all seeds of a table: its own realised slope differs from the ensemble's."""
    sizes = 256 * 2 ** np.arange(5)
    n_test = 2000
    result = np.empty((n, n_seeds, len(sizes)))
    for i in range(n):
        where = rng.random(n_seeds * sizes[-1] + n_test)
        field = _laplace_field(where, rng)
        test, truth = where[-n_test:], field[-n_test:]
        for s in range(n_seeds):
            mine = slice(s * sizes[-1], (s + 1) * sizes[-1])
            for k, size in enumerate(sizes):
                predicted = np.interp(test, *_unrolled(where[mine][:size], field[mine][:size]))
                result[i, s, k] = 0.5 * np.log(np.mean((predicted - truth) ** 2))
    return np.log(sizes.astype(float)), result


def _neighbours(points: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Distance to the training point below and above, on the circle of length 1. [T], [T]"""
    x, _ = _unrolled(points, points)
    index = np.searchsorted(x, test)
    return np.maximum(test - x[index - 1], 0.0), np.maximum(x[index] - test, 0.0)


def _unrolled(points: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Points in order with the last and first repeated one turn away. [P + 2], [P + 2]"""
    order = np.argsort(points)
    x, y = points[order], values[order]
    return np.r_[x[-1] - 1, x, x[0] + 1], np.r_[y[-1], y, y[0]]


def _laplace_field(where: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Brownian bridge on the circle: the Laplace field in the limit of a long correlation length. [n]"""
    order = np.argsort(where)
    gaps = np.diff(where[order], prepend=0.0)
    walk = np.cumsum(np.sqrt(gaps) * rng.normal(size=len(where)))
    end = walk[-1] + np.sqrt(1 - where[order][-1]) * rng.normal()
    field = np.empty(len(where))
    field[order] = walk - where[order] * end
    return field


def calibrate(n: int = 4000, n_learner: int = 1000, seed: int = 0) -> list[Coverage]:
    """Coverage of every method in every scenario (n tables each) and on the two learners (n_learner tables each)."""
    rng = np.random.default_rng(seed)
    rows: list[Coverage] = []
    for scenario in scenarios():
        x, y = simulate(scenario, n, rng)
        rows += _measure(scenario.name, x, y, scenario.beta, scenario.floor_share == 0)
    for name, learner, claimed in (
        ("nearest neighbour on the 2-torus, nested, S=5", nearest_neighbour, True),
        ("kernel on the circle, nested, S=5", kernel_interpolator, True),
        ("the same, one teacher for all seeds", one_teacher, False),
    ):
        x, y = learner(n_learner, rng)
        rows += _measure(f"{name}, K={len(x)}", x, y, 0.5, claimed)
    return rows


def _measure(name: str, x: FloatArray, y: FloatArray, beta: float, claimed: bool) -> Iterable[Coverage]:
    for method, interval in METHODS.items():
        value, half = interval(x, y)
        share = float(np.mean(np.abs(value - beta) <= half))
        yield Coverage(
            scenario=name,
            method=method,
            coverage=share,
            error=float(np.sqrt(share * (1 - share) / len(value))),
            half_width=float(np.median(half)),
            bias=float(value.mean() - beta),
            claimed=claimed,
        )


def miscalibrated(rows: Iterable[Coverage]) -> list[Coverage]:
    """Rows of the default interval, where it claims its coverage, outside `ACCEPTED`."""
    return [
        row for row in rows if row.method == DEFAULT and row.claimed and not ACCEPTED[0] <= row.coverage <= ACCEPTED[1]
    ]


def table(rows: Iterable[Coverage]) -> str:
    """Coverage by scenario (lines) and method (columns), per cent."""
    by_scenario: dict[str, dict[str, Coverage]] = {}
    for row in rows:
        by_scenario.setdefault(row.scenario, {})[row.method] = row
    width = max(len(name) for name in by_scenario)
    lines = [" " * width + "  coverage of the nominal 95 % interval, %"]
    lines += [f"{'':{width}}  ({i + 1}) {method}" for i, method in enumerate(METHODS)]
    lines.append(" " * width + "".join(f"{f'({i + 1})':>8}" for i in range(len(METHODS))))
    for name, cells in by_scenario.items():
        lines.append(f"{name:{width}}" + "".join(f"{100 * cells[m].coverage:8.1f}" for m in METHODS))
    return "\n".join(lines)


def records(rows: Iterable[Coverage]) -> list[dict[str, object]]:
    """Rows for JSON or CSV."""
    return [asdict(row) for row in rows]
