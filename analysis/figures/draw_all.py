"""Drawing of every figure that a run table has data for: the files of this folder, and a user's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.figures.references import Reference
from analysis.fits.flags import JudgedFit
from experiments.core import plugins
from experiments.core.plugins import Declaration


def figures() -> list[Declaration]:
    """Return every figure, the program's own first.

    Raises:
        InputError: two files have the same name, or a user's folder is not there.
    """
    own = plugins.own(Path(__file__).parent, "analysis.figures", "NAME")
    return list(plugins.declarations(own, "NAME", plugins.folders(), "figures").values())


def draw_all(
    fits: Sequence[JudgedFit],
    folder: Path,
    distances: pd.DataFrame | None = None,
    references: Sequence[Reference] = (),
) -> list[Path]:
    """Draw every figure that the fitted curves have data for; return the files written.

    Args:
        fits: the curves.
        folder: for the files.
        distances: the table of module `analysis.bounds.distances`, if there is one.
        references: published points to show beside the curves.

    Raises:
        InputError: a user's figure breaks the contract (`analysis.figures`), before any is drawn, or fails.
    """
    found = figures()
    for one in found:
        if one.module is None:
            _check(one)
    written: list[Path] = []
    for one in found:
        module = one.load()
        try:
            data = module.collect(fits, distances)
            if data and references and hasattr(module, "with_references"):
                data = module.with_references(data, references)
            written += module.draw(data, folder / module.NAME) if data else []
        except Exception as error:
            if one.module is not None:
                raise
            raise one.fault(f"figure {one.name}: {type(error).__name__}: {error}") from error
    return written


def _check(one: Declaration) -> None:
    module = one.load()
    if getattr(module, "NAME", None) != one.name:
        found = getattr(module, "NAME", None)
        raise one.fault(f"NAME={found!r}: accepted: the file's name, or a text in its own line")
    for name, form in (("collect", "collect(fits, distances)"), ("draw", "draw(data, stem)")):
        if not callable(getattr(module, name, None)):
            raise one.fault(f"{name} is missing; accepted: a function {form}")
