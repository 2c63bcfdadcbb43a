"""Set errors of this program beside published ones, on the same frames: the table of docs/parity.md.

    python -m benchmarks.parity [ROW …] [--small] [--store DIR] [--record FILE] [--page FILE]

Computes the rows that are named (by default those of minutes; `--small`: of a minute together), each a sweep in a store
of its own, where finished runs stay. What is measured goes into the record, from which the page is written: rows that
were never computed read "not measured", with their command. Published numbers are those of
`analysis/figures/published.csv`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import textwrap
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.references import PUBLISHED, Reference, read_references
from analysis.files import write_text
from experiments.core import command
from experiments.core.errors import InputError
from experiments.core.paths import ROOT
from experiments.data.load import dataset_of
from experiments.runs.store import RunStore
from experiments.runs.table import run_table
from slurm.from_words import plan_of

RECORD, PAGE = ROOT / "docs" / "results" / "parity.csv", ROOT / "docs" / "parity.md"
METRICS = ("energy_mae", "force_mae")
COLUMNS = ("row", "metric", "error", "seeds", "n_atoms", "cpu_seconds", "code_version")


@dataclass(frozen=True)
class Row:
    """One model on one set of frames, beside what was published."""

    data: str
    """Name in conf/data."""
    words: str
    """The rest of the command."""
    P: int
    peers: str
    """Models in the table of published points, separated by commas; ratios are to the first."""
    peer_P: int
    seeds: str = "0"
    cost: str = "minutes"
    """`seconds`, `minutes` or `hours` of one core; hours are computed only where the row is named."""
    remark: str = ""

    def command(self, store: str) -> list[str]:
        """Return the arguments of `python -m experiments` that compute it."""
        words = ["-m", f"data={self.data}", *self.words.split(), f"P={self.P}", f"seed={self.seeds}"]
        return [*words, f"store={store}", "hydra.launcher.workers=1"]

    def published(self, references: Sequence[Reference], metric: str) -> list[Reference]:
        """Return the published points that were found and could be read, in the order of `peers`."""
        own = {
            one.model: one
            for one in references
            if self.data in one.datasets and one.metric == metric and self.peer_P == one.P
        }
        return [own[peer] for peer in self.peers.split(", ") if peer in own]


ROWS: dict[str, Row] = {
    "ace_50": Row("ethanol_pbe", "model=ace", 50, "linear ACE", 50, cost="seconds"),
    "ace_950": Row("ethanol_pbe", "model=ace", 950, "linear ACE", 1000),
    "ace_1000": Row("ethanol_pbe", "model=ace", 1000, "linear ACE", 1000, remark="validation frames train too"),
    "krr_50": Row("ethanol_pbe", "model=krr", 50, "sGDML", 50, cost="seconds"),
    "krr_200": Row("ethanol_pbe", "model=krr", 200, "sGDML", 200),
    "krr_950": Row("ethanol_pbe", "model=krr", 950, "sGDML", 950),
    "mace_50": Row(
        "ethanol_pbe", "model=mace L=1 nu=3", 50, "MACE (256 channels)", 50, "0,1,2", "hours", "32 channels"
    ),
    "mace_950": Row(
        "ethanol_pbe",
        "model=mace L=2 nu=3 model.channels=256 training.max_steps=100000 device=cuda",
        950, "MACE (256 channels)", 1000, cost="hours", remark="needs a GPU",
    ),
    "ace_si": Row("mlearn_si", "model=ace", 214, "MTP, GAP", 214, remark="cells of 12 to 96 atoms"),
    "ace_li": Row("mlearn_li", "model=ace", 241, "MTP, GAP", 241, remark="cells of 2 to 84 atoms"),
}  # fmt: skip
SMALL = ("ace_50", "krr_50")
REMARK = """Written by `make parity` (`python -m benchmarks.parity`). Mean absolute errors on the published test frames;
E of a whole frame in meV where all have one size, as papers print it, else per atom. Ours with the program's defaults;
processor time of one run on one core of a shared x86-64 server, AVX2 or AVX-512. Ratio: ours over the first published.
‡: the source quotes another group's number. "Not found": no published number could be opened. What was tried against
linear ACE's ratios: [training.md](training.md#the-basis-of-linear-ace)."""


def compute(name: str, store: Path) -> pd.DataFrame:
    """Compute a row, or what of it is missing in its store, and return its rows of the record.

    Raises:
        InputError: a run was refused or failed; the message is the program's.
    """
    row, own = ROWS[name], store / name
    words = row.command(str(own))
    done = subprocess.run([sys.executable, "-m", "experiments", *words], cwd=ROOT)
    if done.returncode != 0:
        raise InputError(f"row {name}: python -m experiments ended with {done.returncode}; see {own}")
    own_ids = {one.run.id for one in plan_of(words[1:], dataset_of).runs}  # a store keeps runs of former defaults
    table = run_table(RunStore(own))
    found = table[table["run_id"].isin(own_ids)]
    return pd.DataFrame([_measured(name, metric, found[found["metric"] == metric]) for metric in METRICS])


def _measured(name: str, metric: str, runs: pd.DataFrame) -> dict[str, object]:
    return {
        "row": name, "metric": metric, "error": runs["error"].mean(), "seeds": len(runs),
        "n_atoms": runs["n_atoms"].iloc[0], "cpu_seconds": runs["cpu_seconds"].mean(),
        "code_version": runs["code_version"].iloc[0],
    }  # fmt: skip


def with_rows(record: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return the record with new rows in place of older ones of the same name, in the order of `ROWS`."""
    kept = pd.concat([record[~record["row"].isin(new["row"])], new])
    return kept.sort_values("row", key=lambda names: names.map(list(ROWS).index), kind="stable", ignore_index=True)


def lines(record: pd.DataFrame) -> Iterator[str]:
    """Yield the lines of the table in Markdown; energies are those of a frame where all frames have one size."""
    references = read_references(PUBLISHED)
    measured = {(one["row"], one["metric"]): one for one in record.to_dict("records")}
    yield "| frames | ours | P | | ours | published | ratio | CPU |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, row in ROWS.items():
        for metric in METRICS:
            run, peers = measured.get((name, metric)), row.published(references, metric)
            if run is not None or peers or metric != "energy_mae":  # else there is nothing to say
                yield _line(row, metric, run, peers)


def _line(row: Row, metric: str, run: Mapping[Hashable, Any] | None, peers: Sequence[Reference]) -> str:
    kind, scale, unit = "F", 1, "meV/Å"
    if metric == "energy_mae":
        atoms = peers[0].atoms if peers else None if run is None or pd.isna(run["n_atoms"]) else run["n_atoms"]
        kind, scale, unit = ("E", int(atoms), "meV") if atoms else ("E", 1, "meV/atom")
    ours, published, ratio, spent = "not measured", "not found", "–", "–"
    if peers:
        size = "" if row.peer_P == row.P else f", P = {row.peer_P:g}"
        published = ", ".join(
            f"{peer.value * scale:.3g} ({peer.model}{size})" + (" ‡" if peer.second_hand else "") for peer in peers
        )
    if run is not None:
        seconds = run["cpu_seconds"]
        ours = f"{run['error'] * scale:.3g}" + (f", {run['seeds']} seeds" if run["seeds"] > 1 else "")
        ratio = f"{run['error'] / peers[0].value:.2f}" if peers else "–"
        spent = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    model = f"`{row.words}`" + (f" ({row.remark})" if row.remark else "")
    return f"| {row.data} | {model} | {row.P} | {kind}, {unit} | {ours} | {published} | {ratio} | {spent} |"


def page(record: pd.DataFrame) -> str:
    """Return the page: the table, the commands of what was not measured, and where published numbers are from."""
    missing = [name for name in ROWS if name not in set(record["row"])]
    texts = [
        "# Errors beside published ones",
        textwrap.fill(REMARK, 120),
        "\n".join(lines(record)),
    ]
    if missing:
        commands = [f"python -m benchmarks.parity {name}" for name in missing]
        texts += ["## Not measured", "Each of these computes its row:", "\n".join(["```text", *commands, "```"])]
    references = read_references(PUBLISHED)
    sources = dict.fromkeys((one.source, one.read) for one in references)
    comments = [text[2:] for text in PUBLISHED.read_text(encoding="utf-8").splitlines() if text.startswith("# ")]
    texts += [
        "## Published points",
        "[analysis/figures/published.csv](../analysis/figures/published.csv) holds them; `--reference published` of\n"
        "`python -m analysis figures` marks them on figures.",
        "\n".join(f"- {source} ({read})" for source, read in sources),
        "\n".join(comments[comments.index(next(t for t in comments if t.startswith("Not opened"))) :]),
    ]
    return "\n\n".join(texts) + "\n"


def read_record(path: Path) -> pd.DataFrame:
    """Return the record; empty if there is none yet."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(COLUMNS))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, or 2 for bad input."""
    command.show_warnings()
    parser = command.Parser(prog="python -m benchmarks.parity", description="Errors beside published ones.")
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"of {', '.join(ROWS)} (default: all but those of hours)"
    )
    parser.add_argument("--small", action="store_true", help=f"only {', '.join(SMALL)}")
    parser.add_argument("--store", type=command.path, default=ROOT / "build" / "parity", metavar="DIR")
    parser.add_argument("--record", type=command.path, default=RECORD, metavar="FILE", help="measured errors (CSV)")
    parser.add_argument("--page", type=command.path, default=PAGE, metavar="FILE", help="the page (Markdown)")
    return command.run(_run, parser.parse_args(arguments), "python -m benchmarks.parity")


def _run(given: argparse.Namespace) -> None:
    unknown = [name for name in given.rows if name not in ROWS]
    if unknown:
        raise InputError(f"ROW {unknown[0]}: accepted: {', '.join(ROWS)}")
    names = given.rows or (SMALL if given.small else [name for name, row in ROWS.items() if row.cost != "hours"])
    record = read_record(given.record)
    for name in names:
        try:
            record = with_rows(record, compute(name, given.store))
        except InputError as error:  # the other rows are worth having
            sys.stderr.write(f"{error}\n")
            continue
        write_text(given.record, record.to_csv(index=False))
    write_text(given.page, page(record))
    sys.stdout.write("\n".join(lines(record)) + "\n")


if __name__ == "__main__":
    sys.exit(main())
