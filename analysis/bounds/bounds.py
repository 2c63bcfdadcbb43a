"""A measured β beside statements of theory: one-sided verdicts, and the dimensions and smoothness it would imply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from analysis.arrays import FloatArray
from analysis.bounds.theory import Direction, Statement, group_effects
from analysis.curve import Curve
from analysis.fits.flags import Judgement, Verdict
from analysis.fits.jsonable import Record, dataset_and_metric, ends, model
from analysis.fits.results import CurveFit
from analysis.fits.uncertainty import Interval
from analysis.spelling import metric_words
from experiments.core.files import json_number

VACUOUS_FALL = 0.8
"""A bound is vacuous if it lets the error stay above this share of its first value over the measured range."""


class Relation(StrEnum):
    """Relation of a measured exponent to a statement; a statement can be consistent with it, but never confirmed."""

    CONSISTENT = "consistent"
    """The interval allows what the statement says."""
    VACUOUS = "vacuous"
    """The statement demands less than a fall by a fifth over the measured range of P."""
    NOT_TESTABLE = "not testable"
    """The statement is about another quantity, or its constant or assumptions are unknown here."""
    VIOLATED = "violated"
    """The bound was evaluated at every P with all its constants, and the measured error lies above it."""


@dataclass(frozen=True)
class StatementCheck:
    """One curve beside one statement."""

    statement: Statement
    """The statement."""
    relation: Relation
    """Relation of the curve to the statement."""
    why: str
    """The reason in words."""


@dataclass(frozen=True)
class ImpliedDimensions:
    """Dimensions and smoothness that a measured β would imply if a simple picture were true; NaN for β ≤ 0."""

    d_eff: float
    """1/β: the dimension in which a merely Lipschitz target has this exponent."""
    s_eff: float
    """β·d: the smoothness of noiseless interpolation in dimension d; NaN if d is unknown."""
    subspace: float
    """1/β − 3: Bach's subspace dimension; NaN if negative."""


def implied(beta: float, d: float | None) -> ImpliedDimensions:
    """Return the dimensions and smoothness that β would imply; `d` is the dimension of the data, None if unknown."""
    if not beta > 0:
        return ImpliedDimensions(np.nan, np.nan, np.nan)
    subspace = 1 / beta - 3
    return ImpliedDimensions(1 / beta, np.nan if d is None else beta * d, subspace if subspace >= 0 else np.nan)


def relate(fit: CurveFit, judgement: Judgement, statement: Statement) -> StatementCheck:
    """Set the recommended β of a curve, with what training may still do to it, beside one statement."""
    low, high = judgement.training.hull(fit.best.beta)
    relation, why = _relation(fit.curve, replace(fit.best.beta, low=low, high=high), judgement, statement)
    return StatementCheck(statement, relation, why)


def _relation(curve: Curve, beta: Interval, judgement: Judgement, statement: Statement) -> tuple[Relation, str]:
    metric = curve.text("metric")
    if judgement.verdict is Verdict.NOT_CONVERGED:
        return Relation.NOT_TESTABLE, "training has not converged"
    if statement.losses and metric not in statement.losses:
        if metric.startswith("force"):
            return Relation.NOT_TESTABLE, "applies to the energy, not to its derivative"
        losses = ", ".join(map(metric_words, sorted(statement.losses)))
        return Relation.NOT_TESTABLE, f"applies to {losses}, not to {metric_words(metric)}"
    if not np.isfinite(beta.low):
        return Relation.NOT_TESTABLE, "no interval for β"
    if statement.direction is Direction.AT_LEAST:
        return _at_least(curve, beta, statement)
    if statement.direction is Direction.OBSERVED:
        return _observed(beta, statement)
    inside = beta.low <= statement.beta <= beta.high
    if statement.direction is Direction.LAW and inside:
        return Relation.CONSISTENT, "inside the interval"
    if statement.direction is Direction.LAW:
        return Relation.NOT_TESTABLE, "outside the interval, but an asymptotic law sets no limit at finite P"
    return Relation.NOT_TESTABLE, "a worst case over a class sets no limit for a single target"


def _at_least(curve: Curve, beta: Interval, statement: Statement) -> tuple[Relation, str]:
    fall = (curve.sizes[-1] / curve.sizes[0]) ** -statement.beta
    if beta.high < statement.beta:
        return Relation.NOT_TESTABLE, "β is smaller, but a bound with an unspecified constant excludes no finite P"
    if fall > VACUOUS_FALL:
        return (
            Relation.VACUOUS,
            f"demands a fall by {100 * (1 - fall):.0f} % over P = {curve.sizes[0]:g}–{curve.sizes[-1]:g}",
        )
    return Relation.CONSISTENT, "not below the bound"


def _observed(beta: Interval, statement: Statement) -> tuple[Relation, str]:
    high = statement.beta if np.isnan(statement.beta_high) else statement.beta_high
    if beta.high < statement.beta:
        return Relation.NOT_TESTABLE, "β is smaller (other task and metric)"
    if beta.low > high:
        return Relation.NOT_TESTABLE, "β is larger (other task and metric)"
    return Relation.CONSISTENT, "the interval reaches it (other task and metric)"


def evaluated(error: FloatArray, error_sem: FloatArray, bound: FloatArray) -> Relation:
    """Compare measured errors with a bound whose constants are all known, such as Lip·δ(P) for the nearest neighbour.

    Args:
        error: mean error at each P, in the unit of `bound`. [K]
        error_sem: its standard error. [K]
        bound: value of the bound at each P. [K]

    The bound is violated if an error exceeds it by more than three standard errors.
    """
    return Relation.VIOLATED if bool(np.any(error - 3 * error_sem > bound)) else Relation.CONSISTENT


def bounds_table(
    fit: CurveFit, judgement: Judgement, statements: Sequence[Statement], name: str, d: float | None
) -> str:
    """Return a text table of one curve, called `name`, and its relation to every statement; `d` as in `implied`."""
    beta = fit.best.beta
    one = implied(beta.value, d)
    parts = [f"{label} = {value:.3g}" for label, value in _implied_parts(one) if np.isfinite(value)]
    trained = judgement.training.hull(beta)
    more = f", with more training [{trained[0]:.3f}, {trained[1]:.3f}]" if trained != (beta.low, beta.high) else ""
    lines = [
        f"{name}: β = {beta.value:.3f} [{beta.low:.3f}, {beta.high:.3f}]{more}",
        f"  would imply: {', '.join(parts) or 'nothing'}",
    ]
    width = max(len(statement.name) for statement in statements)
    for statement in statements:
        compared = relate(fit, judgement, statement)
        high = "" if np.isnan(statement.beta_high) else f"–{statement.beta_high:g}"
        sign = "≥ " if statement.direction is Direction.AT_LEAST else "  "
        value = f"{sign}{statement.beta:.4f}{high} {statement.tags}"
        lines.append(f"  {statement.name:{width}}  {value:18}  {compared.relation}: {compared.why}")
    return "\n".join(lines)


def _implied_parts(one: ImpliedDimensions) -> tuple[tuple[str, float], ...]:
    return ("d_eff = 1/β", one.d_eff), ("s_eff = β·d", one.s_eff), ("Bach's subspace s = 1/β − 3", one.subspace)


def bound_records(
    fit: CurveFit, judgement: Judgement, statements: Sequence[Statement], d: float | None
) -> list[Record]:
    """Return one JSON record per statement for a fitted curve; `d` as in `implied`."""
    one = implied(fit.best.beta.value, d)
    low, high = judgement.training.hull(fit.best.beta)
    shared: Record = {
        **dataset_and_metric(fit.curve),
        "model": model(fit.curve),
        **ends("beta", fit.best.beta),
        "beta_low_training": json_number(low),
        "beta_high_training": json_number(high),
        "implied_d_eff": json_number(one.d_eff),
        "implied_s_eff": json_number(one.s_eff),
        "implied_subspace": json_number(one.subspace),
    }
    rows: list[Record] = []
    for statement in statements:
        compared = relate(fit, judgement, statement)
        rows.append(
            {
                **shared,
                "statement": statement.name,
                "statement_beta": statement.beta,
                "direction": str(statement.direction),
                "quantity": statement.quantity,
                "assumption": statement.assumption,
                "constant": statement.constant,
                "source": statement.source,
                "evidence": [str(tag) for tag in statement.evidence],
                "relation": str(compared.relation),
                "why": compared.why,
            }
        )
    return rows


def group_records(d: float | None) -> list[Record]:
    """Return one JSON record per statement on what a symmetry group may change; `d` as in `implied`."""
    return [
        {
            "statement": f"symmetry group: {one.group}",
            "direction": "may change",
            "quantity": one.quantity,
            "assumption": one.changes,
            "d": d,
            "source": one.source,
            "evidence": [str(one.evidence)],
            "relation": str(Relation.NOT_TESTABLE),
            "why": "about models with and without the group, not about one curve",
        }
        for one in group_effects(d)
    ]
