"""Figures of a run table, one file per figure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from analysis.claim import claims
from analysis.errors import InputError
from analysis.figures import claim, exponents, learning_curves
from analysis.figures.learning_curves import Fitted

__all__ = ["draw_all"]


def draw_all(fits: Sequence[Fitted], folder: Path) -> list[Path]:
    """Draw every figure that the fitted curves have the data for; returns the files written.

    `learning_curves` has a panel per dataset and architecture, `learning_curves_<metric>` one per dataset,
    `exponents` a row per curve, and `claim` the four cells where the table has them.
    """
    written = learning_curves.draw(learning_curves.panels_by_model(fits), folder / "learning_curves")
    for metric in dict.fromkeys(fit.curve.text("metric") for fit, _ in fits):
        panels = learning_curves.panels_by_dataset(fits, metric)
        written += learning_curves.draw(panels, folder / f"learning_curves_{_slug(metric)}")
    written += exponents.draw(learning_curves.panels_by_model(fits), folder / "exponents")
    main = [item for panel in learning_curves.panels_by_model(fits) for item in panel.fits]
    with contextlib.suppress(InputError):  # most tables do not have the four cells
        written += claim.draw(claims(main), main, folder / "claim")
    return written


def _slug(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name)
