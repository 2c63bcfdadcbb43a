"""Comparisons as one table: what differs, the change of β, whether it is shown, and what it is worth in frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.comparisons.compare import Comparison
from analysis.comparisons.paired import Survival, excludes_zero
from analysis.comparisons.sentences import SIGNIFICANT, level
from analysis.fits.record import signed_interval, text_columns, title
from analysis.spelling import dataset_words

HEAD = ("dataset", "metric", "model", "compared", "Δβ (95 %)", "p (Holm)", "shown", "frames needed, first / second")
"""Heads of the columns."""


def comparison_rows(comparisons: Sequence[Comparison]) -> list[tuple[str, ...]]:
    """Return one row of texts for each comparison, in the order of `HEAD`."""
    return [
        (
            dataset_words(c.first.text("dataset")),
            c.first.text("metric"),
            c.common or title(c.first),
            f"{level(c.first, c.factor)} → {level(c.second, c.factor)}",
            signed_interval(c.delta),
            "–" if np.isnan(c.p_holm) else "<0.001" if c.p_holm < 0.001 else f"{c.p_holm:.3f}",
            _shown(c),
            c.ratio.cell,
        )
        for c in comparisons
    ]


def _shown(c: Comparison) -> str:
    """Say in a word or two whether a difference is shown: beyond chance, with floors, and with more training."""
    if c.not_converged:
        return "not converged"
    if not (excludes_zero(c.delta) and c.p_holm < SIGNIFICANT):
        return "no"
    word = "rises" if c.delta.value > 0 else "falls"
    if np.isfinite(c.trained.low) and not excludes_zero(c.trained):
        return f"{word}, open: training"
    return word if c.survival is Survival.SURVIVES else f"{word}, open: floor"


def comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Return the table of all comparisons as text."""
    return "\n".join(text_columns([HEAD, *comparison_rows(comparisons)]))
