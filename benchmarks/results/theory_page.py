"""Theory beside the curves: δ(P), the dimension of the data in two metrics, Lip·δ(P), and published bounds there.

Distances are measured once, where a dataset's frames are at hand, and kept as a table; page and figure are made from
that and from the run tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.bounds.bounds import Relation, relate
from analysis.bounds.distances import (
    DimensionEstimate,
    dimension_interval,
    dimension_text,
    estimate_dimension,
    read_distances,
    spaces,
)
from analysis.bounds.lipschitz import GIVEN_IN, LipschitzBound, compare_lipschitz
from analysis.bounds.theory import LIPSCHITZ_LOSSES, luxburg, statements
from analysis.curve import curves
from analysis.figures import nearest
from analysis.files import write_text
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, label, plus_minus
from analysis.fits.results import CurveFit
from analysis.table import load
from benchmarks.results import derived, remembered
from benchmarks.results.outstanding import Place, load_here
from benchmarks.results.sections import DATA, Data
from experiments.data.card import subset_distances
from experiments.data.dataset import Dataset
from slurm.plan import DataAbsent

NAME = "theory"
TEST_FRAMES, SEEDS, DIGITS = 50, (0, 1, 2), 5
"""Test frames, training subsets and decimals of the table of distances."""
METRICS = ("energy_mae", "force_mae")
HEAD = """# Theory beside it

How far test frames are from the nearest training frame, δ(P), the dimension of the data that this implies, and what
theory says of exponents in that dimension, beside the exponents of cells A–D (linearised, two layers, 5 Å; tables of
`claim_…`). The distances are in [distances.csv](distances.csv) ({frames} test frames, {seeds} training subsets);
`make results ARGS=theory` measures those of further datasets, and `python -m analysis bounds --table runs.csv
--distances distances.csv` prints all of it for one table."""
LIMITS = """Dimensions from so few frames are too low (`python -m analysis dimension --calibrate` shows by how much).
Published bounds have unspecified constants: none of them can be violated at finite P. Lip·δ(P), whose constants are all
measured, can; Lip is the steepest slope seen, a lower estimate. What would overturn this: other cells
or trained networks that lie above Lip·δ(P), more frames, another metric of the frames."""


def measure(place: Place) -> list[str]:
    """Measure the distances that the table lacks, for datasets with curves of the claim; return what was skipped."""
    path = place.tables / NAME / "distances.csv"
    parts = [pd.read_csv(path)] if path.exists() else []
    known = set(parts[0]["dataset"]) if parts else set()
    skipped = []
    for name, data in DATA.items():
        if known & set(data.tables) or not place.table(f"claim_{name}").exists():
            continue
        runs = pd.read_csv(place.table(f"claim_{name}"), low_memory=False)
        try:
            dataset = load_here(name)
        except DataAbsent as error:
            skipped.append(str(error))
            continue
        assert isinstance(dataset, Dataset)
        own = subset_distances(dataset, sorted(set(runs["P"])), SEEDS, TEST_FRAMES)
        if own is None:
            skipped.append(f"{name}: no distances between frames of different atoms, or periodic ones")
            continue
        parts.append(own)
        table = pd.concat(parts, ignore_index=True)
        write_text(path, table.to_csv(index=False, float_format=f"%.{DIGITS}g"))
    return skipped


@dataclass(frozen=True)
class Beside:
    """A dataset's distances beside its curves."""

    data: Data
    estimates: list[DimensionEstimate]
    """In each metric of the frames."""
    fits: list[JudgedFit]
    """Of cells A–D."""
    bounds: list[LipschitzBound]
    """Lip·δ(P) for each curve of energies and metric of the frames."""

    @property
    def above(self) -> int:
        """Number of bounds that errors exceed."""
        return sum(one.relation is Relation.VIOLATED for one in self.bounds)

    @property
    def steeper(self) -> int:
        """Number of curves of energies that are steeper than Lipschitz functions of the aligned RMSD must be."""
        rate = luxburg(self.dimension).beta
        return sum(fit.best.beta.low > rate for fit in self.energies)

    @property
    def dimension(self) -> float:
        """The dimension that aligned RMSDs imply; NaN without these."""
        return next((one.distances.d_eff.value for one in self.estimates if one.space == GIVEN_IN), np.nan)

    @property
    def energies(self) -> list[CurveFit]:
        """Fits of curves of energies."""
        return [fit for fit, _ in self.fits if fit.curve.text("metric") in LIPSCHITZ_LOSSES]


def beside(place: Place) -> list[Beside]:
    """Return every dataset that has distances and curves of the claim."""
    path, found = place.tables / NAME / "distances.csv", []
    distances = read_distances(path) if path.exists() else pd.DataFrame({"dataset": []})
    for name, data in DATA.items():
        own = distances[distances["dataset"].isin(data.tables)]
        if own.empty or not place.table(f"claim_{name}").exists():
            continue
        fits = fits_of_cells(place.table(f"claim_{name}"))
        bounds = [one for fit, judged in fits for one in compare_lipschitz(fit, judged, own) if len(one.sizes)]
        found.append(Beside(data, [estimate_dimension(key, part) for key, part in spaces(own)], fits, bounds))
    return found


def headline(place: Place) -> str:
    """Return how steep energies are beside Lipschitz functions, in a sentence; empty without distances."""
    found = beside(place)
    if not found:
        return ""
    dims = [one.dimension for one in found]
    steeper, of_all = sum(one.steeper for one in found), sum(len(one.energies) for one in found)
    above = sum(one.above for one in found)
    return (
        f"Distances to the nearest frame fall as in {min(dims):.1f} to {max(dims):.1f} dimensions d (aligned RMSD, "
        f"{len(dims)} molecules). Energies of cells A–D, linearised, are steeper than 1/d, which is certain of any "
        f"smooth function (Lipschitz; von Luxburg & Bousquet 2004), in {steeper} of {of_all} curves; "
        f"{f'{above} of them lie' if above else 'none of them lies'} above Lip·δ(P), all of whose constants are "
        f"measured ([theory](results/{NAME}/README.md))."
    )


def page(place: Place) -> str:
    """Return the page."""
    found = beside(place)
    texts = [HEAD.format(frames=TEST_FRAMES, seeds=len(SEEDS)), "![δ(P) and errors](nearest.png)"]
    for one in found:
        texts += [
            f"## {one.data.words}",
            "```text\n" + "\n".join(dimension_text(estimate) for estimate in one.estimates) + "\n```",
            _table(one.estimates, one.fits),
            _bounded(one),
        ]
    told = [one.data for one in found]
    without = [
        data.words for name, data in DATA.items() if data not in told and place.table(f"claim_{name}").exists()
    ]  # fmt: skip
    if without:
        texts.append(f"Without distances, which are of frames that have the same atoms: {'; '.join(without)}.")
    return "\n\n".join([*texts, "## Limits", LIMITS]) + "\n"


@remembered.of_tables
def fits_of_cells(table: Path) -> list[JudgedFit]:
    """Return the fits of cells A–D of a table, energies and forces, on its first test set, the dataset's own."""
    found = curves(load([table], []))
    first = found[0].text("test_set")
    return analyse(
        [one for one in found if one.text("metric") in METRICS and one.text("test_set") == first], MAIN_FORMS
    )


def _table(estimates: list[DimensionEstimate], fits: list[JudgedFit]) -> str:
    """Return theory's exponents at each measured dimension, and how many of the curves allow each."""
    dims = [one.distances.d_eff.value for one in estimates]
    heads = [f"β at d = {dimension_interval(one.distances.d_eff)} ({one.space.replace('_', ' ')})" for one in estimates]
    rows = [
        f"| statement | {' | '.join(heads)} | curves consistent with either, of {len(fits)} |",
        "|---" * (len(heads) + 2) + "|",
    ]
    columns = [statements(d, 1.0, 1.0, 1.0) for d in dims]
    for own in zip(*columns, strict=True):
        allowed = sum(any(relate(*item, one).relation == "consistent" for one in own) for item in fits)
        values = " | ".join(
            f"{one.beta:.2f}" + ("" if np.isnan(one.beta_high) else f"–{one.beta_high:g}") for one in own
        )
        rows.append(f"| {own[0].name} {own[0].tags} | {values} | {allowed} |")
    measured = [
        f"{one.curve.text('metric')}: "
        + ", ".join(
            f"{label(fit.curve)} {plus_minus(fit.best.beta.value, fit.best.beta.low, fit.best.beta.high)}"
            for fit, _ in fits
            if fit.curve.text("metric") == one.curve.text("metric")
        )
        for one in {fit.curve.text("metric"): fit for fit, _ in fits}.values()
    ]
    return "\n".join([*rows, "", "Measured β: " + "; ".join(measured) + "."])


def _bounded(one: Beside) -> str:
    shares = [share for bound in one.bounds for share in (bound.error / bound.bound)]
    if not shares:
        return "Lip·δ(P): no curve of energies here."
    return (
        f"Lip·δ(P) bounds energies: of {len(one.bounds)} curves (two metrics of the frames each), {one.above} lie "
        f"above it; errors are {min(shares):.2g} to {max(shares):.2g} of it."
    )


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None without distances."""
    folder = place.tables / NAME
    if not (folder / "distances.csv").exists():
        return None
    distances = read_distances(folder / "distances.csv")
    tables = [place.table(f"claim_{name}") for name in DATA]
    fits = [item for table in tables if table.exists() for item in fits_of_cells(table)]
    data = nearest.nearest(fits, distances)
    return derived.write(folder, page(place), "nearest", lambda stem: nearest.draw(data, stem))
