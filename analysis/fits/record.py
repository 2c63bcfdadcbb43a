"""Fits of all curves as JSON records and as lines of text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from analysis.curve import Curve
from analysis.fits.fit import fit_curves
from analysis.fits.flags import LIMITED, Flag, Judgement, judge
from analysis.fits.jsonable import Record, ends
from analysis.fits.regions import local_slopes, regions
from analysis.fits.results import CurveFit, Fit, Form
from analysis.fits.training import Verdict, pooled_kappas
from analysis.fits.uncertainty import MANY, Interval
from analysis.spelling import dataset_words, display_name, metric_words
from experiments.core.files import json_number

_SHAPE = ("group", "n_layers", "channels", "cutoff")

UNTOLD = 3.0
"""Half width from which on an interval says nothing of an exponent: all that were ever measured fit into it twice."""
UNDETERMINED = "not determined"
LEAST_DECIMALS, MOST_DECIMALS = 2, 6
"""Decimals of exponents: two, and more where two would say nothing."""
_ASKEW = 0.1
"""Share of the half width by which an interval's middle may differ from the estimate before both ends are printed."""


def analyse(curves: Iterable[Curve], forms: tuple[Form, ...] = tuple(Form)) -> list[tuple[CurveFit, Judgement]]:
    """Fit the requested forms to every curve and judge each fit: verdict on training, and flags."""
    fits = fit_curves(list(curves), forms)
    kappas = pooled_kappas(fit.curve for fit in fits)
    return [(fit, judge(fit, kappas)) for fit in fits]


def records(fit: CurveFit, judgement: Judgement) -> list[Record]:
    """Return one JSON record per form of a fitted curve; a number that is not finite is None.

    `prefactor` and `floor` are in `unit`; β is positive if the error falls with P.
    """
    curve = fit.curve
    shared: Record = {
        "dataset": curve.text("dataset"),
        "architecture": curve.text("architecture"),
        "L": _integer(curve.number("L")),
        "nu": _integer(curve.number("nu")),
        "metric": curve.text("metric"),
    }
    extra: Record = {
        **{name: plain_value(value) for name, value in curve.key.items() if name not in shared},
        "unit": curve.unit,
        "n_seeds": fit.seeds[0],
        "n_seeds_most": fit.seeds[1],
        "n_P": len(curve.sizes),
        "P_min": plain_value(float(curve.sizes[0])),
        "P_max": plain_value(float(curve.sizes[-1])),
        **{name: plain_value(value) for name, value in curve.settings.items()},
        "verdict": str(judgement.verdict),
        "data_limited": judgement.data_limited,
        "training_limited": judgement.training.record(),
        "beta_half_budget": json_number(judgement.training.beta_half),
        **ends("local_beta", fit.local.beta),
        "local_P": [plain_value(fit.local.low), plain_value(fit.local.high)],
        "power_excluded": fit.power_excluded,
        "floor_excluded": fit.floor_excluded,
        "prior_dof": json_number(fit.prior_dof),
        "prior_curves": fit.prior_curves,
        "slope_change": _break(fit),
        "outlying_run": _outlier(fit),
        "curvature": json_number(judgement.curvature),
        "curvature_p": json_number(judgement.curvature_p),
        "local_slopes": [
            {"P": [step.low, step.high], "beta": json_number(step.beta.value), "error": json_number(step.beta.error)}
            for step in local_slopes(curve, fit.seeds_used)
        ],
        "regions": {name: _range(span) for name, span in vars(regions(curve, fit.seeds_used)).items()},
    }
    return [{**shared, **_fit_record(one, judgement), **_closing(one, fit, judgement), **extra} for one in fit.fits]


def _break(fit: CurveFit) -> Record | None:
    one = fit.slope_change
    return None if one is None else {"P": plain_value(one.size), "change": json_number(one.change), "p": one.p}


def _outlier(fit: CurveFit) -> Record | None:
    one = fit.outlier
    if one is None:
        return None
    return {
        "P": plain_value(one.size),
        "seed": one.seed,
        "run": one.run,
        "factor": one.factor,
        "p": one.p,
        **ends("beta_without", one.beta_without),
    }


def _fit_record(fit: Fit, judgement: Judgement) -> Record:
    low, high = judgement.training.hull(fit.beta)
    return {
        "form": str(fit.form),
        **ends("beta", fit.beta),
        "beta_low_training": json_number(low),
        "beta_high_training": json_number(high),
        "prefactor": json_number(fit.prefactor),
        "floor": json_number(fit.floor),
        "status": str(fit.status),
    }


def _closing(one: Fit, fit: CurveFit, judgement: Judgement) -> Record:
    return {
        "flags": [str(flag) for flag in judgement.flags],
        "recommended": one.form == fit.recommended,
        "beta_error": json_number(one.beta.error),
        "interval": one.method,
        **ends("beta_alone", one.beta if one.alone is None else one.alone),
        "aicc": json_number(one.aicc),
        "extrapolation_error": json_number(one.extrapolation_error),
    }


def label(curve: Curve) -> str:
    """Name the model of a curve by its keys, for programs: `ntk-mace L=1 ν=3`; people read `title`.

    Columns of --curve-by follow: `mace L=1, optimizer=adam`.
    """
    return ", ".join([f"{curve.text('architecture')} {orders(curve)}".strip(), *setting_words(curve)])


def title(curve: Curve) -> str:
    """Name the model of a curve as the field writes it: `linearised MACE L=1 ν=3 edge 3`."""
    return ", ".join([f"{display_name(curve.text('architecture'))} {orders(curve)}".strip(), *setting_words(curve)])


def orders(curve: Curve) -> str:
    """Name the orders of a curve's model: `L=1 ν=3 edge 3`."""
    parts = []
    for name, sign in (("L", "L="), ("nu", "ν="), ("edge_lmax", "edge ")):
        value = curve.number(name)
        if value is not None:
            parts.append(f"{sign}{value:g}")
    return " ".join(parts)


def setting_words(curve: Curve, names: Sequence[str] | None = None) -> list[str]:
    """Describe settings of a curve, by default those that tell it apart: `optimizer=adam`; empty cells are left out."""
    return [
        f"{name.rpartition('.')[2]}={plain_value(value)}"
        for name in (curve.told_apart_by if names is None else names)
        if (value := curve.value(name)) is not None and value != ""
    ]


def _distinct_label(curve: Curve, fits: list[tuple[CurveFit, Judgement]]) -> str:
    """Return a curve's label with the settings that distinguish it from namesakes: `mace L=0 (max_steps=500)`."""
    place = ("dataset", "test_set", "metric")
    same = [
        fit.curve
        for fit, _ in fits
        if label(fit.curve) == label(curve) and all(fit.curve.value(name) == curve.value(name) for name in place)
    ]
    varying = [name for name in (*_SHAPE, *curve.settings) if len({other.value(name) for other in same}) > 1]
    settings = setting_words(curve, varying)
    return f"{title(curve)} ({', '.join(settings)})" if settings else title(curve)


def plus_minus(value: float, low: float, high: float, untold: float = UNTOLD) -> str:
    """Format an estimate with the half width of its interval, `0.52 ± 0.03`; only the value if it has no interval.

    An asymmetric interval (it covers two forms) is given by both ends: `0.47 [0.44, 0.58]`; a missing value by a dash;
    one of more than `untold` to either side (by default, wider than any exponent) says nothing, and so
    `not determined`.
    """
    if not math.isfinite(value):
        return "–"
    if not (math.isfinite(low) and math.isfinite(high)):
        return rounded(value)
    half, digits = (high - low) / 2, _decimals(low, high)
    if half > untold:
        return UNDETERMINED
    if abs(low + high - 2 * value) > _ASKEW * half:
        return f"{rounded(value, digits)} {span(low, high)}"
    return f"{rounded(value, digits)} ± {rounded(half, digits)}"


def span(low: float, high: float) -> str:
    """Format both ends of an interval, `[−0.10, 0.20]`; a dash if it has none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return "–"
    digits = _decimals(low, high)
    return f"[{rounded(low, digits)}, {rounded(high, digits)}]"


def interval_text(interval: Interval) -> str:
    """Format an estimate with its interval, as `plus_minus` does."""
    return plus_minus(interval.value, interval.low, interval.high)


def signed(value: float, interval: Interval | None = None) -> str:
    """Format a difference with its sign, `+0.12` (a minus sign, not a hyphen), to the decimals of an interval."""
    digits = LEAST_DECIMALS if interval is None else _decimals(interval.low, interval.high)
    return ("+" if round(value, digits) >= 0 else "") + rounded(value, digits)


def signed_interval(interval: Interval) -> str:
    """Format a difference with its sign and both ends of its interval, if it has one: `+0.12 [0.05, 0.19]`."""
    ends = f" {span(interval.low, interval.high)}" if math.isfinite(interval.low) else ""
    return signed(interval.value, interval) + ends


def rounded(value: float, digits: int | None = None) -> str:
    """Round to `digits` decimals, with a minus sign instead of a hyphen and none before a zero.

    Without `digits` to two, and to more if the value would be zero.
    """
    return f"{value:z.{_shows(value) if digits is None else digits}f}".replace("-", "−")


def _decimals(low: float, high: float) -> int:
    """Return the decimals that an interval needs: two, and more if its half width would round to zero.

    Up to two more if one of its ends would round to zero, or its middle to the half width: whether an interval excludes
    zero shall be seen, in `[0.0004, 0.0036]` as in `0.0020 ± 0.0016`.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return LEAST_DECIMALS
    middle, half = abs(low + high) / 2, (high - low) / 2
    fewest = _shows(half)

    def enough(digits: int) -> bool:
        return all(round(end, digits) and round(middle, digits) != round(half, digits) for end in (low, high) if end)

    return next(filter(enough, range(fewest, min(fewest + 2, MOST_DECIMALS) + 1)), fewest)


def _shows(size: float) -> int:
    """Return the fewest decimals, two or more, with which a number does not round to zero."""
    if not (math.isfinite(size) and size):
        return LEAST_DECIMALS
    return min(max(LEAST_DECIMALS, -math.floor(math.log10(2 * abs(size)))), MOST_DECIMALS)


def summary(fits: list[tuple[CurveFit, Judgement]]) -> str:
    """Return a text table, a line per curve: dataset, metric, model, β ± half its interval, form, P, seeds and flags.

    Beside β stands the hull of its interval and the one after all further training. An asterisk marks exponents of
    training that has not converged; a line below each of those, and of those of which it is open, says by how much and
    what would settle it.
    """
    hulls = any(len(judgement.training.change) for _, judgement in fits)
    rows: list[tuple[str, ...]] = [
        (
            *("dataset", "metric", "model", "β, last octaves", "β (95 %)", *(("with more training",) * hulls)),
            *("form", "P", "seeds", "flags"),
        )
    ]
    several = several_test_sets([fit.curve for fit, _ in fits])
    for fit, judgement in fits:
        curve, best = fit.curve, fit.best
        mark = " *" if judgement.verdict is Verdict.NOT_CONVERGED else ""
        rows.append(
            (
                place_of(curve, several),
                curve.text("metric"),
                _distinct_label(curve, fits),
                interval_text(fit.local.beta) + mark,
                interval_text(best.beta) + mark,
                *((span(*judgement.training.hull(best.beta)) if len(judgement.training.change) else "–",) * hulls),
                str(best.form),
                f"{curve.sizes[0]:g}–{curve.sizes[-1]:g}",
                fit.seeds_text if fit.seeds[1] else "none",
                " ".join(judgement.flags) or "–",
            )
        )
    lines = text_columns(rows)
    lines.append("β, last octaves: slope over the largest three octaves of P, whatever the form")
    lines += [text for fit, _ in fits if (text := _outlier_text(fit, fits))]
    lines += _prior_texts(fits)
    if any(judgement.verdict is Verdict.NOT_CONVERGED for _, judgement in fits):
        lines.append("* not converged: β still moves with the length of training; not an exponent to quote")
    for fit, judgement in fits:
        if words := LIMITED if Flag.BASIS_LIMIT in judgement.flags else judgement.training.words():
            curve = fit.curve
            place = f"{place_of(curve, several)}, {metric_words(curve.text('metric'))}"
            lines.append(f"{place}, {_distinct_label(curve, fits)}: {words}")
    return "\n".join(lines)


def several_test_sets(curves: Sequence[Curve]) -> bool:
    """Return whether curves have different test sets, which are then to be named."""
    return len({curve.text("test_set") for curve in curves}) > 1


def place_of(curve: Curve, several: bool) -> str:
    """Return dataset and, if the table has several, test set."""
    test_set = curve.text("test_set")
    dataset = dataset_words(curve.text("dataset"))
    return f"{dataset} ({test_set})" if several and test_set else dataset


def _outlier_text(fit: CurveFit, fits: list[tuple[CurveFit, Judgement]]) -> str:
    one = fit.outlier
    if one is None:
        return ""
    name = ", ".join(part for part in (f"seed {one.seed}" if one.seed else "", f"P = {one.size:g}", one.run) if part)
    place = f"{place_of(fit.curve, True)}, {metric_words(fit.curve.text('metric'))}"
    return (
        f"outlying run: {place}, {_distinct_label(fit.curve, fits)}, {name}: {one.factor:.2g} times the error that "
        f"the others suggest; without it β = {interval_text(one.beta_without)} as a power law"
    )


def _prior_texts(fits: list[tuple[CurveFit, Judgement]]) -> list[str]:
    """Return a line for each metric whose curves lend each other degrees of freedom."""
    found = {fit.curve.text("metric"): fit for fit, _ in fits if fit.prior_dof > 0}
    return [
        f"intervals of {metric_words(metric)}: the variances of {fit.prior_curves} curves lend "
        f"{'all their' if fit.prior_dof >= MANY else f'{fit.prior_dof:.1f}'} degrees of freedom to each (moderated t)"
        for metric, fit in found.items()
    ]


def choice(fits: list[tuple[CurveFit, Judgement]]) -> str:
    """Return the evidence for the chosen form, a line per curve: β, AICc and extrapolation of both forms, regions."""
    rows: list[tuple[str, ...]] = [
        ("dataset", "metric", "model", "β, power", "β, floor", "AICc", "with floor", "miss", "with floor", "regions")
    ]
    several = several_test_sets([fit.curve for fit, _ in fits])
    for fit, _ in fits:
        curve = fit.curve
        counts = fit.recommended in (Form.BINOMIAL, Form.BINOMIAL_FLOOR)
        forms = (Form.BINOMIAL, Form.BINOMIAL_FLOOR) if counts else (Form.POWER, Form.POWER_FLOOR)
        both = [fit.form(form) for form in forms]
        rows.append(
            (
                place_of(curve, several),
                curve.text("metric"),
                _distinct_label(curve, fits),
                *(interval_text(one.beta if one.alone is None else one.alone) for one in both),
                *(_shown(one.aicc, ".1f") for one in both),
                *(_shown(one.extrapolation_error, ".3f") for one in both),
                _regions(fit),
            )
        )
    note = "miss: |ln(predicted/measured)| at the largest P, fitted without it; lower is better, as for AICc"
    return "\n".join([*text_columns(rows), note])


def _regions(fit: CurveFit) -> str:
    names = {"small_data": "small data", "power_law": "power law", "floor": "floor"}
    spans = vars(regions(fit.curve, fit.seeds_used)).items()
    return ", ".join(f"{names[name]} {span[0]:g}–{span[1]:g}" for name, span in spans if span is not None)


def _shown(value: float, form: str) -> str:
    return f"{value:{form}}".replace("-", "−") if math.isfinite(value) else "–"


def text_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the lines of a table of texts, its columns aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _range(span: tuple[float, float] | None) -> list[float] | None:
    return None if span is None else list(span)


def _integer(value: float | None) -> int | float | None:
    return None if value is None else int(value) if float(value).is_integer() else value


def plain_value(value: object) -> object:
    """Return a value for JSON: whole floats as int, floats that are not finite as None, the rest unchanged."""
    if isinstance(value, float | np.floating):
        return None if not math.isfinite(value) else _integer(float(value))
    return value
