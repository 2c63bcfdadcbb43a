"""Theory beside the curves: δ(P), the dimension of the data in two metrics, Lip·δ(P), and published bounds there.

Distances are measured once, where a dataset's frames are at hand, and kept as a table; page and figure are made from
that and from the run tables.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from analysis.bounds.bounds import relate
from analysis.bounds.distances import DimensionEstimate, dimension_text, estimate_dimension, read_distances, spaces
from analysis.bounds.lipschitz import compare_lipschitz
from analysis.bounds.theory import statements
from analysis.curve import curves
from analysis.figures import nearest
from analysis.files import write_text
from analysis.fits.flags import JudgedFit
from analysis.fits.names import MAIN_FORMS
from analysis.fits.record import analyse, label, plus_minus
from analysis.table import load
from benchmarks.results.outstanding import Place, load_here
from benchmarks.results.sections import DATA
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


def page(place: Place) -> str:
    """Return the page."""
    distances = read_distances(place.tables / NAME / "distances.csv")
    texts = [HEAD.format(frames=TEST_FRAMES, seeds=len(SEEDS)), "![δ(P) and errors](nearest.png)"]
    for name, data in DATA.items():
        own = distances[distances["dataset"].isin(data.tables)]
        if own.empty or not place.table(f"claim_{name}").exists():
            continue
        estimates = [estimate_dimension(key, part) for key, part in spaces(own)]
        fits = fits_of(name, place)
        texts += [
            f"## {data.words}",
            "```text\n" + "\n".join(dimension_text(one) for one in estimates) + "\n```",
            _table(estimates, fits),
            _bounded(fits, own),
        ]
    return "\n\n".join([*texts, "## Limits", LIMITS]) + "\n"


def fits_of(name: str, place: Place) -> list[JudgedFit]:
    """Return the fits of cells A–D on a dataset, energies and forces, on its own test set."""
    found = curves(load([place.table(f"claim_{name}")], []))
    first = found[0].text("test_set")
    return analyse(
        [one for one in found if one.text("metric") in METRICS and one.text("test_set") == first], MAIN_FORMS
    )


def _table(estimates: list[DimensionEstimate], fits: list[JudgedFit]) -> str:
    """Return theory's exponents at each measured dimension, and how many of the curves allow each."""
    dims = [one.distances.d_eff.value for one in estimates]
    heads = [f"β at d = {d:.1f} ({one.space.replace('_', ' ')})" for d, one in zip(dims, estimates, strict=True)]
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


def _bounded(fits: list[JudgedFit], distances: pd.DataFrame) -> str:
    found = [one for fit, judged in fits for one in compare_lipschitz(fit, judged, distances)]
    told = [one for one in found if len(one.sizes)]
    above = sum(one.relation == "violated" for one in told)
    shares = [share for one in told for share in (one.error / one.bound)]
    if not shares:
        return "Lip·δ(P): no curve of energies here."
    return (
        f"Lip·δ(P) bounds energies: of {len(told)} curves (two metrics of the frames each), {above} lie above it; "
        f"errors are {min(shares):.2g} to {max(shares):.2g} of it."
    )


def write(place: Place) -> Path | None:
    """Write page and figure; return the page, or None without distances."""
    path = place.tables / NAME / "distances.csv"
    if not path.exists():
        return None
    distances = read_distances(path)
    fits = [item for name in DATA if place.table(f"claim_{name}").exists() for item in fits_of(name, place)]
    nearest.draw(nearest.nearest(fits, distances), path.with_name("nearest"))
    for suffix in ("pdf", "svg", "csv", "txt"):
        path.with_name(f"nearest.{suffix}").unlink()
    (path.parent / "README.md").write_text(page(place), encoding="utf-8")
    return path.parent / "README.md"
