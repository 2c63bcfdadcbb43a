"""The command line of the analysis: one sub-command per question (`python -m analysis --help`)."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from typing import TypeAlias

from analysis.cli_options import add_reference, add_selection, add_source, add_stores, positive, share
from analysis.errors import RunsFailed, UnfittableError
from analysis.fits.names import Form
from experiments.core import command, plugins

_DISTANCES = "δ(P), for Lip·δ and the dimension of the data (default: the store's distances.parquet)"
Subparsers: TypeAlias = "argparse._SubParsersAction[command.Parser]"
NAME = "python -m analysis"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 a curve could not be fitted or a run failed, 2 bad input."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    command.draw_without_screen()
    arguments = _parser().parse_args(argv)
    return command.run(_answer, arguments, NAME, failures=(UnfittableError, RunsFailed))


def _answer(arguments: argparse.Namespace) -> None:
    from analysis.commands import of_curves  # takes a second to import, and no help needs it

    if getattr(arguments, "plugins", None) is not None:
        plugins.announce(arguments.plugins)
    answer = getattr(of_curves, arguments.command, None)
    if answer is None:
        from analysis.commands import of_method

        answer = getattr(of_method, arguments.command)
    answer(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = command.Parser(prog=NAME, description="Exponents of learning curves, from runs or from any table.")
    subparsers = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (
        _table, _fit, _report, _figures, _compare, _claim, _design, _forecast, _bounds, _errors, _calibrate, _dimension,
        _spectrum,
    ):  # fmt: skip
        add(subparsers)
    return parser


def _add(
    to: Subparsers, name: str, text: str, description: str, *, source: bool = True, json: bool = True
) -> argparse.ArgumentParser:
    """Add the command of a name, which the function of that name in `analysis.commands` carries out."""
    one = to.add_parser(name, help=text, description=description)
    if source:
        add_source(one)
    if json:
        one.add_argument("--json", type=command.path, metavar="OUT.json", help="write the results there")
    one.set_defaults(command=name)
    return one


def _table(to: Subparsers) -> None:
    one = _add(
        to,
        "table",
        "write the run table of a store",
        "Write the run table of a store: one row per finished run, test set and metric.",
        source=False,
        json=False,
    )
    add_stores(one)
    one.add_argument("--csv", type=command.path, required=True, metavar="OUT.csv", help="where to write the table")


def _fit(to: Subparsers) -> None:
    one = _add(
        to,
        "fit",
        "fit the exponents of every learning curve",
        "Fit ε = a·P^(−β), with and without a floor, and the curved forms, to every curve; print two lines per curve. "
        "The first line gives the exponent to quote, the second the evidence by which its form was chosen. A curve "
        "consists of the runs that differ only in P and seed.",
    )
    one.add_argument(
        "--forms",
        nargs="+",
        choices=[str(form) for form in Form],
        metavar="FORM",
        help=f"of {', '.join(Form)} (default: all; power and power_floor are always fitted; bnsl_1 and m4 take a "
        "fraction of a second per curve)",
    )
    for name, text in (("markdown", "Markdown"), ("latex", "LaTeX (booktabs)")):
        one.add_argument(
            f"--{name}", type=command.path, metavar="OUT", help=f"write the exponents there as a table in {text}"
        )
    add_selection(one)


def _report(to: Subparsers) -> None:
    one = _add(
        to,
        "report",
        "write the results as one HTML page",
        "Write one self-contained HTML page: the answer in sentences, interactive curves, exponents, health, "
        "provenance. It needs no network and no other file.",
        json=False,
    )
    one.add_argument("--out", type=command.path, required=True, metavar="FILE.html", help="where to write the page")
    add_reference(one)
    add_selection(one, main=False)


def _figures(to: Subparsers) -> None:
    one = _add(
        to,
        "figures",
        "draw all figures that the table has the data for",
        "Draw every figure that the table has data for, as PDF, SVG and PNG, each with a CSV of the plotted numbers. "
        "Learning curves by model, L, ν, architecture and group; exponents; the claim; maps over L × ν; costs; "
        "distances.",
        json=False,
    )
    one.add_argument("--out", type=command.path, required=True, metavar="DIR", help="folder for the figures")
    add_selection(one)
    add_reference(one)
    one.add_argument("--distances", type=command.path, metavar="FILE", help=_DISTANCES)


def _compare(to: Subparsers) -> None:
    one = _add(
        to,
        "compare",
        "describe the differences of exponents between models",
        "Compare curves that differ in one factor: paired Δβ with Holm's correction, floors, equal-error ratios, "
        "power.",
    )
    one.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="factor to compare by: L, nu, n_radial, training.max_steps or any other setting that differs (may be "
        "repeated; default: every factor that varies)",
    )
    one.add_argument("--sentence", action="store_true", help="only the sentences, for a paper, without the table")
    add_selection(one)


def _claim(to: Subparsers) -> None:
    _add(
        to,
        "claim",
        "carry out the pre-registered test of the claim",
        "Carry out the pre-registered test of the claim (cells A, B, C, D) under the power form and with floors: it "
        "holds, is refuted, has no effect to explain or is undecided, and why. On every dataset, and with datasets as "
        "random effects if there are several.",
    )


def _design(to: Subparsers) -> None:
    one = _add(
        to,
        "design",
        "say how many seeds and sizes would decide it",
        "Say how many seeds decide a difference of exponents, an equivalence and the claim, for several numbers of "
        "sizes P: with the noise of a table, or with one given by hand.",
        source=False,
    )
    add_source(one)
    add_selection(one)
    one.add_argument(
        "--noise",
        nargs=2,
        type=share,
        metavar=("SUBSET", "INIT"),
        help="standard deviations of ln ε within a seed, from nested subsets and from initial weights (0.05 0.03), "
        "instead of a table",
    )
    one.add_argument(
        "--difference", type=positive, default=0.1, metavar="D", help="difference of exponents to show (default 0.1)"
    )
    one.add_argument(
        "--sizes",
        nargs="+",
        type=command.integer_from(2),
        metavar="K",
        help="numbers of sizes P (default: 5 7 9; the grid of the table goes on, or doubles from 16)",
    )
    one.add_argument(
        "--further",
        nargs=2,
        type=command.integer_from(1),
        metavar=("SEEDS", "K"),
        help="also say what so many further seeds at the K smallest P do to the interval of β",
    )
    one.add_argument("--seed", type=int, default=0, help="seed of the simulation of the claim (default 0)")


def _forecast(to: Subparsers) -> None:
    one = _add(
        to,
        "forecast",
        "forecast errors at larger P, and the frames to an error",
        "Forecast the error of every curve at larger training-set sizes, and the number of frames to an error, with 80 "
        "and 95 % intervals: of the mean over the curve's seeds, or of a single new run. How often they hold is "
        "measured up to eight times the largest P (calibrate --forecast); beyond, they are marked.",
    )
    one.add_argument(
        "--at",
        nargs="+",
        type=command.integer_from(1),
        metavar="P",
        help="training-set sizes (default, without --target: 2, 4 and 8 times the largest of each curve)",
    )
    one.add_argument(
        "--target", nargs="+", metavar=("ERROR", "UNIT"), help="an error to reach, in the table's unit or as 20 meV/Å"
    )
    one.add_argument("--new-run", action="store_true", help="also the interval of a single new run")
    add_selection(one)


def _bounds(to: Subparsers) -> None:
    one = _add(
        to,
        "bounds",
        "compare exponents with the bounds of theory",
        "Set every recommended β beside the bounds and laws of theory: consistent, vacuous, not testable or violated.",
    )
    size = one.add_mutually_exclusive_group()
    size.add_argument("--d", type=positive, metavar="D", help="dimension of the data")
    size.add_argument("--atoms", type=command.integer_from(3), metavar="N", help="atoms of one molecule: d = 3N − 6")
    one.add_argument("--s", type=positive, default=1.0, help="dimension of Bach's subspaces (default 1)")
    one.add_argument("--k", type=positive, default=1.0, help="number of terms in Bach's sums (default 1)")
    one.add_argument("--smoothness", type=positive, default=1.0, help="derivatives of the target (default 1)")
    one.add_argument("--alpha-teacher", type=positive, metavar="A", help="spectral exponent of a kernel teacher")
    one.add_argument("--alpha-student", type=positive, metavar="A", help="spectral exponent of a kernel student")
    one.add_argument("--distances", type=command.path, metavar="FILE", help=_DISTANCES)
    one.add_argument(
        "--lipschitz",
        type=positive,
        metavar="LIP",
        help="Lip in eV per atom and Å of aligned RMSD (default: from data)",
    )
    add_selection(one, main=False)


def _errors(to: Subparsers) -> None:
    one = _add(
        to,
        "errors",
        "print intervals of the errors over seeds and test frames",
        "Bootstrap intervals of the errors themselves over seeds and test frames (needs the frame errors of a store).",
        source=False,
    )
    add_stores(one)
    one.add_argument("--drop-bad", action="store_true", help="leave bad rows out, naming each")


def _calibrate(to: Subparsers) -> None:
    one = _add(
        to,
        "calibrate",
        "measure the coverage of the intervals",
        "Measure the coverage of the nominal 95 % intervals, that of the recommended fit first. On simulated curves "
        "of known β, and on two real nested learners. With --claim: measure how often the claim test gives which "
        "outcome, by seeds and sizes. With --comparisons: how often statements about two curves hold. With --fits: how "
        "often what `fit` says of a curve holds. With --training: which verdict on training falls where more training "
        "would change β by a known amount, and what the hull covers. With --forecast: how often forecasts hold on real "
        "learning curves whose largest P are held out.",
        source=False,
    )
    one.add_argument(
        "--tables",
        type=command.integer_from(2),
        default=4000,
        metavar="N",
        help="tables simulated per scenario (default 4000)",
    )
    one.add_argument("--seed", type=int, default=0, help="seed of the simulation (default 0)")
    what = one.add_mutually_exclusive_group()
    what.add_argument(
        "--fits",
        action="store_true",
        help="how often what `fit` says holds, instead: few seeds, floors, one pool, breaks, outlying runs",
    )
    what.add_argument("--claim", action="store_true", help="rates of the outcomes of `claim` instead")
    what.add_argument(
        "--comparisons",
        action="store_true",
        help="how often equal-error ratios, means over molecules and the seeds of `design` hold, instead",
    )
    what.add_argument("--training", action="store_true", help="rates of the verdicts on training instead")
    what.add_argument(
        "--forecast",
        action="store_true",
        help="how often intervals of forecasts hold on the learning curves that ship with the program, instead",
    )
    one.add_argument(
        "--write",
        type=command.path,
        metavar="FILE",
        help="with --forecast: write the factors of intervals there, fitted on all these curves",
    )


def _dimension(to: Subparsers) -> None:
    one = _add(
        to,
        "dimension",
        "estimate the dimension of the data",
        "Estimate the dimension of the data: slope of δ(P), TwoNN and Levina–Bickel, in two invariant metrics. Reads "
        "a store's distances.parquet (`python -m experiments.runs.measure_distances` writes it), a table of distances "
        "or frames; with --calibrate, shows the estimates for tori, spheres and cubes of known dimension instead.",
        source=False,
    )
    data = one.add_mutually_exclusive_group(required=True)
    data.add_argument(
        "--store", type=command.path, action="append", metavar="DIR",
        help="store of runs with its distances.parquet (may be repeated)",
    )  # fmt: skip
    data.add_argument("--distances", type=command.path, metavar="FILE", help="table of distances, parquet or CSV")
    data.add_argument("--frames", type=command.path, metavar="FILE", help="frames of one molecule (extended XYZ)")
    data.add_argument("--calibrate", action="store_true", help="show the estimates for tori, spheres and cubes")
    one.add_argument(
        "--seeds", type=command.integer_from(2), default=5, metavar="S", help="subsets of the frames (default 5)"
    )


def _spectrum(to: Subparsers) -> None:
    one = _add(
        to,
        "spectrum",
        "show which share of the labels each kernel's directions hold",
        "Why exponents of closed forms differ: the labels' power outside the first k directions of each kernel, from "
        "the store's results; and, once `python -m experiments.runs.measure_spectra` has measured them, local "
        "exponents from left-out frames at every P, and exponents with the spectra of models exchanged.",
        source=False,
    )
    add_stores(one)
    one.add_argument("--out", type=command.path, metavar="DIR", help="draw them there")
    one.add_argument("--drop-bad", action="store_true", help="leave bad rows out, naming each")
