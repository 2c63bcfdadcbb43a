"""Write a section of docs/results from its run table: what `fit`, `compare` and `claim` say, and the figure.

    python -m benchmarks.results NAME [--store DIR]

With a store the section's `runs.csv` is written first, from the runs that are done; without one the table that is
there is used, so that the page can be made again where the store is gone. Text with numbers is the program's own, and a
test fails where page and table differ.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import cli
from analysis.errors import InputError
from experiments.core import command
from experiments.core.paths import ROOT

FOLDER = ROOT / "docs" / "results"


@dataclass(frozen=True)
class Section:
    """A section: its heading, the command that computed it, what is said beforehand, and whether it tests the claim."""

    heading: str
    sweep: str
    remark: str
    claim: bool = False
    by: str = ""
    """Column to compare by; empty: whatever differs."""


INDEX = """# Results

Each page is written from its run table by `python -m benchmarks.results NAME`, and a test fails where the two differ.
Processor times are of an x86-64 server core with AVX2, shared with other work.

| page | what was computed |
|---|---|"""
FOUND = """## What was found so far

In the program's own words, force MAE. All of it is about networks linearised around their initial weights: a hypothesis
about trained ones."""
OTHERS = (
    "| [groups](../groups.md) | what symmetry groups are worth, on images, points, voxels and jets |",
    "| [gpu](../gpu.md) | checks of the program on one GPU |",
)
_LINEAR = (
    "Networks linearised around their initial weights, without an optimiser: a hypothesis about trained ones "
    "([docs/linearised.md](../../linearised.md)). **Not trained yet.** "
)
SECTIONS: dict[str, Section] = {
    f"{name}_{data}": section
    for data, (words, sizes) in {
        "ethanol_pbe": ("ethanol (PBE, molecular dynamics at 500 K)", ""),
        "acac": ("acetylacetone (PBE, trained and tested at 300 K)", " P=4,8,16,32,64"),
    }.items()
    for name, section in {
        "claim": Section(
            f"The claim on {words}",
            f"+sweep=claim_linear data={data} model.n_layers=2 model.cutoff=5.0{sizes} seed=0,1,2,3,4",
            _LINEAR + "Cells A–D of the [pre-registration](../../claim-preregistration.md), two layers, 5 Å, as many "
            "weights as cell C with 16 channels, five seeds.",
            claim=True,
        ),
        "nequip": Section(
            f"NequIP by L on {words}",
            f"+sweep=nequip_linear data={data}{sizes}",
            _LINEAR + "Batzner et al. 2022 found that equivariant features (L ≥ 1) make errors fall faster with P.",
            by="L",
        ),
        "mace": Section(
            f"MACE by ν and L on {words}",
            f"+sweep=mace_linear data={data}{sizes}",
            _LINEAR + "Batatia et al. 2022 found that products of higher order ν steepen the curves of invariant "
            "messages, and that L then shifts them.",
        ),
    }.items()
}
"""Sections by the name of their folder."""


def said(*words: str) -> str:
    """Return what a command of `analysis` prints on standard output."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = cli.main(list(words))
    if code:
        raise InputError(f"python -m analysis {' '.join(words)}: exit code {code}")
    return out.getvalue().rstrip()


def page(name: str, table: Path) -> str:
    """Return the section's page, from its run table."""
    section = SECTIONS[name]
    frame = pd.read_csv(table)
    runs = frame.drop_duplicates("run_id")
    sizes = ", ".join(str(size) for size in sorted(runs["P"].unique()))
    processors = runs["cpu_seconds"].sum() / 60
    compared = ["compare", "--table", str(table), *(["--by", section.by] if section.by else [])]
    blocks = [("fit", said("fit", "--table", str(table))), (" ".join(["compare", *compared[3:]]), said(*compared))]
    if section.claim:
        blocks.insert(0, ("claim", said("claim", "--table", str(table))))
    texts = [f"`python -m analysis {words} --table runs.csv`\n\n```text\n{text}\n```" for words, text in blocks]
    return "\n\n".join(
        [
            f"# {section.heading}",
            section.remark,
            f"{len(runs)} runs, P = {sizes}, {runs['seed'].nunique()} seeds, {processors:.0f} processor minutes. The "
            "table is [runs.csv](runs.csv); the runs are those of",
            f"```\npython -m experiments -m {section.sweep}\n```",
            "as far as they were computed. Further runs, other seeds, matched weights where they are not matched, and "
            "trained networks can overturn what is said here.",
            "![Learning curves](learning_curves.png)",
            *texts,
            "",
        ]
    )


def write(name: str, store: Path | None) -> Path:
    """Write a section's table (if a store is given), figure and page; return the page."""
    folder = FOLDER / name
    table = folder / "runs.csv"
    if store is not None:
        folder.mkdir(parents=True, exist_ok=True)
        said("table", "--store", str(store), "--csv", str(table))
    if not table.exists():
        raise InputError(f"{table}: no such table; accepted: --store DIR with the runs of {SECTIONS[name].sweep}")
    with tempfile.TemporaryDirectory() as drawn:
        said("figures", "--table", str(table), "--out", drawn)
        figure = Path(drawn) / "learning_curves.png"
        (folder / "learning_curves.png").write_bytes(figure.read_bytes())
    (folder / "README.md").write_text(page(name, table), encoding="utf-8")
    (FOLDER / "README.md").write_text(index(), encoding="utf-8")
    return folder / "README.md"


def index() -> str:
    """Return the page that lists the sections with a table."""
    rows = []
    for name, section in SECTIONS.items():
        if (FOLDER / name / "runs.csv").exists():
            runs = pd.read_csv(FOLDER / name / "runs.csv").drop_duplicates("run_id")
            size = f"P = {runs['P'].min()}…{runs['P'].max()}, {runs['seed'].nunique()} seeds, {len(runs)} runs"
            rows.append(f"| [{name}]({name}/README.md) | {section.heading}: linearised networks, {size} |")
    found = [line for name in SECTIONS if (FOLDER / name / "runs.csv").exists() for line in said_first(name)]
    return "\n".join([INDEX, *rows, *OTHERS, "", FOUND, "", *found, ""])


def said_first(name: str) -> list[str]:
    """Return what the program says first of a section: outcome and exponents of the claim, or tests of one exponent."""
    table = str(FOLDER / name / "runs.csv")
    if SECTIONS[name].claim:
        told = said("claim", "--table", table).splitlines()[:2]
    else:
        told = [
            line for line in said("compare", "--sentence", "--table", table).splitlines() if line.startswith("one ")
        ]
    return [f"- [{name}]({name}/README.md): {line.strip()}" for line in told]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return exit code 0 or 2 (bad input, told in one line)."""
    parser = command.Parser(prog="python -m benchmarks.results", description=__doc__.split("\n\n")[0])
    parser.add_argument("name", choices=sorted(SECTIONS), metavar="NAME", help=", ".join(sorted(SECTIONS)))
    parser.add_argument("--store", type=command.path, metavar="DIR", help="store of the section's runs")

    def answer(given: argparse.Namespace) -> None:
        print(write(given.name, given.store))

    return command.run(answer, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
