"""What symmetry groups are worth: networks beside twins of a smaller group, on data that have the larger or lack it."""

from __future__ import annotations

from pathlib import Path

from analysis.comparisons.groups import Exponent, Gain, exponent, network_name
from analysis.fits.record import signed_interval
from analysis.spelling import dataset_words
from analysis.table import load
from benchmarks.groups import factor, gains_of
from benchmarks.results import remembered
from benchmarks.results.outstanding import Place

CONTROL = "groups_control"
"""Section whose data lack the group of its networks."""


def headline(name: str, place: Place) -> str:
    """Return what a table shows of its pairs of twins, in a sentence; empty without any."""
    if not place.table(name).exists():
        return ""
    found = _gains(place.table(name))
    link = f"([{name}](results/{name}/README.md))"
    if not found:
        return ""
    if name == CONTROL:
        return f"{_each(found)} {link}."
    fewer = sum(one.factor.leader == "second" or (one.factor.differs and one.factor.ratio.value > 1) for one in found)
    changes = [exponent(one) for one in found]
    return (
        f"Where data have a symmetry group, the network that has it needs fewer frames than its twin of equal size in "
        f"{fewer} of {len(found)} pairs; β rises with it in {changes.count(Exponent.RISES)} and falls in "
        f"{changes.count(Exponent.FALLS)}, further training allowed for {link}."
    )


def _each(found: list[Gain]) -> str:
    """Return factor and Δβ of every pair."""
    told = []
    for one in found:
        twins = f"{network_name(one.symmetric)} against {network_name(one.plain)}"
        change = f"factor {factor(one)}, Δβ {signed_interval(one.delta)}, {exponent(one)}"
        told.append(f"{twins} on {dataset_words(one.plain.text('dataset'))}: {change}")
    return f"Where data lack the group: {'; '.join(told)}"


@remembered.of_tables
def _gains(table: Path) -> list[Gain]:
    return gains_of(load([table], []))
