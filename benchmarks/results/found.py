"""What was found: one page in plain English, written from the pages of the sections, every number with its command.

The papers' statements about exponents are set beside what the tables show, dataset by dataset; one that a table
contradicts is the headline.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from analysis.files import write_text
from benchmarks.results.outstanding import Place
from benchmarks.results.pages import outcome_of_claim
from benchmarks.results.sections import DATA
from experiments.core.paths import ROOT

TRIALS = {"ethanol_pbe": "A .37, B .58, C .64, D .37", "acac": "A .47, B .67, C .72, D .52"}
"""First trials of this project, before the rules on floors: plain slopes, three seeds, P ≤ 64 and P ≤ 32."""
README = ROOT / "README.md"
BEGINS, ENDS = "<!-- make results writes this -->\n", "\n<!-- until here -->"
"""What stands around `sentence` in README.md."""
CONTRADICTED, HOLDS, OPEN, NOT_SHOWN = "**contradicted**", "holds", "open: floor", "not shown"


@dataclass(frozen=True)
class Said:
    """A statement of a paper about an exponent, and the comparison that tests it."""

    words: str
    """The statement."""
    source: str
    """The paper."""
    section: str
    """Kind of section: `nequip` or `mace`."""
    model: str
    """Common factors of the compared models, as tables name them."""
    compared: str
    """The two levels, as tables name them."""
    steeper: bool
    """Whether the second is said to be steeper; else to have the same exponent."""


SAID = (
    Said("L = 1 is steeper than L = 0", "NequIP", "nequip", "linearised NequIP", "L=0 → L=1", True),
    Said("L = 2 is as steep as L = 1", "NequIP", "nequip", "linearised NequIP", "L=1 → L=2", False),
    Said("L = 3 is as steep as L = 1", "NequIP", "nequip", "linearised NequIP", "L=1 → L=3", False),
    Said("at L = 0, ν = 3 is steeper than ν = 1", "MACE", "mace", "linearised MACE, L=0", "ν=1 → ν=3", True),
    Said("at ν = 1, L = 1 is steeper than L = 0", "MACE", "mace", "linearised MACE, ν=1", "L=0 → L=1", True),
    Said("at ν = 3, L = 2 is as steep as L = 0", "MACE", "mace", "linearised MACE, ν=3", "L=0 → L=2", False),
)
HEAD = """# What was found

What affects the data efficiency of equivariant networks? These are this program's answers so far, force MAE. A
linearised network learns no features: its exponent β is a hypothesis about the trained one. Every number is from the
page that it links to, which names the command that computed it; `make results` computes what is missing.
"""
LIMITS = """## Limits

- A few molecules decide little: each has a column or a row above, and much was [not run](results/README.md#not-run).
- {trained}
- Five seeds and P ≤ 128: where a floor is not excluded, "open" is what the tables say.
- Of NequIP and MACE weights are not matched here; of cells A–D they are.
- Exponents hold over the measured P alone; forecasts beyond were [tested](results/forecasts/README.md), bounds of
  theory stand in [theory](results/theory/README.md), errors beside published ones in [parity](parity.md). An exponent
  of a network that misses its published error there is not quoted."""


def outcome(said: Said, row: tuple[str, str]) -> str:
    """Return whether a comparison, its Δβ and what is shown, bears a statement out.

    A floor that is not excluded leaves a difference open; no difference shown is no proof of equality.
    """
    delta, shown = row
    if shown == "no":
        verdict = NOT_SHOWN if said.steeper else "no difference shown"
    elif shown.startswith("not converged"):
        verdict = shown
    elif "open" in shown:
        verdict = f"{shown.partition(',')[0]}, {OPEN if 'floor' in shown else 'open: training'}"
    else:
        verdict = HOLDS if said.steeper and shown == "rises" else CONTRADICTED
    return f"{verdict} (Δβ {delta})"


def rows_of(page: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the comparisons of a page's table: model, what is compared, Δβ, what is shown."""
    for line in page.splitlines():
        cells = re.split(r"\s{2,}", line)
        if len(cells) == 8 and "→" in cells[3]:
            yield cells[2], cells[3], cells[4], cells[6]


def _page(name: str, place: Place) -> str:
    path = place.tables / name / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _claims(place: Place) -> list[str]:
    """Return a table row for each dataset and depth of the claim: outcome, exponents, first trials."""
    rows = []
    for data in DATA:
        for ending, depth in (("", "2, 5 Å"), ("_depth3", "3, 5 Å"), ("_depth4", "4, 5 Å"), ("_bonds", "2, short")):
            name = f"claim_{data}{ending}"
            if words := outcome_of_claim(_page(name, place)):
                told = words[0].rpartition("the claim ")[2].lower()
                betas = words[1].removeprefix("β: ")
                trial = TRIALS.get(data, "–") if not ending else "–"
                rows.append(f"| [{name}](results/{name}/README.md) | {depth} | {told} | {betas} | {trial} |")
    return rows


def page(place: Place) -> str:
    """Return the page."""
    columns = [data for data in DATA if any(_page(f"{kind}_{data}", place) for kind in ("nequip", "mace"))]
    table, contradicted = [], []
    for said in SAID:
        cells = []
        for data in columns:
            name = f"{said.section}_{data}"
            found = [row for row in rows_of(_page(name, place)) if row[:2] == (said.model, said.compared)]
            told = outcome(said, found[0][2:]) if found else "not run"
            cells.append(f"[{told}](results/{name}/README.md)" if found else told)
            if told.startswith(CONTRADICTED):
                contradicted.append(
                    f"On {DATA[data].words} the linearised networks contradict {said.source}'s paper: it says that "
                    f"{said.words}, and β changes by {found[0][2]} from {said.compared.replace(' → ', ' to ')} "
                    f"([{name}](results/{name}/README.md))."
                )
        table.append(f"| {said.source}: {said.words} | {' | '.join(cells)} |")
    claims = _claims(place)
    held = [row for row in claims if "| is undecided |" not in row]
    tested = any("](results/" in row for row in table)
    headline = contradicted or ["No statement of a paper about exponents is contradicted by a table here."] * tested
    if claims:
        headline.append(
            "The first trials of this project met all conditions of the claim by plain slopes. Tested as registered, "
            f"with floors, the claim is decided in {len(held)} of {len(claims)} tables."
        )
    parts = [
        HEAD,
        "\n".join(f"- {line}" for line in headline),
        "## The papers' statements, linearised",
        "\n".join([f"| statement | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *table]),
        "## The claim: L or ν, one of them is enough",
        "\n".join(
            [
                "| page | layers, cutoff | the claim … | β of cells A–D | first trials |",
                "|---|---|---|---|---|",
                *claims,
            ]
        ),
        LIMITS.format(trained=_trained(place)),
    ]
    text = "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
    return text.replace("(results/", f"({place.tables.name}/")


def sentence(place: Place) -> str:
    """Return the first words of README.md: what its figure shows, in numbers; empty without the table."""
    words = outcome_of_claim(_page("claim_ethanol_pbe", place))
    if words is None:
        return ""
    told, betas = words[0].rpartition("the claim ")[2].lower(), words[1].removeprefix("β: ")
    text = f"Their exponents β are {betas}; tested as registered, with floors, the claim {told}."
    return "\n".join(textwrap.wrap(text, 120))


def _trained(place: Place) -> str:
    if _page("trained_ethanol_pbe", place):
        return "Trained networks: one molecule ([linearised beside trained](results/trained_ethanol_pbe/README.md))."
    return "Not trained yet: no table of trained networks stands beside these."


def write(place: Place) -> Path:
    """Write the page beside the folder of results, and, for docs/results, the first sentence of README.md."""
    path = place.tables.parent / "found.md"
    write_text(path, page(place))
    if place.tables == README.parent / "docs" / "results":
        text = README.read_text(encoding="utf-8")
        before, rest = text.split(BEGINS)
        write_text(README, f"{before}{BEGINS}{sentence(place)}{ENDS}{rest.split(ENDS)[1]}")
    return path
