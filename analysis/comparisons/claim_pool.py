"""The claim over several datasets at once: differences of exponents with datasets as random effects.

A result for one molecule need not hold for the next. The differences of every dataset (each over its seeds) are pooled
by `paired.random_effects`, whose interval has one degree of freedom less than there are datasets, and tested for the
same conditions under both forms. Datasets with a cell that has not converged are left out. The outcome without each
one of the datasets tells whether a single one decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparisons.claim import METRIC, Claim, predicate
from analysis.comparisons.compare import TEST_SET
from analysis.comparisons.conditions import PAIRS, TOST, Decision, Evidence, Outcome, decide
from analysis.comparisons.paired import random_effects
from analysis.fits.jsonable import Record
from analysis.fits.uncertainty import Interval
from analysis.spelling import dataset_words, display_name, metric_words, place_words


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
    place: Mapping[str, object]
    """Depth, cutoff and whatever else the cells share."""
    decision: Decision
    """The outcome, and what it rests on."""
    between: Mapping[tuple[str, str], float]
    """Standard deviation of each difference (power form) between datasets."""
    without: Mapping[str, Outcome]
    """The outcome over the other datasets, by the one that is taken out; empty for two."""

    @property
    def outcome(self) -> Outcome:
        """The outcome."""
        return self.decision.outcome


def pool_claims(claims: Sequence[Claim]) -> list[PooledClaim]:
    """Test the claim over datasets for every architecture, depth, cutoff and metric with the cells on two or more.

    Where each dataset has one test set, whatever its name, that is the dataset's own; else test sets of one name are
    pooled.
    """
    tests = {(claim.dataset, claim.place.get(TEST_SET)) for claim in claims}
    own = len(tests) == len({dataset for dataset, _ in tests})
    groups: dict[tuple[object, ...], list[Claim]] = {}
    for claim in claims:
        place = [item for item in claim.place.items() if not (own and item[0] == TEST_SET)]
        groups.setdefault((claim.metric, claim.architecture, *place), []).append(claim)
    result = []
    for group in groups.values():
        good = [claim for claim in group if not claim.failed and _has_errors(claim.evidence.power)]
        if len({claim.dataset for claim in good}) >= 2 and len({claim.dataset for claim in good}) == len(good):
            result.append(_pooled(good, tuple(claim.dataset for claim in group if claim not in good)))
    return result


def _has_errors(deltas: Mapping[tuple[str, str], Interval]) -> bool:
    return all(delta.error > 0 for delta in deltas.values())


def _pooled(claims: Sequence[Claim], left_out: tuple[str, ...]) -> PooledClaim:
    first = claims[0]
    others = {one.dataset: [claim for claim in claims if claim is not one] for one in claims}
    evidence, between = _evidence(claims)
    return PooledClaim(
        metric=first.metric,
        architecture=first.architecture,
        datasets=tuple(claim.dataset for claim in claims),
        left_out=left_out,
        place={name: value for name, value in first.place.items() if all(c.place.get(name) == value for c in claims)},
        decision=decide(evidence),
        between=between,
        without={name: decide(_evidence(rest)[0]).outcome for name, rest in others.items() if len(rest) > 1},
    )


def _evidence(claims: Sequence[Claim]) -> tuple[Evidence, dict[tuple[str, str], float]]:
    """Return what the test rests on, and the standard deviation of each difference (power form) between datasets."""
    ends = [_ends(claim.evidence, max(len(claim.evidence.trained) for claim in claims)) for claim in claims]
    power = {one: _over_datasets([claim.evidence.power[one] for claim in claims]) for one in PAIRS}
    evidence = Evidence(
        power={one: mean for one, (mean, _) in power.items()},
        floor={one: _over_datasets([claim.evidence.floor[one] for claim in claims])[0] for one in PAIRS},
        log_p={one: np.empty(0) for one in PAIRS},
        trained=tuple(
            {one: _over_datasets([end[one] for end in each])[0] for one in PAIRS} for each in zip(*ends, strict=True)
        ),
    )
    return evidence, {one: spread for one, (_, spread) in power.items()}


def _ends(evidence: Evidence, count: int) -> list[Mapping[tuple[str, str], Interval]]:
    """Return `count` ends of what training may do, power and floor form in turn: the last, or the differences as is."""
    last = evidence.trained[-2:] or (evidence.power, evidence.floor)
    return [evidence.trained[i] if i < len(evidence.trained) else last[i % 2] for i in range(count)]


def _over_datasets(deltas: Sequence[Interval]) -> tuple[Interval, float]:
    """Return the mean over datasets and the standard deviation between them; NaN if one has no standard error."""
    values, errors = (np.array([getattr(delta, name) for delta in deltas]) for name in ("value", "error"))
    if not (errors > 0).all():
        return Interval(np.nan, np.nan, np.nan, np.nan, 0), np.nan
    return random_effects(values, errors, TOST)


def pooled_claim_text(pooled: PooledClaim) -> str:
    """Describe the outcome in lines of text: the deciding numbers, and the datasets that would decide the rest."""
    beside = [] if pooled.metric == METRIC else [f"beside {metric_words(METRIC)}, which decides"]
    where = ", ".join(
        [
            f"over {len(pooled.datasets)} datasets ({'; '.join(map(dataset_words, pooled.datasets))})",
            metric_words(pooled.metric),
            display_name(pooled.architecture),
            *place_words(pooled.place),
            *beside,
        ]
    )
    lines = [f"{where}: the claim {predicate(pooled.outcome).upper()}", *pooled.decision.lines("datasets")]
    spread = ", ".join(f"{second}−{first} {sd:.2f}" for (first, second), sd in pooled.between.items())
    lines.append(f"  standard deviation between datasets: {spread}")
    if pooled.without:
        lines.append(f"  without one dataset: {without_words(pooled)}")
    if pooled.left_out:
        lines.append(f"  left out, not converged or without seeds: {'; '.join(map(dataset_words, pooled.left_out))}")
    return "\n".join(lines).replace("-0.", "−0.")


def without_words(pooled: PooledClaim) -> str:
    """Say without which datasets the outcome is another one: `holds without Ethanol, PBE; the same without another`."""
    others = {name: outcome for name, outcome in pooled.without.items() if outcome is not pooled.outcome}
    if not others:
        return "the same outcome without any of them"
    told = [
        f"{predicate(outcome)} without {' or '.join(dataset_words(name) for name in others if others[name] is outcome)}"
        for outcome in dict.fromkeys(others.values())
    ]
    rest = "" if len(others) == len(pooled.without) else "; the same outcome without any other"
    return "; ".join(told) + rest


def pooled_claim_record(pooled: PooledClaim) -> Record:
    """Return the JSON record of a test over datasets."""
    return {
        "dataset": ", ".join(pooled.datasets),
        "datasets": list(pooled.datasets),
        "left_out": list(pooled.left_out),
        "metric": pooled.metric,
        "architecture": pooled.architecture,
        **pooled.place,
        "decides": pooled.metric == METRIC,
        **pooled.decision.record(),
        "between": {f"{second}-{first}": sd for (first, second), sd in pooled.between.items()},
        "without": {name: outcome.value for name, outcome in pooled.without.items()},
    }
