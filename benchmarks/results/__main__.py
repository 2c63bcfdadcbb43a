"""Compute what docs/results lacks, and write its pages: `make results`.

    python -m benchmarks.results [SECTION …] [--list] [--quick] [--later] [--pages] [--store DIR] [--out DIR]
    python -m benchmarks.results [SECTION …] --again SEED

Prints the core hours before anything starts. A section is one page, or a part with all of its sections (papers, claim,
trained, architectures, symmetry); without names all of them. Runs that a section's `runs.csv` has are done, by their
ids, even where the store is gone; new ones are added to it as they finish. Stopped at any moment, the same command goes
on. Data that cannot be had are skipped by name. `statements`, `forecasts`, `theory`, `claim_all`, `depth` and `effects`
are pages made of the tables of the others; what all of them say together stands in `found.md` beside the folder.

`--again` computes one seed of each table anew, fits in closed form alone, and says by how much errors differ; it writes
nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.files import write_text
from benchmarks.results import (
    again,
    costs,
    depth,
    effects,
    found,
    overview,
    pages,
    pooled_claim,
    statements_page,
    tested_forecasts,
    theory_page,
)
from benchmarks.results.outstanding import Place, compute, outstanding
from benchmarks.results.sections import SECTIONS, chosen
from experiments.core import command
from experiments.core.errors import InputError, RunsFailed
from experiments.core.paths import ROOT
from experiments.core.wording import did_you_mean

DERIVED = {
    statements_page.NAME: statements_page.write,
    tested_forecasts.NAME: tested_forecasts.write,
    theory_page.NAME: theory_page.write,
    pooled_claim.NAME: pooled_claim.write,
    depth.NAME: depth.write,
    effects.NAME: effects.write,
}
"""What writes the pages that are made of the tables of others, without runs."""
FOLDER = ROOT / "docs" / "results"
BUILD = ROOT / "build" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 1 (runs failed) or 2 (bad input, told in one line)."""
    command.show_warnings()
    parser = command.Parser(prog="python -m benchmarks.results", description="Compute and write docs/results.")
    parser.add_argument("names", nargs="*", metavar="SECTION", help="sections or parts (--list shows them)")
    parser.add_argument("--list", action="store_true", help="only print what is done and left, with core hours")
    parser.add_argument("--quick", action="store_true", help="reduced grids, data that come along, into build/")
    parser.add_argument("--later", action="store_true", help="also what is for when time is left")
    parser.add_argument("--again", type=command.integer_from(0), metavar="SEED", help="compute this seed anew, compare")
    parser.add_argument("--pages", action="store_true", help="compute nothing, write pages from the tables")
    parser.add_argument("--workers", type=command.integer_from(1), metavar="N", help="processes (default: one a core)")
    parser.add_argument("--store", type=command.path, metavar="DIR", help="stores (default: build/results/stores)")
    parser.add_argument("--out", type=command.path, metavar="DIR", help="tables, pages (default: docs/results)")
    return command.run(_run, parser.parse_args(arguments), failures=(RunsFailed,))


def _run(given: argparse.Namespace) -> None:
    place = place_of(given)
    known = {*SECTIONS, *overview.PARTS, *DERIVED}
    if unknown := next((name for name in given.names if name not in known), None):
        near = did_you_mean(unknown, sorted(known))
        raise InputError(f"SECTION {unknown}: no such section{near}; accepted: those of --list")
    names = [name for name in chosen(given.names) if name in place.sections()]
    if given.again is not None:
        if other := next((one for one in ("list", "pages") if getattr(given, one)), None):
            raise InputError(f"--again with --{other}: accepted is one of them; --again computes and writes no pages")
        _compare(names, place, given)
        return
    derived = [name for name in DERIVED if not given.names or name in given.names]
    failures: list[str] = []
    left = [] if given.pages else _say_hours(names, place)
    if given.list:
        return
    for name in names if given.pages else left:
        try:
            for reason in [] if given.pages else compute(name, place, given.workers):
                print(f"skipped {name}: {reason}", flush=True)
        except RunsFailed as error:
            failures.append(f"{name}: {error}")
        except KeyboardInterrupt:
            command.say(f"stopped; what is done is in the table, and the page of {name} is written from it (seconds)")
            raise
        finally:  # a section that was stopped half-way has a page of what it has
            if path := pages.write(name, place):
                print(path, flush=True)
    if theory_page.NAME in derived:
        for reason in theory_page.measure(place):
            print(f"skipped {theory_page.NAME}: {reason}", flush=True)
    for name in derived:
        if (written := DERIVED[name](place)) is not None:
            print(written, flush=True)
    write_text(place.tables / "README.md", overview.overview(place))
    print(found.write(place), flush=True)
    if failures:
        raise RunsFailed("\n".join(failures))


def _compare(names: Sequence[str], place: Place, given: argparse.Namespace) -> None:
    """Compute one seed of every table again; print how its errors differ.

    Raises:
        RunsFailed: errors of a table differ by more than round-off, or runs failed.
    """
    failures = []
    for name in [one for one in given.names if one in DERIVED]:
        print(f"skipped {name}: it has no runs of its own", flush=True)
    for name in names if given.names else [one for one in names if place.table(one).exists()]:
        try:
            found = again.compute(name, place, given.again, given.workers)
        except InputError as error:
            print(f"skipped {name}: {error}", flush=True)
            continue
        except RunsFailed as error:
            failures.append(f"{name}: {error}")
            continue
        print(f"{name}: {found.words()}", flush=True)
        if not found.same:
            failures.append(f"{name}: errors differ from the table's by more than {again.TOLERANCE:g}")
    if failures:
        raise RunsFailed("\n".join(failures))


def place_of(given: argparse.Namespace) -> Place:
    """Return where results lie."""
    build = BUILD / "quick" if given.quick else BUILD
    tables: Path = given.out or (build if given.quick else FOLDER)
    return Place(tables, given.store or build / "stores", given.quick, given.later)


def _say_hours(names: Sequence[str], place: Place) -> list[str]:
    """Print what each section lacks with its core hours, and the sum; return the sections that lack anything."""
    known, total, lacking = costs.of_all(FOLDER), [0.0, 0], []
    for name in names:
        found = outstanding(name, place)
        if not found.wanted:
            continue
        hours, unknown = known.hours(found.left, SECTIONS[name].data)
        total = [total[0] + hours, total[1] + unknown]
        left = f"{len(found.left)} left, {costs.told(hours, unknown)}" if found.left else "done"
        print(f"{name}: {found.wanted} runs, {left}", flush=True)
        for reason in found.absent:
            print(f"  {reason}", flush=True)
        if found.left:
            lacking.append(name)
    print(f"in all {costs.told(total[0], int(total[1]))}", flush=True)
    return lacking


if __name__ == "__main__":
    sys.exit(main())
