"""How often the test of the claim gives which outcome: four simulated cells of known exponents and floors.

ε = a·P^(−β) + c with the noise of module `calibrate` (5 % from nested subsets, 3 % from initial weights), drawn anew
for every cell: networks that share their subsets have less noise in their differences. P = 16, 32, 64, …
The rule is the program's own (`comparisons.conditions`), for all tables at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario, simulate
from analysis.calibration.gaps import Gaps, uneven_differences
from analysis.calibration.progress import watched
from analysis.comparisons.conditions import PAIRS, Deltas, Differences, Outcome, outcomes
from analysis.comparisons.paired import FLOOR_SIZES
from analysis.fits.floor import joint_betas

EXPONENT = 0.5
"""Exponent of cell A."""
CURVE = Scenario("", 1, 1, test=0.0)
"""Noise and ratio of neighbouring P of the cells."""
SEEDS = (3, 5, 10)
"""Numbers of seeds S."""
SIZES = (5, 7, 9)
"""Numbers of values of P."""


@dataclass(frozen=True)
class Truth:
    """What is true of the four cells."""

    name: str
    """Description."""
    gain: Mapping[str, float]
    """β of a cell less that of A; zero where none is given."""
    floor: Mapping[str, float]
    """Floor of a cell as a share of ε(P_max); zero where none is given."""
    missing: Mapping[str, int]
    """Cells that lack one seed in so many; two are left at least."""
    noise: float = 1.0
    """Noise in units of that of module `calibrate`."""
    further: int = 0
    """Further seeds of every cell."""
    at: int = 0
    """Number of the smallest sizes that these have."""
    falling: float = 0.0
    """Exponent with which the noise of ln ε falls with P, unchanged in the geometric middle."""


TRUTHS = (
    Truth("nothing differs", {}, {}, {}),
    Truth("floors alone: 30 % in A and D", {}, {"A": 0.3, "D": 0.3}, {}),
    Truth("B = C = A + .03, D = A", {"B": 0.03, "C": 0.03}, {}, {}),
    Truth("B = C = A + .1, D = A", {"B": 0.1, "C": 0.1}, {}, {}),
    Truth("B = C = A + .2, D = A", {"B": 0.2, "C": 0.2}, {}, {}),
    Truth("the same, C and D lack a third of the seeds", {"B": 0.2, "C": 0.2}, {}, {"C": 3, "D": 3}),
    Truth("the same, all seeds, half the noise", {"B": 0.2, "C": 0.2}, {}, {}, 0.5),
    Truth("B = C = D = A + .2", {"B": 0.2, "C": 0.2, "D": 0.2}, {}, {}),
    Truth("nothing differs, 4 more seeds at 2 P", {}, {}, {}, further=4, at=2),
    Truth("floors alone, 4 more seeds at 2 P", {}, {"A": 0.3, "D": 0.3}, {}, further=4, at=2),
    Truth("B = C = A + .2, 4 more seeds at 2 P", {"B": 0.2, "C": 0.2}, {}, {}, further=4, at=2),
    Truth("B = C = A + .2, noise ∝ P^−0.3", {"B": 0.2, "C": 0.2}, {}, {}, falling=0.3),
    Truth("the same, 4 more seeds at 2 P", {"B": 0.2, "C": 0.2}, {}, {}, further=4, at=2, falling=0.3),
)
"""What is simulated."""


@dataclass(frozen=True)
class Rate:
    """Shares of the outcomes in simulated tables of one kind."""

    truth: str
    """What is true of the cells."""
    n_seeds: int
    """Seeds S."""
    n_sizes: int
    """Values of P."""
    n_tables: int
    """Simulated tables."""
    holds: float
    """Share of tables in which the claim holds."""
    refuted: float
    """Share in which it is refuted."""
    no_effect: float
    """Share in which there is no effect above the margin."""
    undecided: float
    """Share that stays undecided."""


def measure_claim(n: int = 4000, seed: int = 0) -> list[Rate]:
    """Return the rates of all outcomes for every truth, number of seeds and number of sizes, from n tables each."""
    rng = np.random.default_rng(seed)
    cells = list(product(TRUTHS, SEEDS, SIZES))
    return [rate(truth, s, k, n, rng) for truth, s, k in watched(cells, "claim")]


def rate(truth: Truth, n_seeds: int, n_sizes: int, n: int, rng: np.random.Generator, curve: Scenario = CURVE) -> Rate:
    """Return the rates of the outcomes in n tables, whose curves have the noise and the ratio of P of `curve`."""
    log_p, cells = tables(truth, n_seeds, n_sizes, n, rng, curve)
    found = outcomes(both_forms(log_p, cells))
    holds, refuted, no_effect, undecided = (found.count(outcome) / n for outcome in Outcome)
    return Rate(truth.name, n_seeds, n_sizes, n, holds, refuted, no_effect, undecided)


def tables(
    truth: Truth, n_seeds: int, n_sizes: int, n: int, rng: np.random.Generator, curve: Scenario = CURVE
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Simulate n tables: return ln P [K] and ln ε of every cell [n, S, K], NaN where a run is missing."""
    log_p, cells = np.empty(0), {}
    for letter in "ABCD":
        s = n_seeds if letter not in truth.missing else max(2, n_seeds - n_seeds // truth.missing[letter])
        cell = replace(
            curve,
            n_seeds=n_seeds + truth.further,
            n_sizes=n_sizes,
            beta=EXPONENT + truth.gain.get(letter, 0.0),
            floor_share=truth.floor.get(letter, 0.0),
            subset=truth.noise * curve.subset,
            init=truth.noise * curve.init,
        )
        log_p, rows = simulate(cell, n, rng)
        if truth.falling:
            clean = simulate(replace(cell, n_seeds=1, subset=0.0, init=0.0), 1, rng)[1]
            rows = clean + (rows - clean) * np.exp(-truth.falling * (log_p - log_p.mean()))
        rows[:, s:n_seeds] = np.nan
        cells[letter] = Gaps(n_seeds, truth.further, truth.at).cut(rows)
    return log_p, cells


def both_forms(log_p: FloatArray, cells: Mapping[str, FloatArray]) -> list[Deltas]:
    """Return the differences of n tables under the power form and with floors.

    Args:
        log_p: ln P. [K]
        cells: ln ε of the four cells, rows matched by seed, NaN where a run is missing. [n, S, K]
    """
    shifted = log_p - log_p.mean()
    slopes = {letter: -(rows @ shifted) / (shifted @ shifted) for letter, rows in cells.items()}
    complete = not any(np.isnan(rows).any() for rows in cells.values())
    if complete and len(log_p) >= FLOOR_SIZES:
        joint = {letter: joint_betas(log_p, rows) for letter, rows in cells.items()}
    else:
        joint = {letter: np.full_like(one, np.nan) for letter, one in slopes.items()}
    power, floor = {}, {}
    for first, second in PAIRS:
        if complete:
            power[first, second] = _paired(slopes[second] - slopes[first])
            floor[first, second] = _paired(joint[second] - joint[first])
        else:
            power[first, second], floor[first, second] = uneven_differences(log_p, cells[first], cells[second])
    return [power, floor]


def _paired(difference: FloatArray) -> Differences:
    """Return the mean over seeds with its standard error: [n, S] → [n] each."""
    n, s = difference.shape
    return Differences(difference.mean(axis=1), difference.std(axis=1, ddof=1) / np.sqrt(s), np.full(n, s - 1.0))


def rate_table(rates: Iterable[Rate]) -> str:
    """Return a text table of the rates in per cent."""
    rates = list(rates)
    width = max(len(one.truth) for one in rates) + 2
    lines = [f"outcomes of the test of the claim, % of {rates[0].n_tables} simulated tables each"]
    lines.append(f"{'':{width}}{'seeds':>6}{'sizes':>6}" + "".join(f"{outcome:>11}" for outcome in Outcome))
    for one in rates:
        shares = (one.holds, one.refuted, one.no_effect, one.undecided)
        lines.append(
            f"{one.truth:{width}}{one.n_seeds:6d}{one.n_sizes:6d}" + "".join(f"{100 * x:11.1f}" for x in shares)
        )
    return "\n".join(lines)


def rate_records(rates: Iterable[Rate]) -> list[dict[str, object]]:
    """Return the rates as records for JSON."""
    return [asdict(one) for one in rates]
