"""Does a nominal 95 % interval cover 95 %? Simulated curves with known β, and two real nested learners.

Simulated: ε = a·P^(−β) + c with log noise of the choice of subset (nested: correlation √(P/P′) within a seed; or
independent at each P), of the initial weights (independent), and of the finite test set (common to all seeds). The
intervals include the standard error of the latter, as estimated from its frames (`error_test_sem` in a run table).
Learners: module `learners`. Their intervals do without it: at one test point their errors are independent across seeds,
so the scatter over seeds includes them. Measured is the coverage of what the program quotes: the recommended one of the
two forms, with the interval of module `recommend`; beside it those of both forms, and two that are in use elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.arrays import FloatArray
from analysis.calibration.learners import kernel_interpolator, nearest_neighbour, one_teacher
from analysis.calibration.progress import watched
from analysis.fits.floor import joint_betas
from analysis.fits.intervals import Sample, conclude, measure, power_law
from analysis.fits.moderation import NO_PRIOR
from analysis.fits.uncertainty import LEVEL, t_quantile

ACCEPTED = (0.93, 0.97)
"""Range of coverages of the default interval that count as calibrated, in scenarios that claim it."""
TEST_FRAMES = 400
"""Test frames of a simulated table, from which the standard errors of its errors are estimated."""


@dataclass(frozen=True)
class Scenario:
    """One kind of table whose intervals are put to the test."""

    name: str
    """Description of the scenario."""
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
    """Standard deviation of ln ε from the choice of subset."""
    init: float = 0.03
    """Standard deviation of ln ε from the initial weights."""
    test: float = 0.01
    """Standard deviation of ln ε from the shared test set."""
    test_correlation: float = 0.9
    """Correlation of the latter per octave of P (the intervals always assume 0.9)."""
    factor: float = 2.0
    """Ratio of neighbouring P."""


@dataclass(frozen=True)
class Estimates:
    """Exponents of many tables with their intervals."""

    value: FloatArray
    """β̂. [n]"""
    low: FloatArray
    """Lower end. [n]"""
    high: FloatArray
    """Upper end. [n]"""

    @classmethod
    def symmetric(cls, value: FloatArray, half: FloatArray) -> Estimates:
        """Return estimates with symmetric intervals, value [n] ± half width [n]."""
        return cls(value, value - half, value + half)

    @classmethod
    def of_seeds(cls, values: FloatArray) -> Estimates:
        """Return the means over seeds of values [n, S] with t intervals."""
        n_seeds = values.shape[1]
        half = t_quantile(n_seeds - 1) * values.std(axis=1, ddof=1) / np.sqrt(n_seeds)
        return cls.symmetric(values.mean(axis=1), half)

    @property
    def half(self) -> FloatArray:
        """Half the width of the intervals, shape [n]."""
        return (self.high - self.low) / 2

    def holds(self, beta: float) -> NDArray[np.bool_]:
        """Return whether each interval contains β, shape [n]."""
        return np.asarray((self.low <= beta) & (beta <= self.high))


@dataclass(frozen=True)
class Coverage:
    """Share of simulated tables whose interval contains the true exponent."""

    scenario: str
    """Name of the scenario."""
    method: str
    """Name of the method that gives the interval."""
    coverage: float
    """Measured coverage of the nominal 95 % interval."""
    error: float
    """Its binomial standard error."""
    half_width: float
    """Median half width of the interval."""
    bias: float
    """Mean of β̂ − β."""
    claimed: bool
    """Whether the default interval claims its coverage here: no floor, and the test set is the only randomness that
    all seeds share."""
    floor: bool
    """Whether the curves have a floor."""


def scenarios() -> list[Scenario]:
    """Return the scenarios of the report: subsets nested or not, 3–5 seeds, 5–9 values of P, floors of 10–40 %."""
    plain = [
        Scenario(f"{'nested' if nested else 'independent'} subsets, S={s}, K={k}", s, k, nested=nested)
        for nested in (True, False)
        for s in (3, 4, 5)
        for k in (5, 7, 9)
    ]
    special = [
        Scenario("no init effect, S=5, K=7", 5, 7, init=0.0),
        Scenario("large init effect, S=5, K=7", 5, 7, subset=0.01, init=0.1),
        Scenario("small exponent, S=5, K=7", 5, 7, beta=0.1),
        Scenario("exact test errors, S=5, K=7", 5, 7, test=0.0),
        *(Scenario(f"small test set (4 %), S={s}, K={k}", s, k, test=0.04) for s, k in ((3, 5), (5, 7), (5, 9))),
        Scenario("the same, S=5, K=7, correlation 0.85", 5, 7, test=0.04, test_correlation=0.85),
    ]
    floors = [
        Scenario(f"floor {share:.0%} of ε(P_max), S={s}, K={k}", s, k, floor_share=share)
        for share in (0.1, 0.4)
        for s in (3, 5)
        for k in (6, 9)
    ]
    return [*plain, *special, *floors]


def simulate(scenario: Scenario, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Simulate n tables of a scenario: return ln P [K] and ln ε [n, S, K]."""
    sizes = 16.0 * scenario.factor ** np.arange(scenario.n_sizes)
    power = sizes**-scenario.beta
    clean = power + scenario.floor_share / (1 - scenario.floor_share) * power[-1]
    shape = (n, scenario.n_seeds, scenario.n_sizes)
    steps = np.arange(scenario.n_sizes)
    octaves = np.abs(steps[:, None] - steps) * np.log2(scenario.factor)
    root = np.linalg.cholesky(np.sqrt(0.5) ** octaves) if scenario.nested else np.eye(scenario.n_sizes)
    shared = np.linalg.cholesky(scenario.test_correlation**octaves)
    noise = scenario.subset * rng.normal(size=shape) @ root.T + scenario.init * rng.normal(size=shape)
    common = scenario.test * rng.normal(size=(n, 1, scenario.n_sizes)) @ shared.T
    return np.log(sizes), np.log(clean) + noise + common


def standard_errors(scenario: Scenario, n: int, rng: np.random.Generator) -> FloatArray:
    """Draw relative standard errors [n, K] of the test errors, as estimated from `TEST_FRAMES` shared frames."""
    frames = TEST_FRAMES - 1
    estimated = np.sqrt(rng.chisquare(frames, size=(n, 1)) / frames)
    return np.asarray(scenario.test * np.broadcast_to(estimated, (n, scenario.n_sizes)))


def _slopes(x: FloatArray, y: FloatArray) -> FloatArray:
    shifted = x - x.mean()
    return np.asarray(-(y @ shifted) / (shifted @ shifted))


def seeds_t(x: FloatArray, y: FloatArray, sem: FloatArray | None = None) -> Estimates:
    """Fit power laws with a t interval over per-seed slopes, including the noise of the test set if `sem` is given.

    Args:
        x: ln P. [K]
        y: ln ε. [n, S, K]
        sem: relative standard error of the test errors; None if unknown. [n, K]
    """
    one = power_law(Sample(x, y, sem=sem))
    return Estimates.symmetric(one.value, one.margin(NO_PRIOR).half)


def ols_means(x: FloatArray, y: FloatArray, sem: FloatArray | None = None) -> Estimates:
    """Fit power laws as most papers do: least squares on the per-P means, K − 2 degrees of freedom; ignores `sem`."""
    mean = y.mean(axis=1)
    beta = _slopes(x, mean)
    shifted = x - x.mean()
    residual = mean - mean.mean(axis=1, keepdims=True) + beta[:, None] * shifted
    error = np.sqrt((residual**2).sum(axis=1) / (len(x) - 2) / (shifted @ shifted))
    return Estimates.symmetric(beta, t_quantile(len(x) - 2) * error)


def floor_joint_t(x: FloatArray, y: FloatArray, sem: FloatArray | None = None) -> Estimates:
    """Fit the form with a floor that the seeds share, with a t interval linearised about the fit; ignores `sem`.

    `claim` rests on it: differences of exponents come from each seed's share in the joint fit.
    """
    return Estimates.of_seeds(joint_betas(x, y))


def seed_bootstrap(x: FloatArray, y: FloatArray, sem: FloatArray | None = None) -> Estimates:
    """Fit power laws with a percentile bootstrap over seeds: for comparison, not for use; ignores `sem`."""
    slopes = _slopes(x, y)
    n_seeds = slopes.shape[1]
    weights = np.random.default_rng(0).multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=400) / n_seeds
    low, high = np.quantile(slopes @ weights.T, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)
    return Estimates(slopes.mean(axis=1), low, high)


def recommended(x: FloatArray, y: FloatArray, sem: FloatArray | None = None) -> Estimates:
    """Return what `fit` recommends for curves that stand alone; arguments as for `seeds_t`."""
    found = conclude(measure(Sample(x, y, sem=sem)))
    return Estimates(found.value, found.low, found.high)


Method = Callable[[FloatArray, FloatArray, FloatArray | None], Estimates]
POWER, FLOOR, RECOMMENDED = "power: t over seeds", "power_floor: t over joint fits", "recommended (default)"
METHODS: dict[str, Method] = {
    RECOMMENDED: recommended,
    POWER: seeds_t,
    FLOOR: floor_joint_t,
    "power: OLS on per-P means": ols_means,
    "power: bootstrap over seeds": seed_bootstrap,
}
DEFAULTS = (RECOMMENDED, POWER)
"""The method that the program quotes, and that of its power law: both claim their coverage."""


def measure_coverage(n: int = 4000, n_learner: int = 1000, seed: int = 0) -> list[Coverage]:
    """Measure the coverage of every method in every scenario (n tables each) and for the learners (n_learner each)."""
    rng = np.random.default_rng(seed)
    rows: list[Coverage] = []
    for scenario in watched(scenarios(), "coverage"):
        x, y = simulate(scenario, n, rng)
        sem = standard_errors(scenario, n, rng)
        floor = scenario.floor_share > 0
        rows += _measure(scenario.name, x, y, sem, scenario.beta, claimed=not floor, floor=floor)
    for name, learner, claimed in (
        ("nearest neighbour on the 2-torus, nested, S=5", nearest_neighbour, True),
        ("kernel on the circle, nested, S=5", kernel_interpolator, True),
        ("the same, one teacher for all seeds", one_teacher, False),
    ):
        x, y = learner(n_learner, rng)
        rows += _measure(f"{name}, K={len(x)}", x, y, None, 0.5, claimed=claimed, floor=False)
    return rows


def _measure(
    name: str, x: FloatArray, y: FloatArray, sem: FloatArray | None, beta: float, *, claimed: bool, floor: bool
) -> Iterable[Coverage]:
    for method, interval in METHODS.items():
        estimates = interval(x, y, sem)
        share = float(estimates.holds(beta).mean())
        yield Coverage(
            scenario=name,
            method=method,
            coverage=share,
            error=float(np.sqrt(share * (1 - share) / len(y))),
            half_width=float(np.median(estimates.half)),
            bias=float(estimates.value.mean() - beta),
            claimed=claimed,
            floor=floor,
        )


def miscalibrated(rows: Iterable[Coverage]) -> list[Coverage]:
    """Return the rows of the default methods that claim their coverage and lie outside `ACCEPTED`."""
    low, high = ACCEPTED
    return [row for row in rows if row.method in DEFAULTS and row.claimed and not low <= row.coverage <= high]


def coverage_table(rows: Iterable[Coverage]) -> str:
    """Return a text table of coverage in per cent by scenario and method, and the half widths of the first two."""
    by_scenario: dict[str, dict[str, Coverage]] = {}
    for row in rows:
        by_scenario.setdefault(row.scenario, {})[row.method] = row
    width = max(len(name) for name in by_scenario) + 2
    lines = [" " * width + "coverage of the nominal 95 % interval, %, and its median half width"]
    lines += [f"{'':{width}}({i + 1}) {method}" for i, method in enumerate(METHODS)]
    heads = [*(f"({i + 1})" for i in range(len(METHODS))), *(f"±({i + 1})" for i in range(len(DEFAULTS)))]
    lines.append(" " * width + "".join(f"{head:>8}" for head in heads))
    for name, cells in by_scenario.items():
        mark = "" if cells[RECOMMENDED].claimed else " *"
        line = f"{name + mark:{width}}" + "".join(f"{100 * cells[m].coverage:8.1f}" for m in METHODS)
        lines.append(line + "".join(f"{cells[m].half_width:8.3f}" for m in DEFAULTS))
    lines.append(
        "* no coverage is claimed: a floor; or one teacher for all seeds: β is the exponent of the ensemble of"
    )
    lines.append(
        "  teachers, and neither seeds nor test frames show how far the slope of a single teacher lies from it"
    )
    return "\n".join(lines)


def coverage_summary(rows: Iterable[Coverage]) -> str:
    """Summarise the coverage of the default methods without a floor, and with one, in lines of text."""
    rows = list(rows)
    accepted = f"{100 * ACCEPTED[0]:.0f}–{100 * ACCEPTED[1]:.0f} %"
    lines = [
        f"outside {accepted}: {row.scenario}, {row.method}: {100 * row.coverage:.1f} ± {100 * row.error:.1f} %"
        for row in miscalibrated(rows)
    ]
    for method in DEFAULTS:
        claimed = [row for row in rows if row.method == method and row.claimed]
        lines.append(f"{method}: {_range(claimed)} without a floor")
    for method in (RECOMMENDED, FLOOR):
        floored = [row for row in rows if row.method == method and row.floor]
        lines.append(f"{method}: {_range(floored)} with a floor of 10–40 % of ε(P_max)")
    worst = max(row.error for row in rows if row.method == RECOMMENDED and row.claimed)
    return "\n".join([*lines, f"standard error of a coverage without a floor: at most {100 * worst:.1f} %"])


def _range(rows: Iterable[Coverage]) -> str:
    shares = [100 * row.coverage for row in rows]
    return f"covers {min(shares):.1f}–{max(shares):.1f} %"


def coverage_records(rows: Iterable[Coverage]) -> list[dict[str, object]]:
    """Return the rows as records for JSON or CSV."""
    return [asdict(row) for row in rows]
