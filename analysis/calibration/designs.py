"""How many seeds and sizes decide what: a difference of exponents, an equivalence, and the claim.

The noise of ln ε within a seed is given, or taken from the scatter over seeds in a table: there from the differences of
curves on the same subsets, if any are, since what the subsets share cancels. Differences and equivalences of power laws
follow from it by the power of their t tests (`comparisons.design`); the claim needs simulations (`claim_rates`), which
decide under both forms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from analysis.arrays import FloatArray
from analysis.calibration.calibrate import Scenario
from analysis.calibration.claim_rates import Truth, rate
from analysis.comparisons.conditions import LEVEL, MARGIN
from analysis.comparisons.design import (
    MAX_SEEDS,
    POWER,
    NoiseLevel,
    condition_power,
    fewest,
    fewest_with_further,
    fit_noise,
    slope_half_width,
)
from analysis.comparisons.paired import FLOOR_SIZES, detectable, pair
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.jsonable import Record
from analysis.fits.uncertainty import Interval
from analysis.spelling import dataset_words, metric_words, test_set_words

SEEDS = (3, 5, 10)
"""Numbers of seeds for which the smallest difference is named."""
SIZES = (5, 7, 9)
"""Numbers of sizes, if none are asked for."""
MOST = 32
"""Largest number of seeds for which the claim is simulated."""
TABLES = 2000
"""Tables simulated for each number of seeds: the power is known within 2 %, two standard errors."""
START = 16.0
"""Smallest P of a design without a table."""
PLACE = ("dataset", "test_set", "metric")


@dataclass(frozen=True)
class Source:
    """Noise for which designs are sought."""

    name: str
    """Dataset and metric, or empty."""
    noise: NoiseLevel
    """Noise of ln ε of one curve; two curves have independent noise of this size."""
    origin: str
    """Where it comes from, in words."""
    start: float
    """Smallest P."""
    factor: float
    """Ratio of neighbouring P."""
    own: NoiseLevel
    """Noise of a single curve, with what curves on the same subsets share."""


@dataclass(frozen=True)
class Design:
    """What a number of sizes needs."""

    sizes: tuple[float, ...]
    """The values of P."""
    spread: float
    """Standard deviation over seeds of Δβ of two curves."""
    difference: int | None
    """Seeds that show a difference of the size asked for; None if more than `MAX_SEEDS`."""
    equivalence: int | None
    """Seeds that show that equal exponents are equivalent."""
    claim: int | None
    """Seeds with which the claim holds where it is true; None if more than `MOST`."""
    smallest: tuple[float, ...]
    """Smallest differences that `SEEDS` seeds show."""
    half_width: tuple[float, ...] = ()
    """Half the 95 % interval of β of one curve of `SEEDS` seeds; empty if no further seeds are asked for."""
    half_width_further: tuple[float, ...] = ()
    """The same with further seeds at the smallest P."""
    with_further: tuple[int | None, ...] = ()
    """Seeds with every P that show difference, equivalence and claim if there are further seeds at the smallest P."""


def given(noise: tuple[float, float]) -> Source:
    """Return a source of a noise given by hand: from nested subsets, and from initial weights."""
    return Source("", NoiseLevel(*noise), "as given", START, 2.0, NoiseLevel(*noise))


def from_table(curves: Sequence[Curve]) -> list[Source]:
    """Return the noise of every dataset, test set and metric with two seeds in a curve.

    Raises InputError if there is none.
    """
    places: dict[tuple[str, ...], list[Curve]] = {}
    for curve in curves:
        places.setdefault(tuple(curve.text(name) for name in PLACE), []).append(curve)
    found = [_source(place, group) for place, group in places.items()]
    sources = [one for one in found if one is not None]
    if not sources:
        raise InputError("no curve of the table has two seeds with all P: give the noise of ln ε, --noise SUBSET INIT")
    return sources


def _source(place: tuple[str, ...], group: Sequence[Curve]) -> Source | None:
    pairs = [both for one, two in combinations(group, 2) if (both := pair(one, two)) is not None]
    matched = [both for both in pairs if both.paired and len(both.first_log) >= 2]
    single = [one for curve in group if (one := _complete(curve)) is not None]
    if matched:
        # halved, for a pair scatters as two independent curves of the level that is returned
        parts = [(both.log_p, (both.second_log - both.first_log) / np.sqrt(2)) for both in matched]
        origin = f"from {len(matched)} pair{'s' * (len(matched) > 1)} of curves on the same subsets"
    else:
        parts = single
        origin = f"from {len(parts)} curve{'s' * (len(parts) > 1)}; none share their subsets with another"
    if not parts:
        return None
    longest = max((log_p for log_p, _ in parts), key=len)
    factor = float(np.exp((longest[-1] - longest[0]) / (len(longest) - 1)))
    dataset, test_set, metric = place
    name = ", ".join(filter(None, (dataset_words(dataset), test_set_words(test_set), metric_words(metric))))
    return Source(name, fit_noise(parts), origin, float(np.exp(longest[0])), factor, fit_noise(single or parts))


def _complete(curve: Curve) -> tuple[FloatArray, FloatArray] | None:
    """Return ln P and ln ε of the seeds with all P; None if fewer than two."""
    rows = curve.log_error[np.isfinite(curve.log_error).all(axis=1)]
    return (curve.log_sizes, rows) if curve.has_seeds and len(rows) >= 2 and len(curve.sizes) >= 2 else None


def designs(
    source: Source,
    n_sizes: Sequence[int],
    difference: float,
    *,
    further: tuple[int, int] | None = None,
    n_tables: int = TABLES,
    seed: int = 0,
) -> list[Design]:
    """Return what is needed for each number of sizes.

    Args:
        source: the noise.
        n_sizes: numbers of sizes, each at least two.
        difference: of exponents; in the claim, that of B and C from A.
        further: further seeds, and the number of smallest sizes at which they have their runs.
        n_tables: tables simulated for each number of seeds.
        seed: of the simulation.

    Raises InputError if the further seeds would have all sizes.
    """
    if further is not None and further[1] >= min(n_sizes):
        raise InputError(
            f"--further {further[0]} {further[1]}: seeds with {further[1]} of {min(n_sizes)} sizes are complete; "
            f"expected fewer sizes than --sizes"
        )
    return [_design(source, k, difference, further, n_tables, seed) for k in n_sizes]


def _design(
    source: Source, n_sizes: int, difference: float, further: tuple[int, int] | None, n_tables: int, seed: int
) -> Design:
    log_p = np.log(source.start) + np.log(source.factor) * np.arange(n_sizes)
    spread = float(np.sqrt(2) * source.noise.slope_error(log_p))

    def needed(distances: tuple[float, float], level: float) -> int | None:
        return fewest(lambda n: condition_power(distances, spread, n, level) >= POWER, 2, MAX_SEEDS)

    tests = (((difference, np.inf), LEVEL / 2), ((MARGIN, MARGIN), LEVEL))  # the former two-sided
    plain = tuple(needed(*test) for test in tests)
    claim = _claim(source, n_sizes, difference, n_tables, seed)
    found = Design(
        sizes=tuple(float(round(p)) for p in np.exp(log_p)),
        spread=spread,
        difference=plain[0],
        equivalence=plain[1],
        claim=claim,
        smallest=tuple(detectable(Interval(0.0, np.nan, np.nan, spread / np.sqrt(n), n - 1)) for n in SEEDS),
    )
    if further is None:
        return found
    return replace(
        found,
        half_width=tuple(slope_half_width(log_p, n, source.own) for n in SEEDS),
        half_width_further=tuple(slope_half_width(log_p, n, source.own, *further) for n in SEEDS),
        with_further=(
            *(
                seeds and fewest_with_further(log_p, source.noise, further, *test, seeds)
                for test, seeds in zip(tests, plain, strict=True)
            ),
            None if claim is None else _claim(source, n_sizes, difference, n_tables, seed, further, claim),
        ),
    )


def _claim(
    source: Source,
    n_sizes: int,
    difference: float,
    n_tables: int,
    seed: int,
    further: tuple[int, int] = (0, 0),
    most: int = MOST,
) -> int | None:
    """Return the seeds with which the claim holds in 80 % of tables with B = C = A + difference and D = A."""
    if n_sizes < FLOOR_SIZES:
        return None  # a floor cannot be told from a slope
    truth = Truth("", {"B": difference, "C": difference}, {}, {}, further=further[0], at=further[1])
    noise = source.noise
    curve = Scenario("", 1, 1, subset=noise.subset, init=noise.init, test=0.0, factor=source.factor)

    def holds(n_seeds: int) -> bool:
        rng = np.random.default_rng(seed)  # the same draws for every number of seeds
        return rate(truth, n_seeds, n_sizes, n_tables, rng, curve).holds >= POWER

    return fewest(holds, 2, most)


def design_text(source: Source, found: Sequence[Design], difference: float) -> str:
    """Describe the designs in lines of text."""
    noise = source.noise
    parts = f"{100 * noise.subset:.2g} % from nested subsets and {100 * noise.init:.2g} % from initial weights"
    lines = [f"{source.name + ': ' if source.name else ''}noise of ln ε within a seed {parts} ({source.origin})"]
    kinds = (f"difference of {difference:g}", f"equivalence ±{MARGIN:g}", "claim")
    heads = ("sizes", "P", "sd of Δβ", *kinds, *(f"{n} seeds" for n in SEEDS))
    rows: list[tuple[str, ...]] = [heads]
    for one in found:
        counts = (
            _count(one.difference, MAX_SEEDS),
            _count(one.equivalence, MAX_SEEDS),
            "–" if len(one.sizes) < FLOOR_SIZES else _count(one.claim, MOST),
        )
        smallest = (f"{x:.2g}" for x in one.smallest)
        span = f"{one.sizes[0]:g} … {one.sizes[-1]:g}"
        rows.append((str(len(one.sizes)), span, f"{one.spread:.2g}", *counts, *smallest))
    widths = [max(len(row[i]) for row in rows) for i in range(len(heads))]
    lines += ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def further_text(found: Sequence[Design], further: tuple[int, int]) -> str:
    """Say in lines of text what further seeds at the smallest P do to the interval of β of one curve."""
    seeds, at = further
    more = f"{seeds} more at the {f'{at} ' if at > 1 else ''}smallest P"
    lines = [f"half the 95 % interval of β of one curve (power law), with all P → with {more}, noise equal at all P:"]
    for one in found:
        pairs = zip(SEEDS, one.half_width, one.half_width_further, strict=True)
        lines.append(f"  {len(one.sizes)} sizes: " + "; ".join(f"{n} seeds {a:.2g} → {b:.2g}" for n, a, b in pairs))
    lines.append(f"seeds with all P that show it, alone → with {more} of every curve:")
    for one in found:
        alone = (one.difference, one.equivalence, one.claim)
        limits = (MAX_SEEDS, MAX_SEEDS, MOST)
        kinds = zip(("difference", "equivalence", "claim"), alone, one.with_further, limits, strict=True)
        told = (
            f"{kind} {_count(a, most)}" + ("" if a is None else f" → {_count(b, most)}")
            for kind, a, b, most in kinds
            if kind != "claim" or len(one.sizes) >= FLOOR_SIZES
        )
        lines.append(f"  {len(one.sizes)} sizes: " + "; ".join(told))
    return "\n".join(lines)


NOTE = (
    "difference, equivalence, claim: seeds with which it is shown with 80 % power at 5 % (difference two-sided, power "
    "law; equivalence of equal exponents; the claim with B = C = A + difference and D = A, under both forms, "
    f"simulated up to {MOST} seeds, – with fewer than {FLOOR_SIZES} sizes). Last columns: the smallest difference that "
    "so many seeds show."
)
"""What the columns of `design_text` mean."""


def _count(seeds: int | None, most: int) -> str:
    return f"over {most}" if seeds is None else str(seeds)


def design_records(source: Source, found: Sequence[Design], difference: float) -> list[Record]:
    """Return a JSON record for each number of sizes."""
    return [
        {
            "source": source.name or None,
            "noise_subset": source.noise.subset,
            "noise_init": source.noise.init,
            "P": list(one.sizes),
            "delta_beta_sd": one.spread,
            "difference": difference,
            "margin": MARGIN,
            "power": POWER,
            "seeds_difference": one.difference,
            "seeds_equivalence": one.equivalence,
            "seeds_claim": one.claim,
            "smallest_difference": {str(n): value for n, value in zip(SEEDS, one.smallest, strict=True)},
            "seeds_with_further": dict(zip(("difference", "equivalence", "claim"), one.with_further, strict=False))
            if one.half_width
            else None,
            "half_width": dict(zip(map(str, SEEDS), one.half_width, strict=False)) or None,
            "half_width_further": dict(zip(map(str, SEEDS), one.half_width_further, strict=False)) or None,
        }
        for one in found
    ]
