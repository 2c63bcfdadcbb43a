"""The answer in sentences, generated from the fits: what can be quoted, what cannot, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis import claim as claim_
from analysis import claim_pool
from analysis import compare as compare_
from analysis.claim import Claim, Outcome
from analysis.errors import InputError
from analysis.figures.panels import METRIC_NAMES, Fitted, model_names, preferred
from analysis.flags import Flag, Verdict
from analysis.record import plus_minus

FLAG_WORDS: Mapping[Flag, str] = {
    Flag.NOT_CONVERGED: "β still moves with the length of training: an undertrained large P looks like a smaller β",
    Flag.CONVERGENCE_UNKNOWN: "the table does not say whether training had converged",
    Flag.TOO_SHORT: "some runs were too short to have trained at all",
    Flag.LEARNED_NOTHING: "at the largest P no run beats the mean of the labels",
    Flag.UNCONVERGED_RUNS: "some runs are marked as not converged, whatever the verdict on the slope",
    Flag.OVERLAPPING_SUBSETS: "training subsets of different seeds share frames: the seeds are not independent",
    Flag.SHARED_SUBSETS: "several seeds used the very same subset: the choice of frames is not in the interval",
    Flag.MIXED_COMMITS: "runs of different code versions",
    Flag.MIXED_DEVICES: "runs of different devices",
    Flag.NO_SEEDS: "the table has no seeds: the interval takes the points for independent",
    Flag.ONE_SEED: "one seed: the interval takes its points for independent",
    Flag.FEW_SEEDS: "fewer than three seeds: the interval says next to nothing",
    Flag.FEW_P: "fewer than four values of P",
    Flag.INCOMPLETE_SEEDS: "some seeds miss some P",
    Flag.FLOOR_DOMINATED: "most of the error at the largest P is floor",
    Flag.NON_MONOTONE: "the error rises between neighbouring P beyond noise",
    Flag.CURVATURE: "the curve bends on log–log axes beyond noise: no single exponent",
    Flag.FORM_DEPENDENT: "with a floor, the interval leaves the power law's β out",
    Flag.FLOOR_OPEN: "the seeds neither show nor exclude a floor: the interval covers both forms",
    Flag.FEW_TEST_FRAMES: "the finite test set leaves noise that all seeds share: more test frames would help",
    Flag.ZERO_ERROR: "rows with an error of exactly zero were left out",
}
"""What a reader must know of each flag."""

SPOILS = frozenset(
    {
        *(Flag.NOT_CONVERGED, Flag.CONVERGENCE_UNKNOWN, Flag.TOO_SHORT, Flag.LEARNED_NOTHING, Flag.NO_SEEDS),
        *(Flag.ONE_SEED, Flag.FEW_P, Flag.CURVATURE, Flag.NON_MONOTONE, Flag.FLOOR_DOMINATED),
    }
)
"""Flags with which an exponent is not to be quoted as it stands."""
CHIEF = ("L", "nu", "edge_lmax", "architecture", "group")
"""Factors of the question; differences in others are told after them."""


@dataclass(frozen=True)
class Answer:
    """What one dataset says, in its preferred metric."""

    dataset: str
    """Dataset."""
    metric: str
    """Metric, in words."""
    verdicts: tuple[tuple[Outcome, str], ...]
    """Outcome of the pre-registered test and its sentence, where the four cells are there."""
    sentences: tuple[str, ...]
    """The answer."""
    further: tuple[str, ...]
    """Further differences."""


def quotable(item: Fitted) -> bool:
    """Whether an exponent can be quoted with its interval, as it stands."""
    fit, judgement = item
    return bool(np.isfinite(fit.best.beta.low)) and not SPOILS & set(judgement.flags)


def overview(fits: Sequence[Fitted]) -> str:
    """How many curves there are, and how many exponents can be quoted."""
    good = [item for item in fits if quotable(item)]
    late = sum(judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in fits)
    unknown = sum(judgement.verdict is Verdict.UNKNOWN for _, judgement in fits)
    open_ = sum(Flag.FLOOR_OPEN in judgement.flags for _, judgement in good)
    datasets = len({fit.curve.text("dataset") for fit, _ in fits})
    text = f"{_count(len(fits), 'learning curve')} on {_count(datasets, 'dataset')}: "
    text += f"{len(good)} of their exponents can be quoted with their intervals"
    text += f", {open_} of these with an interval that leaves a floor open" if open_ else ""
    text += f". {_count(late, 'curve')} had not converged" if late else ""
    text += f"{'; for' if late else '. For'} {unknown} the table does not say" if unknown else ""
    return text + "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def answers(fits: Sequence[Fitted]) -> list[Answer]:
    """The answer on every dataset, in order of appearance."""
    chosen = preferred(fits, ("dataset", "test_set"))
    pairs = compare_.compare(chosen)
    families = compare_.families(chosen)
    found_claims = _claims(chosen)
    groups: dict[tuple[str, str], list[Fitted]] = {}
    for item in chosen:
        groups.setdefault((item[0].curve.text("dataset"), item[0].curve.text("test_set")), []).append(item)
    result = []
    for (dataset, test_set), group in groups.items():
        name = f"{dataset}, {test_set}" if test_set and _several(groups, dataset) else dataset
        here = (dataset, test_set)
        mine = [c for c in pairs if (c.first.text("dataset"), c.first.text("test_set")) == here]
        mine.sort(key=lambda c: CHIEF.index(c.factor) if c.factor in CHIEF else len(CHIEF))
        told = [c for c in mine if c.factor in CHIEF and not c.not_converged]
        rest = [c for c in mine if c not in told]
        tests = [f for f in families if (f.curves[0].text("dataset"), f.curves[0].text("test_set")) == here]
        metric = group[0][0].curve.text("metric")
        sentences = [*_range(group), *(_capital(compare_.sentence(c)) for c in told[:SHOWN])]
        further = [_capital(compare_.sentence(c)) for c in (*told[SHOWN:], *rest)]
        further += [_capital(compare_.family_sentence(family)) for family in tests]
        verdicts = tuple(
            (test.outcome, _claim_words(test, dict(zip("ABCD", _betas(test, group), strict=True))))
            for test in found_claims
            if test.dataset == dataset and test.cells["A"].text("test_set") == test_set
        )
        result.append(Answer(name, METRIC_NAMES.get(metric, metric), verdicts, tuple(sentences), tuple(further)))
    return result


SHOWN = 8
"""Comparisons of the question's factors that are told at once; the others unfold."""


def pooled(fits: Sequence[Fitted]) -> list[str]:
    """What datasets say together: the claim and the differences with datasets as random effects."""
    chosen = preferred(fits)
    said = [_capital(claim_pool.text(one).split("\n")[0]) + "." for one in claim_pool.pool(_claims(chosen))]
    return said + [_capital(compare_.pooled_sentence(one)) for one in compare_.pool(compare_.compare(chosen))]


def _several(groups: Mapping[tuple[str, str], object], dataset: str) -> bool:
    return sum(key[0] == dataset for key in groups) > 1


def _claims(fits: Sequence[Fitted]) -> list[Claim]:
    try:
        return claim_.claims(fits)
    except InputError:  # most tables do not have the four cells
        return []


def _betas(test: Claim, group: Sequence[Fitted]) -> list[str]:
    by_name = {fit.curve.name: fit.best.beta for fit, _ in group}
    shown = [by_name[test.cells[letter].name] for letter in "ABCD"]
    return [plus_minus(beta.value, beta.low, beta.high) for beta in shown]


def _claim_words(test: Claim, betas: Mapping[str, str]) -> str:
    verb = "" if test.outcome is Outcome.HOLDS else "is "
    text = f"The claim {verb}{test.outcome} ({test.architecture}): {'; '.join(test.reasons)}."
    text += f" β: {', '.join(f'{letter} {beta}' for letter, beta in betas.items())}."
    ratios = [f"{ratio.words('A', letter)}" for letter, ratio in test.ratios.items()]
    return text + f" {_capital('; '.join(ratios))}." + "".join(f" Caution: {caution}." for caution in test.cautions)


def _range(group: Sequence[Fitted]) -> list[str]:
    """The steepest and the shallowest exponent that can be quoted, and how many cannot."""
    good = [item for item in group if quotable(item)]
    names = dict(zip((fit.curve.name for fit, _ in group), model_names([fit.curve for fit, _ in group]), strict=True))
    said = []
    if len(good) >= 2:
        low, high = (pick(good, key=lambda item: item[0].best.beta.value) for pick in (min, max))
        said.append(
            f"Of {len(group)} curves {len(good)} have an exponent to quote, from {_beta(low)} "
            f"({names[low[0].curve.name]}) to {_beta(high)} ({names[high[0].curve.name]})."
        )
    elif good:
        said.append(f"{_capital(names[good[0][0].curve.name])}: β = {_beta(good[0])}.")
    else:
        said.append("No exponent here can be quoted as it stands; the table below says why for each.")
    late = [names[fit.curve.name] for fit, judgement in group if judgement.verdict is Verdict.NOT_CONVERGED]
    if late:
        said.append(f"Not converged, and so no statement about exponents: {', '.join(late)}.")
    return said


def _beta(item: Fitted) -> str:
    beta = item[0].best.beta
    return plus_minus(beta.value, beta.low, beta.high)


def _capital(text: str) -> str:
    """The first letter large, symbols left alone."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
