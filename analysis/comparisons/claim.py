"""The pre-registered test of the claim: products of order ≥ 1 raise data efficiency, but are not needed as features.

Cells at equal depth and cutoff: A = (L 0, ν 1), B = (L 1, ν 1), C = (L 0, ν 3, edges with angles),
D = (L 0, ν 3, edge order 0). The claim *holds* iff

    β_B > β_A and β_C > β_A        one-sided paired t tests, Holm over the two, level 0.05
    C is non-inferior to B         lower end of the one-sided 95 % bound of β_C − β_B above −0.05
    D is equivalent to A           two one-sided tests: 90 % interval of β_D − β_A within ±0.05

It is *refuted* if D is equivalent to C (then body order suffices), or if the data contradict one of the four
conditions at the same level (an "iff" fails with any of its parts). Everything else is *undecided*; "not needed" is
never inferred from p > 0.05. Curves that fail the training verdict decide nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import stats

from analysis.arrays import FloatArray
from analysis.comparisons.design import SampleSize, required_sample_size
from analysis.comparisons.paired import EqualError, equal_error, holm, p_words, pair, slope_difference
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.jsonable import Record
from analysis.fits.uncertainty import Interval
from experiments.core.files import json_number

Deltas = Mapping[tuple[str, str], tuple[Interval, FloatArray]]

PAIRS = (("A", "B"), ("A", "C"), ("B", "C"), ("A", "D"), ("C", "D"))
"""Differences that decide, each the second against the first."""

MARGIN = 0.05
"""Margin of non-inferiority and equivalence, in units of β."""
LEVEL = 0.05
"""Level of every one-sided test."""
TOST = 1 - 2 * LEVEL
"""Coverage of the interval whose ends are the two one-sided tests."""
WEIGHT_RATIO = 1.5
"""Ratio of the cells' numbers of weights beyond which they do not count as matched."""


class Outcome(StrEnum):
    """Outcome of the test of the claim."""

    HOLDS = "holds"
    """All four conditions are shown."""
    REFUTED = "refuted"
    """D is equivalent to C, or the data contradict a condition."""
    UNDECIDED = "undecided"
    """The data show neither."""


@dataclass(frozen=True)
class Condition:
    """One of the conditions, with the number that decides it."""

    name: str
    """The condition in words."""
    delta: Interval
    """The difference of exponents with its 90 % interval (each end a one-sided test at 5 %)."""
    p: float
    """p value of the condition (after Holm's correction if it is one of two); NaN if untestable."""
    shown: bool
    """Whether the data show it."""
    contradicted: bool
    """Whether the data show its contrary."""
    sample_size: SampleSize
    """Seeds (datasets, if these are pooled) or further P that would show it."""


@dataclass(frozen=True)
class Claim:
    """The test on one dataset and metric."""

    dataset: str
    """Dataset."""
    metric: str
    """Metric."""
    architecture: str
    """Architecture of the four cells."""
    cells: Mapping[str, Curve]
    """The curves of A, B, C and D."""
    conditions: tuple[Condition, ...]
    """The four conditions of the claim."""
    refuter: Condition
    """D equivalent to C."""
    ratios: Mapping[str, EqualError]
    """Equal-error ratios against A, by cell."""
    outcome: Outcome
    """The verdict."""
    reasons: tuple[str, ...]
    """Reasons for the outcome, in words."""
    cautions: tuple[str, ...]
    """Cautions in words: unmatched numbers of weights, cells whose convergence is unknown."""
    failed: tuple[str, ...] = ()
    """Cells whose training has not converged."""


def claims(fits: Sequence[JudgedFit]) -> list[Claim]:
    """Test the claim on every dataset and metric with the four cells of one architecture, depth and cutoff.

    Raises InputError if no dataset and metric of the table has all four.
    """
    places: dict[tuple[object, ...], list[JudgedFit]] = {}
    fixed = ("dataset", "test_set", "metric", "architecture", "group", "n_layers", "cutoff")
    for item in fits:
        places.setdefault(tuple(item[0].curve.key.get(name) for name in fixed), []).append(item)
    tests = [claim for place in places.values() if (claim := _claim(place)) is not None]
    if not tests:
        have = sorted({_names(fit.curve) for fit, _ in fits})
        raise InputError(
            "the claim needs four cells of one architecture, depth and cutoff on one dataset and metric: (L 0, nu 1), "
            f"(L 1, nu 1), (L 0, nu 3, edge_lmax ≥ 1) and (L 0, nu 3, edge_lmax 0); the table has {', '.join(have)}"
        )
    return tests


def _names(curve: Curve) -> str:
    values = ((name, curve.number(name)) for name in ("L", "nu", "edge_lmax"))
    return " ".join(f"{name}={'none' if value is None else f'{value:g}'}" for name, value in values)


def cell_of(curve: Curve) -> str:
    """Return the letter of a curve's cell, empty for none; a network without `edge_lmax` is taken to have angles."""
    order, nu, edge = (curve.number(name) for name in ("L", "nu", "edge_lmax"))
    if (order, nu) == (0, 1):
        return "A"
    if (order, nu) == (1, 1):
        return "B"
    if (order, nu) == (0, 3):
        return "D" if edge == 0 else "C"
    return ""


def _claim(place: Sequence[JudgedFit]) -> Claim | None:
    cells: dict[str, JudgedFit] = {}
    for item in place:
        letter = cell_of(item[0].curve)
        if letter and (letter not in cells or _edge(item) > _edge(cells[letter])):
            cells[letter] = item
    if set(cells) != set("ABCD"):
        return None
    curves = {letter: cells[letter][0].curve for letter in "ABCD"}
    conditions, refuter = conditions_of({pair: _delta(curves, *pair) for pair in PAIRS})
    failed = [letter for letter in "ABCD" if cells[letter][1].verdict is Verdict.NOT_CONVERGED]
    outcome, reasons = decide(conditions, refuter, failed)
    first = curves["A"]
    return Claim(
        dataset=first.text("dataset"),
        metric=first.text("metric"),
        architecture=first.text("architecture"),
        cells=curves,
        conditions=conditions,
        refuter=refuter,
        ratios={letter: _ratio(curves["A"], curves[letter]) for letter in "BCD"},
        outcome=outcome,
        reasons=reasons,
        cautions=_cautions(curves, cells),
        failed=tuple(failed),
    )


def _edge(item: JudgedFit) -> float:
    return item[0].curve.number("edge_lmax") or 0.0


def _delta(curves: Mapping[str, Curve], first: str, second: str) -> tuple[Interval, FloatArray]:
    """Return β(second) − β(first) with its 90 % interval, and ln P of the common sizes [K]."""
    matched = pair(curves[first], curves[second])
    if matched is None:
        return Interval(np.nan, np.nan, np.nan, np.nan, 0), np.empty(0)
    return slope_difference(matched, TOST), matched.log_p


def conditions_of(deltas: Deltas) -> tuple[tuple[Condition, ...], Condition]:
    """Test the four conditions of the claim, and the one that refutes it; return both.

    Args:
        deltas: for every pair of `PAIRS` the difference β(second) − β(first) with its 90 % interval, and ln P of the
            sizes behind it [K] (empty if further P cannot help).
    """
    raised = holm(np.array([_p_above(deltas[pair][0], 0.0) for pair in (("A", "B"), ("A", "C"))]))
    conditions = (
        _greater(deltas, "A", "B", float(raised[0])),
        _greater(deltas, "A", "C", float(raised[1])),
        _non_inferior(deltas, "B", "C"),
        _equivalent(deltas, "A", "D"),
    )
    return conditions, _equivalent(deltas, "C", "D")


def _p_above(delta: Interval, threshold: float) -> float:
    """Return the p value of the one-sided t test that the difference exceeds the threshold; NaN if untestable."""
    if delta.dof < 1:
        return np.nan
    if not delta.error > 0:
        return 0.0 if delta.value > threshold else 1.0
    return float(stats.t.sf((delta.value - threshold) / delta.error, delta.dof))


def _greater(deltas: Deltas, first: str, second: str, p_holm: float) -> Condition:
    delta, log_p = deltas[first, second]
    return Condition(
        name=f"β_{second} > β_{first}",
        delta=delta,
        p=p_holm,
        shown=bool(p_holm < LEVEL),
        contradicted=bool(delta.high < 0),
        sample_size=required_sample_size(delta, delta.value, log_p, LEVEL),
    )


def _non_inferior(deltas: Deltas, first: str, second: str) -> Condition:
    delta, log_p = deltas[first, second]
    p = _p_above(delta, -MARGIN)
    return Condition(
        name=f"{second} non-inferior to {first} (margin {MARGIN:g})",
        delta=delta,
        p=p,
        shown=bool(p < LEVEL),
        contradicted=bool(delta.high < -MARGIN),
        sample_size=required_sample_size(delta, delta.value + MARGIN, log_p, LEVEL),
    )


def _equivalent(deltas: Deltas, first: str, second: str) -> Condition:
    delta, log_p = deltas[first, second]
    flipped = Interval(-delta.value, -delta.high, -delta.low, delta.error, delta.dof)
    p = max(_p_above(delta, -MARGIN), _p_above(flipped, -MARGIN))  # both one-sided tests must reject
    return Condition(
        name=f"{second} equivalent to {first} (±{MARGIN:g})",
        delta=delta,
        p=p,
        shown=bool(p < LEVEL),
        contradicted=bool(delta.high < -MARGIN or delta.low > MARGIN),
        sample_size=required_sample_size(delta, MARGIN - abs(delta.value), log_p, LEVEL),
    )


def _ratio(first: Curve, second: Curve) -> EqualError:
    matched = pair(first, second)
    if matched is None:
        return EqualError(Interval(np.nan, np.nan, np.nan, np.nan, 0), np.nan)
    return equal_error(matched)


def decide(
    conditions: Sequence[Condition], refuter: Condition, failed: Sequence[str]
) -> tuple[Outcome, tuple[str, ...]]:
    """Decide the outcome of the test and give the reasons in words.

    Args:
        conditions: the four conditions of the claim.
        refuter: the condition that refutes it.
        failed: cells whose training has not converged; with any of them the outcome is undecided.
    """
    if failed:
        return Outcome.UNDECIDED, (f"training has not converged in cell {', '.join(failed)}: no exponents to compare",)
    if refuter.shown:
        return Outcome.REFUTED, (f"{refuter.name}: body order suffices",)
    contradicted = [condition.name for condition in conditions if condition.contradicted]
    if contradicted:
        return Outcome.REFUTED, tuple(f"contradicted: {name}" for name in contradicted)
    if all(condition.shown for condition in conditions):
        return Outcome.HOLDS, tuple(condition.name for condition in conditions)
    return Outcome.UNDECIDED, tuple(f"not shown: {c.name}" for c in conditions if not c.shown)


def _cautions(curves: Mapping[str, Curve], cells: Mapping[str, JudgedFit]) -> tuple[str, ...]:
    cautions = []
    weights = [curve.n_parameters for curve in curves.values()]
    if not all(np.isfinite(weights)):
        cautions.append("the table does not say the numbers of weights, so they may not match")
    elif max(weights) > WEIGHT_RATIO * min(weights):
        listed = ", ".join(f"{letter} {count:g}" for letter, count in zip("ABCD", weights, strict=True))
        cautions.append(f"weights are not matched ({listed})")
    for letter, (_, judgement) in cells.items():
        if judgement.verdict is Verdict.UNKNOWN:
            cautions.append(f"whether training converged in cell {letter} is unknown")
    return tuple(cautions)


def claim_text(claim: Claim, betas: Mapping[str, str]) -> str:
    """Describe the outcome in lines of text: the deciding numbers, and the sample sizes that would decide the rest.

    Args:
        claim: the test.
        betas: β ± of each cell, formatted.
    """
    verb = "" if claim.outcome is Outcome.HOLDS else "is "
    head = f"{claim.dataset}, {claim.metric}, {claim.architecture}: the claim {verb}{claim.outcome.upper()}"
    lines = [head, *(f"  because {reason}" for reason in claim.reasons)]
    lines.append("  β: " + ", ".join(f"{letter} {betas[letter]}" for letter in "ABCD"))
    lines += [condition_line(condition, "seeds") for condition in (*claim.conditions, claim.refuter)]
    for letter, ratio in claim.ratios.items():
        lines.append(f"  {ratio.words('A', letter)}")
    return "\n".join([*lines, *(f"  caution: {caution}" for caution in claim.cautions)]).replace("-0.", "−0.")


def condition_line(condition: Condition, units: str) -> str:
    """Describe a condition in one line: the deciding numbers, and the `units` (seeds, datasets) it needs if open."""
    state = "shown" if condition.shown else "contradicted" if condition.contradicted else "open"
    return (
        f"  {condition.name}: Δβ = {condition.delta.value:+.3f}, 90 % [{condition.delta.low:+.3f}, "
        f"{condition.delta.high:+.3f}], {p_words(condition.p)}: {state}{_what_would(condition, state, units)}"
    )


def _what_would(condition: Condition, state: str, units: str) -> str:
    if state != "open":
        return ""
    if condition.sample_size.seeds is None:
        return f"; no number of {units} would show it: the estimate itself lies on the wrong side"
    sizes = condition.sample_size.sizes
    more = f" or further P = {', '.join(f'{size:g}' for size in sizes)}" if sizes else ""
    return f"; {condition.sample_size.seeds} {units}{more} would show it if the estimate is right"


def claim_record(claim: Claim) -> Record:
    """Return the JSON record of a test."""
    return {
        "dataset": claim.dataset,
        "metric": claim.metric,
        "architecture": claim.architecture,
        "outcome": str(claim.outcome),
        "reasons": list(claim.reasons),
        "cautions": list(claim.cautions),
        "conditions": [condition_record(condition) for condition in claim.conditions],
        "refuter": condition_record(claim.refuter),
        "equal_error_ratio_against_A": {
            letter: {
                "value": json_number(ratio.ratio.value),
                "low": json_number(ratio.ratio.low),
                "high": json_number(ratio.ratio.high),
                "error": json_number(ratio.error),
                "words": ratio.words("A", letter),
            }
            for letter, ratio in claim.ratios.items()
        },
    }


def condition_record(condition: Condition) -> Record:
    """Return the JSON record of a condition."""
    return {
        "name": condition.name,
        "delta_beta": json_number(condition.delta.value),
        "low_90": json_number(condition.delta.low),
        "high_90": json_number(condition.delta.high),
        "p": json_number(condition.p),
        "shown": condition.shown,
        "contradicted": condition.contradicted,
        "seeds_needed": condition.sample_size.seeds,
        "P_needed": None if condition.sample_size.sizes is None else list(condition.sample_size.sizes),
    }
