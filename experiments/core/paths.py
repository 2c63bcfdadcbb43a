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
