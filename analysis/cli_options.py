"""Options that several commands of the analysis share, and the types of their values."""

from __future__ import annotations

import argparse

from experiments.core import command


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the stores that a command needs."""
    parser.add_argument(
        "--store", type=command.path, action="append", required=True, metavar="DIR",
        help="store of runs (may be repeated: one analysis of all)",
    )  # fmt: skip


def add_reference(parser: argparse.ArgumentParser) -> None:
    """Add the published points that a figure or the report marks."""
    parser.add_argument(
        "--reference",
        type=command.path,
        metavar="POINTS.csv",
        help="published points to mark (dataset, model, P, metric, value, unit, source); `published`: those that come "
        "with the program",
    )


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add tables and stores, and how tables are written."""
    parser.add_argument(
        "--table",
        type=command.path,
        action="append",
        default=[],
        metavar="T.csv",
        help="run table: dataset, architecture, metric, P, seed, error and any other columns; CSV with any separator, "
        "JSON lines or Parquet (may be repeated)",
    )
    parser.add_argument(
        "--store",
        type=command.path,
        action="append",
        default=[],
        metavar="DIR",
        help="store of runs, instead of a table or beside it (may be repeated)",
    )
    reading = parser.add_argument_group("tables as they are written")
    reading.add_argument(
        "--columns",
        action="append",
        default=[],
        metavar="COLUMN=NAME,…",
        help="names in the table, as P=n_train,error=MAE; error=1-accuracy turns a score into an error",
    )
    reading.add_argument(
        "--wide", action="store_true", help="a column a model, or a row a model and a column a training-set size"
    )
    reading.add_argument("--unit", metavar="UNIT", help="unit of the errors")
    reading.add_argument(
        "--decimal", choices=[".", ","], help="decimal mark, where numbers such as 1,234 leave it open"
    )
    parser.add_argument(
        "--plugins", metavar="DIR", help="folder with architectures and figures of your own (also: EQUILAW_PLUGINS)"
    )
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
    parser.add_argument(
        "--stop",
        choices=("validation",),
        help="read every trained run's error at the schedule that is best on validation frames, and count these in P "
        "(default: as its training.stop says)",
    )


def add_selection(parser: argparse.ArgumentParser, *, main: bool = True) -> None:
    """Add the options that choose curves; without them, all are taken, or those of the main metric alone."""
    default = "the main one of each dataset, as force_mae" if main else "all"
    chosen = parser.add_argument_group("which curves (each option may be repeated)")
    for name, text in (
        ("metric", f"metric, or all (default: {default})"),
        ("dataset", "dataset"),
        ("model", "an architecture, or words of a model's name as printed: mace, 'mace L=1'"),
        ("test-set", "test set"),
    ):
        chosen.add_argument(f"--{name}", action="append", default=[], metavar=name.upper(), help=text)


def share(text: str) -> float:
    """Read a share of the error."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be a share of the error, 0 ≤ x < 1 (0.05 for 5 %), got {text}")
    return value


def positive(text: str) -> float:
    """Read a number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number > 0, got {text}")
    return value
