"""Names of models in figures, tables and the report."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from analysis.curve import Curve
from analysis.fits.record import orders, setting_words
from analysis.spelling import FACTOR_WORDS, display_name, value_words


def names(curves: Sequence[Curve], factor: str = "", skip: Collection[str] = ()) -> tuple[str, ...]:
    """Name each curve by the columns in which the curves differ: `L=0, 173 channels`.

    Args:
        curves: the curves, one or more.
        factor: column that is named in any case; empty for none.
        skip: columns that are never named.
    """
    columns = [name for name in FACTOR_WORDS if name == factor or len({curve.value(name) for curve in curves}) > 1]
    columns = [name for name in columns if name not in skip]
    settings = [name for name in curves[0].settings if len({curve.value(name) for curve in curves}) > 1]
    asked = [name for name in curves[0].told_apart_by if len({curve.value(name) for curve in curves}) > 1]
    shown = [
        [*(text for name in columns if (text := column_words(curve, name))), *setting_words(curve, asked)]
        for curve in curves
    ]
    if len({tuple(texts) for texts in shown}) < len(shown):
        for texts, curve in zip(shown, curves, strict=True):
            texts += setting_words(curve, settings)
    return tuple(", ".join(texts) for texts in shown)


def column_words(curve: Curve, name: str) -> str:
    """Describe one column of a curve, `edge 3`; empty if the curve has no value there."""
    value = curve.value(name)
    if value is None or value == "":
        return ""
    return value_words(name, value)


def architecture_name(curve: Curve) -> str:
    """Return the name of a curve's architecture as the field writes it."""
    return display_name(curve.text("architecture"))


def short_name(curve: Curve) -> str:
    """Name the model of a curve without its architecture: `L=1 ν=3 edge 3`."""
    return orders(curve)


def model_names(curves: Sequence[Curve], *, full: bool = False) -> tuple[str, ...]:
    """Name every model by its orders, and by its architecture if there are several; add to namesakes how they differ.

    Args:
        curves: of one dataset and metric.
        full: name the architecture in any case.
    """
    several = full or len({curve.text("architecture") for curve in curves}) > 1
    kinds = [architecture_name(curve) if several else "" for curve in curves]
    called = [
        f"{kind} {short_name(curve)}".strip() or architecture_name(curve)
        for kind, curve in zip(kinds, curves, strict=True)
    ]
    return distinct_names(called, curves)


def distinct_names(called: Sequence[str], curves: Sequence[Curve]) -> tuple[str, ...]:
    """Add to equal names of curves the columns in which these curves differ."""
    distinct = list(called)
    for name in {name for name in called if called.count(name) > 1}:
        alike = [i for i, other in enumerate(called) if other == name]
        for i, more in zip(alike, names([curves[i] for i in alike]), strict=True):
            distinct[i] = ", ".join(text for text in (name, more) if text)
    return tuple(distinct)
