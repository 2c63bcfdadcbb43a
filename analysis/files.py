"""Writing results: whole or not at all, with one clear line when the place cannot be written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.errors import InputError
from experiments.core import files


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, creating the folder if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, data)
    except OSError as error:
        raise InputError(f"{path}: cannot write here ({error.strerror}); give a writable place") from error


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: object) -> None:
    """Write indented JSON, whole or not at all; NaN is refused with `ValueError`."""
    write_text(path, files.json_text(content))


_FORMULA = re.compile(r"'*(?![+-]?[\d.]+(?:[eE][+-]?\d+)?$)[=+\-@]")
"""What spreadsheets compute, and what was written for it; numbers are none."""


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV, without its index.

    A text that spreadsheets take for a formula (`=1+1`, `@x`) has an apostrophe before it; `as_meant` takes it away.
    """
    texts = frame.copy()
    for name in frame.columns:
        if frame[name].dtype.kind == "O":
            texts[name] = [_shielded(cell) for cell in frame[name]]
    texts.columns = pd.Index([_shielded(name) for name in frame.columns])
    return texts.to_csv(index=False)


def _shielded(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def as_meant(cell: str) -> str:
    """Return a text of a CSV file without the apostrophe of `csv_text`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
