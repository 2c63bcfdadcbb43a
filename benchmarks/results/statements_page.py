"""The page and the figure of the papers' statements about exponents, tested on every dataset and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons.conditions import MARGIN
from analysis.figures.forest import Row, forest, height
from analysis.figures.style import COLUMN_WIDTH, HUES, save, style, title
from analysis.spelling import dataset_name
from benchmarks.results import derived
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA
from benchmarks.results.statements import Answer, Said, answers, over_datasets

NAME = "statements"
HEAD = """# The papers' statements about exponents

Δβ of force MAE, second network against first, linearised: a hypothesis about trained networks. 95 % intervals over
seeds of one dataset (Holm's correction over all pairs of its table decides), and over datasets as random effects
(Hartung–Knapp–Sidik–Jonkman). "Within ±0.05": two one-sided tests at the margin of the claim. "Open: floor": not shown
where both curves may have a floor. `make results ARGS="statements --pages"` writes this page."""
FIGURE = "differences"
_POOLED = "all datasets"


def page(found: Mapping[Said, Sequence[Answer]]) -> str:
    """Return the page."""
    parts = [HEAD, f"![Differences of exponents]({FIGURE}.png)"]
    for said, single in found.items():
        rows = [_row(one, f"[{one.data[0]}](../{said.kind}_{one.data[0]}/README.md)") for one in single]
        if pooled := over_datasets(single, said.steeper):
            rows.append(_row(pooled, f"**{len(pooled.data)} datasets**"))
        if rows:
            columns = ["data", "verdict", "Δβ, power laws", "Δβ, with a floor in both", "frames needed, first / second"]
            head = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            parts += [f"## {said.source}: {said.words}", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def _row(answer: Answer, name: str) -> str:
    return f"| {name} | {answer.verdict} | {answer.power_text} | {answer.floor_text} | {answer.frames.cell} |"


def draw(found: Mapping[Said, Sequence[Answer]], stem: Path) -> None:
    """Draw Δβ of every statement, a row for each dataset and one for all, into `stem`.png and its kin."""
    shown = {said: _rows(said, single) for said, single in found.items() if single}
    numbers: list[dict[str, object]] = []
    with style():
        tall = [height([row for _, row in rows]) for rows in shown.values()]
        figure = Figure(figsize=(1.25 * COLUMN_WIDTH, 0.3 + 0.32 * len(tall) + sum(tall)), layout="constrained")
        all_axes = figure.subplots(
            len(tall), 1, squeeze=False, sharex=True, height_ratios=[inches + 0.2 for inches in tall]
        )
        for axes, (said, rows) in zip(all_axes[:, 0], shown.items(), strict=True):
            numbers += _panel(axes, said, rows)
        all_axes[-1, 0].set_xlabel(f"Δβ (95 %); grey: as steep, within ±{MARGIN:g}")
        save(figure, stem, numbers)


def _rows(said: Said, single: Sequence[Answer]) -> list[tuple[Answer, Row]]:
    """Return the answer of each dataset and of all, each with its row of the figure."""
    pooled = over_datasets(single, said.steeper)
    shown = [
        (one, dataset_name(DATA[one.data[0]].tables[0]), HUES[list(DATA).index(one.data[0])], "o") for one in single
    ]
    shown += [(pooled, _POOLED, "black", "D")] if pooled else []
    return [
        (one, Row(name, one.power.value, one.power.low, one.power.high, colour, marker))
        for one, name, colour, marker in shown
    ]


def _panel(axes: Axes, said: Said, rows: Sequence[tuple[Answer, Row]]) -> list[dict[str, object]]:
    forest(axes, [row for _, row in rows], (-MARGIN, MARGIN))
    title(axes, said.name)
    return [
        {"statement": said.name, "data": row.name, "delta": row.value, "low": row.low, "high": row.high}
        | {"verdict": answer.verdict}
        for answer, row in rows
    ]


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None if no table has an answer."""
    found = answers(place)
    if not any(found.values()):
        return None
    return derived.write(place.tables / NAME, page(found), FIGURE, lambda stem: draw(found, stem))
