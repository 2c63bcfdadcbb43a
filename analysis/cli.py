"""The command line of the analysis: `python -m analysis table | fit | figures`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from analysis.curve import curves
from analysis.errors import InputError, UnfittableError
from analysis.files import write_text
from analysis.record import analyse, records, summary, to_json
from analysis.table import RunTable, load, read_store, write_csv

log = logging.getLogger("analysis")


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns 0 done, 1 a curve could not be fitted at all, 2 bad input."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except InputError as error:
        sys.stderr.write(f"python -m analysis: {error}\n")
        return 2
    except UnfittableError as error:
        sys.stderr.write(f"python -m analysis: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m analysis", description="Exponents of learning curves, from runs or from any run table."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    table = commands.add_parser("table", help="write the run table of a store", description=_table.__doc__)
    table.add_argument("--store", type=Path, required=True, metavar="DIR", help="store of runs")
    table.add_argument("--csv", type=Path, required=True, metavar="OUT.csv", help="where to write the table")
    table.set_defaults(command=_table)

    fit = commands.add_parser("fit", help="exponents of every learning curve", description=_fit.__doc__)
    _add_source(fit)
    fit.add_argument("--json", type=Path, metavar="OUT.json", help="write all fits there, one entry per curve and form")
    fit.set_defaults(command=_fit)

    figures = commands.add_parser("figures", help="draw the learning curves", description=_figures.__doc__)
    _add_source(figures)
    figures.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the figures")
    figures.set_defaults(command=_figures)
    return parser


def _add_source(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--table",
        type=Path,
        metavar="T.csv",
        help="run table: dataset, architecture, metric, P, seed, error and any other columns",
    )
    source.add_argument("--store", type=Path, metavar="DIR", help="store of runs, instead of a table")
    parser.add_argument(
        "--drop-bad", action="store_true", help="leave bad rows out, naming each, instead of refusing the table"
    )
    parser.add_argument(
        "--curve-by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a further column that tells curves apart (may be repeated)",
    )


def _load(arguments: argparse.Namespace) -> RunTable:
    return load(arguments.table, arguments.store, drop_bad=arguments.drop_bad, curve_by=arguments.curve_by)


def _table(arguments: argparse.Namespace) -> None:
    """Write the run table of a store: one row per finished run and metric."""
    write_csv(read_store(arguments.store), arguments.csv)


def _fit(arguments: argparse.Namespace) -> None:
    """Fit ε = a·P^(−β), with and without a floor, to every curve, and print one line per curve.

    A curve is the runs that differ only in P and seed.
    """
    table = _load(arguments)
    fits = analyse(curves(table))
    if arguments.json is not None:
        write_text(arguments.json, to_json([entry for fit, judgement in fits for entry in records(fit, judgement)]))
    sys.stdout.write(summary(fits) + "\n")
    _check_lost(table)


def _figures(arguments: argparse.Namespace) -> None:
    """Draw learning curves with their fits as PDF, SVG and PNG, each with a CSV of exactly the plotted numbers."""
    from analysis.figures import draw_all  # matplotlib takes a second to import, and no other command needs it

    table = _load(arguments)
    for path in draw_all(analyse(curves(table)), arguments.out):
        sys.stdout.write(f"{path}\n")
    _check_lost(table)


def _check_lost(table: RunTable) -> None:
    if table.lost_curves:
        raise UnfittableError(
            f"{len(table.lost_curves)} curve(s) had no usable rows and could not be fitted: "
            f"{'; '.join(table.lost_curves)}"
        )
