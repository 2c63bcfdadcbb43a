"""Grouping of curves that share axes: by dataset, by model, and in the arrangements of published figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.curve import Curve
from analysis.figures.naming import (
    architecture_name,
    column_words,
    distinct_names,
    model_names,
    names,
    short_name,
)
from analysis.figures.style import entry
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.selection import rank
from analysis.spelling import dataset_name, display_name

_SHAPE = ("n_layers", "cutoff", "group")
"""Columns that the curves of a series share besides dataset and architecture; named if they have several values."""


@dataclass(frozen=True)
class Panel:
    """One set of axes."""

    title: str
    """Common properties of the curves."""
    fits: tuple[JudgedFit, ...]
    """Curves of one dataset and metric."""
    names: tuple[str, ...] = ()
    """Name of each curve in the legend; empty: the full names of the models."""
    by: str = "model"
    """Column that colours tell apart: model, architecture or group."""


def panels_by_dataset(fits: Sequence[JudgedFit], metric: str) -> list[Panel]:
    """Return one panel per dataset (with test set and group, if there are several) for one metric."""
    return _grouped([item for item in fits if item[0].curve.text("metric") == metric], ("dataset", "test_set", "group"))


def panels_by_model(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return one panel per dataset and architecture, each in the first of the preferred metrics that it has."""
    panels = _grouped(preferred(fits, ("dataset", "architecture")), ("dataset", "architecture", "test_set", "group"))
    return sorted(panels, key=_messages)  # models without an optimiser first, then networks; else as in the table


def panels_by_order(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return panels as in NequIP's figure: curves by L, of architectures with at most one ν; two orders or more."""
    chosen = [
        item
        for group in _split(preferred(fits), ("dataset", "test_set", "architecture")).values()
        if len({fit.curve.number("nu") for fit, _ in group}) == 1
        for item in group
    ]
    return _series(chosen, "L", ())


def panels_by_correlation_and_order(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return panels as in MACE's figure 2: by ν at L = 0, and by L at the largest and at the smallest ν, if present."""
    panels: list[Panel] = []
    for group in _split(preferred(fits), ("dataset", "test_set", "architecture")).values():
        orders = sorted({nu for fit, _ in group if (nu := fit.curve.number("nu")) is not None})
        if len(orders) < 2:
            continue
        panels += _series(_where(group, "L", 0.0), "nu", ("L",))
        for nu in (orders[-1], *orders[:1]):
            panels += _series(_where(group, "nu", nu), "L", ("nu",))
    return panels


def panels_by_architecture(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return one panel per dataset with two architectures or more: the model with the least error of each."""
    return _best_of_each(fits, "architecture", ("architecture",))


def panels_by_group(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return one panel per dataset with two symmetry groups or more.

    It shows the model with the least error of each architecture, group and number of rotated copies in training.
    """
    return _best_of_each(fits, "group", ("group", "architecture", "model.copies"))


def panels_by_test_set(fits: Sequence[JudgedFit]) -> list[Panel]:
    """Return a panel per test set of each dataset with several: the same models, in and out of their domain."""
    datasets = _split(preferred(fits, ("dataset", "test_set")), ("dataset",)).values()
    several = [group for group in datasets if len({fit.curve.text("test_set") for fit, _ in group}) > 1]
    return _grouped([item for group in several for item in group], ("dataset", "test_set"))


def preferred(fits: Sequence[JudgedFit], place: Sequence[str] = ("dataset",)) -> list[JudgedFit]:
    """Return the curves of each dataset (or other `place`) in the first of the preferred metrics that it has."""
    chosen: list[JudgedFit] = []
    for group in _split(fits, place).values():
        best = min((fit.curve.text("metric") for fit, _ in group), key=rank)
        chosen += [item for item in group if item[0].curve.text("metric") == best]
    return chosen


def model_entries(fits: Sequence[JudgedFit]) -> list[str]:
    """Return a legend's entry for each curve: the model's name, and whether its training has not converged."""
    called = model_names([fit.curve for fit, _ in fits])
    late = [judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in fits]
    return [entry(f"{name}  (not converged)" if one else name) for name, one in zip(called, late, strict=True)]


def _split(fits: Sequence[JudgedFit], columns: Sequence[str]) -> dict[tuple[object, ...], list[JudgedFit]]:
    groups: dict[tuple[object, ...], list[JudgedFit]] = {}
    for item in fits:
        groups.setdefault(tuple(item[0].curve.value(name) for name in columns), []).append(item)
    return groups


def _where(fits: Sequence[JudgedFit], name: str, value: float) -> list[JudgedFit]:
    return [item for item in fits if item[0].curve.number(name) == value]


def _series(fits: Sequence[JudgedFit], factor: str, fixed: Sequence[str]) -> list[Panel]:
    """Return panels of curves whose models differ only in `factor` (and in channels: capacity controls).

    The edge order may differ if it always equals the message order, as in NequIP.
    """
    panels = []
    shared = ("dataset", "test_set", "architecture", *fixed, *_SHAPE)
    for group in _split(fits, shared).values():
        place = ("dataset", "architecture")
        alike = [fit.curve for fit, _ in fits if all(fit.curve.value(n) == group[0][0].curve.value(n) for n in place)]
        several = {name for name in (*_SHAPE, "test_set") if len({curve.value(name) for curve in alike}) > 1}
        tied = all(fit.curve.number("edge_lmax") in (None, fit.curve.number("L")) for fit, _ in group)
        for part in [group] if tied else _split(group, ("edge_lmax",)).values():
            if len({fit.curve.number(factor) for fit, _ in part} - {None}) < 2:
                continue
            ordered = sorted(part, key=lambda item: (item[0].curve.number(factor) or 0.0, _order(item)))
            first = ordered[0][0].curve
            words = [
                column_words(first, name) for name in (*fixed, "test_set", *_SHAPE) if name in fixed or name in several
            ]
            title = ", ".join([_title(first, ("dataset", "architecture")), *(text for text in words if text)])
            curves = [fit.curve for fit, _ in ordered]
            skip = {"edge_lmax"} if tied else set()
            panels.append(Panel(title, tuple(ordered), names(curves, factor, skip)))
    return panels


def _best_of_each(fits: Sequence[JudgedFit], by: str, kinds: Sequence[str]) -> list[Panel]:
    """Return one panel per dataset with several values of `by`: of each kind the model with the least error.

    At the largest P that all curves of the kind have; the title says that it was chosen so.
    """
    panels = []
    places = _split(preferred(fits), ("dataset", "test_set"))
    tested = [dataset for dataset, _ in places]
    for (dataset, _), group in places.items():
        if len({fit.curve.text(by) for fit, _ in group} - {""}) < 2:
            continue
        candidates = _split(group, kinds).values()
        chosen = [_best(kind) for kind in candidates]
        chosen.sort(key=lambda item: (item[0].curve.text(by), _order(item)))
        called = [f"{_kind(fit.curve, by)} {short_name(fit.curve)}".strip() for fit, _ in chosen]
        several = tested.count(dataset) > 1
        heading = _title(chosen[0][0].curve, ("dataset", "test_set") if several else ("dataset",))
        if any(len(kind) > 1 for kind in candidates):
            heading += ", the best model of each"
        panels.append(Panel(heading, tuple(chosen), distinct_names(called, [fit.curve for fit, _ in chosen]), by))
    return panels


def _best(kind: Sequence[JudgedFit]) -> JudgedFit:
    """Return the curve with the least mean error at the largest P that all have; at their own last P without one."""
    common = max(set.intersection(*({float(p) for p in fit.curve.sizes} for fit, _ in kind)), default=None)

    def error(item: JudgedFit) -> float:
        curve = item[0].curve
        return float(curve.mean_error[-1 if common is None else int(np.searchsorted(curve.sizes, common))])

    return min(kind, key=error)


def _title(curve: Curve, columns: Sequence[str]) -> str:
    return ", ".join(_words(name, text) for name in columns if (text := curve.text(name)))


def _words(column: str, text: str) -> str:
    return dataset_name(text) if column == "dataset" else display_name(text).replace("_", " ")


def _grouped(fits: Sequence[JudgedFit], columns: Sequence[str]) -> list[Panel]:
    groups: dict[tuple[str, ...], list[JudgedFit]] = {}
    for item in fits:
        groups.setdefault(tuple(item[0].curve.text(name) for name in columns), []).append(item)
    # Datasets and architectures are always named, test sets and groups if there are several.
    named = ("dataset", "architecture")
    varying = [i for i, name in enumerate(columns) if name in named or len({key[i] for key in groups}) > 1]
    return [
        Panel(
            ", ".join(_words(columns[i], key[i]) for i in varying if key[i]),
            tuple(sorted(group, key=_order)),
        )
        for key, group in groups.items()
    ]


def _messages(panel: Panel) -> bool:
    """Return whether some model of the panel passes messages."""
    return any(fit.curve.number("L") is not None for fit, _ in panel.fits)


def _order(item: JudgedFit) -> tuple[str, float, float, float]:
    """Return a sort key: by ν, then L, then falling edge order for networks, so that the claim's cells are in order."""
    curve = item[0].curve
    nu, order, edge = (curve.number(name) or 0.0 for name in ("nu", "L", "edge_lmax"))
    return curve.text("architecture"), nu, order, edge if curve.number("L") is None else -edge


def _kind(curve: Curve, by: str) -> str:
    name = architecture_name(curve)
    return f"{curve.text('group') or 'group unknown'}: {name}" if by == "group" else name
