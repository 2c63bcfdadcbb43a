"""Commands about the method and the data: designs, spectra, how often intervals hold, the dimension of the data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator

from analysis.bounds.dimension import calibrate_estimators, calibration_text
from analysis.bounds.distances import (
    DISTANCES_FILE,
    dimension_record,
    dimension_text,
    estimate_dimension,
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
from analysis.calibration.forecast_rates import forecast_rates
from analysis.calibration.training_rates import measure_training, training_records, training_table
from analysis.commands.asked import (
    check_complete,
    load_asked,
    read_all_distances,
    say,
    say_left_out,
    selection_of,
)
from analysis.curve import curves
from analysis.errors import InputError
from analysis.files import write_json
from analysis.fits.jsonable import Record
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse
from analysis.table import load


def design(arguments: argparse.Namespace) -> None:
    """Say how many seeds decide a difference of exponents, an equivalence and the claim, for several numbers of P."""
    noise = arguments.noise
    if noise is not None and (arguments.table or arguments.store):
        raise InputError("--noise beside --table or --store: accepted: one of them")
    if noise is not None and not max(noise) > 0:
        raise InputError("--noise 0 0: without noise two seeds decide everything; give the noise of ln ε (0.05 0.03)")
    loaded = None if noise is not None else load_asked(arguments)
    sources = [given(tuple(noise))] if loaded is None else from_table(selection_of(arguments).of_curves(curves(loaded)))
    entries: list[dict[str, object]] = []
    for source in sources:
        further = tuple(arguments.further) if arguments.further is not None else None
        found = designs(source, arguments.sizes or SIZES, arguments.difference, further=further, seed=arguments.seed)
        say(design_text(source, found, arguments.difference))
        if further is not None:
            say(further_text(found, further))
        entries += design_records(source, found, arguments.difference)
    say(NOTE)
    if loaded is not None:
        say_left_out(arguments, loaded)
    if arguments.json is not None:
        write_json(arguments.json, entries)
    if loaded is not None:
        check_complete(loaded, arguments.store)


def spectrum(arguments: argparse.Namespace) -> None:
    """Show how much of the labels lies outside each kernel's first directions, and what an exchange of spectra does."""
    loaded = load(None, arguments.store, drop_bad=arguments.drop_bad)
    powers = label_powers(analyse(curves(loaded), forms=MAIN_FORMS), *arguments.store)
    more = read_spectra(*arguments.store)
    local, swaps = local_exponents(powers, more), exchanges(powers, more)
    for dataset in dict.fromkeys(power.curve.text("dataset") for power in powers):
        mine = [power for power in powers if power.curve.text("dataset") == dataset]
        say(power_text(mine))
        swap = next((one for one in swaps if one.dataset == dataset), None)
        if swap is not None:
            say(exchange_text(swap))
        if arguments.out is not None:
            from analysis.figures.spectrum_panels import draw  # matplotlib takes a second to import

            own = [one for one in local if one.curve.text("dataset") == dataset]
            for path in draw(mine, own, swap, arguments.out / f"spectrum_{dataset}"):
                say(str(path))
    if not local and not swaps:
        say(
            "Local exponents at every P, and what decides β, directions or eigenvalues, need a measurement: "
            f"python -m experiments.runs.measure_spectra --store {arguments.store[0]}"
        )
    if arguments.json is not None:
        entries = [power_record(one) for one in powers]
        write_json(arguments.json, [*entries, *map(local_record, local), *map(exchange_record, swaps)])
    check_complete(loaded, arguments.store)


def calibrate(arguments: argparse.Namespace) -> None:
    """Measure the coverage of the nominal 95 % intervals, that of the recommended fit first.

    On simulated curves of known β, and on two real nested learners. With --claim: measure how often the test of the
    claim gives which outcome, by seeds and sizes, where the truth is known. With --comparisons: how often statements
    about two curves hold; with --fits: those of `fit` about one. With --training: rates of the verdicts on training,
    and the coverage of the hull. With --forecast: coverage of forecasts on real learning curves.
    """
    if arguments.write is not None and not arguments.forecast:
        raise InputError(f"--write {arguments.write}: goes with --forecast alone")
    entries: list[Record]
    if arguments.comparisons or arguments.fits:
        held: list[Held] = []
        measured = (measure_fits if arguments.fits else measure_comparisons)(arguments.tables, arguments.seed)
        for line in held_lines(_kept(measured, held)):
            say(line)
            sys.stdout.flush()
        text, entries = missed(held), held_records(held)
    elif arguments.forecast:
        text, entries = forecast_rates(arguments.write)
    elif arguments.claim:
        rates = measure_claim(arguments.tables, arguments.seed)
        text, entries = rate_table(rates), rate_records(rates)
    elif arguments.training:
        verdicts = measure_training(arguments.tables, arguments.seed)
        text, entries = training_table(verdicts), training_records(verdicts)
    else:
        rows = measure_coverage(arguments.tables, max(20, arguments.tables // 4), arguments.seed)
        text, entries = f"{coverage_table(rows)}\n{coverage_summary(rows)}", coverage_records(rows)
    say(text)
    if arguments.json is not None:
        write_json(arguments.json, entries)


def dimension(arguments: argparse.Namespace) -> None:
    """Estimate the dimension of the data: slope of δ(P), TwoNN and Levina–Bickel, in two invariant metrics."""
    if arguments.calibrate:
        say(calibration_text(calibrate_estimators()))
        return
    if arguments.frames is not None:
        from analysis.bounds.frames import distances as of_frames  # ASE is needed here only

        frame = of_frames(arguments.frames, arguments.seeds)
    else:
        stores = [store / DISTANCES_FILE for store in arguments.store or ()]
        frame = read_all_distances(stores or [arguments.distances])
    estimates = [estimate_dimension(key, part) for key, part in spaces(frame)]
    for one in estimates:
        say(dimension_text(one))
    say("All three are too low if the data have edges or are few (--calibrate shows by how much).")
    say("Frames of a trajectory that are close in time appear as one dimension: thin them first.")
    if arguments.json is not None:
        write_json(arguments.json, [dimension_record(one) for one in estimates])


def _kept(measured: Iterable[Held], into: list[Held]) -> Iterator[Held]:
    """Pass on what is measured as it comes, and keep it."""
    for one in measured:
        into.append(one)
        yield one
