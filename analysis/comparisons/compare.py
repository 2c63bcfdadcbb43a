"""Differences between models: paired Δβ with Holm's correction, power, floors and equal-error ratios."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from analysis.columns import IDENTIFYING, MATCH, RATE, TUNED
from analysis.comparisons.differences import Lent, floor_difference, lend, slope_difference, with_training
from analysis.comparisons.equal_error import EqualError, equal_error
from analysis.comparisons.outlying import Outlying, outlying
from analysis.comparisons.paired import (
    Pair,
    Survival,
    common_slope,
    detectable,
    holm,
    pair,
    random_effects,
    survival,
    train_floor_difference,
)
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.uncertainty import Interval, lines, two_sided
from analysis.protocol import STOP
from analysis.spelling import display_name

TEST_SET = "test_set"
PLACE = ("dataset", TEST_SET, "metric", STOP)
"""Columns that compared curves must share: a difference in one of them is not one of the model."""
FACTORS = ("architecture", *IDENTIFYING)
"""Columns by which models differ."""
MODEL = "model."
"""Beginning of columns of a model's own settings."""
SIGNS = {
    "L": "L=",
    "nu": "ν=",
    "edge_lmax": "edge ",
    "n_layers": "layers=",
    "channels": "channels=",
    "cutoff": "r_cut=",
    "test_set": "test set ",
    "architecture": "",
}
"""How sentences write the factors that have a letter of their own."""


@dataclass(frozen=True)
class Comparison:
    """One pair of curves that differ in one factor."""

    first: Curve
    """The reference."""
    second: Curve
    """The curve compared with it."""
    factor: str
    """The column in which they differ."""
    common: str
    """Their common factors in words, without those that never vary in the table."""
    delta: Interval
    """β(second) − β(first)."""
    p: float
    """Two-sided p value of no difference; NaN if untestable."""
    p_holm: float
    """The same after Holm's correction over all pairs of this dataset and metric."""
    paired: bool
    """Whether the seeds match."""
    scatter: str
    """Where the scatter is from: `seeds`; `residuals` of a line, if both are single runs; or `published` with means."""
    lent: float
    """Degrees of freedom that the other pairs of the table lend."""
    detectable: float
    """Smallest |Δβ| that this design detects with 80 % power."""
    with_floor: Interval
    """Δβ with a floor fitted in both, shared by the seeds of each; NaN if not identified."""
    survival: Survival
    """Whether the difference survives the floor."""
    with_train_floor: float
    """Δβ with each floor at the training error of the largest P; NaN without training errors."""
    ratio: EqualError
    """P(first)/P(second) at equal error."""
    trained: Interval
    """Δβ with the hull of its interval and the one after all further training; NaN if unknown."""
    outlying: Outlying
    """Runs that lie far off the two curves."""
    not_converged: tuple[str, ...]
    """Which of the two curves (`first`, `second`) fail the training verdict."""
    cannot_tell: tuple[str, ...]
    """Which of the two are too noisy for one."""


@dataclass(frozen=True)
class Family:
    """Curves of one dataset and metric that differ in one factor only, tested for a common exponent."""

    curves: tuple[Curve, ...]
    """The curves, ordered by the factor."""
    factor: str
    """The column in which they differ."""
    common: str
    """Their common factors in words."""
    f: float
    """F statistic of one exponent for all."""
    p: float
    """Its p value; NaN if untestable."""


@dataclass(frozen=True)
class PooledDifference:
    """The same pair on several datasets, datasets as random effects."""

    metric: str
    """Metric."""
    first: str
    """The reference in words."""
    second: str
    """The model compared with it, in words."""
    datasets: tuple[str, ...]
    """The datasets."""
    delta: Interval
    """Mean Δβ over datasets."""
    between: float
    """Standard deviation of Δβ between datasets."""


def compare_curves(fits: Sequence[JudgedFit], by: Sequence[str] = ()) -> list[Comparison]:
    """Compare all pairs of curves of one dataset, test set and metric that differ in exactly one factor.

    Args:
        fits: fitted curves.
        by: factors (columns) of interest; all that vary if empty. Settings (`training.max_steps`) are factors, too:
            a pair that differs in one has all others in common. With `test_set`, models are compared with themselves.

    Raises InputError for a factor that no column of the table has.
    """
    known = {name for fit, _ in fits for name in (*fit.curve.key, *fit.curve.settings)}
    for name in by:
        if name not in known:
            raise InputError(f"--by {name}: no such identifying column; the table has {', '.join(sorted(known))}")
    factors = factors_of(fits, by)
    same = _constant(fits)
    places = [_candidates(place, by, factors) for place in _places(fits, by).values()]
    lent = lend([one.both for place in places for one in place])
    result: list[Comparison] = []
    for place in places:
        comparisons = [_compare(one, same, lent) for one in place]
        adjusted = holm(np.array([c.p for c in comparisons]))
        result += [_with_holm(c, float(p)) for c, p in zip(comparisons, adjusted, strict=True)]
    return result


@dataclass(frozen=True)
class _Candidate:
    """Two fitted curves that differ in one factor, with what both have."""

    first: JudgedFit
    second: JudgedFit
    factor: str
    both: Pair


def _candidates(place: Sequence[JudgedFit], by: Sequence[str], factors: Sequence[str]) -> list[_Candidate]:
    found = []
    for one, two in combinations(place, 2):
        different = _differences(one[0].curve, two[0].curve, factors)
        if len(different) == 1 and (not by or different[0] in by):
            first, second = sorted((one, two), key=lambda item: _rank(item[0].curve.value(different[0])))
            both = pair(first[0].curve, second[0].curve)
            if both is not None:
                found.append(_Candidate(first, second, different[0], both))
    return found


def _differences(one: Curve, two: Curve, factors: Sequence[str]) -> list[str]:
    different = [name for name in factors if one.value(name) != two.value(name)]
    if "architecture" in different:
        different = [name for name in different if not name.startswith(MODEL)]
    if TUNED in different and RATE in different:
        different.remove(RATE)  # whether the rate is tuned is what differs
    if "channels" in different and all(curve.value(MATCH) is not None for curve in (one, two)):
        different.remove("channels")  # chosen so that both have the size of one reference
    if "L" in different and "edge_lmax" in different and _tied(one) and _tied(two):
        different.remove("edge_lmax")
    return different


def _tied(curve: Curve) -> bool:
    """Return whether message order and edge order are one setting, as in NequIP as published."""
    return curve.number("nu") is None and curve.number("edge_lmax") == curve.number("L")


def _factor_columns(curve: Curve, factor: str) -> set[str]:
    """Return the factor and the columns that change with it: a model's settings are part of its architecture."""
    if factor == "architecture":
        return {factor, *(name for name in curve.settings if name.startswith(MODEL))}
    return {factor, "edge_lmax"} if factor == "L" and _tied(curve) else {factor}


def factors_of(fits: Sequence[JudgedFit], by: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the columns in which models can differ: identifying and further ones, settings, and those of `by`."""
    further = (name for fit, _ in fits for name in (*fit.curve.told_apart_by, *fit.curve.settings))
    return tuple(name for name in dict.fromkeys((*FACTORS, *further, *by)) if name not in PLACE or name in by)


def _places(fits: Sequence[JudgedFit], by: Sequence[str] = ()) -> dict[tuple[object, ...], list[JudgedFit]]:
    places: dict[tuple[object, ...], list[JudgedFit]] = {}
    for item in fits:
        places.setdefault(tuple(item[0].curve.key.get(name) for name in PLACE if name not in by), []).append(item)
    return places


def _rank(value: object) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


def _compare(candidate: _Candidate, same: frozenset[str], lent: Lent) -> Comparison:
    both, factor = candidate.both, candidate.factor
    first = both.first
    delta, floored = slope_difference(both, lent=lent), floor_difference(both, lent=lent)
    verdicts = (("first", candidate.first[1].verdict), ("second", candidate.second[1].verdict))
    return Comparison(
        first=first,
        second=both.second,
        factor=factor,
        common=describe(first, without=same | _factor_columns(first, factor), also=(TEST_SET, *first.settings)),
        delta=delta,
        p=two_sided(delta.value, delta.error, delta.dof),
        p_holm=np.nan,
        paired=both.paired,
        scatter=both.scatter,
        lent=lent.dof if both.paired else 0.0,
        detectable=detectable(delta),
        with_floor=floored,
        survival=survival(delta, floored),
        with_train_floor=train_floor_difference(both),
        ratio=equal_error(both, prior=lent.curves),
        outlying=outlying(candidate.first[0], candidate.second[0], lent),
        trained=with_training(both, candidate.first[1].training.kappa, lent),
        not_converged=tuple(name for name, verdict in verdicts if verdict is Verdict.NOT_CONVERGED),
        cannot_tell=tuple(name for name, verdict in verdicts if verdict is Verdict.CANNOT_TELL),
    )


def _with_holm(comparison: Comparison, p: float) -> Comparison:
    return Comparison(**{**comparison.__dict__, "p_holm": p})


def families(fits: Sequence[JudgedFit], by: Sequence[str] = ()) -> list[Family]:
    """Test for a common exponent every three or more curves of one dataset that differ in one factor only."""
    same, factors = _constant(fits), factors_of(fits, by)
    result: list[Family] = []
    for place in _places(fits, by).values():
        for factor in by or factors:
            groups: dict[tuple[object, ...], list[Curve]] = {}
            for fit, _ in place:
                tied = factor == "L" and _tied(fit.curve)
                own = _factor_columns(fit.curve, "architecture") if factor == "architecture" else {factor}
                rest = tuple(
                    "tied" if tied and name == "edge_lmax" else fit.curve.value(name)
                    for name in factors
                    if name not in own
                )
                groups.setdefault(rest, []).append(fit.curve)
            result += [
                _family(group, factor, same)
                for group in groups.values()
                if len({str(curve.value(factor)) for curve in group}) == len(group) >= 3
            ]
    return result


def _family(group: list[Curve], factor: str, same: frozenset[str]) -> Family:
    curves = sorted(group, key=lambda curve: _rank(curve.value(factor)))
    sizes = curves[0].sizes
    seeds = list(curves[0].seeds)
    for curve in curves[1:]:
        sizes = np.intersect1d(sizes, curve.sizes)
        seeds = [seed for seed in seeds if seed in curve.seeds]
    f, p = np.nan, np.nan
    if len(sizes) >= 2 and len(seeds) >= 2 and all(curve.has_seeds for curve in curves):
        slopes = np.stack(
            [-lines(np.log(sizes), _rows(curve, seeds)[:, np.isin(curve.sizes, sizes)])[0] for curve in curves],
            axis=1,
        )
        slopes = slopes[np.isfinite(slopes).all(axis=1)]
        if len(slopes) >= 2:
            f, p = common_slope(slopes)
    without = same | _factor_columns(curves[0], factor)
    common = describe(curves[0], without=without, also=(TEST_SET, *curves[0].settings))
    return Family(tuple(curves), factor, common, f, p)


def _rows(curve: Curve, seeds: Sequence[str]) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rows = curve.log_error[[curve.seeds.index(seed) for seed in seeds]]
    return np.asarray(np.where(np.isfinite(rows), rows, np.nan))


def pool_differences(comparisons: Sequence[Comparison]) -> list[PooledDifference]:
    """Pool Δβ over datasets (random effects) for every pair of models that was measured on two or more of them."""
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    tests = {(c.first.text("dataset"), c.first.text(TEST_SET)) for c in comparisons}
    several = len(tests) > len({dataset for dataset, _ in tests})  # else each dataset's own, whatever its name
    for c in comparisons:
        if c.delta.error > 0:
            also = (c.factor, *c.first.told_apart_by, *((TEST_SET,) if several else ()))
            first, second = (describe(curve, also=also) for curve in (c.first, c.second))
            groups.setdefault((c.first.text("metric"), first, second), []).append(c)
    result = []
    for (metric, first, second), group in groups.items():
        datasets = tuple(c.first.text("dataset") for c in group)
        if len(set(datasets)) >= 2 and len(set(datasets)) == len(datasets):
            mean, between = random_effects(
                np.array([c.delta.value for c in group]), np.array([c.delta.error for c in group])
            )
            result.append(PooledDifference(metric, first, second, datasets, mean, between))
    return result


def _constant(fits: Sequence[JudgedFit]) -> frozenset[str]:
    """Return the factors with one value throughout, which sentences need not repeat."""
    return frozenset(
        name
        for name in (*factors_of(fits), TEST_SET)
        if name != "architecture" and len({fit.curve.value(name) for fit, _ in fits}) == 1
    )


def describe(curve: Curve, without: Collection[str] = (), also: Iterable[str] = ()) -> str:
    """Describe a model in words, without some factors and with further columns: `MACE, ν=1, edge 3`."""
    parts = []
    for name in dict.fromkeys((*FACTORS, *also)):
        value = curve.value(name)
        if name not in without and value is not None and value != "":
            text = f"{value:g}" if isinstance(value, float) else str(value)
            text = display_name(text) if name == "architecture" else text
            parts.append(text if name in ("architecture", "group") else f"{SIGNS.get(name, name + '=')}{text}")
    return ", ".join(parts)
