"""Drawing of every figure that a run table has data for."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.comparisons.claim import claims
from analysis.comparisons.groups import gains
from analysis.errors import InputError
from analysis.figures import cells, cost, exponents, learning_curves, maps, nearest, panels, symmetry
from analysis.fits.flags import JudgedFit

ARRANGED = {
    "by_L": panels.panels_by_order,
    "by_nu_and_L": panels.panels_by_correlation_and_order,
    "by_architecture": panels.panels_by_architecture,
    "by_group": panels.panels_by_group,
}
"""Learning curves in the arrangements of published figures, by file name; drawn if the table has such curves."""


def draw_all(fits: Sequence[JudgedFit], folder: Path, distances: pd.DataFrame | None = None) -> list[Path]:
    """Draw every figure that the fitted curves have data for; return the files written.

    `learning_curves` has a panel per dataset and architecture, `learning_curves_<metric>` one per dataset; `by_L`
    (NequIP's figure), `by_nu_and_L` (MACE's figure 2), `by_architecture` and `by_group` those curves side by side;
    `exponents` a row per curve; `claim` the four cells; `map` β and error over L × ν; `cost` error against time and
    weights; `groups` the gain from symmetries; and `nearest` errors beside the distances in `distances` (a table of
    module `analysis.bounds.distances`).
    """
    main = panels.panels_by_model(fits)
    written = learning_curves.draw(main, folder / "learning_curves")
    for metric in dict.fromkeys(fit.curve.text("metric") for fit, _ in fits):
        by_dataset = panels.panels_by_dataset(fits, metric)
        written += learning_curves.draw(by_dataset, folder / f"learning_curves_{_slug(metric)}")
    for name, arrange in ARRANGED.items():
        if arranged := arrange(fits):
            of_dataset = Counter(panel.fits[0][0].curve.text("dataset") for panel in arranged)
            columns = min(3, max(of_dataset.values())) if name == "by_nu_and_L" else 3  # a row for each dataset
            written += learning_curves.draw(arranged, folder / name, columns)
    written += exponents.draw(main, folder / "exponents", nearest.dimensions(distances))
    shown = [item for panel in main for item in panel.fits]
    with contextlib.suppress(InputError):  # most tables do not have the four cells
        written += cells.draw(claims(shown), shown, folder / "claim")
    if symmetries := gains(fits):
        written += symmetry.draw(symmetries, folder / "groups")
    if grids := maps.maps(fits):
        written += maps.draw(grids, folder / "map")
    if costs := cost.costs(fits):
        written += cost.draw(costs, folder / "cost")
    if distances is not None and (beside := nearest.nearest(fits, distances)):
        written += nearest.draw(beside, folder / "nearest")
    return written


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)
