"""What each choice is worth: exponents and frames for the same error, of networks that differ in one thing, in a table.

The rows are those of other pages, pooled over datasets where there are several, so that they can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparisons.conditions import MARGIN
from analysis.comparisons.equal_error import significant
from analysis.comparisons.paired import pair
from analysis.figures.forest import Row, forest, height
from analysis.figures.naming import architecture_name
from analysis.figures.style import COLUMN_WIDTH, HUES, save, style, title
from analysis.fits.record import label
from analysis.report.linearised import SideBySide
from analysis.spelling import dataset_name
from benchmarks.results import depth, derived
from benchmarks.results.beside import stopped_by_validation
from benchmarks.results.depth import FIRST
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA
from benchmarks.results.statements import Answer, answers, of_pair, over_datasets
from experiments.core.wording import counted

NAME, FIGURE = "effects", "effects"
HEAD = f"""# What each choice is worth

Networks that differ in one thing, the first before the second: by how much β changes, and how many times the frames of
the second the first needs for the same error, where the geometric mean of both sizes is the middle of the measured
range (force MAE). Above 1 the second is more data-efficient. 95 % intervals: over datasets as random effects
(Hartung–Knapp–Sidik–Jonkman; ratios by their logarithms), on one dataset over seeds. Where a dataset has no more than a
limit of the ratio, the limit that holds on each is told (>, <). "As steep": within ±{MARGIN:g}; "open: floor": not
shown where both curves may have a floor. All but the parts on training are linearised: a hypothesis about trained
networks; † marks what has not converged, or nobody knows. What symmetry groups are worth has a page of its own,
[groups](../../groups.md).
`make results ARGS="{NAME} --pages"` writes this page."""
LIMITS = """## What would overturn it

Trained networks on further datasets, larger P, and further seeds where an interval is wide. Rows differ in their data,
so that two of them are compared with care; networks of different architectures differ in more than their symmetry."""
ANGLES = {
    "angles in messages (A → B)": "B",
    "angles in products (A → C)": "C",
    "products, no angles (A → D)": "D",
}
"""What cells have more than A: in words → the cell."""
NEIGHBOURS, DEPTH = "Neighbours: bonds alone → all within 5 Å", "Depth: 2 → 4 layers"
WIDTH, TRAINING = "Width: 16 → 32 channels", "Training: linearised → trained"
ROTATED = "Trained MPNN: frames as they are → rotated copies"
SYMMETRIC = "Trained: MPNN on rotated copies → E(3) symmetry"
"""MPNN: message passing without rotation symmetry."""
IN_SHORT = {
    NEIGHBOURS: "bonds alone → all neighbours within 5 Å",
    TRAINING: "linearised → trained",
    DEPTH: "2 → 4 layers",
    WIDTH: "16 → 32 channels",
    ROTATED: "training on frames as they are → on rotated copies, without rotation symmetry",
}
"""Parts whose rows are one change of several networks → that change in a sentence."""
RATIOS = (0.5, 1, 2, 4, 8, 16, 32)
"""Ticks of the figure's ratios."""
REACH = (-0.25, 0.8)
"""Δβ that the figure shows."""


@dataclass(frozen=True)
class Effect:
    """What one change is worth."""

    part: str
    """What kind of change."""
    words: str
    """The change, or the network that is changed."""
    answer: Answer
    """Over datasets, or on the only one."""

    @property
    def data(self) -> str:
        """How many datasets, or the name of the only one."""
        return self.answer.data[0] if len(self.answer.data) == 1 else f"{len(self.answer.data)} datasets"


def effects(place: Place) -> list[Effect]:
    """Return what each change is worth, in the order of the page."""
    found = [
        Effect("Orders L and ν", said.name, one) for said, single in answers(place).items() for one in _all(single)
    ]
    found += [
        Effect("Angles, at equal weights", words, one)
        for words, cell in ANGLES.items()
        for one in _all(depth.between((FIRST, "A"), (FIRST, cell), place))
    ]
    found += _of_cells(NEIGHBOURS, "2 layers, bonds alone", FIRST, place)
    found += _of_cells(DEPTH, FIRST, "4 layers", place)
    found += [Effect(WIDTH, model, one) for model, one in depth.wider(place)]
    return found + _training(place) + _rotated(place)


def _of_cells(part: str, first: str, second: str, place: Place) -> list[Effect]:
    """Return what a change of depth or reach is worth to each cell."""
    return [
        Effect(part, f"cell {letter}", one)
        for letter in "ABCD"
        for one in _all(depth.between((first, letter), (second, letter), place))
    ]


def _all(single: Sequence[Answer]) -> list[Answer]:
    """Return what all datasets say together, or the only one."""
    pooled = over_datasets(single, steeper=False)
    return [pooled] if pooled else list(single)[:1]


def _training(place: Place) -> list[Effect]:
    """Return what training changes, of networks stopped by validation, with the differences of their page."""
    rows = [(data, row, of_pair(data, row.both, row.delta)) for data, row in _trained(place)]
    return [Effect(TRAINING, row.model + _dagger(row), answer) for _, row, answer in rows]


def _rotated(place: Place) -> list[Effect]:
    """Return what rotated copies are worth to a network in training, and what a symmetry is worth instead of them.

    Networks are stopped by validation.
    """
    rows, found = _trained(place), []
    for data, copies in rows:
        for other_data, other in rows if _has_copies(copies) else ():
            if other_data != data or _has_copies(other):
                continue
            if label(other.both.second) == label(copies.both.second):
                part, words, order = ROTATED, architecture_name(other.both.second), (other, copies)
            elif other.both.second.text("group") != copies.both.second.text("group"):
                part, words, order = SYMMETRIC, other.model, (copies, other)
            else:
                continue
            if both := pair(*(row.both.second for row in order)):
                found.append(Effect(part, words + _dagger(*order), of_pair(data, both)))
    return sorted(found, key=lambda one: one.part == SYMMETRIC)


def _trained(place: Place) -> list[tuple[str, SideBySide]]:
    """Return the trained networks, stopped by validation, each with the name of its data."""
    return [(data, row) for data in DATA for row in stopped_by_validation(data, place)]


def _has_copies(row: SideBySide) -> bool:
    return str(row.both.second.value("training.augment")) == "True"


def _dagger(*rows: SideBySide) -> str:
    return "" if all(row.converged for row in rows) else " †"


def page(found: Sequence[Effect]) -> str:
    """Return the page."""
    parts = [HEAD, f"![Changes of β, and frames for the same error]({FIGURE}.png)"]
    head = "| change | data | Δβ | | frames needed, first / second |\n|---|---|---|---|---|"
    for part, own in _parts(found).items():
        rows = [
            f"| {one.words} | {one.data} | {one.answer.power_text} | {depth.verdict(one.answer)} | "
            f"{one.answer.frames.cell} |"
            for one in own
        ]
        parts += [f"## {part}", "\n".join([head, *rows])]
    return "\n\n".join([*parts, LIMITS]) + "\n"


def _parts(found: Sequence[Effect]) -> dict[str, list[Effect]]:
    parts: dict[str, list[Effect]] = {}
    for one in found:
        parts.setdefault(one.part, []).append(one)
    return parts


def headline(place: Place) -> str:
    """Return how many frames each change saves, those that save most first, in a sentence; empty without tables."""
    told: dict[str, float] = {}
    parts = _parts(effects(place))
    instead = parts.pop(SYMMETRIC, ())
    for part, own in parts.items():
        known = sorted((one for one in own if np.isfinite(_middle(one))), key=_middle)
        if part in IN_SHORT and known:
            told[f"{_range(known)} for {IN_SHORT[part]} ({counted(len(known), 'network')})"] = _middle(known[-1])
        else:
            told |= {f"{one.answer.frames.cell} for {one.words}": _middle(one) for one in known}
    if not told:
        return ""
    listed = "; ".join(sorted(told, key=lambda words: told[words], reverse=True))
    return (
        f"Frames needed for the same error, those before a change over those after it: {listed}{_instead(instead)} "
        f"([{NAME}](results/{NAME}/README.md))."
    )


def _instead(found: Sequence[Effect]) -> str:
    """Return what a symmetry is worth to who can train on rotated copies, in a sentence; empty without any."""
    if not found:
        return ""
    told = ", ".join(f"{one.answer.frames.cell} of {one.words}" for one in found)
    return (
        ". All of them trained, message passing without rotation symmetry on rotated copies needs so many times the "
        f"frames: {told}"
    )


def _range(found: Sequence[Effect]) -> str:
    """Return the smallest and the largest ratio of several networks in this order."""
    low, high = (one.answer.frames for one in (found[0], found[-1]))
    if len(found) == 1 or (low.bound and low.bound[0] == "more"):
        return low.cell
    return " to ".join(one.cell if one.bound else significant(one.ratio.value) for one in (low, high))


def _middle(one: Effect) -> float:
    """Return the ratio, or the limit of it that is known; NaN without either."""
    ratio = one.answer.frames
    return ratio.bound[1] if ratio.bound else ratio.ratio.value


def draw(found: Sequence[Effect], stem: Path) -> None:
    """Draw Δβ and the ratio of frames, a row a change, into `stem`.png and its kin."""
    numbers: list[dict[str, object]] = []
    parts = _parts(found)
    with style():
        tall = [height(_deltas(own, "black")) for own in parts.values()]
        figure = Figure(figsize=(2 * COLUMN_WIDTH, 0.5 + 0.32 * len(tall) + sum(tall)), layout="constrained")
        grid = figure.subplots(
            len(tall), 2, squeeze=False, sharex="col", sharey="row", height_ratios=[inches + 0.2 for inches in tall]
        )
        for index, (axes, (part, own)) in enumerate(zip(grid, parts.items(), strict=True)):
            colour = HUES[index % len(HUES)]
            forest(axes[0], _deltas(own, colour), (-MARGIN, MARGIN))
            forest(axes[1], _ratios(own, colour), (0, 0))
            title(axes[0], f"{part} ({_data(own)})")
            numbers += [
                {"part": part, "change": one.words, "data": one.data, "delta": one.answer.power.value}
                | {"low": one.answer.power.low, "high": one.answer.power.high, "ratio": one.answer.frames.ratio.value}
                | {"ratio_low": one.answer.frames.ratio.low, "ratio_high": one.answer.frames.ratio.high}
                for one in own
            ]
        grid[-1, 0].set_xlabel(f"Δβ (95 %); grey: as steep, within ±{MARGIN:g}")
        grid[-1, 0].set_xlim(*REACH)
        _label_ratios(grid[-1, 1])
        save(figure, stem, numbers)


def _data(found: Sequence[Effect]) -> str:
    """Return on how many datasets, `6–7 datasets`, or on which."""
    counts = sorted({len(one.answer.data) for one in found})
    if counts == [1]:
        return ", ".join(dict.fromkeys(dataset_name(DATA[one.data].tables[0]) for one in found))
    return f"{'–'.join(dict.fromkeys(map(str, (counts[0], counts[-1]))))} datasets"


def _label_ratios(axes: Axes) -> None:
    axes.set_xlabel("Frames needed for the same error, first / second")
    axes.set_xticks(np.log(RATIOS), [f"{one:g}" for one in RATIOS])
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, np.log(RATIOS[0])), max(high, np.log(RATIOS[-1])))


def _deltas(found: Sequence[Effect], colour: str) -> list[Row]:
    deltas = [(one.words, one.answer.power) for one in found]
    return [Row(words, delta.value, delta.low, delta.high, colour) for words, delta in deltas]


def _ratios(found: Sequence[Effect], colour: str) -> list[Row]:
    """Return the logarithms of ratios; a limit alone is a triangle that points to where the ratio is."""
    rows = []
    for one in found:
        ratio = one.answer.frames
        if ratio.bound:
            kind, limit = ratio.bound
            rows.append(Row(one.words, np.log(limit), np.nan, np.nan, colour, ">" if kind == "more" else "<"))
        else:
            value, low, high = np.log([ratio.ratio.value, ratio.ratio.low, ratio.ratio.high])
            rows.append(Row(one.words, value, low, high, colour))
    return rows


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None without a table to compare in."""
    found = effects(place)
    if not found:
        return None
    return derived.write(place.tables / NAME, page(found), FIGURE, lambda stem: draw(found, stem))
