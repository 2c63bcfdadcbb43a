"""The claim over several datasets at once: differences of exponents with datasets as random effects.

A result for one molecule need not hold for the next. The differences of every dataset (each over its seeds) are pooled
by `paired.random_effects`, whose interval has one degree of freedom less than there are datasets, and tested for the
same conditions. Datasets with a cell that has not converged are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.arrays import FloatArray
from analysis.comparisons.claim import (
    PAIRS,
    TOST,
    Claim,
    Condition,
    Outcome,
    condition_line,
    condition_record,
    conditions_of,
    decide,
)
from analysis.comparisons.paired import pair, random_effects, slope_difference
from analysis.fits.jsonable import Record
from analysis.fits.uncertainty import Interval


@dataclass(frozen=True)
class PooledClaim:
    """The test over the datasets of one metric and architecture."""

    metric: str
    """Metric."""
    architecture: str
    """Architecture of the four cells."""
    datasets: tuple[str, ...]
    """Datasets that entered."""
    left_out: tuple[str, ...]
    """Datasets with a cell that has not converged, or without two seeds."""
    conditions: tuple[Condition, ...]
    """The four conditions of the claim."""
    refuter: Condition
    """D equivalent to C."""
    between: Mapping[tuple[str, str], float]
    """Standard deviation of each difference between datasets."""
    outcome: Outcome
    """The verdict."""
    reasons: tuple[str, ...]
    """Reasons for the outcome, in words."""


def pool_claims(claims: Sequence[Claim]) -> list[PooledClaim]:
    """Test the claim over datasets for every architecture and metric with the four cells on two datasets or more."""
    groups: dict[tuple[str, str], list[Claim]] = {}
    for claim in claims:
        groups.setdefault((claim.metric, claim.architecture), []).append(claim)
    result = []
    for (metric, architecture), group in groups.items():
        good = [claim for claim in group if not claim.failed and _differences(claim) is not None]
        if len({claim.dataset for claim in good}) >= 2 and len({claim.dataset for claim in good}) == len(good):
            left_out = tuple(claim.dataset for claim in group if claim not in good)
            result.append(_pooled(metric, architecture, good, left_out))
    return result


def _differences(claim: Claim) -> dict[tuple[str, str], Interval] | None:
    """Return the differences of `PAIRS` on one dataset; None if one of them has no standard error."""
    differences: dict[tuple[str, str], Interval] = {}
    for one in PAIRS:
        matched = pair(claim.cells[one[0]], claim.cells[one[1]])
        delta = None if matched is None else slope_difference(matched)
        if delta is None or not delta.error > 0:
            return None
        differences[one] = delta
    return differences


def _pooled(metric: str, architecture: str, claims: Sequence[Claim], left_out: tuple[str, ...]) -> PooledClaim:
    each = [differences for claim in claims if (differences := _differences(claim)) is not None]
    deltas: dict[tuple[str, str], tuple[Interval, FloatArray]] = {}
    between: dict[tuple[str, str], float] = {}
    for one in PAIRS:
        values, errors = (np.array([getattr(d[one], name) for d in each]) for name in ("value", "error"))
        mean, between[one] = random_effects(values, errors, TOST)
        deltas[one] = mean, np.empty(0)
    conditions, refuter = conditions_of(deltas)
    outcome, reasons = decide(conditions, refuter, ())
    datasets = tuple(claim.dataset for claim in claims)
    return PooledClaim(metric, architecture, datasets, left_out, conditions, refuter, between, outcome, reasons)


def pooled_claim_text(pooled: PooledClaim) -> str:
    """Describe the outcome in lines of text: the deciding numbers, and the datasets that would decide the rest."""
    verb = "" if pooled.outcome is Outcome.HOLDS else "is "
    where = (
        f"over {len(pooled.datasets)} datasets ({', '.join(pooled.datasets)}), {pooled.metric}, {pooled.architecture}"
    )
    lines = [f"{where}: the claim {verb}{pooled.outcome.upper()}", *(f"  because {why}" for why in pooled.reasons)]
    lines += [condition_line(condition, "datasets") for condition in (*pooled.conditions, pooled.refuter)]
    spread = ", ".join(f"{second}−{first} {sd:.2f}" for (first, second), sd in pooled.between.items())
    lines.append(f"  standard deviation between datasets: {spread}")
    if pooled.left_out:
        lines.append(f"  left out, not converged or without seeds: {', '.join(pooled.left_out)}")
    return "\n".join(lines).replace("-0.", "−0.")


def pooled_claim_record(pooled: PooledClaim) -> Record:
    """Return the JSON record of a test over datasets."""
    return {
        "dataset": ", ".join(pooled.datasets),
        "datasets": list(pooled.datasets),
        "left_out": list(pooled.left_out),
        "metric": pooled.metric,
        "architecture": pooled.architecture,
        "outcome": str(pooled.outcome),
        "reasons": list(pooled.reasons),
        "conditions": [condition_record(condition) for condition in pooled.conditions],
        "refuter": condition_record(pooled.refuter),
        "between": {f"{second}-{first}": sd for (first, second), sd in pooled.between.items()},
    }
