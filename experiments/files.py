"""Files that are whole or absent: written aside, synced, renamed; and links that only one process can make."""

from __future__ import annotations

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.errors import InputError

ASIDE = ".aside-"
"""Prefix of files being written; whoever finds an old one may delete it."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a path to write to; on leaving without an exception it becomes ``path``, synced, in one step."""
    aside = path.with_name(f"{ASIDE}{uuid.uuid4().hex[:12]}-{path.name}")
    try:
        yield aside
        with open(aside, "rb") as written:
            os.fsync(written.fileno())
        os.replace(aside, path)
        sync_directory(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with whole(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write JSON (NaN refused: a number is honest or absent)."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content, or null where the file is absent or garbage (a torn disk; the writer was atomic)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def link_once(source: Path, target: Path) -> bool:
    """Hard-link ``source`` as ``target``; False where ``target`` exists already: exactly one caller ever gets True.

    On NFS a link call can succeed and its answer be lost; the link count then tells (open(2), O_EXCL note).
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return os.path.samefile(source, target)
    sync_directory(target.parent)
    return True


def sync_directory(directory: Path) -> None:
    """Make a rename in ``directory`` durable."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync by themselves
            raise
    finally:
        os.close(handle)


def remove_asides(directory: Path) -> None:
    """Delete what killed writers left in ``directory``; only its present owner may call this."""
    for aside in directory.glob(f"{ASIDE}*"):
        aside.unlink(missing_ok=True)


def writable(directory: Path, key: str) -> None:
    """Raise InputError unless ``directory`` can be made and written to."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f"{ASIDE}{uuid.uuid4().hex[:12]}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{key}={directory}: {reason}; accepted: a directory that can be written to") from None
