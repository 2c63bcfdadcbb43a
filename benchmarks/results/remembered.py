"""Results computed from run tables, kept until one of the tables is written anew: several pages ask for the same."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def of_tables(compute: Callable[..., T]) -> Callable[..., T]:
    """Keep what a function of tables' paths returns, as long as none of these files changes.

    Raises:
        FileNotFoundError: a table is missing.
    """

    @functools.cache
    def as_of(*tables: tuple[Path, int]) -> T:
        return compute(*(table for table, _ in tables))

    @functools.wraps(compute)
    def remembered(*tables: Path) -> T:
        return as_of(*((table, table.stat().st_mtime_ns) for table in tables))

    return remembered
