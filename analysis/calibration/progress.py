"""A progress bar on the terminal for simulations that take minutes; nothing where nobody looks."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def watched(items: Sequence[T], what: str) -> Iterator[T]:
    """Yield the items and show on stderr, if it is a terminal, how many are done and how long the rest will take."""
    from rich.console import Console  # here: only a terminal needs it
    from rich.progress import Progress

    shown = sys.stderr.isatty()
    console = Console(stderr=True)
    # Lines printed meanwhile go through the bar only where both are the same terminal.
    with Progress(console=console, transient=True, disable=not shown, redirect_stdout=sys.stdout.isatty()) as bar:
        task = bar.add_task(what, total=len(items))
        for item in items:
            yield item
            bar.advance(task)
