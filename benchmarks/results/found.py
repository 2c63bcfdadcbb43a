"""What was found: one page in plain English, written from the pages of the sections, every number with its command.

The papers' statements about exponents are set beside what the tables show, dataset by dataset; one that a table
contradicts is the headline.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from analysis.comparisons.claim import predicate
from analysis.comparisons.claim_pool import PooledClaim, without_words
from analysis.comparisons.conditions import Outcome
from analysis.files import write_text
from analysis.protocol import BUDGET, VALIDATION
from analysis.spelling import dataset_words
from benchmarks.results import (
    architectures,
    depth,
    effects,
    pooled_claim,
    statements_page,
    symmetry,
    tested_forecasts,
    theory_page,
)
from benchmarks.results.beside import feature_learning, trained_rows
from benchmarks.results.outstanding import Place
from benchmarks.results.pages import outcome_of_claim
from benchmarks.results.sections import DATA, SECTIONS, Part
from benchmarks.results.statements import Answer, Said, answers, over_datasets
from experiments.core.paths import ROOT

TRIALS = {"ethanol_pbe": "A .37, B .58, C .64, D .37", "acac": "A .47, B .67, C .72, D .52"}
"""First trials of this project, before the rules on floors: plain slopes, three seeds, P ≤ 64 and P ≤ 32."""
LAST = {"2 layers, cutoff 5 Å": "acetylacetone", "3 layers, cutoff 5 Å": "3bpa"}
"""Networks → the dataset of `DATA` that came last with them; this page said before what held without it."""
README = ROOT / "README.md"
TRAINED = "trained_ethanol_pbe"
FIRST = {"n_layers": 2, "cutoff": 5}
"""Depth and cutoff of the networks in README's first figure."""
BEGINS, ENDS = "<!-- make results writes this -->\n", "\n<!-- until here -->"
"""What stands around `sentence` in README.md."""
HEAD = """# What was found

What affects the data efficiency of equivariant networks? These are this program's answers so far, force MAE. A \
linearised network learns no features: its exponent β is a hypothesis about the trained one. Every number is from the \
page that it links to, which names the command that computed it; `make results` computes what is missing.
"""
LIMITS = """## Limits

- A few datasets decide little, much was [not run](results/README.md#not-run), and five seeds with P ≤ 128 seldom \
exclude a floor: then "open" is what the tables say. Tests over datasets were repeated as datasets were added. \
Exponents hold over the measured P alone.
- {trained} Of NequIP and MACE weights are not matched here; of cells A–D they are. Errors beside published ones stand \
in [parity](parity.md): an exponent of a network that misses its published error there is not quoted."""
CLAIM = (
    "angles steepen a curve whether messages carry them (B) or products (C), and products without angles (D) do "
    "not: B and C are steeper than A, C is no flatter than B, and D is as steep as A."
)
"""The claim on cells A–D in a sentence."""


def _page(name: str, place: Place) -> str:
    path = place.tables / name / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _claims(place: Place) -> list[str]:
    """Return a table row for each dataset: outcome at 2 layers and 5 Å, exponents, first trials, other settings."""
    rows = []
    for data in DATA:
        others = {"3 layers": "depth3", "4 layers": "depth4", "short": "bonds"}
        names = {words: f"claim_{data}_{ending}" for words, ending in others.items()}
        told = [(words, name, _outcome(name, place)) for words, name in names.items()]
        further = [f"[{words}](results/{name}/README.md) {one[0]}" for words, name, one in told if one]
        rows += _row_of(f"claim_{data}", TRIALS.get(data, "–"), further, place)
    for name in (name for name, section in SECTIONS.items() if section.part == "trained"):
        rows += _row_of(name, "–", [], place)
    return rows


def _row_of(name: str, trial: str, further: Sequence[str], place: Place) -> list[str]:
    """Return the row of a section; none where its page says nothing of the claim, nor that of another setting."""
    told, stopped = _outcome(name, place), _outcome(name, place, VALIDATION)
    if told is None and not further:
        return []
    if told and stopped:  # of trained networks, the second protocol
        told = (f"{told[0]}; stopped by validation {stopped[0]}", f"{told[1]}; stopped by validation {stopped[1]}")
    cells = [f"[{name}](results/{name}/README.md)" if told else name, *(told or ("not run", "–")), trial]
    return [f"| {' | '.join([*cells, ', '.join(further) or '–'])} |"]


def _outcome(name: str, place: Place, stop: str = BUDGET) -> tuple[str, str] | None:
    """Return what a section's page says of the claim, and the exponents of its cells; None where it says nothing."""
    words = outcome_of_claim(_page(name, place), stop)
    return (words[0].rpartition("the claim ")[2].lower(), words[1].removeprefix("β: ")) if words else None


def page(place: Place) -> str:
    """Return the page."""
    found = answers(place)
    claims = _claims(place)
    parts = [HEAD, "\n".join(f"- {line}" for line in _headlines(found, claims, place))]
    if any(found.values()):
        head = ["| statement | over datasets | on each |", "|---|---|---|"]
        rows = [_row(said, single) for said, single in found.items()]
        parts += [
            f"![What each choice is worth](results/{effects.NAME}/{effects.FIGURE}.png)",
            "## The papers' statements, linearised",
            "\n".join([*head, *rows]),
        ]
    if claims:
        head = [
            "| page | the claim (2 layers, 5 Å) … | β of cells A–D | first trials | other depths and cutoffs |",
            "|---|---|---|---|---|",
        ]
        figure = f"![Conditions of the claim over datasets](results/{pooled_claim.NAME}/{pooled_claim.FIGURE}.png)"
        parts += [
            "## The claim: messages with angles or products of them, one is enough",
            *[figure] * bool(pooled_claim.pooled(place)),
        ]
        parts.append("\n".join([*head, *claims]))
    if place.table(TRAINED).exists():
        parts += [f"## Linearised beside [trained](results/{TRAINED}/README.md)", trained_rows(TRAINED, place)]
    parts.append(LIMITS.format(trained=_trained(place)))
    text = "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"
    return text.replace("(results/", f"({place.tables.name}/")


def _headlines(found: Mapping[Said, Sequence[Answer]], claims: Sequence[str], place: Place) -> list[str]:
    """Return a line for each question, what contradicts a paper or an earlier statement first."""
    told = [f"**Against a paper.** {line}" for said, single in found.items() if (line := _contradiction(said, single))]
    if any(found.values()) and not told:
        told = ["No statement of a paper about exponents is contradicted by a table here."]
    over = pooled_claim.pooled(place)
    if claims:
        outcomes = [one[0] for name in SECTIONS if (one := _outcome(name, place))]
        held = [outcome for outcome in outcomes if outcome != "is undecided"]
        told.append(
            "**Against what we said before.** First trials met all conditions of the claim by plain slopes; tested as "
            f"registered, with floors, it is decided in {len(held)} of {len(outcomes)} tables, each by itself."
            + "".join(map(_before, over))
        )
    if over:
        told.append(
            f"**The claim over datasets, linearised** ([claim_all](results/{pooled_claim.NAME}/README.md)): {CLAIM} "
            f"{' '.join(map(_pooled, over))}"
        )
    lines = {
        "What saves frames": effects.headline(place),
        "Depth, cutoff, width": depth.headline(place),
        "What training changes": _of_part("trained", feature_learning, place),
        "Architectures": _of_part("architectures", architectures.headline, place),
        "Symmetry groups": _of_part("symmetry", symmetry.headline, place),
        "Theory": theory_page.headline(place),
        "Forecasts": tested_forecasts.headline(place),
    }
    return [*told, *(f"**{title}.** {line}" for title, line in lines.items() if line)]


def _of_part(part: Part, teller: Callable[[str, Place], str], place: Place) -> str:
    """Return what is told of each section of a part, empty where none has a table."""
    told = (teller(name, place) for name, section in SECTIONS.items() if section.part == part)
    return " ".join(filter(None, told))


def _contradiction(said: Said, single: Sequence[Answer]) -> str:
    """Say on which data, or over how many, networks contradict a statement; empty if nowhere."""
    of_all = over_datasets(single, said.steeper)
    where = [
        f"{f'over {len(one.data)} datasets' if one is of_all else f'on {DATA[one.data[0]].words}'} ({one.power_text})"
        for one in [*([of_all] if of_all else []), *single]
        if one.contradicts
    ]
    if not where:
        return ""
    listed = " and ".join(filter(None, [", ".join(where[:-1]), where[-1]]))
    return (
        f"Linearised networks contradict {said.source}'s paper, which says that {said.words}: from {said.change} β "
        f"changes {listed} ([statements](results/{statements_page.NAME}/README.md))."
    )


def _before(claim: PooledClaim) -> str:
    """Say that the claim held over datasets until the last one came; empty where it still does, or never did."""
    network = pooled_claim.network(claim)
    tables = DATA[LAST[network]].tables if network in LAST else ()
    last = next((name for name in claim.datasets if name in tables), "")
    if claim.outcome is Outcome.HOLDS or claim.without.get(last) is not Outcome.HOLDS:
        return ""
    return (
        f" With {network} it held over the first {len(claim.datasets) - 1} datasets together; with the last "
        f"({dataset_words(last)}) it {predicate(claim.outcome)}."
    )


def _is_first(claim: PooledClaim) -> bool:
    """Return whether a claim is on the networks of README's first figure."""
    return FIRST.items() <= claim.place.items()


def _pooled(claim: PooledClaim) -> str:
    """Say whether the claim holds over datasets, for networks of one depth and cutoff, and what is not shown."""
    conditions, left = claim.decision.conditions, _open(claim)
    told = f"not shown: {', '.join(left)}" if left else f"all {len(conditions)} conditions shown"
    if any(outcome is not claim.outcome for outcome in claim.without.values()):
        told += f"; {without_words(claim)}"
    return f"{pooled_claim.network(claim)}, {len(claim.datasets)} datasets: {predicate(claim.outcome)} ({told})."


def _open(claim: PooledClaim) -> list[str]:
    """Return the conditions that are not shown."""
    return [one.name for one in claim.decision.conditions if not one.shown]


def _row(said: Said, single: Sequence[Answer]) -> str:
    """Return a row of the table: the verdict over datasets, and which datasets have which of their own."""
    of_all = over_datasets(single, said.steeper)
    told = f"{of_all.verdict}, Δβ {of_all.power_text}" if of_all else "–"
    groups: dict[str, list[str]] = {}
    for one in single:
        name = f"{said.kind}_{one.data[0]}"
        groups.setdefault(one.verdict, []).append(f"[{one.data[0]}](results/{name}/README.md)")
    own = "; ".join(f"{verdict}: {', '.join(links)}" for verdict, links in groups.items())
    return f"| {said.source}: {said.words} | {told} | {own or 'not run'} |"


def sentence(place: Place) -> str:
    """Return the first words of README.md: what its figure shows, in numbers; empty without the table."""
    words = outcome_of_claim(_page("claim_ethanol_pbe", place))
    if words is None:
        return ""
    told, betas = words[0].rpartition("the claim ")[2].lower(), words[1].removeprefix("β: ")
    text = f"The claim: {CLAIM} The exponents β are {betas}; tested as registered, with floors, the claim {told}"
    text += "".join(map(_over_all, pooled_claim.pooled(place))) + "."
    return "\n".join(textwrap.wrap(text, 120))


def _over_all(claim: PooledClaim) -> str:
    """Return the end of that sentence: the claim over datasets; empty for other depths and cutoffs."""
    if not _is_first(claim):
        return ""
    told = f" on ethanol, and {predicate(claim.outcome)} over {len(claim.datasets)} datasets together"
    conditions, left = claim.decision.conditions, _open(claim)
    if claim.outcome is Outcome.UNDECIDED and len(left) < len(conditions):
        shown = len(conditions) - len(left)
        told += f", where {shown} of its {len(conditions)} conditions are shown and open is: {', '.join(left)}"
    return told


def _trained(place: Place) -> str:
    if place.table(TRAINED).exists():
        return f"Trained networks: {DATA[SECTIONS[TRAINED].data].words} alone, at the budgets of its page."
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
