"""What stands beside the commands' words: trained networks beside linearised ones, costs, datasets together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.comparisons.claim import METRIC, Claim, claims
from analysis.comparisons.claim_pool import pool_claims, pooled_claim_text
from analysis.curve import Curve, curves
from analysis.errors import InputError
from analysis.files import write_text
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse
from analysis.report.linearised import HEAD, not_trained, side_by_side
from analysis.table import load
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS

POOLED = "claim_all"
"""Folder of the page on the claim over datasets."""
WORDS = """Both exponents are over the sizes and seeds in common. What feature learning does to an exponent is the
difference; † : the training had not converged, or nobody knows, and then the trained exponent is that of its budget."""


def trained_table(name: str, place: Place) -> str:
    """Return β linearised | β trained | difference, force MAE, for a section of trained networks.

    The linearised ones are those of the sections on the claim and on NequIP for the same dataset.
    """
    data = "ethanol_small" if place.quick else SECTIONS[name].data
    tables = [place.table(one) for one in (name, f"claim_{data}", f"nequip_{data}") if place.table(one).exists()]
    fits = analyse(_of_metric(curves(load(tables, []))), MAIN_FORMS)
    rows = side_by_side(fits)
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *(f"| {' | '.join(row.cells())} |" for row in rows)]
    parts = ["**Linearised beside trained.**", "\n".join(lines) if rows else "No common sizes and seeds yet.", WORDS]
    return "\n\n".join([*parts, *not_trained(fits)])


def cost_table(table: Path) -> str:
    """Return what each model of a table costs and reaches at the largest P: weights, processor seconds, force MAE."""
    frame = pd.read_csv(table, low_memory=False)
    rows = frame[(frame["P"] == frame["P"].max()) & (frame["metric"] == METRIC)]
    rows = rows[rows["test_set"] == rows["test_set"].iloc[0]]
    lines = [
        f"**Costs at P = {frame['P'].max()}**, means over seeds; a ladder's time is shared among its sizes.",
        "",
        f"| model | weights | processor s | force MAE ({rows['unit'].iloc[0]}) |",
        "|---|---|---|---|",
    ]
    for key, own in rows.groupby(["architecture", "L", "nu", "edge_lmax"], sort=False, dropna=False):
        orders = [
            f"{sign}={value:g}" for sign, value in zip(("L", "ν", "edge "), key[1:], strict=True) if pd.notna(value)
        ]
        weights = own["n_parameters"].mean()
        shown = f"{weights:.0f}" if pd.notna(weights) else "–"
        name = " ".join([str(key[0]), *orders]).replace("edge =", "edge ")
        lines.append(f"| {name} | {shown} | {own['cpu_seconds'].mean():.2g} | {own['error'].mean():.3g} |")
    return "\n".join(lines)


def pooled_page(place: Place) -> str:
    """Return the page on the claim over datasets, as random effects; empty for fewer than two tables."""
    names = [name for name in place.sections() if SECTIONS[name].part == "claim" and place.table(name).exists()]
    if len({SECTIONS[name].data for name in names}) < 2:
        return ""
    tests = [test for data in DATA for name in names if SECTIONS[name].data == data for test in _claims(name, place)]
    words = "\n\n".join(pooled_claim_text(one) for one in pool_claims(tests))
    tables = ", ".join(f"[{name}](../{name}/runs.csv)" for name in names)
    return "\n\n".join([
        "# The claim over datasets",
        "Datasets as random effects (Hartung–Knapp–Sidik–Jonkman), force MAE, each on its first test set; "
        "linearised networks: a hypothesis about trained ones. Few datasets leave wide intervals.",
        f'`make results ARGS="{POOLED} --pages"` reads {tables}.',
        f"```text\n{words or 'nothing to pool'}\n```",
    ]) + "\n"  # fmt: skip


def write_pooled(place: Place) -> Path | None:
    """Write the page on the claim over datasets; return it, or None if there is nothing to pool."""
    text = pooled_page(place)
    if not text:
        return None
    path = place.tables / POOLED / "README.md"
    write_text(path, text)
    return path


def _claims(name: str, place: Place) -> list[Claim]:
    """Return the tests of the claim of a table; none where cells are still missing."""
    try:
        return claims(analyse(_of_metric(_on_own_test_set(name, place)), MAIN_FORMS))
    except InputError:
        return []


def _of_metric(found: Sequence[Curve]) -> list[Curve]:
    return [one for one in found if one.text("metric") == METRIC]


def _on_own_test_set(name: str, place: Place) -> list[Curve]:
    found = curves(load([place.table(name)], []))
    return [one for one in found if one.text("test_set") == found[0].text("test_set")]
