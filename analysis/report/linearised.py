"""Linearised networks beside trained ones: a table where both have runs on the same subsets, else "not trained yet"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparisons.paired import Pair, excludes_zero, pair
from analysis.curve import Curve
from analysis.figures.naming import architecture_name, distinct_names, short_name
from analysis.figures.panels import preferred
from analysis.fits.flags import JudgedFit, Verdict
from analysis.fits.record import plus_minus
from analysis.fits.uncertainty import Interval, lines, t_interval
from analysis.spelling import LINEARISED, dataset_words, display_unit, metric_name

SAME = ("dataset", "test_set", "metric", "group", "L", "nu", "edge_lmax", "n_layers", "cutoff")
"""Columns in which a linearised network equals the trained one that it stands for; channels may differ."""
HEAD = ("dataset", "model", "P", "seeds", "β linearised", "β trained", "trained − linearised", "error at the largest P")
"""Heads of the columns."""
FEWEST_SEEDS = 2
"""Seeds in common below which slopes have no interval."""


@dataclass(frozen=True)
class SideBySide:
    """One network, linearised and trained, on the subsets and sizes that both have; see `HEAD`."""

    dataset: str
    model: str
    sizes: str
    seeds: str
    linearised: str
    trained: str
    """With a dagger if the training had not converged, or if nobody knows."""
    difference: str
    errors: str
    """Geometric means of both at the largest common P."""
    converged: bool
    """Whether the trained curve had converged."""
    delta: Interval
    """Difference of the exponents."""
    both: Pair
    """The linearised curve and the trained one."""

    @property
    def shown(self) -> bool:
        """Whether the difference excludes zero."""
        return excludes_zero(self.delta)

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of `HEAD`."""
        return (
            self.dataset, self.model, self.sizes, self.seeds, self.linearised, self.trained, self.difference,
            self.errors,
        )  # fmt: skip


def side_by_side(fits: Sequence[JudgedFit]) -> list[SideBySide]:
    """Return a row for every linearised network that was also trained, on two seeds and two P in common or more."""
    pairs = []
    for linear, trained in _partners(fits):
        both = pair(linear[0].curve, trained[0].curve)
        if both is not None and both.paired and len(both.first_log) >= FEWEST_SEEDS:
            pairs.append((both, trained[1].verdict is Verdict.CONVERGED))
    called = _names([both.second for both, _ in pairs])
    return [_row(both, name, converged) for (both, converged), name in zip(pairs, called, strict=True)]


def _names(trained: Sequence[Curve]) -> list[str]:
    """Name each curve by architecture and orders, and by how it differs from namesakes of its dataset and metric."""
    called = [f"{architecture_name(curve)} {short_name(curve)}".strip() for curve in trained]
    groups: dict[tuple[str, str], list[int]] = {}
    for index, curve in enumerate(trained):
        groups.setdefault((curve.text("dataset"), curve.text("metric")), []).append(index)
    for own in groups.values():
        told_apart = distinct_names([called[i] for i in own], [trained[i] for i in own])
        for i, name in zip(own, told_apart, strict=True):
            called[i] = name
    return called


def not_trained(fits: Sequence[JudgedFit]) -> str:
    """Return which linearised models nobody has trained on each dataset, and what that means; empty without any."""
    beside = {id(linear[0].curve) for linear, _ in _partners(fits)}
    missing: dict[tuple[str, str], list[Curve]] = {}
    for fit, _ in preferred(fits, ("dataset", "test_set")):
        if _is_linearised(fit.curve) and id(fit.curve) not in beside:
            missing.setdefault((fit.curve.text("dataset"), architecture_name(fit.curve)), []).append(fit.curve)
    if not missing:
        return ""
    told = [_models(dataset, name, curves) for (dataset, name), curves in missing.items()]
    return (
        f"Not trained yet: {'; '.join(told)}. What is said of them here holds for networks linearised around their "
        "initial weights; for trained networks it is a hypothesis."
    )


def _models(dataset: str, name: str, curves: Sequence[Curve]) -> str:
    models = ", ".join(filter(None, dict.fromkeys(short_name(curve) for curve in curves)))
    return f"{name} on {dataset_words(dataset)}" + (f" ({models})" if models else "")


def _is_linearised(curve: Curve) -> bool:
    return curve.text("architecture").startswith(LINEARISED)


def _partners(fits: Sequence[JudgedFit]) -> list[tuple[JudgedFit, JudgedFit]]:
    """Return every linearised curve with each trained one of the same orders that shares a seed and a P with it."""
    linear = [item for item in fits if _is_linearised(item[0].curve)]
    return [(one, other) for one in linear for other in fits if _alike(one[0].curve, other[0].curve)]


def _alike(linear: Curve, trained: Curve) -> bool:
    return (
        trained.text("architecture") == linear.text("architecture").removeprefix(LINEARISED)
        and all(trained.value(name) == linear.value(name) for name in SAME)
        and bool(set(trained.seeds) & set(linear.seeds))
        and bool(np.isin(trained.sizes, linear.sizes).any())
    )


def _row(both: Pair, model: str, converged: bool) -> SideBySide:
    trained = both.second
    slopes = [-lines(both.log_p, rows)[0] for rows in (both.first_log, both.second_log)]  # of the same seeds
    betas = [t_interval(one) for one in slopes]
    shown = [plus_minus(beta.value, beta.low, beta.high) for beta in betas]
    delta = t_interval(slopes[1] - slopes[0])
    sizes = np.exp(both.log_p).round()
    unit, factor = display_unit(trained.unit)
    ends = [factor * float(np.exp(rows[:, -1].mean())) for rows in (both.first_log, both.second_log)]
    metric = metric_name(trained.text("metric"))
    return SideBySide(
        dataset=f"{dataset_words(trained.text('dataset'))}, {metric}",
        model=model,
        sizes=f"{sizes[0]:g}–{sizes[-1]:g}",
        seeds=str(len(both.first_log)),
        linearised=shown[0],
        trained=shown[1] + ("" if converged else " †"),
        difference=plus_minus(delta.value, delta.low, delta.high)
        + ("" if excludes_zero(delta) else " (none shown)" if np.isfinite(delta.low) else ""),
        errors=f"{ends[0]:.3g} and {ends[1]:.3g} {unit}".strip(),
        converged=converged,
        delta=delta,
        both=both,
    )
