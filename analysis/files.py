"""Writing results: whole or not at all, with one clear line when the place cannot be written."""

from __future__ import annotations

from pathlib import Path

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
