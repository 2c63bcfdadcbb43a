"""The page and the figure of the papers' statements about exponents, tested on every dataset and over all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons.conditions import MARGIN
from analysis.figures.style import COLUMN_WIDTH, GRID, HUES, save, style, title
from analysis.files import write_text
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
        if pooled := over_datasets(said, single):
            rows.append(_row(pooled, f"**{len(pooled.data)} datasets**"))
        if rows:
            head = ["| data | verdict | Δβ, power laws | Δβ, with a floor in both |", "|---|---|---|---|"]
            parts += [f"## {said.source}: {said.words}", "\n".join([*head, *rows])]
    return "\n\n".join(parts) + "\n"


def _row(answer: Answer, name: str) -> str:
    return f"| {name} | {answer.verdict} | {answer.power_text} | {answer.floor_text} |"


def draw(found: Mapping[Said, Sequence[Answer]], stem: Path) -> None:
    """Draw Δβ of every statement, a row for each dataset and one for all, into `stem`.png and its kin."""
    shown = {said: single for said, single in found.items() if single}
    numbers: list[dict[str, object]] = []
    with style():
        counts = [len(single) + 1 for single in shown.values()]
        figure = Figure(
            figsize=(1.25 * COLUMN_WIDTH, 0.3 + 0.32 * len(counts) + 0.13 * sum(counts)), layout="constrained"
        )
        all_axes = figure.subplots(len(counts), 1, squeeze=False, sharex=True, height_ratios=[n + 1.2 for n in counts])
        for axes, (said, single) in zip(all_axes[:, 0], shown.items(), strict=True):
            numbers += _panel(axes, said, single)
        all_axes[-1, 0].set_xlabel(f"Δβ (95 %); grey: as steep, within ±{MARGIN:g}")
        save(figure, stem, numbers)


def _panel(axes: Axes, said: Said, single: Sequence[Answer]) -> list[dict[str, object]]:
    pooled = over_datasets(said, single)
    rows = [*((one.data[0].replace("_", " "), one) for one in single), *([(_POOLED, pooled)] if pooled else [])]
    axes.axvspan(-MARGIN, MARGIN, color="#eeeeee", zorder=0, linewidth=0)
    axes.axvline(0.0, color="#999999", linewidth=0.6, zorder=1)
    numbers: list[dict[str, object]] = []
    for index, (name, answer) in enumerate(rows):
        delta, of_all = answer.power, name == _POOLED
        colour = "black" if of_all else HUES[list(DATA).index(answer.data[0])]
        if np.isfinite(delta.low):
            axes.plot([delta.low, delta.high], [index, index], color=colour, linewidth=1.4)
        axes.plot(delta.value, index, "D" if of_all else "o", color=colour, markersize=3.5)
        ends = {"delta": delta.value, "low": delta.low, "high": delta.high}
        numbers.append({"statement": said.name, "data": name, **ends, "verdict": answer.verdict})
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    title(axes, said.name)
    return numbers


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None if no table has an answer."""
    found = answers(place)
    if not any(found.values()):
        return None
    folder = place.tables / NAME
    folder.mkdir(parents=True, exist_ok=True)
    draw(found, folder / FIGURE)
    for ending in ("pdf", "svg", "csv"):
        (folder / f"{FIGURE}.{ending}").unlink(missing_ok=True)
    path = folder / "README.md"
    write_text(path, page(found))
    return path
