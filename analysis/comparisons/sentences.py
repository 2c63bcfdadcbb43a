"""Comparisons as sentences that could stand in a paper, and as JSON records."""

from __future__ import annotations

import numpy as np

from analysis.comparisons.compare import SIGNS, TEST_SET, Comparison, Family, PooledDifference
from analysis.comparisons.paired import Survival, excludes_zero, p_words
from analysis.curve import Curve
from analysis.fits.jsonable import Record, dataset_and_metric, ends
from analysis.fits.record import interval_text, plus_minus, rounded, signed, signed_interval, span
from analysis.protocol import STOP
from analysis.spelling import dataset_words, display_name, metric_words
from experiments.core.files import json_number

SIGNIFICANT = 0.05
"""Level of p values, corrected over all comparisons of a dataset, below which a difference is reported as one."""


def comparison_sentence(c: Comparison) -> str:
    """Describe one comparison in a sentence that could stand in a paper."""
    one, two = level(c.first, c.factor), level(c.second, c.factor)
    change = f"from {one} to {two} ({_where(c.common, c.first, c.factor)}"
    if not np.isfinite(c.delta.low):
        text = f"Δβ = {signed(c.delta.value)} {change}), with too few seeds for an interval"
    elif excludes_zero(c.delta):
        text = f"β {verb(c)} {change}; {p_words(c.p_holm)})"
    else:
        text = (
            f"no difference of β is shown {change}; {p_words(c.p_holm)}): Δβ = {interval_text(c.delta)}; this design "
            f"detects one of {rounded(c.detectable)} with 80 % power"
        )
    off = c.outlying.words({"first": one, "second": two})
    return f"{text}{_floor_words(c)}; {c.ratio.words(one, two)}{off}{_caution(c)}."


def verb(c: Comparison) -> str:
    """Return how β changes, `rises by 0.12 ± 0.03`, for a difference whose own interval excludes zero.

    `may rise` if it is not shown after Holm's correction: its own interval excludes zero, but it is one of many.
    """
    delta = c.delta
    half = (delta.high - delta.low) / 2
    size = plus_minus(abs(delta.value), abs(delta.value) - half, abs(delta.value) + half)
    word = "rise" if delta.value > 0 else "fall"
    return f"{word}s by {size}" if c.p_holm < SIGNIFICANT else f"may {word} by {size}"


def level(curve: Curve, factor: str) -> str:
    """Return the factor of a curve with its value, `L=1`."""
    return SIGNS.get(factor, f"{factor}=") + _value(curve, factor)


def _value(curve: Curve, factor: str) -> str:
    value = curve.value(factor)
    if factor == "architecture":
        return display_name(str(value))
    if value is None:
        return "null" if "." in factor else "none"  # a setting that is null is not one of zero
    return f"{value:g}" if isinstance(value, float) else str(value)


def _where(common: str, curve: Curve, factor: str) -> str:
    stop = f"stop={curve.text(STOP)}" if curve.text(STOP) else ""
    dataset, metric = dataset_words(curve.text("dataset")), metric_words(curve.text("metric"))
    named = factor == TEST_SET or SIGNS[TEST_SET] in common
    test_set = "" if named else curve.text(TEST_SET)
    place = ", ".join(text for text in (dataset, test_set, metric, stop) if text)
    return f"{common}; {place}" if common else place


def _floor_words(c: Comparison) -> str:
    """Describe whether the difference survives floors, fitted in both curves or set to their training errors."""
    fitted = "" if np.isnan(c.with_floor.value) else f"Δβ = {signed_interval(c.with_floor)}"
    if c.survival is Survival.SURVIVES:
        text = f"; it survives a floor in both ({fitted})"
    elif c.survival is Survival.VANISHES:
        text = f"; with a floor in both it does not survive ({fitted})"
    elif c.survival is Survival.UNCERTAIN:
        text = f"; with a floor in both it is no longer certain ({fitted})"
    elif not excludes_zero(c.delta):
        text = f"; with a floor in both {fitted}" if fitted else ""
    else:
        text = "; whether it survives a floor cannot be tested here"
    if not np.isfinite(c.with_train_floor):
        return text
    return f"{text}; with the floors at the training errors Δβ = {signed(c.with_train_floor, c.delta)}"


def _caution(c: Comparison) -> str:
    words = {
        "residuals": "; single runs: scatter from the residuals of a line",
        "published": "; scatter as published with the means",
        "seeds": "" if c.paired else "; seeds do not match (Welch)",
    }
    unpaired = words[c.scatter] if np.isfinite(c.delta.low) else ""
    late, unclear = (
        " and ".join(level(c.first if which == "first" else c.second, c.factor) for which in names)
        for names in (c.not_converged, c.cannot_tell)
    )
    known = bool(np.isfinite(c.trained.low))
    more = f"; with further training Δβ = {span(c.trained.low, c.trained.high)}" if known and (late or unclear) else ""
    if late:
        return f"{unpaired}{more}; NOT CONVERGED: {late}, so this is no statement about exponents"
    undone = ", which could undo it" if known and excludes_zero(c.delta) and not excludes_zero(c.trained) else ""
    return f"{unpaired}{more}{undone}" + (f"; too noisy to tell whether converged: {unclear}" if unclear else "")


def family_sentence(family: Family) -> str:
    """Describe a test for a common exponent in one sentence."""
    first = family.curves[0]
    levels = ", ".join(_value(curve, family.factor) for curve in family.curves)
    where = _where(family.common, first, family.factor)
    if not np.isfinite(family.p):
        return f"one exponent for {family.factor} = {levels} ({where}): no test, too few seeds or P in common."
    outcome = "rejected" if family.p < 0.05 else "not rejected"
    test = f"F = {family.f:.1f}, {p_words(family.p)}"
    return f"one exponent for {family.factor} = {levels} ({where}): {outcome} ({test})."


def pooled_sentence(pooled: PooledDifference) -> str:
    """Describe a mean over datasets in one sentence."""
    datasets = "; ".join(map(dataset_words, pooled.datasets))
    return (
        f"over {len(pooled.datasets)} datasets ({datasets}; {metric_words(pooled.metric)}), "
        f"{pooled.second} against {pooled.first}: Δβ = {interval_text(pooled.delta)}, "
        f"standard deviation between datasets {rounded(pooled.between)}."
    )


def comparison_record(c: Comparison) -> Record:
    """Return the JSON record of a comparison."""
    return {
        **dataset_and_metric(c.first),
        "factor": c.factor,
        "first": _settings(c.first),
        "second": _settings(c.second),
        **ends("delta_beta", c.delta),
        "p": json_number(c.p),
        "p_holm": json_number(c.p_holm),
        "paired": c.paired,
        "scatter": c.scatter,
        "dof": c.delta.dof,
        "dof_lent": json_number(c.lent),
        "detectable": json_number(c.detectable),
        **ends("delta_beta_with_floor", c.with_floor),
        "floor": str(c.survival),
        "delta_beta_train_floor": json_number(c.with_train_floor),
        **ends("equal_error_ratio", c.ratio.ratio),
        "equal_error_ratio_open_ends": list(c.ratio.open_ends),
        "equal_error": json_number(c.ratio.error),
        "leader": c.ratio.leader or None,
        "flat": list(c.ratio.flat),
        "delta_beta_training_low": json_number(c.trained.low),
        "delta_beta_training_high": json_number(c.trained.high),
        **c.outlying.record(),
        "not_converged": list(c.not_converged),
        "cannot_tell": list(c.cannot_tell),
        "sentence": comparison_sentence(c),
    }


def _settings(curve: Curve) -> Record:
    values = {**curve.settings, **curve.key}
    return {name: json_number(value) if isinstance(value, float) else value for name, value in values.items()}
