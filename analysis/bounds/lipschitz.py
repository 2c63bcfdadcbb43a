"""Lip·δ(P): the one bound here whose every constant is evaluated, so that an error can violate it.

A target with Lipschitz constant Lip differs by at most Lip·δ between a test frame and the training frame nearest to
it. The nearest neighbour therefore errs by Lip·E[δ] at most, and so does any learner at least as good. δ(P) is
measured (module `distances`); Lip is given, or taken as the steepest slope between a test frame and its nearest
training frame at any P: less than the true constant, yet enough for the nearest neighbour on these very frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.bounds.bounds import Relation, evaluated
from analysis.bounds.distances import spaces
from analysis.bounds.theory import LIPSCHITZ_LOSSES, SQUARED_LOSSES
from analysis.curve import Curve, nanmean
from analysis.fits.flags import Judgement, Verdict
from analysis.fits.jsonable import Record, dataset_and_metric, model
from analysis.fits.results import CurveFit
from analysis.spelling import metric_words
from experiments.core.files import json_number

GIVEN_IN = "aligned_rmsd"
"""The metric in which a Lipschitz constant is given."""


@dataclass(frozen=True)
class LipschitzBound:
    """One curve beside Lip·δ(P) in one metric of the frames; arrays are empty if they cannot be compared."""

    space: str
    """Metric of the frames."""
    lipschitz: float
    """Lip, in the curve's unit per unit of distance; NaN if unknown."""
    estimated: bool
    """Whether Lip comes from the data."""
    unit: str
    """Unit of `lipschitz`."""
    sizes: FloatArray
    """P that curve and distances have in common. [K]"""
    error: FloatArray
    """Mean error over seeds, in the curve's unit. [K]"""
    bound: FloatArray
    """Lip·δ(P), in the curve's unit. [K]"""
    nearest: FloatArray
    """Error of the nearest neighbour itself, in the curve's unit; NaN if unknown. [K]"""
    relation: Relation
    """Relation of the errors to the bound."""
    why: str
    """The reason in words."""


def compare_lipschitz(
    fit: CurveFit, judgement: Judgement, distances: pd.DataFrame, lipschitz: float | None = None
) -> list[LipschitzBound]:
    """Set the errors of a curve beside Lip·δ(P), in every metric for which its dataset has distances.

    Args:
        fit: the curve.
        judgement: its verdict.
        distances: a table of module `distances`, with `label_gap` if Lip is to come from the data: the difference of
            the labels of a test frame and its nearest training frame (eV per atom, or the unit of the errors).
        lipschitz: Lip in aligned RMSD, eV per atom and Å; for that metric it replaces the estimate.
    """
    curve = fit.curve
    result = []
    for (dataset, test_set, space), part in spaces(distances):
        other = test_set and curve.text("test_set") and test_set != curve.text("test_set")
        if dataset == curve.text("dataset") and not other:
            given = lipschitz if space == GIVEN_IN else None
            result.append(_compare(curve, judgement, part, space, given))
    return result


def _compare(curve: Curve, judgement: Judgement, part: pd.DataFrame, space: str, given: float | None) -> LipschitzBound:
    metric, unit = curve.text("metric"), _per(curve.unit, str(part["unit"].iloc[0]))
    scale = 1000.0 if curve.unit.startswith("meV") else 1.0
    nothing = np.empty(0)

    def silent(why: str) -> LipschitzBound:
        return LipschitzBound(
            space, np.nan, given is None, unit, nothing, nothing, nothing, nothing, Relation.NOT_TESTABLE, why
        )

    if metric not in LIPSCHITZ_LOSSES | SQUARED_LOSSES:
        return silent(
            "a Lipschitz energy bounds no force"
            if metric.startswith("force")
            else f"the bound does not apply to {metric_words(metric)}"
        )
    if judgement.verdict is Verdict.NOT_CONVERGED:
        return silent("training has not converged")
    if given is None and "label_gap" not in part.columns:
        return silent("Lip is unknown: the distances have no label_gap; give --lipschitz")
    sizes = np.intersect1d(curve.sizes, part["P"].to_numpy(dtype=float))
    if not len(sizes):
        return silent("the distances and the curve have no P in common")
    error, sem = _errors(curve, sizes)
    if not np.isfinite(sem).all():
        return silent("one seed, and the standard error of the test set is unknown")
    slope, deltas, gaps = bound_of(part, sizes, metric, given)
    bound = scale * slope * deltas
    relation = evaluated(error, sem, bound)
    above = sizes[error - 3 * sem > bound]
    why = f"error/bound = {(error / bound).min():.2g}–{(error / bound).max():.2g}"
    if relation is Relation.VIOLATED:
        why += f", above it at P = {', '.join(f'{size:g}' for size in above)}: worse than the nearest neighbour can be"
    return LipschitzBound(space, scale * slope, given is None, unit, sizes, error, bound, scale * gaps, relation, why)


def bound_of(
    part: pd.DataFrame, sizes: FloatArray, metric: str, given: float | None = None
) -> tuple[float, FloatArray, FloatArray]:
    """Return Lip, δ(P) and the error of the nearest neighbour itself, averaged in the same way as the metric.

    Args:
        part: distances of one dataset in one metric of the frames.
        sizes: P at which it has distances. [K]
        metric: of the errors: root mean squares for a root mean squared error, else means.
        given: Lip; else the steepest slope in `label_gap`, NaN if there is none.

    Returns:
        Lip in the labels' unit over that of the distances, δ [K] and the nearest neighbour's errors [K] (NaN without
        `label_gap`).
    """
    power = 2 if metric in SQUARED_LOSSES else 1
    by_size = dict(list(part.groupby("P")))
    known = "label_gap" in part.columns
    slope = given if given is not None else _steepest(part) if known else np.nan
    deltas = np.array([_mean(by_size[size]["d1"], power) for size in sizes])
    gaps = np.array([_mean(by_size[size]["label_gap"], power) if known else np.nan for size in sizes])
    return slope, deltas, gaps


def _per(unit: str, distance: str) -> str:
    """Return the unit of an error per unit of a distance: meV/Å, or meV·Å for inverse distances."""
    if distance.startswith("1/"):
        return f"{unit}·{distance[2:]}"
    return f"{unit or '1'}/{distance}" if distance else unit


def _errors(curve: Curve, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean error [K] and its standard error [K] over seeds, or over the test set for a single seed."""
    columns = np.isin(curve.sizes, sizes)
    rows = curve.error[:, columns]
    count = np.isfinite(rows).sum(axis=0)
    mean = nanmean(rows)
    spread = np.sqrt(nanmean((rows - mean) ** 2) / np.maximum(count - 1, 1))
    return mean, np.where(count >= 2, spread, nanmean(curve.sem[:, columns]))


def _steepest(part: pd.DataFrame) -> float:
    """Return the largest |Δ label|/distance; frames that coincide are left out."""
    apart = part[part["d1"] > 0]
    return float((apart["label_gap"] / apart["d1"]).max()) if len(apart) else 0.0


def _mean(values: pd.Series[float], power: int) -> float:
    return float(np.mean(values.to_numpy(dtype=float) ** power) ** (1 / power))


def lipschitz_text(one: LipschitzBound) -> str:
    """Describe the bound, its constant, and its relation to the errors in one line."""
    head = f"  Lip·δ(P) [D], {one.space}"
    if not np.isfinite(one.lipschitz):
        return f"{head}: {one.relation}: {one.why}"
    origin = "steepest slope seen, a lower estimate" if one.estimated else "given"
    points = ", ".join(
        f"P={size:g}: {error:.3g} ≤ {bound:.3g}" if error <= bound else f"P={size:g}: {error:.3g} > {bound:.3g}"
        for size, error, bound in zip(one.sizes, one.error, one.bound, strict=True)
    )
    nearest = f"; nearest neighbour itself {one.nearest[0]:.3g}–{one.nearest[-1]:.3g}"
    shown = nearest if np.isfinite(one.nearest).all() else ""
    constant = f"Lip = {one.lipschitz:.3g} {one.unit}".rstrip()
    return f"{head}, {constant} ({origin}): {one.relation}: {one.why} ({points}{shown})"


def lipschitz_record(fit: CurveFit, one: LipschitzBound) -> Record:
    """Return the JSON record of a comparison, with the same keys as those of other bounds."""
    return {
        **dataset_and_metric(fit.curve),
        "model": model(fit.curve),
        "statement": f"Lip·δ(P), {one.space}",
        "direction": "upper bound on the error",
        "quantity": "error of the nearest neighbour, and of any learner at least as good",
        "assumption": "Lipschitz target, labels without noise",
        "constant": json_number(one.lipschitz),
        "constant_unit": one.unit,
        "constant_estimated": one.estimated,
        "source": "elementary",
        "evidence": ["D"],
        "P": one.sizes.tolist(),
        "error": one.error.tolist(),
        "bound": one.bound.tolist(),
        "nearest_neighbour": [json_number(value) for value in one.nearest],
        "relation": str(one.relation),
        "why": one.why,
    }
