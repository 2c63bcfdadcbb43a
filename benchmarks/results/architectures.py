"""Architectures on the same subsets: exponents, errors, frames for an equal error, and what each costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.comparisons.equal_error import equal_error
from analysis.comparisons.paired import pair
from analysis.curve import Curve
from analysis.fits.flags import JudgedFit, misses
from analysis.fits.record import interval_text, label
from analysis.spelling import display_name, display_unit
from analysis.table import load
from benchmarks.results.beside import stopped_by_validation
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS
from benchmarks.results.statements import fits_of, own_test_set


def cost_table(table: Path) -> str:
    """Return β of each model of a table, its force MAE at the largest P, the frames that it needs, and its cost.

    Frames needed are those for the same error as the model with the lowest error at the largest P, over that model's.
    """
    fits = _fits(table)
    best = fits[0][0].curve
    unit, factor = display_unit(best.unit)
    runs = load([table], []).rows
    largest = runs[runs["P"] == runs["P"].max()]
    lines = [
        f"**At P = {best.sizes[-1]:g}**, lowest error first, means over seeds; a ladder's time is shared among its "
        f"sizes. Frames needed: for the same error, over those of {_name(best)}.",
        "",
        f"| model | β | force MAE ({unit}) | frames needed | weights | processor s |",
        "|---|---|---|---|---|---|",
    ]
    for item in fits:
        one = item[0].curve
        own = largest[largest["model_id"] == one.text("model_id")]
        weights = pd.to_numeric(own["n_parameters"]).mean()
        shown = f"{weights:.0f}" if pd.notna(weights) else "–"
        seconds = pd.to_numeric(own["cpu_seconds"]).mean()
        lines.append(
            f"| {_name(one)} | {_beta(item)} | {factor * one.mean_error[-1]:.3g} | "
            f"{_frames(one, best)} | {shown} | {seconds:.2g} |"
        )
    return "\n".join(lines)


def headline(name: str, place: Place) -> str:
    """Return force MAE of the best model of every architecture and which is steepest; empty without a table."""
    if not place.table(name).exists():
        return ""
    best: dict[str, JudgedFit] = {}
    for one in _fits(place.table(name)):
        best.setdefault(one[0].curve.text("architecture"), one)
    curve = next(iter(best.values()))[0].curve
    unit, factor = display_unit(curve.unit)
    told = ", ".join(
        f"{_name(one[0].curve)} {factor * one[0].curve.mean_error[-1]:.3g}" for one in best.values()
    )  # fmt: skip
    steepest = max((one for one in best.values() if not misses(one)), key=lambda one: one[0].best.beta.value)
    return (
        f"On {DATA[SECTIONS[name].data].words}, force MAE in {unit} at P = {curve.sizes[-1]:g} of the best model of "
        f"every architecture: {told}; {_trained(name, curve, place)}; the highest β without an optimiser is that of "
        f"{_name(steepest[0].curve)}, {_beta(steepest)} ([{name}](results/{name}/README.md))."
    )


def _trained(name: str, curve: Curve, place: Place) -> str:
    """Return the same of trained networks at their largest P, which is told if it is not that of a curve."""
    trained = [(row.both.second, row.model) for row in stopped_by_validation(SECTIONS[name].data, place)]
    largest = max((one.sizes[-1] for one, _ in trained), default=np.nan)
    best: dict[str, str] = {}
    factor = display_unit(curve.unit)[1]
    for one, model in sorted(trained, key=lambda item: float(item[0].mean_error[-1])):
        if one.sizes[-1] == largest:
            best.setdefault(one.text("architecture"), f"{model} {factor * one.mean_error[-1]:.3g}")
    if not best:
        return "none of them trained yet"
    at = "" if largest == curve.sizes[-1] else f" at P = {largest:g}"
    return f"trained, stopped by validation,{at} {', '.join(best.values())}"


def _fits(table: Path) -> list[JudgedFit]:
    """Return the fits of force MAE of a table, on its first test set, by the error at the largest P."""
    return sorted(own_test_set(fits_of(table)), key=lambda one: float(one[0].curve.mean_error[-1]))


def _name(curve: Curve) -> str:
    own = curve.text("architecture")
    return " ".join((display_name(own), *(word for word in label(curve).split() if word != own)))


def _beta(one: JudgedFit) -> str:
    """Return the exponent with its interval, as the figure has it."""
    return "no power law" if misses(one) else interval_text(one[0].best.beta)


def _frames(curve: Curve, best: Curve) -> str:
    both = None if curve is best else pair(curve, best)
    if both is None:
        return "1" if curve is best else "–"
    return equal_error(both).cell
