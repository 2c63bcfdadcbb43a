"""Where the program itself lies: its root, its shipped configuration, and how child processes find both."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
ROOT = _PACKAGE.parent
"""The repository's root in a checkout; else the directory that the packages are installed in."""
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else ROOT / "conf"
"""The shipped configuration: `conf/` beside the packages of a checkout; a wheel carries it inside `experiments`."""


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
    """
    return os.path.expandvars(os.path.expanduser(text))


def moved(file: str, old: str, new: str) -> str:
    """Return where a file is after a folder went from `old` to `new`, together with what lies near it.

    The file itself if it is still there, or if nothing is at its new place. All paths are absolute.
    """
    if os.path.exists(file) or not os.path.isabs(old):
        return file
    there = os.path.normpath(os.path.join(new, os.path.relpath(file, old)))
    return there if os.path.exists(there) else file
