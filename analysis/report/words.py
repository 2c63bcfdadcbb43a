"""Sentences of the report, generated from the fits: exponents that can be quoted, those that cannot, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.columns import IDENTIFYING
from analysis.comparisons.claim import METRIC, STATEMENT, Claim, claims, predicate
from analysis.comparisons.claim_pool import pool_claims, pooled_claim_text
from analysis.comparisons.compare import (
    Comparison,
    compare_curves,
    describe,
    families,
    pool_differences,
)
from analysis.comparisons.conditions import Outcome
from analysis.comparisons.groups import Gain, gain_sentence, gains
from analysis.comparisons.paired import Survival, excludes_zero, p_words
from analysis.comparisons.sentences import comparison_sentence, family_sentence, verb
from analysis.curve import Curve
from analysis.errors import InputError
from analysis.figures.naming import architecture_name, column_words, model_names
from analysis.figures.panels import preferred
from analysis.fits.flags import LIMITED, Flag, JudgedFit, Verdict
from analysis.fits.record import interval_text, rounded
from analysis.spelling import dataset_words, metric_name, metric_words

FLAG_WORDS: Mapping[Flag, str] = {
    Flag.NOT_CONVERGED: "β still moves with the length of training: an undertrained large P looks like a smaller β",
    Flag.TRAINING_OPEN: "too noisy to tell whether more training moves β by more than 0.02: quote the hull",
    Flag.OVERFITTING: "at some P more training raises the error, which moves β: stop by validation",
    Flag.CONVERGENCE_UNKNOWN: "the table does not say whether training had converged",
    Flag.TOO_SHORT: "some runs were too short to have trained at all",
    Flag.LEARNED_NOTHING: "at the largest P no run beats the mean of the labels",
    Flag.UNCONVERGED_RUNS: "some runs are marked as not converged, whatever the verdict on the slope",
    Flag.OVERLAPPING_SUBSETS: "training subsets of different seeds share frames: the seeds are not independent",
    Flag.SHARED_SUBSETS: "several seeds used the very same subset: the choice of frames is not in the interval",
    Flag.MIXED_COMMITS: "runs of different code versions",
    Flag.MIXED_DEVICES: "runs of different devices",
    Flag.NO_SEEDS: "no seeds: the interval comes from the sd of the means, or from the scatter about the fit",
    Flag.ONE_SEED: "one seed: the interval comes from the scatter about the fit, and from the other curves",
    Flag.FEW_SEEDS: "fewer than three seeds: the interval is wide, or rests on the other curves",
    Flag.FEW_P: "fewer than four values of P",
    Flag.INCOMPLETE_SEEDS: "some seeds miss some P",
    Flag.FLOOR_DOMINATED: "most of the error at the largest P is floor",
    Flag.BASIS_LIMIT: LIMITED,
    Flag.NON_MONOTONE: "the error rises between neighbouring P beyond noise",
    Flag.CURVATURE: "the curve bends on log–log axes beyond noise: no single exponent",
    Flag.SLOPE_BREAK: "the slope changes at some P beyond noise: quote the exponent of the last octaves",
    Flag.OUTLYING_RUN: "one run lies far off the others: it alone may decide the exponent",
    Flag.FORM_DEPENDENT: "the power law is excluded, but a floor cannot be quoted",
    Flag.FLOOR_OPEN: "the data neither show nor exclude a floor, with which β may be larger by more than 0.1",
    Flag.FEW_TEST_FRAMES: "the finite test set leaves noise that all seeds share: more test frames would help",
    Flag.ZERO_ERROR: "rows with an error of exactly zero were left out",
}
"""Explanation of each flag."""

SPOILS = frozenset(
    {
        *(Flag.NOT_CONVERGED, Flag.CONVERGENCE_UNKNOWN, Flag.TOO_SHORT, Flag.LEARNED_NOTHING, Flag.NO_SEEDS),
        *(Flag.ONE_SEED, Flag.FEW_P, Flag.CURVATURE, Flag.NON_MONOTONE, Flag.FLOOR_DOMINATED),
        Flag.BASIS_LIMIT,
    }
)
"""Flags with which an exponent cannot be quoted as it stands."""
CHIEF = ("L", "nu", "edge_lmax", "architecture", "group")
"""Main factors, whose differences stand first; those in other factors follow."""
SHOWN = 8
"""Number of differences that are shown at once; the others unfold."""


@dataclass(frozen=True)
class Answer:
    """Results on one dataset, in its preferred metric."""

    dataset: str
    """Dataset."""
    metric: str
    """Metric, in words."""
    verdicts: tuple[tuple[Outcome, str], ...]
    """Outcome of the pre-registered test and its sentence, if the dataset has the four cells."""
    sentences: tuple[str, ...]
    """The main results."""
    further: tuple[str, ...]
    """Further differences."""


def quotable(item: JudgedFit) -> bool:
    """Return whether an exponent can be quoted with its interval as it stands."""
    fit, judgement = item
    return bool(np.isfinite(fit.best.beta.low)) and not SPOILS & set(judgement.flags)


def overview(fits: Sequence[JudgedFit]) -> str:
    """Summarise in words how many curves there are, and how many of their exponents can be quoted."""
    good = [item for item in fits if quotable(item)]
    late = sum(judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in fits)
    open_training = sum(judgement.verdict is Verdict.CANNOT_TELL for _, judgement in fits)
    unknown = sum(Flag.CONVERGENCE_UNKNOWN in judgement.flags for _, judgement in fits)
    open_ = sum(Flag.FLOOR_OPEN in judgement.flags for _, judgement in good)
    datasets = len({fit.curve.text("dataset") for fit, _ in fits})
    text = f"{_count(len(fits), 'learning curve')} on {_count(datasets, 'dataset')}: "
    text += f"{len(good) or 'none'} of their exponents can be quoted with their intervals"
    text += f", {open_} of these with an interval that leaves a floor open" if open_ else ""
    text += f". {_count(late, 'curve')} had not converged" if late else ""
    text += f"{'; of' if late else '. Of'} {open_training} it cannot be told" if open_training else ""
    text += f"{'; for' if late or open_training else '. For'} {unknown} the table does not say" if unknown else ""
    return text + "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def answers(fits: Sequence[JudgedFit]) -> list[Answer]:
    """Return the results on every dataset, in order of appearance.

    All are compared at once, as by `compare`: pairs lend each other degrees of freedom.
    """
    chosen = preferred(fits, ("dataset", "test_set"))
    groups: dict[tuple[str, str], list[JudgedFit]] = {}
    for item in chosen:
        groups.setdefault(_test_place(item[0].curve), []).append(item)
    pairs, gained = compare_curves(chosen), gains(chosen)
    return [
        _answer(
            ", ".join([dataset_words(dataset), *([test_set] if test_set and _several(groups, dataset) else [])]),
            group,
            [c for c in pairs if _test_place(c.first) == (dataset, test_set)],
            [gain for gain in gained if _test_place(gain.plain) == (dataset, test_set)],
        )
        for (dataset, test_set), group in groups.items()
    ]


def _test_place(curve: Curve) -> tuple[str, str]:
    return curve.text("dataset"), curve.text("test_set")


def _answer(name: str, group: Sequence[JudgedFit], pairs: list[Comparison], gained: Sequence[Gain]) -> Answer:
    pairs.sort(key=lambda c: CHIEF.index(c.factor) if c.factor in CHIEF else len(CHIEF))
    shown = [c for c in pairs if c.factor in CHIEF and not c.not_converged and _neighbours(c, pairs)]
    curves = [fit.curve for fit, _ in group]
    verdicts = tuple((test.outcome, _claim_words(test, group)) for test in _claims(group))
    metric = curves[0].text("metric")
    return Answer(
        dataset=name,
        metric=metric_name(metric),
        verdicts=verdicts,
        sentences=(
            *_range(group),
            *(gain_sentence(gain) for gain in gained),
            *(_brief(c, curves) for c in shown[:SHOWN]),
        ),
        further=(
            *(_capital(comparison_sentence(c)) for c in pairs),
            *(_capital(family_sentence(family)) for family in families(group)),
        ),
    )


def _neighbours(c: Comparison, pairs: Sequence[Comparison]) -> bool:
    """Return whether no curve of the same kind lies between the two: true for L = 0 → 1 and 1 → 2, not for 0 → 2."""
    low, high = (curve.number(c.factor) for curve in (c.first, c.second))
    if low is None or high is None:
        return True
    return not any(
        other.factor == c.factor and other.first is c.first and low < (other.second.number(c.factor) or 0) < high
        for other in pairs
    )


def _brief(c: Comparison, curves: Sequence[Curve]) -> str:
    """Describe a difference in one line: the change of β, its uncertainty, and the equal-error ratio."""
    place, one, two = _terms(c, curves)
    size = interval_text(c.delta)
    if not np.isfinite(c.delta.low):
        text = f"from {one} to {two} β changes by {size}, with too few seeds for an interval"
    elif excludes_zero(c.delta):
        text = f"from {one} to {two} β {verb(c)} ({p_words(c.p_holm)}{_SURVIVAL.get(c.survival, '')})"
    else:
        text = (
            f"from {one} to {two} no difference of β is shown (Δβ = {size}; the design detects {rounded(c.detectable)})"
        )
    return _capital(f"{place}: {text}; {c.ratio.words(one, two)}." if place else f"{text}; {c.ratio.words(one, two)}.")


def _terms(c: Comparison, curves: Sequence[Curve]) -> tuple[str, str, str]:
    """Describe two curves: their common factors that distinguish them from other curves, and the factor of each."""
    alike = [curve for curve in curves if curve.text("architecture") == c.first.text("architecture")]
    varying = [name for name in IDENTIFYING if len({curve.value(name) for curve in alike}) > 1 and name != c.factor]
    if column_words(c.first, "edge_lmax") != column_words(c.second, "edge_lmax"):  # it goes with L
        varying = [name for name in varying if name != "edge_lmax"]
    where = [
        architecture_name(c.first) if c.factor != "architecture" else "",
        *(column_words(c.first, n) for n in varying),
    ]
    place = ", ".join(text for text in where if text)
    one, two = (column_words(curve, c.factor) or _level(curve, c.factor) for curve in (c.first, c.second))
    return place, one, two


def _level(curve: Curve, factor: str) -> str:
    return architecture_name(curve) if factor == "architecture" else str(curve.value(factor))


_SURVIVAL = {
    Survival.SURVIVES: ", also with a floor",
    Survival.VANISHES: ", not with a floor in both",
    Survival.UNCERTAIN: ", not for certain with a floor in both",
}


def pooled(fits: Sequence[JudgedFit]) -> list[str]:
    """Describe the results over datasets as random effects: the claim and the differences."""
    chosen = preferred(fits)
    sentences = [_capital(pooled_claim_text(one).split("\n")[0]) + "." for one in pool_claims(_claims(chosen))]
    pairs = compare_curves(chosen)
    alike: dict[tuple[str, ...], list[Comparison]] = {}
    for c in pairs:
        if c.factor in CHIEF and not c.not_converged and _neighbours(c, pairs):
            models = (describe(curve) for curve in (c.first, c.second))
            alike.setdefault((c.first.text("metric"), c.factor, *models), []).append(c)
    curves = [fit.curve for fit, _ in chosen]
    differences = []
    for group in alike.values():
        for one in pool_differences(group):
            delta = interval_text(one.delta)
            place, first, second = _terms(group[0], curves)
            text = f"from {first} to {second} Δβ = {delta} over {len(one.datasets)} datasets"
            where = f"{place}: " if place else ""
            differences.append(_capital(f"{where}{text}, standard deviation between them {rounded(one.between)}."))
    return sentences + differences


def _several(groups: Mapping[tuple[str, str], object], dataset: str) -> bool:
    return sum(key[0] == dataset for key in groups) > 1


def _claims(fits: Sequence[JudgedFit]) -> list[Claim]:
    try:
        return claims(fits)
    except InputError:  # most tables do not have the four cells
        return []


def _claim_words(test: Claim, group: Sequence[JudgedFit]) -> str:
    by_name = {fit.curve.name: _beta((fit, judgement)) for fit, judgement in group}
    betas = ", ".join(f"{letter} {by_name[test.cells[letter].name]}" for letter in "ABCD")
    ratios = "; ".join(ratio.words("A", letter) for letter, ratio in test.ratios.items())
    beside = "" if test.metric == METRIC else f", beside {metric_words(METRIC)}, which decides"
    text = (
        f"The claim that {STATEMENT}, {predicate(test.outcome)} ({architecture_name(test.cells['A'])}{beside}): "
        f"{'; '.join(test.reasons)}. β: {betas}."
    )
    return f"{text} {_capital(ratios)}." + "".join(f" Caution: {caution}." for caution in test.cautions)


def _range(group: Sequence[JudgedFit]) -> list[str]:
    """Describe the range of exponents that can be quoted, and name the curves that have not converged."""
    good = [item for item in group if quotable(item)]
    names = dict(zip((fit.curve.name for fit, _ in group), model_names([fit.curve for fit, _ in group]), strict=True))
    sentences = []
    if len(good) >= 2:
        low, high = (pick(good, key=lambda item: item[0].best.beta.value) for pick in (min, max))
        sentences.append(
            f"{'All' if len(good) == len(group) else f'{len(good)} of'} {len(group)} curves have an exponent to quote, "
            f"from {_beta(low)} "
            f"({names[low[0].curve.name]}) to {_beta(high)} ({names[high[0].curve.name]})."
        )
    elif good:
        sentences.append(f"{_capital(names[good[0][0].curve.name])}: β = {_beta(good[0])}.")
    else:
        sentences.append("No exponent here can be quoted as it stands; the table below says why for each.")
    late = [names[fit.curve.name] for fit, judgement in group if judgement.verdict is Verdict.NOT_CONVERGED]
    if late:
        sentences.append(f"Not converged, and so no statement about exponents: {', '.join(late)}.")
    sentences += [
        f"{_capital(names[fit.curve.name])}: {words}."
        for fit, judgement in group
        if (words := judgement.training.words())
    ]
    return sentences


def _beta(item: JudgedFit) -> str:
    return interval_text(item[0].best.beta)


def _capital(text: str) -> str:
    """Capitalise the first letter, unless it is a symbol such as β."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
