"""Writing results: whole or not at all, with one clear line when the place cannot be written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from analysis.errors import InputError


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` by way of a temporary file beside it, creating the folder if need be."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(f"{path}: cannot write here ({error.strerror}); give a writable place") from error
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise InputError(f"{path}: cannot write here ({error.strerror}); give a writable place") from error


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
