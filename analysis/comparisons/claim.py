"""The pre-registered test of the claim: products of order ≥ 1 raise data efficiency, but are not needed as features.

Cells at equal depth (two layers or more) and cutoff: A = (L 0, ν 1), B = (L 1, ν 1), C = (L 0, ν 3, edges with angles),
D = (L 0, ν 3, edge order 0). Every condition must be shown under the power form and under the form with a floor, since
a floor bends a curve and passes for a smaller exponent. In this order:

    holds       β_B > β_A and β_C > β_A      one-sided paired t tests, Holm over the two, level 0.05
                C is non-inferior to B       lower end of the one-sided 95 % bound of β_C − β_B above −0.05
                D is equivalent to A         two one-sided tests: 90 % interval of β_D − β_A within ±0.05
    refuted     β_D > β_A, and D is equivalent to C (then body order suffices); or the 90 % interval of β_B − β_A or
                of β_C − β_A lies below −0.05
    no effect   B, C and D are each equivalent to A
    undecided   everything else

"Not needed" is never inferred from p > 0.05. Curves that fail the training verdict decide nothing; if it cannot tell,
every condition must also hold after all further training, at all ends of what that may do (`fits.training`). The force
MAE decides; other metrics are shown beside it. docs/claim-preregistration.md is the plan with its changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparisons.conditions import PAIRS, TOST, Decision, Evidence, Outcome, decide
from analysis.comparisons.differences import floor_difference, slope_difference
from analysis.comparisons.equal_error import EqualError, equal_error
from analysis.comparisons.paired import Pair, after_training, pair
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.fits.flags import JudgedFit, Verdict, misses
from analysis.fits.jsonable import Record
from analysis.fits.remainder import Kappa
from analysis.fits.uncertainty import Interval
from analysis.spelling import dataset_words, display_name, metric_words, place_words
from experiments.core.files import json_number

METRIC = "force_mae"
"""The metric that decides."""
PLACE = ("test_set", "group", "n_layers", "cutoff")
"""Columns that the four cells share, beside dataset, metric and architecture."""
WEIGHT_RATIO = 1.5
"""Ratio of the cells' numbers of weights beyond which they do not count as matched."""


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
    evidence: Evidence
    """Differences of exponents under both forms."""
    decision: Decision
    """The outcome, and what it rests on."""
    ratios: Mapping[str, EqualError]
    """Equal-error ratios against A, by cell."""
    cautions: tuple[str, ...]
    """Cautions in words: unmatched numbers of weights, cells whose convergence is unknown."""
    failed: tuple[str, ...] = ()
    """Cells whose training has not converged."""

    @property
    def outcome(self) -> Outcome:
        """The outcome."""
        return self.decision.outcome

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for the outcome, in words."""
        return self.decision.reasons

    @property
    def place(self) -> dict[str, object]:
        """Values of the columns in `PLACE`, and of further ones that tell curves apart, that the table has."""
        first = self.cells["A"]
        return {name: first.key[name] for name in _place(first) if first.key.get(name) not in (None, "")}

    @property
    def where(self) -> str:
        """Dataset, metric, architecture and place in words."""
        beside = () if self.metric == METRIC else (f"beside {metric_words(METRIC)}, which decides",)
        named = (dataset_words(self.dataset), metric_words(self.metric), display_name(self.architecture))
        return ", ".join((*named, *place_words(self.place), *beside))


STATEMENT = "products of order one or more raise β, but are not needed as messages between layers"
"""The claim, in words that follow `the claim that`."""


def predicate(outcome: Outcome) -> str:
    """Return the outcome in words that follow `the claim`."""
    return {
        Outcome.HOLDS: "holds",
        Outcome.REFUTED: "is refuted",
        Outcome.NO_EFFECT: "has no effect to explain",
        Outcome.UNDECIDED: "is undecided",
    }[outcome]


def claims(fits: Sequence[JudgedFit]) -> list[Claim]:
    """Test the claim on every dataset and metric with the four cells of one architecture, depth and cutoff.

    Networks of one layer never enter: A and B are one network there. Force MAE comes first, for it decides.

    Raises InputError if no dataset and metric of the table has all four.
    """
    places: dict[tuple[object, ...], list[JudgedFit]] = {}
    for item in fits:
        curve = item[0].curve
        if curve.number("n_layers") != 1:
            fixed = ("dataset", "metric", "architecture", *_place(curve))
            places.setdefault(tuple(curve.key.get(name) for name in fixed), []).append(item)
    tests = [claim for place in places.values() if (claim := _claim(place)) is not None]
    if not tests:
        have = sorted({_names(fit.curve) for fit, _ in fits})
        raise InputError(
            "the claim needs four cells of one architecture, depth (two layers or more) and cutoff on one dataset and "
            "metric: (L 0, nu 1), (L 1, nu 1), (L 0, nu 3, edge_lmax ≥ 1) and (L 0, nu 3, edge_lmax 0); "
            f"the table has {', '.join(have)}"
        )
    return sorted(tests, key=lambda test: test.metric != METRIC)


def _place(curve: Curve) -> tuple[str, ...]:
    return (*PLACE, *curve.told_apart_by)


def _names(curve: Curve) -> str:
    values = ((name, curve.number(name)) for name in ("L", "nu", "edge_lmax"))
    shallow = " n_layers=1" if curve.number("n_layers") == 1 else ""
    return " ".join(f"{name}={'none' if value is None else f'{value:g}'}" for name, value in values) + shallow


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
    kappa = cells["A"][1].training.kappa
    unclear = [letter for letter in "ABCD" if cells[letter][1].verdict is Verdict.CANNOT_TELL]
    evidence = _evidence(curves, kappa if unclear else None)
    failed = [letter for letter in "ABCD" if cells[letter][1].verdict is Verdict.NOT_CONVERGED]
    first = curves["A"]
    return Claim(
        dataset=first.text("dataset"),
        metric=first.text("metric"),
        architecture=first.text("architecture"),
        cells=curves,
        evidence=evidence,
        decision=decide(evidence, failed),
        ratios={letter: _ratio(curves["A"], curves[letter]) for letter in "BCD"},
        cautions=_cautions(curves, cells),
        failed=tuple(failed),
    )


def _edge(item: JudgedFit) -> float:
    return item[0].curve.number("edge_lmax") or 0.0


def _evidence(curves: Mapping[str, Curve], kappa: Kappa | None) -> Evidence:
    """Return the differences of all pairs; with κ, also those after all further training (NaN where unknown)."""
    matched = {one: _with_seeds(pair(curves[one[0]], curves[one[1]])) for one in PAIRS}
    further: list[Mapping[tuple[str, str], Interval]] = []
    if kappa is not None:
        later = {one: [] if both is None else after_training(both, kappa) for one, both in matched.items()}
        for i in range(max(1, *map(len, later.values()))):
            ends = {one: pairs[i] if i < len(pairs) else None for one, pairs in later.items()}
            further += [_differences(ends, slope_difference), _differences(ends, floor_difference)]
    return Evidence(
        power=_differences(matched, slope_difference),
        floor=_differences(matched, floor_difference),
        log_p={one: np.empty(0) if both is None else both.log_p for one, both in matched.items()},
        trained=tuple(further),
    )


def _differences(
    pairs: Mapping[tuple[str, str], Pair | None], difference: Callable[[Pair, float], Interval]
) -> dict[tuple[str, str], Interval]:
    nothing = Interval(np.nan, np.nan, np.nan, np.nan, 0)
    return {one: nothing if both is None else difference(both, TOST) for one, both in pairs.items()}


def _with_seeds(both: Pair | None) -> Pair | None:
    """Return the pair; None for single runs: the claim rests on the scatter over seeds alone."""
    return both if both is not None and min(both.most_runs) >= 2 else None


def _ratio(first: Curve, second: Curve) -> EqualError:
    matched = pair(first, second)
    if matched is None:
        return EqualError(Interval(np.nan, np.nan, np.nan, np.nan, 0), np.nan)
    return equal_error(matched)


def _cautions(curves: Mapping[str, Curve], cells: Mapping[str, JudgedFit]) -> tuple[str, ...]:
    cautions = []
    weights = [curve.n_parameters for curve in curves.values()]
    if not all(np.isfinite(weights)):
        cautions.append("the table does not say the numbers of weights, so they may not match")
    elif max(weights) > WEIGHT_RATIO * min(weights):
        listed = ", ".join(f"{letter} {count:g}" for letter, count in zip("ABCD", weights, strict=True))
        cautions.append(f"weights are not matched ({listed})")
    unclear, without = (
        ", ".join(letter for letter in "ABCD" if cells[letter][1].verdict is verdict)
        for verdict in (Verdict.CANNOT_TELL, Verdict.NONE)
    )
    if unclear:
        cautions.append(f"too noisy to tell whether training converged ({unclear}): every condition must survive more")
    if bent := ", ".join(letter for letter in "ABCD" if misses(cells[letter])):
        cautions.append(
            f"no power law, with a floor or without, describes {bent}: β is the slope of the best line there"
        )
    if without:
        cautions.append(f"no errors of shorter schedules, so no rule on convergence ({without})")
    return tuple(cautions)


def claim_text(claim: Claim, betas: Mapping[str, str]) -> str:
    """Describe the outcome in lines of text: the deciding numbers, and the sample sizes that would decide the rest.

    Args:
        claim: the test.
        betas: β ± of each cell, formatted.
    """
    lines = [f"{claim.where}: the claim {predicate(claim.outcome).upper()}"]
    lines.append("  β: " + ", ".join(f"{letter} {betas[letter]}" for letter in "ABCD"))
    lines += claim.decision.lines("seeds")
    for letter, ratio in claim.ratios.items():
        lines.append(f"  {ratio.words('A', letter)}")
    return "\n".join([*lines, *(f"  caution: {caution}" for caution in claim.cautions)]).replace("-0.", "−0.")


def claim_record(claim: Claim) -> Record:
    """Return the JSON record of a test."""
    return {
        "dataset": claim.dataset,
        "metric": claim.metric,
        "architecture": claim.architecture,
        **claim.place,
        "decides": claim.metric == METRIC,
        **claim.decision.record(),
        "cautions": list(claim.cautions),
        "equal_error_ratio_against_A": {
            letter: {
                "value": json_number(ratio.ratio.value),
                "low": json_number(ratio.ratio.low),
                "high": json_number(ratio.ratio.high),
                "error": json_number(ratio.error),
                "open_ends": list(ratio.open_ends),
                "flat": list(ratio.flat),
                "words": ratio.words("A", letter),
            }
            for letter, ratio in claim.ratios.items()
        },
    }
