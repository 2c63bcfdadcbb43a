"""Gather the learning curves that forecasts are calibrated on into the file that ships with the program.

    python -m analysis.calibration.forecast_curves --lcdb DIR/lcdb/database-accuracy.csv --runs published=vita.csv
    python -m analysis.calibration.forecast_curves --runs closed_forms=build/forecast/runs

LCDB 1 (Mohr et al. 2022) comes with the Python package `lcdb` 0.1.0 (MIT licence). Own runs are a run table as all
commands read it, or a store, with the name of their source. Sources that are not given keep their curves.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.calibration.forecast_rates import CURVES, KEY, SOURCES
from analysis.errors import InputError
from analysis.files import write_bytes
from analysis.table import load
from experiments.core import command

RUNS = 5
"""Runs of LCDB that make up a curve: outer splits 0 to 4 with inner split 0. One more stands for a new run."""
LEARNERS = 6
"""Learners taken of each of LCDB's datasets, so that no dataset has too much weight."""
FEWEST_SIZES = 11
"""Sizes of a curve of LCDB (16, 23, 32, … by √2): five remain at an eighth of the last."""
FEWEST_WRONG = 20
"""Wrong answers at the last size below which counting noise alone decides what a forecast meets."""


def of_lcdb(path: Path) -> pd.DataFrame:
    """Return learning curves of LCDB from its table of accuracies."""
    columns = ["openmlid", "learner", "size_train", "size_test", "outer_seed", "inner_seed", "score_test"]
    rows = pd.read_csv(path, usecols=columns)
    new = (rows["inner_seed"] == 1) & (rows["outer_seed"] == 0)
    rows = rows[((rows["inner_seed"] == 0) & (rows["outer_seed"] < RUNS)) | new]
    steps = 2 * np.log2(rows["size_train"] / 16)
    rows = rows[(steps - steps.round()).abs() < 0.03]  # the last size of all is off the grid
    rows["seed"] = np.where(rows["inner_seed"] == 1, RUNS, rows["outer_seed"]).astype(str)
    rows["error"] = (1 - rows["score_test"]).round(4)
    whole = rows.groupby(["openmlid", "learner", "size_train"])["error"].transform("size") == RUNS + 1
    rows = rows[whole & rows["error"].notna()]
    kept = []
    for (_, learner), part in rows.groupby(["openmlid", "learner"]):
        last = part[part["size_train"] == part["size_train"].max()]
        wrong = (last["error"] * last["size_test"]).sum()
        if part["size_train"].nunique() >= FEWEST_SIZES and wrong >= FEWEST_WRONG:
            order = hashlib.sha256(f"{part['openmlid'].iloc[0]} {learner}".encode()).hexdigest()
            kept.append(part.assign(order=order))
    rows = pd.concat(kept)
    rank = rows.groupby("openmlid")["order"].rank(method="dense")
    chosen: pd.DataFrame = rows[rank <= LEARNERS]
    return chosen.assign(
        dataset="openml" + chosen["openmlid"].astype(str), architecture=chosen["learner"], P=chosen["size_train"],
        metric="error_rate", test_set="", model_id="",
    )  # fmt: skip


def of_runs(path: Path) -> pd.DataFrame:
    """Return the curves of a run table or a store; one model's variants are told apart by `model_id` or `variant`."""
    if path.is_dir():
        loaded = load(None, path)
    else:
        by = ["variant"] if "variant" in path.read_text(encoding="utf-8").split("\n", 1)[0].split(",") else []
        loaded = load(path, None, curve_by=by)
    rows = loaded.rows.copy()
    names = [name for name in loaded.curve_columns if name not in ("dataset", "test_set", "metric", "architecture")]
    rows["model_id"] = [" ".join(map(str, values)) for values in rows[names].itertuples(index=False)]
    if "test_set" not in rows.columns:
        rows["test_set"] = ""
    rows["seed"] = rows["seed"].astype(str) if "seed" in rows.columns else "0"
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Gather the curves and write them; return the exit code."""
    parser = command.Parser(prog="python -m analysis.calibration.forecast_curves", description=__doc__)
    parser.add_argument("--lcdb", type=command.path, metavar="CSV", help="database-accuracy.csv of the package lcdb")
    parser.add_argument(
        "--runs", action="append", default=[], metavar="SOURCE=PATH", help=f"table or store of {', '.join(SOURCES)}"
    )
    parser.add_argument("--out", type=command.path, default=CURVES, metavar="PARQUET", help="default: what ships")
    return command.run(_gather, parser.parse_args(argv), parser.prog)


def _gather(arguments: argparse.Namespace) -> None:
    parts = [] if arguments.lcdb is None else [of_lcdb(arguments.lcdb).assign(source="lcdb")]
    for text in arguments.runs:
        source, _, path = text.partition("=")
        if source not in SOURCES or not Path(path).exists() or not path:
            raise InputError(f"--runs {text}: accepted: SOURCE=PATH of what exists, SOURCE one of {', '.join(SOURCES)}")
        parts.append(of_runs(Path(path)).assign(source=source))
    if not parts:
        raise InputError("no curves: give --lcdb or --runs")
    if arguments.out.exists():
        kept = pd.read_parquet(arguments.out)
        given = {part["source"].iloc[0] for part in parts}
        parts.append(kept[~kept["source"].isin(given)].astype(dict.fromkeys((*KEY, "seed"), str)))
    rows = pd.concat([part[[*KEY, "P", "seed", "error"]] for part in parts], ignore_index=True)
    rows = rows.astype({**dict.fromkeys((*KEY, "seed"), "category"), "P": "int32", "error": "float32"})
    rows["source"] = rows["source"].cat.reorder_categories([name for name in SOURCES if name in set(rows["source"])])
    rows = rows.sort_values("source", kind="stable")
    write_bytes(arguments.out, rows.to_parquet(index=False, compression="zstd"))
    count = rows.drop_duplicates(list(KEY)).groupby("source", observed=True).size()
    sys.stdout.write(", ".join(f"{source}: {n} curves" for source, n in count.items()) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
