"""The list of all sections: which have a page, what it says first, and what was not run, with its core hours."""

from __future__ import annotations

import pandas as pd

from benchmarks.results import costs
from benchmarks.results.merged_table import read
from benchmarks.results.outstanding import Place, is_there, labels_of
from benchmarks.results.pages import outcome_of_claim, wanted
from benchmarks.results.sections import SECTIONS, Part

PARTS: dict[Part, str] = {
    "papers": "The papers' figures",
    "claim": "The claim",
    "trained": "Trained beside linearised",
    "architectures": "Architectures",
    "symmetry": "Symmetry groups",
}
HEAD = """# Results

Each page is written from its run table by `make results` (`python -m benchmarks.results`), and a test fails where the
two differ. `make results ARGS="SECTION --again 0"` computes one seed of a table anew, if its fits are in closed form,
and says by how much errors differ. Processor times are of x86-64 server cores with AVX2 or AVX-512, shared with other
work. What all of it says together: [what was found](../found.md)."""
OTHERS = {
    "effects/README.md": "what each choice is worth, in exponents and in frames for the same error",
    "statements/README.md": "the papers' statements about exponents, on each dataset and over all",
    "claim_all/README.md": "the claim over datasets, as random effects",
    "depth/README.md": "what more layers, neighbours of bonds alone, or more channels do to exponents",
    "forecasts/README.md": "forecasts of cut curves, and what then came",
    "theory/README.md": "distances to the nearest frame, the dimension of the data, bounds of theory",
    "../groups.md": "what symmetry groups are worth, on images, points, voxels and jets",
    "../parity.md": "errors beside published ones: a network that misses them has no exponent worth quoting",
    "../gpu.md": "checks of the program on one GPU",
}
"""Pages that are made of these tables, or stand beside them."""
FIRST = {"claim": 2, "papers": 3, "trained": 3, "architectures": 3, "symmetry": 0}
"""Most sentences of a page that the list repeats."""


def overview(place: Place) -> str:
    """Return the page, from the tables and pages of the sections."""
    texts = [HEAD]
    for part, words in PARTS.items():
        names = [name for name in place.sections() if SECTIONS[name].part == part]
        rows = [_row(name, place) for name in names if place.table(name).exists()]
        if rows:
            texts += [f"## {words}", "\n".join(["| page | what was computed |", "|---|---|", *rows])]
        found = [line for name in names if place.table(name).exists() for line in first(name, place)]
        if found:
            texts += ["In the program's own words, force MAE:", "\n".join(found)]
    beside = [f"- [{path}]({path}): {words}" for path, words in OTHERS.items() if (place.tables / path).exists()]
    if beside:
        texts += ["## Beside them", "\n".join(beside)]
    if missing := _missing(place):
        head = ["| section | runs | core hours |", "|---|---|---|"]
        told = "Core hours are told from the tables that are here; `make results ARGS=SECTION` computes one."
        texts += ["## Not run", told, "\n".join([*head, *missing])]
    return "\n\n".join(texts) + "\n"


def first(name: str, place: Place) -> list[str]:
    """Return the sentences of a section's page that answer its question, each with a link to the page."""
    text = (place.tables / name / "README.md").read_text(encoding="utf-8")
    if SECTIONS[name].part == "claim":
        told = list(outcome_of_claim(text) or ())
    else:
        told = [line for line in text.splitlines() if line.startswith("one exponent ")]
    return [f"- [{name}]({name}/README.md): {line.strip()}" for line in told[: FIRST[SECTIONS[name].part]]]


def _row(name: str, place: Place) -> str:
    section = SECTIONS[name]
    runs = pd.read_csv(place.table(name), low_memory=False).drop_duplicates("run_id")
    kind = "linearised networks, " if section.linearised else ""
    size = f"{kind}P = {runs['P'].min()}…{runs['P'].max()}, {runs['seed'].nunique()} seeds, {len(runs)} runs"
    known = labels_of(read(place.table(name)))
    lacking = sum(not is_there(config, known) for config in wanted(name, place).values())
    left = f"; {lacking} runs, or further test sets of runs, not yet" if lacking else ""
    return f"| [{name}]({name}/README.md) | {section.heading}: {size}{left} |"


def _missing(place: Place) -> list[str]:
    """Return a row for each section without a table."""
    known = costs.of_all(place.tables)
    lines = []
    for name in place.sections():
        if not place.table(name).exists():
            configs = list(wanted(name, place).values())
            hours = costs.told(*known.hours(configs, SECTIONS[name].data)).replace("core hours unknown", "unknown")
            lines.append(f"| {name} | {len(configs)} | {hours.replace(' core hours', '')} |")
    return lines
