"""Commands that answer for the curves of a table: fits, comparisons, the claim, forecasts, bounds, figures, report."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.bounds.bounds import bound_records, bounds_table, group_records
from analysis.bounds.lipschitz import compare_lipschitz, lipschitz_record, lipschitz_text
from analysis.bounds.theory import group_text, kernel_law, statements
from analysis.commands.asked import (
    check_any,
    check_complete,
    check_failed,
    distances_of,
    fitted,
    load_asked,
    say,
    say_left_out,
    selection_of,
)
from analysis.comparisons.claim import claim_record, claim_text, claims
from analysis.comparisons.claim_pool import pool_claims, pooled_claim_record, pooled_claim_text
from analysis.comparisons.compare import compare_curves, families, pool_differences
from analysis.comparisons.comparison_table import comparison_table
from analysis.comparisons.frame_errors import error_intervals, error_record, error_table
from analysis.comparisons.groups import gain_record, gain_sentence, gains
from analysis.comparisons.sentences import comparison_record, comparison_sentence, family_sentence, pooled_sentence
from analysis.curve import curves
from analysis.errors import InputError, UnfittableError
from analysis.files import write_json, write_text
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import (
    analyse,
    choice,
    place_of,
    plus_minus,
    records,
    several_test_sets,
    summary,
    title,
)
from analysis.fits.results import CurveFit, Form
from analysis.fits.selection import ALL
from analysis.forecasts.forecast import Outlook, outlook
from analysis.forecasts.output import (
    forecast_lines,
    forecast_records,
    heading,
    in_unit,
    reach_line,
    reach_record,
)
from analysis.sources import read_store
from analysis.spelling import metric_words
from analysis.table import load, setting_column, write_csv

if TYPE_CHECKING:
    from analysis.figures.references import Reference
    from analysis.fits.flags import JudgedFit

log = logging.getLogger(__name__)


def table(arguments: argparse.Namespace) -> None:
    """Write the run table of a store: one row per finished run and metric."""
    write_csv(read_store(*dict.fromkeys(arguments.store)), arguments.csv)
    check_failed(arguments.store)


def fit(arguments: argparse.Namespace) -> None:
    """Fit ε = a·P^(−β), with and without a floor, and the curved forms, to every curve; print two lines per curve."""
    loaded = load_asked(arguments)
    check_any(arguments, loaded)
    fits = fitted(arguments, loaded, forms=tuple(Form(name) for name in arguments.forms or Form))
    if arguments.json is not None:
        write_json(arguments.json, [entry for one, judged in fits for entry in records(one, judged)])
    if arguments.markdown is not None or arguments.latex is not None:
        from analysis.report.exponent_table import latex, markdown  # its names are those of the figures

        for path, written in ((arguments.markdown, markdown), (arguments.latex, latex)):
            if path is not None:
                write_text(path, written(fits))
    say(summary(fits))
    say("")
    say(choice(fits))
    say_left_out(arguments, loaded)
    check_complete(loaded, arguments.store)


def figures(arguments: argparse.Namespace) -> None:
    """Draw every figure that the table has data for, as PDF, SVG and PNG, each with a CSV of the plotted numbers."""
    from analysis.figures.draw_all import draw_all  # matplotlib takes a second to import, and few commands need it

    loaded = load_asked(arguments)
    check_any(arguments, loaded)
    measured = distances_of(arguments.distances, arguments.store)
    fits = fitted(arguments, loaded)
    for path in draw_all(fits, arguments.out, measured, _published(arguments, fits)):
        say(str(path))
    check_complete(loaded, arguments.store)


def _published(arguments: argparse.Namespace, fits: Sequence[JudgedFit]) -> list[Reference]:
    """Return the points of `--reference`; warn if none of them is of these curves."""
    from analysis.figures.references import matching, read_references  # matplotlib takes a second to import

    if arguments.reference is None:
        return []
    points = read_references(arguments.reference)
    if not any(matching(points, fit.curve) for fit, _ in fits):
        log.warning("%s: no point of these datasets, metrics and units", arguments.reference)
    return points


def report(arguments: argparse.Namespace) -> None:
    """Write one self-contained HTML page: the answer in sentences, interactive curves, exponents, health, origin."""
    from analysis.report import page  # colours come from the figures, and matplotlib takes a second to import

    loaded = load_asked(arguments)
    fits = fitted(arguments, loaded, metrics=(ALL,))  # the page opens on the main one
    points = _published(arguments, fits)
    written = page(loaded, fits, *arguments.table, *arguments.store, stores=arguments.store, references=points)
    write_text(arguments.out, written)
    say(str(arguments.out))
    check_complete(loaded, arguments.store)


def compare(arguments: argparse.Namespace) -> None:
    """Compare curves that differ in one factor: paired Δβ with Holm's correction, floors, equal-error ratios, power."""
    loaded = load_asked(arguments, compare_by=arguments.by)
    check_any(arguments, loaded)
    by = [setting_column(name, loaded.rows.columns) for name in arguments.by]
    fits = fitted(arguments, loaded)
    pairs = compare_curves(fits, by)
    symmetries = [] if by else gains(fits)
    if not pairs and not symmetries:
        raise InputError("no two curves of one dataset and metric differ in exactly one factor: nothing to compare")
    if pairs and not arguments.sentence:
        say(comparison_table(pairs))
        say("")
    for pair in pairs:
        say(comparison_sentence(pair))
    for family in families(fits, by):
        say(family_sentence(family))
    for pooled in pool_differences(pairs):
        say(pooled_sentence(pooled))
    for gain in symmetries:
        say(gain_sentence(gain))
    say_left_out(arguments, loaded)
    if arguments.json is not None:
        beside = [gain_record(gain) for gain in symmetries]
        write_json(arguments.json, [*(comparison_record(pair) for pair in pairs), *beside])
    check_complete(loaded, arguments.store)


def claim(arguments: argparse.Namespace) -> None:
    """Carry out the pre-registered test of the claim (cells A, B, C, D) under the power form and with floors.

    It holds, is refuted, has no effect to explain or is undecided: on every dataset, and with datasets as random
    effects if there are several.
    """
    loaded = load_asked(arguments)
    check_any(arguments, loaded)
    fits = analyse(curves(loaded), forms=MAIN_FORMS)
    tests = claims(fits)
    betas = {one.curve.name: _beta(one) for one, _ in fits}
    for test in tests:
        say(claim_text(test, {letter: betas[curve.name] for letter, curve in test.cells.items()}))
    pooled = pool_claims(tests)
    for one in pooled:
        say(pooled_claim_text(one))
    if arguments.json is not None:
        together = [pooled_claim_record(test) for test in pooled]
        write_json(arguments.json, [*(claim_record(test) for test in tests), *together])
    check_complete(loaded, arguments.store)


def forecast(arguments: argparse.Namespace) -> None:
    """Forecast the errors of every curve at larger P, and the frames to an error, with intervals."""
    loaded = load_asked(arguments)
    check_any(arguments, loaded)
    entries: list[dict[str, object]] = []
    possible = False
    for curve in selection_of(arguments).of_curves(curves(loaded)):
        one = outlook(curve)
        possible |= not one.refused
        say(heading(curve))
        entries += _forecast(one, arguments)
    if arguments.json is not None:
        write_json(arguments.json, entries)
    say_left_out(arguments, loaded)
    if not possible:
        raise UnfittableError("no curve could be forecast: the reasons are above")
    check_complete(loaded, arguments.store)


def _forecast(one: Outlook, arguments: argparse.Namespace) -> list[dict[str, object]]:
    """Print the forecasts of one curve and return their records."""
    entries: list[dict[str, object]] = []
    sizes = arguments.at or ([] if arguments.target else [one.curve.sizes[-1] * factor for factor in (2, 4, 8)])
    if len(sizes):
        found = one.at(sizes)
        for line in forecast_lines(found, run=arguments.new_run):
            say(line)
        entries += forecast_records(one.curve, found, run=arguments.new_run)
    if arguments.target:
        reach = one.reach(in_unit(arguments.target, one.curve.unit))
        say(reach_line(reach, one.curve.unit))
        entries.append(reach_record(one.curve, reach))
    return entries


def bounds(arguments: argparse.Namespace) -> None:
    """Set every recommended β beside the bounds and laws of theory: consistent, vacuous, not testable or violated."""
    loaded = load_asked(arguments)
    check_any(arguments, loaded)
    d = arguments.d if arguments.atoms is None else float(3 * arguments.atoms - 6)
    stated = statements(d, arguments.s, arguments.k, arguments.smoothness)
    if arguments.alpha_teacher is not None:
        if d is None or arguments.alpha_student is None:
            raise InputError(
                "--alpha-teacher needs the student and the dimension: give --alpha-student and --d with it"
            )
        stated.append(kernel_law(arguments.alpha_teacher, arguments.alpha_student, d))
    measured = distances_of(arguments.distances, arguments.store)
    if arguments.lipschitz is not None and measured is None:
        raise InputError("--lipschitz needs δ(P): give --distances FILE")
    entries: list[dict[str, object]] = []
    fits = fitted(arguments, loaded, metrics=(ALL,))  # Lip·δ(P) bounds energies
    several = several_test_sets([one.curve for one, _ in fits])
    for one, judged in fits:
        name = f"{place_of(one.curve, several)}, {metric_words(one.curve.text('metric'))}, {title(one.curve)}"
        say(bounds_table(one, judged, stated, name, d))
        entries += bound_records(one, judged, stated, d)
        for compared in [] if measured is None else compare_lipschitz(one, judged, measured, arguments.lipschitz):
            say(lipschitz_text(compared))
            entries.append(lipschitz_record(one, compared))
    say(group_text(d))
    say("[M] from memory, not checked against the source; [R] read; [R2] read second-hand; [D] derived here.")
    if d is None:
        say("Bach, von Luxburg–Bousquet, interpolation and Stone need the dimension of the data: --d or --atoms.")
    if measured is None:
        say(
            "Lip·δ(P), the only bound that can be violated, needs distances: "
            "python -m experiments.runs.measure_distances --store DIR."
        )
    if arguments.json is not None:
        write_json(arguments.json, [*entries, *group_records(d)])
    check_complete(loaded, arguments.store)


def errors(arguments: argparse.Namespace) -> None:
    """Bootstrap intervals of the errors themselves over seeds and test frames (needs the frame errors of a store)."""
    loaded = load(None, arguments.store, drop_bad=arguments.drop_bad)
    intervals = error_intervals(loaded, curves(loaded), *arguments.store)
    several = several_test_sets([one.curve for one in intervals])
    names = [f"{place_of(i.curve, several)}  {i.curve.text('metric')}  {title(i.curve)}" for i in intervals]
    say(error_table(intervals, names))
    if arguments.json is not None:
        write_json(arguments.json, [error_record(interval) for interval in intervals])
    check_complete(loaded, arguments.store)


def _beta(one: CurveFit) -> str:
    best = one.best.beta
    return plus_minus(best.value, best.low, best.high)
