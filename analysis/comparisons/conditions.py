"""The conditions and outcomes of the claim, for one table or for thousands of simulated ones at once.

Every condition is tested under the power form and under the form with a floor, and counts as shown if both show it.
Arrays over tables have the shape [N].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from analysis.arrays import FloatArray
from analysis.comparisons.design import SampleSize, required_sample_size
from analysis.comparisons.paired import FLOOR_SIZES, p_words
from analysis.fits.jsonable import Record
from analysis.fits.uncertainty import Interval
from experiments.core.files import json_number

PAIRS = (("A", "B"), ("A", "C"), ("B", "C"), ("A", "D"), ("C", "D"))
"""Differences that decide, each the second against the first."""
MARGIN = 0.05
"""Margin of non-inferiority and equivalence, in units of β."""
LEVEL = 0.05
"""Level of every one-sided test."""
TOST = 1 - 2 * LEVEL
"""Coverage of the interval whose ends are the two one-sided tests."""


class Outcome(StrEnum):
    """Outcome of the test of the claim; the first that applies."""

    HOLDS = "holds"
    """All four conditions are shown."""
    REFUTED = "refuted"
    """β_D > β_A is shown and D is equivalent to C, or B or C lies below A by more than the margin."""
    NO_EFFECT = "no_effect"
    """B, C and D are each equivalent to A."""
    UNDECIDED = "undecided"
    """None of these is shown."""


class Kind(StrEnum):
    """What a condition says about a difference Δβ."""

    GREATER = "greater"
    """Δβ > 0."""
    NON_INFERIOR = "non_inferior"
    """Δβ > −margin."""
    EQUIVALENT = "equivalent"
    """|Δβ| < margin: two one-sided tests."""
    BELOW = "below"
    """Δβ < −margin."""


@dataclass(frozen=True)
class Statement:
    """A statement about two cells that data can show."""

    kind: Kind
    """What it says."""
    first: str
    """The reference."""
    second: str
    """The cell compared with it."""

    @property
    def name(self) -> str:
        """The statement in words."""
        return {
            Kind.GREATER: f"β_{self.second} > β_{self.first}",
            Kind.NON_INFERIOR: f"{self.second} non-inferior to {self.first} (margin {MARGIN:g})",
            Kind.EQUIVALENT: f"{self.second} equivalent to {self.first} (±{MARGIN:g})",
            Kind.BELOW: f"β_{self.second} < β_{self.first} − {MARGIN:g}",
        }[self.kind]


RAISED = (Statement(Kind.GREATER, "A", "B"), Statement(Kind.GREATER, "A", "C"))
"""The two conditions that share their level by Holm's correction."""
CONDITIONS = (*RAISED, Statement(Kind.NON_INFERIOR, "B", "C"), Statement(Kind.EQUIVALENT, "A", "D"))
"""The four conditions of the claim."""
SUFFICES = (Statement(Kind.GREATER, "A", "D"), Statement(Kind.EQUIVALENT, "C", "D"))
"""Together they refute it: body order suffices."""
LOWERED = (Statement(Kind.BELOW, "A", "B"), Statement(Kind.BELOW, "A", "C"))
"""Each refutes it."""
SAME = tuple(Statement(Kind.EQUIVALENT, "A", letter) for letter in "BCD")
"""Together: no effect above the margin."""


@dataclass(frozen=True)
class Differences:
    """Differences of exponents of N tables under one form; NaN where there is none."""

    value: FloatArray
    """β(second) − β(first). [N]"""
    error: FloatArray
    """Standard error. [N]"""
    dof: FloatArray
    """Degrees of freedom. [N]"""

    @classmethod
    def of(cls, interval: Interval) -> Differences:
        """Return the difference of one table."""
        return cls(*(np.array([float(x)]) for x in (interval.value, interval.error, interval.dof)))

    def p_above(self, threshold: float, sign: float = 1.0) -> FloatArray:
        """Return p values of the one-sided t tests that sign·Δβ exceeds the threshold, [N]; NaN if untestable."""
        excess = sign * self.value - threshold
        with np.errstate(divide="ignore", invalid="ignore"):
            p = np.where(self.error > 0, stats.t.sf(excess / self.error, self.dof), np.where(excess > 0, 0.0, 1.0))
        return np.where((self.dof >= 1) & np.isfinite(self.value) & np.isfinite(self.error), p, np.nan)


Deltas = Mapping[tuple[str, str], Differences]


def p_values(statement: Statement, deltas: Deltas) -> FloatArray:
    """Return the p values of a statement under one form, after Holm's correction for `RAISED`, [N]; NaN if untestable.

    Holm's correction of two is max(p, min(1, 2·p_min)).
    """
    delta = deltas[statement.first, statement.second]
    match statement.kind:
        case Kind.GREATER:
            p = delta.p_above(0.0)
            if statement in RAISED:
                smallest = np.minimum.reduce([deltas[one.first, one.second].p_above(0.0) for one in RAISED])
                return np.asarray(np.maximum(p, np.minimum(1.0, 2 * smallest)))
            return p
        case Kind.NON_INFERIOR:
            return delta.p_above(-MARGIN)
        case Kind.EQUIVALENT:
            return np.maximum(delta.p_above(-MARGIN), delta.p_above(-MARGIN, -1.0))
        case Kind.BELOW:
            return delta.p_above(MARGIN, -1.0)


def shown(statement: Statement, forms: Sequence[Deltas]) -> NDArray[np.bool_]:
    """Return whether the data show a statement under every form, [N]; False where a form cannot be tested."""
    return np.asarray(np.logical_and.reduce([p_values(statement, deltas) < LEVEL for deltas in forms]))


def contradicted(statement: Statement, forms: Sequence[Deltas]) -> NDArray[np.bool_]:
    """Return whether the data show, under every form, that a condition fails by more than the margin, [N]."""
    pair = statement.first, statement.second
    fails = shown(Statement(Kind.BELOW, *pair), forms)
    if statement.kind is Kind.EQUIVALENT:
        above = np.logical_and.reduce([deltas[pair].p_above(MARGIN) < LEVEL for deltas in forms])
        return np.asarray(fails | above)
    return fails


def outcomes(forms: Sequence[Deltas]) -> list[Outcome]:
    """Return the outcome for each of N tables from the differences of all `PAIRS` under both forms."""

    def every(statements: Sequence[Statement]) -> NDArray[np.bool_]:
        return np.asarray(np.logical_and.reduce([shown(one, forms) for one in statements]))

    lowered = np.logical_or.reduce([shown(one, forms) for one in LOWERED])
    cases = (every(CONDITIONS), every(SUFFICES) | lowered, every(SAME))
    order = np.select(cases, [0, 1, 2], 3)
    return [list(Outcome)[index] for index in order]


@dataclass(frozen=True)
class Evidence:
    """Differences of exponents of one table, or pooled over several, with 90 % intervals, by pair of `PAIRS`."""

    power: Mapping[tuple[str, str], Interval]
    """Under the power form."""
    floor: Mapping[tuple[str, str], Interval]
    """Under the form with a floor; NaN where it is not identified."""
    log_p: Mapping[tuple[str, str], FloatArray]
    """ln P of the sizes behind each; empty if further P cannot help. [K]"""
    trained: tuple[Mapping[tuple[str, str], Interval], ...] = ()
    """The differences after all further training, under both forms and at all ends of κ, if it cannot be told whether
    that changes them: a statement must hold there, too, and so over the hull."""

    @property
    def forms(self) -> list[Deltas]:
        """The differences under both forms, as arrays of one table."""
        return [{one: Differences.of(delta) for one, delta in form.items()} for form in (self.power, self.floor)]

    @property
    def ends(self) -> list[Deltas]:
        """The differences under both forms, and those at the ends of what training may still do."""
        further: list[Deltas] = [{one: Differences.of(delta) for one, delta in end.items()} for end in self.trained]
        return self.forms + further

    @property
    def outcome(self) -> Outcome:
        """The outcome of the test, if no cell is known to be not converged."""
        return outcomes(self.ends)[0]


@dataclass(frozen=True)
class Condition:
    """A statement with the numbers that decide it."""

    statement: Statement
    """The statement."""
    delta: Interval
    """The difference of exponents with its 90 % interval (each end a one-sided test at 5 %)."""
    with_floor: Interval
    """The same with a floor in both curves; NaN if it is not identified."""
    p: float
    """p value (after Holm's correction if it is one of two); NaN if untestable."""
    p_floor: float
    """The same with floors."""
    shown: bool
    """Whether the data show it under both forms."""
    contradicted: bool
    """Whether the data show under both forms that it fails by more than the margin."""
    training_open: bool
    """Whether both forms show it, and more training could undo it."""
    sample_size: SampleSize
    """Seeds (datasets, if these are pooled) or further P that would show it under both forms."""

    @property
    def name(self) -> str:
        """The statement in words."""
        return self.statement.name

    @property
    def why_open(self) -> str:
        """Why the data do not show it, in words."""
        if not np.isfinite(self.p):
            return "too few seeds or sizes in common"
        if self.contradicted:
            return "the data show the contrary"
        if self.training_open:
            return "more training could undo it"
        if not self.p < LEVEL:
            return "the interval leaves it open"
        if not np.isfinite(self.p_floor):
            few = f"fewer than {FLOOR_SIZES} sizes in common, or a flat curve"
            return f"the difference may be floor: it cannot be told from a slope ({few})"
        return (
            f"the difference may be floor: with floors it is {self.with_floor.value:+.3f}, "
            f"90 % [{self.with_floor.low:+.3f}, {self.with_floor.high:+.3f}]"
        ).replace("-0.", "−0.")

    def line(self, units: str) -> str:
        """Describe the deciding numbers in one line, and how many `units` (seeds, datasets) it needs if open.

        Nothing of the latter if `units` is empty.
        """
        state = "shown" if self.shown else "contradicted" if self.contradicted else "open"
        power, floor = (
            f"{delta.value:+.3f}, 90 % [{delta.low:+.3f}, {delta.high:+.3f}], {p_words(p)}"
            for delta, p in ((self.delta, self.p), (self.with_floor, self.p_floor))
        )
        if not np.isfinite(self.p):
            return f"  {self.name}: {self.why_open}: open"
        if not np.isfinite(self.p_floor):
            floor = "not identified"
        state += ", but more training could undo it" if self.training_open else ""
        return f"  {self.name}: Δβ = {power}; with floors {floor}: {state}{self._what_would(state, units)}"

    def _what_would(self, state: str, units: str) -> str:
        if state != "open" or not units or not np.isfinite(self.p_floor):
            return ""
        if self.sample_size.seeds is None:
            return f"; no number of {units} would show it: an estimate itself lies on the wrong side"
        sizes = self.sample_size.sizes
        more = f" or further P up to {sizes[-1]:.0f}" if sizes else ""
        return f"; {self.sample_size.seeds} {units}{more} would show it if the estimates are right"

    def record(self) -> Record:
        """Return the JSON record."""
        return {
            "name": self.name,
            "delta_beta": json_number(self.delta.value),
            "low_90": json_number(self.delta.low),
            "high_90": json_number(self.delta.high),
            "p": json_number(self.p),
            "with_floor": {
                "delta_beta": json_number(self.with_floor.value),
                "low_90": json_number(self.with_floor.low),
                "high_90": json_number(self.with_floor.high),
                "p": json_number(self.p_floor),
            },
            "shown": self.shown,
            "contradicted": self.contradicted,
            "training_open": self.training_open,
            "seeds_needed": self.sample_size.seeds,
            "P_needed": None if self.sample_size.sizes is None else list(self.sample_size.sizes),
        }


def examine(statement: Statement, evidence: Evidence) -> Condition:
    """Return a statement with the numbers that decide it."""
    pair = statement.first, statement.second
    forms = evidence.forms
    p, p_floor = (float(p_values(statement, deltas)[0]) for deltas in forms)
    delta, with_floor = evidence.power[pair], evidence.floor[pair]
    floored = required_sample_size(with_floor, _distances(statement, with_floor), np.empty(0), LEVEL)
    plain = required_sample_size(delta, _distances(statement, delta), evidence.log_p[pair], LEVEL)
    seeds = None if plain.seeds is None or floored.seeds is None else max(plain.seeds, floored.seeds)
    # How much further P sharpen an exponent beside a floor depends on the floor: they are named for slopes alone.
    sizes = plain.sizes if p_floor < LEVEL else None
    return Condition(
        statement=statement,
        delta=delta,
        with_floor=with_floor,
        p=p,
        p_floor=p_floor,
        shown=bool(shown(statement, evidence.ends)[0]),
        contradicted=bool(contradicted(statement, evidence.ends)[0]),
        training_open=bool(shown(statement, forms)[0] and not shown(statement, evidence.ends)[0]),
        sample_size=SampleSize(seeds, sizes),
    )


def _distances(statement: Statement, delta: Interval) -> tuple[float, float]:
    """Return the distances of the estimate from both limits of the statement, positive inside them."""
    return {
        Kind.GREATER: (delta.value, np.inf),
        Kind.NON_INFERIOR: (delta.value + MARGIN, np.inf),
        Kind.EQUIVALENT: (MARGIN + delta.value, MARGIN - delta.value),
        Kind.BELOW: (np.inf, -MARGIN - delta.value),
    }[statement.kind]


@dataclass(frozen=True)
class Decision:
    """The outcome with its reasons and the conditions behind it."""

    conditions: tuple[Condition, ...]
    """The four conditions of the claim."""
    further: tuple[Condition, ...]
    """The statements behind *refuted* and *no effect*."""
    outcome: Outcome
    """The outcome."""
    reasons: tuple[str, ...]
    """Reasons for it, in words."""

    def lines(self, units: str) -> list[str]:
        """Describe in a line each the reasons, the conditions and what else is shown; more `units` (seeds) may help."""
        because = [f"  because {reason}" for reason in self.reasons]
        wanted = units if self.outcome is Outcome.UNDECIDED else ""
        return because + [one.line(wanted) for one in (*self.conditions, *(one for one in self.further if one.shown))]

    def record(self) -> Record:
        """Return the JSON record."""
        suffices = next(one for one in self.further if one.statement == SUFFICES[1])
        return {
            "outcome": str(self.outcome),
            "reasons": list(self.reasons),
            "conditions": [one.record() for one in self.conditions],
            "refuter": suffices.record(),
            "further": [one.record() for one in self.further],
        }


def decide(evidence: Evidence, failed: Sequence[str] = ()) -> Decision:
    """Decide the outcome of the test and give the reasons in words.

    Args:
        evidence: the differences of exponents.
        failed: cells whose training has not converged; with any of them the outcome is undecided.
    """
    conditions = tuple(examine(one, evidence) for one in CONDITIONS)
    further = tuple(examine(one, evidence) for one in (*SUFFICES, *SAME[:2], *LOWERED))
    outcome = Outcome.UNDECIDED if failed else evidence.outcome
    if failed:
        reasons = [f"training has not converged in cell {', '.join(failed)}: no exponents to compare"]
    elif outcome is Outcome.HOLDS:
        reasons = [one.name for one in conditions]
    elif outcome is Outcome.NO_EFFECT:
        reasons = [one.name for one in SAME]
    elif outcome is Outcome.REFUTED:
        found = {one.statement for one in further if one.shown}
        reasons = [one.name for one in LOWERED if one in found]
        if found >= set(SUFFICES):
            reasons.append(f"{SUFFICES[0].name} and {SUFFICES[1].name}: body order suffices")
    else:
        reasons = [f"not shown: {one.name} ({one.why_open})" for one in conditions if not one.shown]
    return Decision(conditions, further, outcome, tuple(reasons))
