"""The C++ compiler that the compiled step and the native inner loop are built with, where there is one."""

from __future__ import annotations

import logging
import os
import shutil
from functools import cache

logger = logging.getLogger(__name__)


def compiler() -> str | None:
    """``$CXX``, else the first of g++, c++ and clang++ on the path; None, after one warning a process, without any."""
    found = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++") or shutil.which("clang++")
    if found is None:
        warn()
    return found


@cache
def warn() -> None:
    """Say it once: everything that needs a compiler asks for it."""
    logger.warning("no C++ compiler (g++) found: training eagerly, several times slower")
