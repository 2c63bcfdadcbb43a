"""Where the program itself lies: its root, its shipped configuration, how child processes find both; users' paths."""

from __future__ import annotations

import os
from pathlib import Path

from experiments.core.errors import InputError

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE.parent
"""The repository's root in a checkout; else the directory that the packages are installed in."""
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else ROOT / "conf"
"""The shipped configuration: `conf/` beside the packages of a checkout; a wheel carries it inside `experiments`."""
LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Bytes that Linux and its file systems allow a name and a path; beyond, even asking for a file is an error."""


def importable() -> dict[str, str]:
    """Return the environment variables with which a child process in any directory imports these very packages.

    In a checkout, which need not be installed, that is `PYTHONPATH`; nothing if the packages are installed.
    """
    if CONF.parent != ROOT:
        return {}
    others = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), *([others] if others else [])])}


def given(text: str) -> str:
    """Return a path as the user means it: `~` and `$VARIABLES` replaced, otherwise as it was typed.

    A variable that is not set stays, so that a message about the file shows it.

    Raises:
        InputError: no file can have such a path.
    """
    path = os.path.expandvars(os.path.expanduser(text))
    written = path.encode(errors="surrogatepass")
    if max(map(len, written.split(b"/"))) > LONGEST_NAME or len(written) > LONGEST_PATH or b"\0" in written:
        raise InputError(
            f"the path {text[:40]}…: {len(path)} characters; accepted: names of at most {LONGEST_NAME} bytes, paths of "
            f"at most {LONGEST_PATH}, without zero bytes"
        )
    return path


def moved(file: str, old: str, new: str) -> str:
    """Return where a file is after a folder went from `old` to `new`, together with what lies near it.

    The file itself if it is still there, or if nothing is at its new place. All paths are absolute.
    """
    if os.path.exists(file) or not os.path.isabs(old):
        return file
    there = os.path.normpath(os.path.join(new, os.path.relpath(file, old)))
    return there if os.path.exists(there) else file
