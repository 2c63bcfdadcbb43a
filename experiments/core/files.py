"""Atomic files: written under a temporary name, synced, renamed; and links that only one process can make."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from experiments.core.errors import InputError
from experiments.core.processes import Process

TEMPORARY = ".aside-"
"""Prefix of files and directories being written; their names say which process writes them."""
ABANDONED_SECONDS = 120.0
"""A temporary file of another machine is left alone for this long."""
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG, errno.ESTALE)
"""Error numbers of a full, read-only, broken or lost disk, for which no run is to blame."""


def user_cache() -> Path:
    """Return this user's cache folder of equilaw: `$XDG_CACHE_HOME/equilaw` or `~/.cache/equilaw` on Linux.

    A user without a home (in a container, say) has one in the folder of temporary files.
    """
    try:
        folder = platformdirs.user_cache_path("equilaw", appauthor=False)
    except RuntimeError:  # nobody knows what `~` stands for
        folder = Path("~")
    return folder if folder.is_absolute() else Path(tempfile.gettempdir()) / f"equilaw-{os.geteuid()}"


def temporary_for(path: Path) -> Path:
    """Return a new path beside `path`: `.aside-<machine>-<pid>-<start>-<random>-<name>`."""
    me = Process.this()
    return path.with_name(f"{TEMPORARY}{me.machine}-{me.pid}-{me.started or 0}-{uuid.uuid4().hex[:12]}-{path.name}")


@contextmanager
def whole(path: Path, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving without an exception it is renamed to `path`, in one step.

    With `durable` the file is synced first; without it, a loss of power can leave an empty file. An `OSError` on the
    way names `path` if the system named no file (as for a write to a full disk).
    """
    temporary = temporary_for(path)
    try:
        yield temporary
        if durable:
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
        os.replace(temporary, path)
        if durable:
            sync_directory(path.parent)
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes, durable: bool = True) -> None:
    """Write a file completely or not at all."""
    with whole(path, durable) as temporary:
        temporary.write_bytes(content)


def json_text(content: Any) -> str:
    """Return indented JSON with a final newline; raise `ValueError` for NaN and infinities."""
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_digest(content: Any) -> str:
    """Return the first 12 hex digits of the SHA-256 of `content` as JSON with sorted keys, a key for caches."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def json_number(value: float | None) -> float | None:
    """Return a number that JSON can hold; None (null) if it is absent or not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def write_json(path: Path, content: Any, durable: bool = True) -> None:
    """Write `content` as JSON, completely or not at all."""
    write_bytes(path, json_text(content).encode(), durable)


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays by name for `np.load`, completely or not at all."""
    import numpy as np  # here: commands that write no arrays start without it

    with whole(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def create_json(path: Path, content: Any, durable: bool = True) -> bool:
    """Write JSON unless `path` exists; return whether it was written."""
    temporary = temporary_for(path)
    try:
        write_json(temporary, content, durable)
        return link_once(temporary, path, durable)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> Any:
    """Return a JSON file's content; None if there is none or a torn disk damaged it (writes are atomic)."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, RecursionError):
        return None


def link_once(source: Path, target: Path, durable: bool = True) -> bool:
    """Hard-link `source` as `target`; return False if `target` exists already: exactly one caller ever gets True.

    On NFS a link call can succeed and its answer be lost; the link count then tells (open(2), O_EXCL note).
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return os.path.samefile(source, target)
    if durable:
        sync_directory(target.parent)
    return True


WANTED = "a directory that can be written to"
LINKED = "a directory on ext4, xfs, btrfs, NFS, Lustre or another file system that has them (FAT and exFAT do not)"


def sync_directory(directory: Path) -> None:
    """Sync `directory`, so that a rename in it survives a loss of power."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems sync by themselves
            raise
    finally:
        os.close(handle)


def age(path: Path) -> float:
    """Return the seconds since `path` was written, by the file system's own clock (machines' clocks may disagree).

    Raises:
        FileNotFoundError: it is gone.
    """
    probe = temporary_for(path.parent / "clock")
    try:
        probe.write_bytes(b"")
        now = probe.stat().st_mtime
    except OSError:  # a directory that can't be written to: the local clock must do
        now = time.time()
    finally:
        probe.unlink(missing_ok=True)
    return now - path.stat().st_mtime


def abandoned(temporary: Path) -> bool:
    """Return whether the writer of `temporary` is gone: known on its own machine, guessed by age on others."""
    me = Process.this()
    machine, pid, started = [*temporary.name.removeprefix(TEMPORARY).split("-"), "", "", ""][:3]
    if machine == me.machine and pid.isdigit():
        return not Process(me.host, me.boot, int(pid), started).lives()
    try:
        return abs(age(temporary)) > ABANDONED_SECONDS
    except OSError:
        return False


def remove_temporary(directory: Path) -> None:
    """Delete every temporary file in `directory`; only for a caller that alone uses it."""
    for temporary in directory.glob(f"{TEMPORARY}*"):
        temporary.unlink(missing_ok=True)


def remove_abandoned(directory: Path, deep: bool = True) -> None:
    """Delete temporary files that killed writers left in `directory`; with `deep`, also below it."""
    # os.walk passes over directories that others delete or rename meanwhile; Path.rglob would raise.
    for place, directories, names in os.walk(directory):
        temporary = [name for name in (*directories, *names) if name.startswith(TEMPORARY)]
        directories[:] = [name for name in directories if deep and name not in temporary]
        for leftover in (Path(place) / name for name in temporary):
            if abandoned(leftover):
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


def creatable(directory: Path, key: str) -> None:
    """Raise `InputError` if `directory` neither exists nor could be made; write nothing."""
    existing = directory.absolute()
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise InputError(f"{key}={directory}: {existing} is no directory; accepted: {WANTED}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{key}={directory}: {existing} can't be written to; accepted: {WANTED}")


def writable(directory: Path, key: str) -> None:
    """Raise `InputError` unless `directory` can be made, written to and linked in (results are published by a link)."""
    probe, link = temporary_for(directory / "probe"), temporary_for(directory / "link")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        try:
            os.link(probe, link)
        except OSError as error:
            if error.errno in DISK:
                raise
            raise InputError(f"{key}={directory}: its file system has no hard links; accepted: {LINKED}") from None
        finally:
            for leftover in (probe, link):
                leftover.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"{key}={directory}: {reason}; accepted: {WANTED}") from None
