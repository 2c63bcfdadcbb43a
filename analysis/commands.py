"""The commands of `python -m analysis`, called with their parsed arguments; `analysis.cli` has their help."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from analysis.bounds.bounds import bound_records, bounds_table
from analysis.bounds.dimension import calibrate_estimators, calibration_text
from analysis.bounds.distances import (
    DISTANCES_FILE,
    dimension_record,
    dimension_text,
    estimate_dimension,
    read_distances,
    spaces,
)
from analysis.bounds.label_power import (
    exchange_record,
    exchange_text,
    exchanges,
    label_powers,
    local_exponents,
    local_record,
    power_record,
    power_text,
    read_spectra,
)
from analysis.bounds.lipschitz import compare_lipschitz, lipschitz_record, lipschitz_text
from analysis.bounds.theory import kernel_law, statements
from analysis.calibration.calibrate import coverage_records, coverage_summary, coverage_table, measure_coverage
from analysis.calibration.claim_rates import measure_claim, rate_records, rate_table
from analysis.calibration.comparison_rates import Held, held_lines, held_records, measure_comparisons
from analysis.calibration.designs import (
    NOTE,
    SIZES,
    design_records,
    design_text,
    designs,
    from_table,
    further_text,
    given,
)
from analysis.calibration.fit_rates import measure_fits, missed
from analysis.calibration.training_rates import measure_training, training_records, training_table
from analysis.comparisons.claim import claim_record, claim_text, claims
from analysis.comparisons.claim_pool import pool_claims, pooled_claim_record, pooled_claim_text
from analysis.comparisons.compare import compare_curves, families, pool_differences
from analysis.comparisons.comparison_table import comparison_table
from analysis.comparisons.frame_errors import error_intervals, error_record, error_table
from analysis.comparisons.groups import gain_record, gain_sentence, gains
from analysis.comparisons.sentences import comparison_record, comparison_sentence, family_sentence, pooled_sentence
from analysis.curve import curves
from analysis.errors import InputError, RunsFailed, UnfittableError
from analysis.files import write_json, write_text
from analysis.fits.flags import JudgedFit
from analysis.fits.record import analyse, choice, label, plus_minus, records, summary
from analysis.fits.results import CurveFit, Form
from analysis.fits.selection import ALL, Selection
from analysis.reading import Spelling, parse_columns
from analysis.table import RunTable, failed_runs, load, read_store, setting_column, write_csv

log = logging.getLogger(__name__)
__all__ = [
    "bounds",
    "calibrate",
    "claim",
    "compare",
    "design",
    "dimension",
    "errors",
    "figures",
    "fit",
    "report",
    "spectrum",
    "table",
]


def table(arguments: argparse.Namespace) -> None:
    """Write the run table of a store: one row per finished run and metric."""
    write_csv(read_store(arguments.store), arguments.csv)
    _check_failed(arguments.store)


def fit(arguments: argparse.Namespace) -> None:
    """Fit ε = a·P^(−β), with and without a floor, and the curved forms, to every curve; print two lines per curve."""
    loaded = _load(arguments)
    fits = _fitted(arguments, loaded, forms=tuple(Form(name) for name in arguments.forms or Form))
    if arguments.json is not None:
        write_json(arguments.json, [entry for one, judged in fits for entry in records(one, judged)])
    if arguments.markdown is not None or arguments.latex is not None:
        from analysis.report.exponent_table import latex, markdown  # its names are those of the figures

        for path, written in ((arguments.markdown, markdown), (arguments.latex, latex)):
            if path is not None:
                write_text(path, written(fits))
    _say(summary(fits))
    _say("")
    _say(choice(fits))
    _say_left_out(arguments, loaded)
    _check_complete(loaded, arguments.store)


def figures(arguments: argparse.Namespace) -> None:
    """Draw every figure that the table has data for, as PDF, SVG and PNG, each with a CSV of the plotted numbers."""
    from analysis.figures.draw_all import draw_all  # matplotlib takes a second to import, and no other command needs it
    from analysis.figures.references import matching, read_references

    loaded = _load(arguments)
    measured = _distances(arguments.distances, arguments.store)
    points = [] if arguments.reference is None else read_references(arguments.reference)
    fits = _fitted(arguments, loaded)
    if points and not any(matching(points, fit.curve) for fit, _ in fits):
        log.warning("%s: no point of these datasets, metrics and units", arguments.reference)
    for path in draw_all(fits, arguments.out, measured, points):
        _say(str(path))
    _check_complete(loaded, arguments.store)


def report(arguments: argparse.Namespace) -> None:
    """Write one self-contained HTML page: the answer in sentences, interactive curves, exponents, health, origin."""
    from analysis.report import page  # colours come from the figures, and matplotlib takes a second to import

    loaded = _load(arguments)
    fits = _fitted(arguments, loaded, metrics=(ALL,))  # the page opens on the main one
    write_text(arguments.out, page(loaded, fits, arguments.table or arguments.store, arguments.store))
    _say(str(arguments.out))
    _check_complete(loaded, arguments.store)


def compare(arguments: argparse.Namespace) -> None:
    """Compare curves that differ in one factor: paired Δβ with Holm's correction, floors, equal-error ratios, power."""
    loaded = _load(arguments, compare_by=arguments.by)
    by = [setting_column(name, loaded.rows.columns) for name in arguments.by]
    fits = _fitted(arguments, loaded)
    pairs = compare_curves(fits, by)
    symmetries = [] if by else gains(fits)
    if not pairs and not symmetries:
        raise InputError("no two curves of one dataset and metric differ in exactly one factor: nothing to compare")
    if pairs and not arguments.sentence:
        _say(comparison_table(pairs))
        _say("")
    for pair in pairs:
        _say(comparison_sentence(pair))
    for family in families(fits, by):
        _say(family_sentence(family))
    for pooled in pool_differences(pairs):
        _say(pooled_sentence(pooled))
    for gain in symmetries:
        _say(gain_sentence(gain))
    _say_left_out(arguments, loaded)
    if arguments.json is not None:
        beside = [gain_record(gain) for gain in symmetries]
        write_json(arguments.json, [*(comparison_record(pair) for pair in pairs), *beside])
    _check_complete(loaded, arguments.store)


def claim(arguments: argparse.Namespace) -> None:
    """Carry out the pre-registered test of the claim (cells A, B, C, D) under the power form and with floors.

    It holds, is refuted, has no effect to explain or is undecided: on every dataset, and with datasets as random
    effects if there are several.
    """
    loaded = _load(arguments)
    fits = analyse(curves(loaded), forms=_MAIN)
    tests = claims(fits)
    betas = {one.curve.name: _beta(one) for one, _ in fits}
    for test in tests:
        _say(claim_text(test, {letter: betas[curve.name] for letter, curve in test.cells.items()}))
    pooled = pool_claims(tests)
    for one in pooled:
        _say(pooled_claim_text(one))
    if arguments.json is not None:
        together = [pooled_claim_record(test) for test in pooled]
        write_json(arguments.json, [*(claim_record(test) for test in tests), *together])
    _check_complete(loaded, arguments.store)


def design(arguments: argparse.Namespace) -> None:
    """Say how many seeds decide a difference of exponents, an equivalence and the claim, for several numbers of P."""
    noise = arguments.noise
    if noise is not None and not max(noise) > 0:
        raise InputError("--noise 0 0: without noise two seeds decide everything; give the noise of ln ε (0.05 0.03)")
    loaded = None if noise is not None else _load(arguments)
    sources = [given(tuple(noise))] if loaded is None else from_table(curves(loaded))
    entries: list[dict[str, object]] = []
    for source in sources:
        further = tuple(arguments.further) if arguments.further is not None else None
        found = designs(source, arguments.sizes or SIZES, arguments.difference, further=further, seed=arguments.seed)
        _say(design_text(source, found, arguments.difference))
        if further is not None:
            _say(further_text(found, further))
        entries += design_records(source, found, arguments.difference)
    _say(NOTE)
    if arguments.json is not None:
        write_json(arguments.json, entries)
    if loaded is not None:
        _check_complete(loaded, arguments.store)


def bounds(arguments: argparse.Namespace) -> None:
    """Set every recommended β beside the bounds and laws of theory: consistent, vacuous, not testable or violated."""
    loaded = _load(arguments)
    d = arguments.d if arguments.atoms is None else float(3 * arguments.atoms - 6)
    stated = statements(d, arguments.s, arguments.k, arguments.smoothness)
    if arguments.alpha_teacher is not None:
        if d is None or arguments.alpha_student is None:
            raise InputError(
                "--alpha-teacher needs the student and the dimension: give --alpha-student and --d with it"
            )
        stated.append(kernel_law(arguments.alpha_teacher, arguments.alpha_student, d))
    measured = _distances(arguments.distances, arguments.store)
    if arguments.lipschitz is not None and measured is None:
        raise InputError("--lipschitz needs δ(P): give --distances FILE")
    entries: list[dict[str, object]] = []
    for one, judged in _fitted(arguments, loaded):
        name = f"{one.curve.text('dataset')}, {one.curve.text('metric')}, {label(one.curve)}"
        _say(bounds_table(one, judged, stated, name, d))
        entries += bound_records(one, judged, stated, d)
        for compared in [] if measured is None else compare_lipschitz(one, judged, measured, arguments.lipschitz):
            _say(lipschitz_text(compared))
            entries.append(lipschitz_record(one, compared))
    _say("[M] from memory, not checked against the source; [R] read; [R2] read second-hand; [D] derived here.")
    if d is None:
        _say("Bach, von Luxburg–Bousquet, interpolation and Stone need the dimension of the data: --d or --atoms.")
    if measured is None:
        _say(
            "Lip·δ(P), the only bound that can be violated, needs distances: "
            "python -m experiments.runs.measure_distances --store DIR."
        )
    if arguments.json is not None:
        write_json(arguments.json, entries)
    _check_complete(loaded, arguments.store)


def _distances(path: Path | None, store: Path | None) -> pd.DataFrame | None:
    """Read the table of distances at `path`, or else the one in the store; None if there is neither."""
    if path is None and store is not None and (store / DISTANCES_FILE).exists():
        path = store / DISTANCES_FILE
    return None if path is None else read_distances(path)


def errors(arguments: argparse.Namespace) -> None:
    """Bootstrap intervals of the errors themselves over seeds and test frames (needs the frame errors of a store)."""
    loaded = load(None, arguments.store, drop_bad=arguments.drop_bad)
    intervals = error_intervals(loaded, curves(loaded), arguments.store)
    names = [f"{i.curve.text('dataset')}  {i.curve.text('metric')}  {label(i.curve)}" for i in intervals]
    _say(error_table(intervals, names))
    if arguments.json is not None:
        write_json(arguments.json, [error_record(interval) for interval in intervals])
    _check_complete(loaded, arguments.store)


def spectrum(arguments: argparse.Namespace) -> None:
    """Show how much of the labels lies outside each kernel's first directions, and what an exchange of spectra does."""
    loaded = load(None, arguments.store, drop_bad=arguments.drop_bad)
    powers = label_powers(analyse(curves(loaded), forms=_MAIN), arguments.store)
    more = read_spectra(arguments.store)
    local, swaps = local_exponents(powers, more), exchanges(powers, more)
    for dataset in dict.fromkeys(power.curve.text("dataset") for power in powers):
        mine = [power for power in powers if power.curve.text("dataset") == dataset]
        _say(power_text(mine))
        swap = next((one for one in swaps if one.dataset == dataset), None)
        if swap is not None:
            _say(exchange_text(swap))
        if arguments.out is not None:
            from analysis.figures.spectrum_panels import draw  # matplotlib takes a second to import

            own = [one for one in local if one.curve.text("dataset") == dataset]
            for path in draw(mine, own, swap, arguments.out / f"spectrum_{dataset}"):
                _say(str(path))
    if not local and not swaps:
        _say(
            "Local exponents at every P, and what decides β, directions or eigenvalues, need a measurement: "
            f"python -m experiments.runs.measure_spectra --store {arguments.store}"
        )
    if arguments.json is not None:
        entries = [power_record(one) for one in powers]
        write_json(arguments.json, [*entries, *map(local_record, local), *map(exchange_record, swaps)])
    _check_complete(loaded, arguments.store)


def calibrate(arguments: argparse.Namespace) -> None:
    """Measure the coverage of the nominal 95 % intervals, that of the recommended fit first.

    On simulated curves of known β, and on two real nested learners. With --claim: measure how often the test of the
    claim gives which outcome, by seeds and sizes, where the truth is known. With --comparisons: how often statements
    about two curves hold; with --fits: those of `fit` about one. With --training: rates of the verdicts on training,
    and the coverage of the hull.
    """
    if arguments.comparisons or arguments.fits:
        held: list[Held] = []
        measured = (measure_fits if arguments.fits else measure_comparisons)(arguments.tables, arguments.seed)
        for line in held_lines(_kept(measured, held)):
            _say(line)
            sys.stdout.flush()
        _say(missed(held))
        if arguments.json is not None:
            write_json(arguments.json, held_records(held))
        return
    if arguments.claim:
        rates = measure_claim(arguments.tables, arguments.seed)
        _say(rate_table(rates))
        if arguments.json is not None:
            write_json(arguments.json, rate_records(rates))
        return
    if arguments.training:
        verdicts = measure_training(arguments.tables, arguments.seed)
        _say(training_table(verdicts))
        if arguments.json is not None:
            write_json(arguments.json, training_records(verdicts))
        return
    rows = measure_coverage(arguments.tables, max(20, arguments.tables // 4), arguments.seed)
    _say(coverage_table(rows))
    _say(coverage_summary(rows))
    if arguments.json is not None:
        write_json(arguments.json, coverage_records(rows))


def dimension(arguments: argparse.Namespace) -> None:
    """Estimate the dimension of the data: slope of δ(P), TwoNN and Levina–Bickel, in two invariant metrics."""
    if arguments.calibrate:
        _say(calibration_text(calibrate_estimators()))
        return
    if arguments.frames is not None:
        from analysis.bounds.frames import distances as of_frames  # ASE is needed here only

        frame = of_frames(arguments.frames, arguments.seeds)
    else:
        frame = read_distances(arguments.distances or arguments.store / DISTANCES_FILE)
    estimates = [estimate_dimension(key, part) for key, part in spaces(frame)]
    for one in estimates:
        _say(dimension_text(one))
    _say("All three are too low if the data have edges or are few (--calibrate shows by how much).")
    _say("Frames of a trajectory that are close in time appear as one dimension: thin them first.")
    if arguments.json is not None:
        write_json(arguments.json, [dimension_record(one) for one in estimates])


def _kept(measured: Iterable[Held], into: list[Held]) -> Iterator[Held]:
    """Pass on what is measured as it comes, and keep it."""
    for one in measured:
        into.append(one)
        yield one


_MAIN = (Form.POWER, Form.POWER_FLOOR, Form.BINOMIAL)


def _beta(one: CurveFit) -> str:
    best = one.best.beta
    return plus_minus(best.value, best.low, best.high)


def _load(arguments: argparse.Namespace, compare_by: Sequence[str] = ()) -> RunTable:
    return load(
        arguments.table,
        arguments.store,
        drop_bad=arguments.drop_bad,
        curve_by=arguments.curve_by,
        compare_by=compare_by,
        stop=arguments.stop,
        spelling=Spelling(
            columns={name: own for text in arguments.columns for name, own in parse_columns(text).items()},
            wide=arguments.wide,
            unit=arguments.unit,
            decimal=arguments.decimal,
        ),
    )


def _fitted(
    arguments: argparse.Namespace,
    loaded: RunTable,
    forms: tuple[Form, ...] = _MAIN,
    metrics: tuple[str, ...] = (),
) -> list[JudgedFit]:
    """Fit the curves asked for; without --metric those of `metrics`, empty: of the main metric of each dataset."""
    asked = _asked(arguments, metrics)
    return asked.of_models(analyse(asked.of_metrics(curves(loaded)), forms))


def _asked(arguments: argparse.Namespace, metrics: tuple[str, ...] = ()) -> Selection:
    return Selection(
        metric=tuple(arguments.metric) or metrics,
        dataset=tuple(arguments.dataset),
        model=tuple(arguments.model),
        test_set=tuple(arguments.test_set),
    )


def _say_left_out(arguments: argparse.Namespace, loaded: RunTable) -> None:
    """Say which metrics of the table would be shown if they were asked for."""
    if left_out := _asked(arguments).left_out(curves(loaded)):
        _say(left_out)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _check_complete(loaded: RunTable, store: Path | None) -> None:
    """Raise an error if a curve had no usable row (UnfittableError) or runs of the store failed (RunsFailed)."""
    if loaded.lost_curves:
        raise UnfittableError(
            f"{len(loaded.lost_curves)} curve(s) had no usable rows and could not be fitted: "
            f"{'; '.join(loaded.lost_curves)}"
        )
    _check_failed(store)


def _check_failed(store: Path | None) -> None:
    failed = [] if store is None else failed_runs(store)
    if failed:
        raise RunsFailed(f"{store}: {len(failed)} run(s) failed, so their points are missing: {', '.join(failed)}")
