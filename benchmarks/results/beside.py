"""What stands beside the commands' words: trained networks beside linearised ones, and datasets together."""

from __future__ import annotations

import functools
from pathlib import Path

from analysis.comparisons.claim import Claim, claims
from analysis.comparisons.claim_pool import PooledClaim, pool_claims, pooled_claim_text
from analysis.errors import InputError
from analysis.files import write_text
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse
from analysis.report.linearised import HEAD, SideBySide, not_trained, side_by_side
from benchmarks.results import plateau
from benchmarks.results.outstanding import Place
from benchmarks.results.sections import DATA, SECTIONS
from benchmarks.results.statements import force_curves, on_all_test_sets

POOLED = "claim_all"
"""Folder of the page on the claim over datasets."""
WORDS = """Both exponents are over the sizes and seeds in common. What feature learning does to an exponent is the
difference; † : the training had not converged, or nobody knows, and then the trained exponent is that of its budget."""


def trained_table(name: str, place: Place) -> str:
    """Return β linearised | β trained | difference, force MAE, for a section of trained networks, and what is left."""
    words = not_trained(_side_by_side(name, place)[1])
    return "\n\n".join(["**Linearised beside trained.**", trained_rows(name, place), *words])


def trained_rows(name: str, place: Place) -> str:
    """Return the table alone, with what its columns mean."""
    rows = _side_by_side(name, place)[0]
    lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *(f"| {' | '.join(row.cells())} |" for row in rows)]
    return "\n\n".join(["\n".join(lines) if rows else "No common sizes and seeds yet.", WORDS])


def feature_learning(name: str, place: Place) -> str:
    """Return which networks have another exponent trained than linearised, in a sentence; empty without a table."""
    rows = _side_by_side(name, place)[0]
    if not rows:
        return ""
    data = DATA[SECTIONS[name].data].words
    changed = [f"{row.model} by {row.difference}" for row in rows if row.shown]
    open_ = "" if all(row.converged for row in rows) else " (not all converged)"
    told = f"training changes β of {', '.join(changed)}" if changed else "training is not shown to change β of any"
    same = f", of {len(rows) - len(changed)} others no change is shown" if 0 < len(changed) < len(rows) else ""
    return f"On {data}, {told}{same}{open_} ([{name}](results/{name}/README.md))."


def _side_by_side(name: str, place: Place) -> tuple[list[SideBySide], list[JudgedFit]]:
    """Compare with the linearised networks of the sections on the claim, NequIP and architectures for its dataset."""
    data = "ethanol_small" if place.quick else SECTIONS[name].data
    linear = [place.table(f"{kind}_{data}") for kind in ("claim", "nequip", "architectures")]
    trained = plateau.table_of(name, place)
    if not trained.exists():  # written with the section's page
        return [], []
    tables = [trained, *(one for one in linear if one.exists())]
    return _side_by_side_as_of(*((one, one.stat().st_mtime_ns) for one in tables))


@functools.cache  # asked for a few times, and it takes seconds
def _side_by_side_as_of(*tables: tuple[Path, int]) -> tuple[list[SideBySide], list[JudgedFit]]:
    fits = analyse(force_curves([table for table, _ in tables]), MAIN_FORMS)
    return side_by_side(fits), fits


def pooled(place: Place) -> list[PooledClaim]:
    """Return the tests of the claim over datasets, as random effects; none for fewer than two tables."""
    names = _claimed(place)
    return pool_claims([
        test for data in DATA for name in names if SECTIONS[name].data == data for test in _claims(name, place)
    ])  # fmt: skip


def pooled_page(place: Place) -> str:
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
        f'`make results ARGS="{POOLED} --pages"` reads {tables}.',
        f"```text\n{words or 'nothing to pool'}\n```",
    ]) + "\n"  # fmt: skip


def _claimed(place: Place) -> list[str]:
    """Return the sections on the claim that have a table; none where these are of fewer than two datasets."""
    names = [name for name in place.sections() if SECTIONS[name].part == "claim" and place.table(name).exists()]
    return names if len({SECTIONS[name].data for name in names}) > 1 else []


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
    table = place.table(name)
    return _claims_as_of(table, table.stat().st_mtime_ns)


@functools.cache  # two pages ask for the same, and a table takes a second
def _claims_as_of(table: Path, _: int) -> list[Claim]:
    found = on_all_test_sets([table])
    try:
        tests = claims(analyse(found, MAIN_FORMS))
    except InputError:
        return []
    return [one for one in tests if one.cells["A"].text("test_set") == found[0].text("test_set")]
