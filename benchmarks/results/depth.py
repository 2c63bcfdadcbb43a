"""What depth, cutoff and width do: exponents of networks that differ in one of them, on the same subsets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D

from analysis.calibration.forecast_rates import read_curves
from analysis.comparisons.claim import cell_of
from analysis.comparisons.conditions import MARGIN
from analysis.comparisons.paired import pair
from analysis.curve import Curve
from analysis.figures.naming import short_name
from analysis.figures.style import GRID, letters, looks, save, sheet, style, title
from analysis.fits.flags import JudgedFit, misses
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, interval_text, label
from analysis.fits.uncertainty import Interval
from analysis.spelling import LINEARISED, dataset_name, display_name
from benchmarks.results import derived
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA
from benchmarks.results.statements import HOLDS, NO_DIFFERENCE, Answer, fits_of, of_pair, over_datasets, own_test_set

NAME, FIGURE = "depth", "beta_by_layers"
PLACES = {"2 layers": "", "3 layers": "_depth3", "4 layers": "_depth4", "2 layers, bonds alone": "_bonds"}
"""Depth and reach in words → ending of a section's name. The first is what the others are compared with."""
FIRST = "2 layers"
CHANGES = {
    "3 layers": "From 2 to 3 layers",
    "4 layers": "From 2 to 4 layers",
    "2 layers, bonds alone": "From 5 Å to bonds alone",
}
"""What is compared with the first → the change in words."""
LAYERS = {2: "2 layers", 3: "3 layers", 4: "4 layers"}
"""What the figure has: number of layers → its words."""
Network = tuple[str, str]
"""Depth and reach, in words, and the letter of a cell."""
WIDE = ("nequip_ethanol_pbe", "mace_ethanol_pbe")
"""Sections whose networks were computed with 32 channels, too (`…_32`)."""
PUBLISHED_DATA = "3bpa"
"""Dataset of the published curves by number of layers."""
PUBLISHED_LAYERS = -1
"""Place of the number of layers in the name of a published NequIP in the file of curves."""
PUBLISHED_WORDS = "NequIP L=3, trained, published (force RMSE)"
PUBLISHED_COLOR = "#555555"
HEAD = f"""# What depth, cutoff and width do

Exponents β of force MAE, linearised: a hypothesis about trained networks. Differences are of networks on the same
subsets, 95 %, not corrected for their number; over datasets as random effects (Hartung–Knapp–Sidik–Jonkman). First
cells A–D, against 2 layers with all neighbours within 5 Å: at every depth they have as many weights as C with 16
channels there, so that deeper networks are larger, too. "As steep": two one-sided tests at ±{MARGIN:g}. "Open: floor":
not shown where both curves may have a floor. `make results ARGS="{NAME} --pages"` writes this page."""
COLUMNS = "Δβ, power laws | Δβ, with a floor in both | | frames needed, first / second"
"""Heads of `_cells`."""
LIMITS = """## What would overturn it

Trained networks, further datasets, more layers, and depths that are compared at equal numbers of weights."""


def cells(table: Path) -> dict[str, JudgedFit]:
    """Return the fit of every cell in a table, force MAE on its first test set."""
    fits = own_test_set(fits_of(table))
    return {letter: one for letter in "ABCD" for one in fits if cell_of(one[0].curve) == letter}


def of_data(data: str, place: Place) -> dict[str, Mapping[str, JudgedFit]]:
    """Return the cells of a dataset at each depth and reach that has a table."""
    tables = {words: place.table(f"claim_{data}{ending}") for words, ending in PLACES.items()}
    found = {words: cells(table) for words, table in tables.items() if table.exists()}
    return {words: own for words, own in found.items() if own}


def changes(letter: str, words: str, place: Place) -> list[Answer]:
    """Return Δβ of a cell from the first depth and reach to another, for each dataset that has both."""
    return between((FIRST, letter), (words, letter), place)


def between(first: Network, second: Network, place: Place) -> list[Answer]:
    """Return the difference of two networks for each dataset that has both.

    Args:
        first: the reference: depth and reach, in words, and the cell's letter.
        second: the other.
        place: where the tables are.
    """
    found = []
    for data in DATA:
        own = of_data(data, place)
        one, other = (own.get(words, {}).get(letter) for words, letter in (first, second))
        if one and other and (answer := _answer(data, one, other)):
            found.append(answer)
    return found


def wider(place: Place) -> list[tuple[str, Answer]]:
    """Return Δβ from 16 to 32 channels of every model that was computed with both."""
    found = []
    for name in WIDE:
        tables = [place.table(name), place.table(f"{name}_32")]
        if all(table.exists() for table in tables):
            narrow, wide = ({_model(one[0].curve): one for one in own_test_set(fits_of(table))} for table in tables)
            answers = {model: _answer("ethanol_pbe", narrow[model], wide[model]) for model in narrow if model in wide}
            found += [(model, one) for model, one in answers.items() if one]
    return found


def _model(curve: Curve) -> str:
    return f"{display_name(curve.text('architecture').removeprefix(LINEARISED))} {short_name(curve)}"


def _answer(data: str, first: JudgedFit, second: JudgedFit) -> Answer | None:
    both = pair(first[0].curve, second[0].curve)
    return None if both is None else of_pair(data, both)


def verdict(one: Answer) -> str:
    """Return what is shown of a difference, in a word or two."""
    if one.contradicts:
        return "rises" if one.power.value > 0 else "falls"
    return one.verdict.replace(HOLDS, "as steep,")


def page(place: Place) -> str:
    """Return the page."""
    texts = [HEAD, f"![β by number of layers]({FIGURE}.png)", "## β", _betas(place)]
    for words, change in CHANGES.items():
        rows = [row for letter in "ABCD" for row in _rows(letter, words, place)]
        if rows:
            head = [f"| cell | data | {COLUMNS} |", "|---|---|---|---|---|---|"]
            texts += [f"## {change}", "\n".join([*head, *rows])]
    if rows := [f"| {model} | {_cells(one)} |" for model, one in wider(place)]:
        head = [f"| model | {COLUMNS} |", "|---|---|---|---|---|"]
        texts += ["## From 16 to 32 channels, ethanol (PBE)", "\n".join([*head, *rows])]
    return "\n\n".join([*texts, published(), LIMITS]) + "\n"


def _betas(place: Place) -> str:
    rows = [f"| data | cell | {' | '.join(PLACES)} |", "|---" * (len(PLACES) + 2) + "|"]
    for data, known in DATA.items():
        own = of_data(data, place)
        if set(own) > {FIRST}:
            rows += [
                f"| {known.words} | {letter} | "
                + " | ".join(_beta(own[words].get(letter)) if words in own else "not run" for words in PLACES)
                + " |"
                for letter in "ABCD"
            ]
    return "\n".join(rows)


def _beta(one: JudgedFit | None) -> str:
    if one is None:
        return "–"
    return "no power law" if misses(one) else interval_text(one[0].best.beta)


def _rows(letter: str, words: str, place: Place) -> list[str]:
    single = changes(letter, words, place)
    pooled = over_datasets(single, steeper=False)
    named = [(f"**{len(pooled.data)} datasets**", pooled)] if pooled else []
    named += [(f"[{one.data[0]}](../claim_{one.data[0]}{PLACES[words]}/README.md)", one) for one in single]
    return [f"| {letter} | {name} | {_cells(one)} |" for name, one in named]


def _cells(one: Answer) -> str:
    return f"{one.power_text} | {one.floor_text} | {verdict(one)} | {one.frames.cell}"


def published_betas() -> dict[int, Interval]:
    """Return β of published curves of trained NequIP (L = 3, force RMSE at 300 K) by their number of layers."""
    own = [
        curve
        for curve in read_curves()
        if (curve.text("source"), curve.text("architecture")) == ("published", "nequip")
        and (curve.text("dataset"), curve.text("test_set")) == (PUBLISHED_DATA, "300K")
        and curve.text("metric") == "force_rmse"
    ]
    fits = [fit for fit, _ in analyse(own, MAIN_FORMS)]
    told = {int(float(fit.curve.text("model_id").split()[PUBLISHED_LAYERS])): fit.best.beta for fit in fits}
    return dict(sorted(told.items()))


def published() -> str:
    """Return what published curves of trained NequIP say of depth, in a sentence."""
    betas = ", ".join(f"{layers} layers {interval_text(beta)}" for layers, beta in published_betas().items())
    return (
        "## Published, trained\n\nNequIP, L = 3, on 3BPA at 300 K, force RMSE, one seed (Vita & Schwalbe-Koda 2023, "
        f"arXiv 2302.05823), β: {betas}."
    )


def headline(place: Place) -> str:
    """Return how depth and reach change the exponents over datasets, in a sentence; empty without two datasets."""
    told = []
    for words, change in CHANGES.items():
        pooled = {letter: over_datasets(changes(letter, words, place), steeper=False) for letter in "ABCD"}
        known = {letter: one for letter, one in pooled.items() if one}
        if known:
            most = max(len(one.data) for one in known.values())
            told.append(f"{change} ({most} datasets) β {_in_short(known)}.")
    if width := wider(place):
        changed = [f"{model} by {one.power_text}" for model, one in width if one.contradicts]
        told.append(
            f"From 16 to 32 channels (ethanol, {len(width)} models) it changes in {len(changed) or 'none'}"
            f"{': ' * bool(changed)}{', '.join(changed)}."
        )
    return f"{' '.join(told)} All linearised ([{NAME}](results/{NAME}/README.md))." if told else ""


def _in_short(known: Mapping[str, Answer]) -> str:
    """Return which cells change, by how much, and of which others what is shown."""
    parts = [f"{verdict(one)} by {one.power_text} in {letter}" for letter, one in known.items() if one.contradicts]
    others: dict[str, list[str]] = {}
    for letter, one in known.items():
        if not one.contradicts:
            words = "is not shown to change" if one.verdict == NO_DIFFERENCE else one.verdict.replace(HOLDS, "stays")
            others.setdefault(words.replace(", open: floor", " (open: floor)"), []).append(letter)
    return "; ".join([*parts, *(f"{words} in {', '.join(letters)}" for words, letters in others.items())])


@dataclass(frozen=True)
class Line:
    """β of one network by its number of layers, and how it is drawn."""

    network: str
    words: str
    betas: Mapping[int, Interval]
    marker: str
    color: str


def _lines(data: str, own: Mapping[int, Mapping[str, JudgedFit]]) -> list[Line]:
    """Return what a dataset's panel shows: its cells, and trained networks where some were published."""
    first = next(iter(own.values()))
    looks_of = dict(zip(first, looks([one[0].curve for one in first.values()]), strict=True))
    lines = []
    for letter, look in looks_of.items():
        found = {layers: fits[letter] for layers, fits in own.items() if letter in fits}
        betas = {layers: one[0].best.beta for layers, one in found.items() if not misses(one)}
        words = f"{letter}  {label(first[letter][0].curve).partition(' ')[2]}"
        lines.append(Line(letter, words, betas, look.marker, look.color))
    if data == PUBLISHED_DATA:
        lines.append(Line("published", PUBLISHED_WORDS, published_betas(), "x", PUBLISHED_COLOR))
    return lines


def draw(place: Place, stem: Path) -> None:
    """Draw β of the cells over the number of layers, a panel a dataset, into `stem`.png and its kin."""
    by_data = {data: own for data in DATA if len(own := _deep(data, place)) > 1}
    numbers: list[dict[str, object]] = []
    handles: dict[str, Line2D] = {}
    with style():
        figure, all_axes = sheet(len(by_data), 1.6, columns=2)
        for axes, mark, (data, own) in zip(all_axes, letters(len(by_data)), by_data.items(), strict=True):
            if axes is not all_axes[0]:
                axes.sharey(all_axes[0])
            lines = _lines(data, own)
            for index, one in enumerate(lines):
                x = np.array(list(one.betas)) + 0.06 * (index - 1.5)  # side by side
                for at, beta in zip(x, one.betas.values(), strict=True):
                    axes.plot([at, at], [beta.low, beta.high], color=one.color, linewidth=1.2)
                values = [beta.value for beta in one.betas.values()]
                (handles[one.words],) = axes.plot(
                    x, values, marker=one.marker, color=one.color, markersize=4, label=one.words
                )
                numbers += [
                    {"data": data, "network": one.network, "layers": n, "beta": b.value, "low": b.low, "high": b.high}
                    for n, b in one.betas.items()
                ]
            axes.set_xticks(sorted({*own, *(layers for one in lines for layers in one.betas)}))
            axes.set_xlabel("Layers")
            axes.set_ylabel("Exponent β")
            axes.grid(True, axis="y", color=GRID, linewidth=0.5)
            title(axes, f"{mark}{dataset_name(DATA[data].tables[0])}")
        figure.legend(handles=list(handles.values()), loc="outside lower center", ncols=3)
        save(figure, stem, numbers)


def _deep(data: str, place: Place) -> dict[int, Mapping[str, JudgedFit]]:
    own = of_data(data, place)
    return {layers: own[words] for layers, words in LAYERS.items() if words in own}


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None where no dataset has two depths."""
    if not any(len(_deep(data, place)) > 1 for data in DATA):
        return None
    return derived.write(place.tables / NAME, page(place), FIGURE, lambda stem: draw(place, stem))
