"""The claim over datasets, as random effects: its tests, their page, and a forest plot of their differences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis.comparisons.claim import Claim, claims, predicate
from analysis.comparisons.claim_pool import PooledClaim, pool_claims, pooled_claim_text
from analysis.comparisons.conditions import CONDITIONS, MARGIN, Kind, Statement
from analysis.errors import InputError
from analysis.figures.forest import Row, draw_row, forest, height
from analysis.figures.style import COLUMN_WIDTH, HUES, save, style, title
from analysis.fits.uncertainty import Interval
from analysis.spelling import dataset_words, place_words
from benchmarks.results import derived, remembered
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS
from benchmarks.results.statements import fits_of

NAME, FIGURE = "claim_all", "conditions"
NETWORK = ("n_layers", "cutoff")
"""What a test's networks have in common, as far as it tells tests apart."""
REACH = 0.5
"""Largest |Δβ| that the figure shows."""
FLOOR_BELOW = 0.3
"""Distance of the row with floors below that without, in rows."""
CAPTION = f"""Δβ of the conditions with 90 % intervals, whose ends are one-sided tests at 5 %: filled, power laws;
hollow, with a floor in both curves (the axis may cut them). Shown are an interval right of zero (>), one right of
−{MARGIN:g} (≥), and one inside ±{MARGIN:g} (=, grey), by both forms each."""
_NONE = Interval(np.nan, np.nan, np.nan, np.nan, 0)


def pooled(place: Place) -> list[PooledClaim]:
    """Return the tests of the claim over datasets, as random effects; none for fewer than two tables."""
    return pool_claims(on_each_dataset(place))


def on_each_dataset(place: Place) -> list[Claim]:
    """Return the tests on each dataset, in the order of `DATA`."""
    names = _claimed(place)
    return [
        test for data in DATA for name in names if SECTIONS[name].data == data for test in _claims(place.table(name))
    ]


def network(claim: PooledClaim) -> str:
    """Return depth and cutoff of a test's networks in words."""
    return ", ".join(place_words({name: value for name, value in claim.place.items() if name in NETWORK}))


def page(place: Place) -> str:
    """Return the page on the claim over datasets, as random effects; empty for fewer than two tables."""
    names = _claimed(place)
    if not names:
        return ""
    words = "\n\n".join(pooled_claim_text(one) for one in pooled(place))
    tables = ", ".join(f"[{name}](../{name}/runs.csv)" for name in names)
    return "\n\n".join([
        "# The claim over datasets",
        "Datasets as random effects (Hartung–Knapp–Sidik–Jonkman), force MAE, each on its first test set; "
        "linearised networks: a hypothesis about trained ones. Few datasets leave wide intervals.",
        f'`make results ARGS="{NAME} --pages"` reads {tables}.',
        f"![Conditions of the claim]({FIGURE}.png)",
        CAPTION,
        f"```text\n{words or 'nothing to pool'}\n```",
    ]) + "\n"  # fmt: skip


def _claimed(place: Place) -> list[str]:
    """Return the sections on the claim that have a table; none where these are of fewer than two datasets."""
    names = [name for name in place.sections() if SECTIONS[name].part == "claim" and place.table(name).exists()]
    return names if len({SECTIONS[name].data for name in names}) > 1 else []


def write(place: Place) -> Path | None:
    """Write the page on the claim over datasets; return it, or None if there is nothing to pool."""
    found = pooled(place)
    if not found:
        return None
    return derived.write(
        place.tables / NAME, page(place), FIGURE, lambda stem: draw(found, on_each_dataset(place), stem)
    )


def draw(found: Sequence[PooledClaim], singles: Sequence[Claim], stem: Path) -> None:
    """Draw Δβ of the four conditions on every dataset and over all, a column a depth and cutoff, into `stem`.png.

    Args:
        found: tests over datasets.
        singles: tests on one dataset.
        stem: of the files.
    """
    datasets = list(dict.fromkeys(name for one in found for name in one.datasets))
    numbers: list[dict[str, object]] = []
    with style():
        rows_of = [[_rows(one, singles, datasets, statement.name) for one in found] for statement in CONDITIONS]
        tall = [height([power for power, _ in rows[0]]) * 1.2 for rows in rows_of]
        size = (COLUMN_WIDTH * (0.5 + 0.55 * len(found)), 0.75 + sum(tall) + 0.3 * len(tall))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(
            len(rows_of),
            len(found),
            squeeze=False,
            sharex=True,
            sharey="row",
            height_ratios=[one + 0.2 for one in tall],
        )
        for axes_row, rows_row, statement in zip(grid, rows_of, CONDITIONS, strict=True):
            for axes, rows, one in zip(axes_row, rows_row, found, strict=True):
                forest(axes, [power for power, _ in rows], (-MARGIN, MARGIN))
                for at, (power, floor) in enumerate(rows):
                    draw_row(axes, at + FLOOR_BELOW, floor)
                    numbers.append({
                        "network": network(one), "condition": statement.name, "data": power.name,
                        "delta": power.value, "low_90": power.low, "high_90": power.high,
                        "floor_delta": floor.value, "floor_low_90": floor.low, "floor_high_90": floor.high,
                    })  # fmt: skip
                title(axes, _short(statement))
        for axes, one in zip(grid[0], found, strict=True):
            axes.set_title(f"{network(one)}:\n{predicate(one.outcome)}\n\n{axes.get_title(loc='left')}", loc="left")
        for axes in grid[-1]:
            axes.set_xlabel("Δβ (90 %)")
            axes.set_xlim(-REACH, REACH)
        save(figure, stem, numbers, CAPTION.replace("\n", " "))


def _short(statement: Statement) -> str:
    """Return a condition as a title."""
    sign = {Kind.GREATER: ">", Kind.NON_INFERIOR: "≥", Kind.EQUIVALENT: "="}[statement.kind]
    margin = {Kind.GREATER: "", Kind.NON_INFERIOR: f" − {MARGIN:g}", Kind.EQUIVALENT: f" ± {MARGIN:g}"}[statement.kind]
    return f"β({statement.second}) {sign} β({statement.first}){margin}"


def _rows(one: PooledClaim, singles: Sequence[Claim], datasets: Sequence[str], statement: str) -> list[tuple[Row, Row]]:
    """Return the rows of a condition, power laws and with floors: each dataset's (without a test an empty one), all."""
    own = {
        claim.dataset: claim
        for claim in singles
        if claim.architecture == one.architecture and one.place.items() <= claim.place.items()
    }
    tests: list[tuple[str, Claim | PooledClaim | None, str, str]] = [
        (dataset_words(name), own.get(name), HUES[index % len(HUES)], "o") for index, name in enumerate(datasets)
    ]
    tests.append(("all datasets", one, "black", "D"))
    rows = []
    for name, test, colour, marker in tests:
        condition = None if test is None else next(c for c in test.decision.conditions if c.name == statement)
        power, floor = (_NONE, _NONE) if condition is None else (condition.delta, condition.with_floor)
        rows.append((
            Row(name, power.value, power.low, power.high, colour, marker),
            Row(name, floor.value, floor.low, floor.high, colour, marker, hollow=True),
        ))  # fmt: skip
    return rows


@remembered.of_tables
def _claims(table: Path) -> list[Claim]:
    """Return the tests of the claim of a table; none where cells are still missing."""
    fits = fits_of(table)
    try:
        tests = claims(fits)
    except InputError:
        return []
    return [one for one in tests if one.cells["A"].text("test_set") == fits[0][0].curve.text("test_set")]
