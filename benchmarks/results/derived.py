"""How pages that are made of the tables of others are written: a figure, as a PNG alone, and the text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from analysis.files import write_text


def write(folder: Path, text: str, figure: str, draw: Callable[[Path], object]) -> Path:
    """Write a page and its figure; return the page.

    Args:
        folder: made if it is not there.
        text: of README.md.
        figure: name of the figure's files without ending.
        draw: draws into files of this stem; all but the PNG are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / figure)
    for path in folder.glob(f"{figure}.*"):
        if path.suffix != ".png":
            path.unlink()
    page = folder / "README.md"
    write_text(page, text)
    return page
