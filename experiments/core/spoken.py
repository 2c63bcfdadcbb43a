"""Lines on standard error while long work goes on and nobody has a terminal: a log that is read later, or `tail -f`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

EVERY_SECONDS = 30.0
"""Longest silence."""
LOOK_SECONDS = 1.0


def stamped(text: str) -> str:
    """Return a line with the time of day in front."""
    return f"{time.strftime('%H:%M:%S')}  {text}"


class Spoken:
    """Print what `text` returns, with a time stamp, when its stage changes and at least every half minute.

    A context manager: it prints at the start and, if something changed since the last line, at the end.

    Args:
        text: a line on how far the work is; called from a thread of its own.
        stage: what must change for a line before half a minute has passed.
        silence: longest time without a line, s.
    """

    def __init__(self, text: Callable[[], str], stage: Callable[[], object], silence: float = EVERY_SECONDS) -> None:
        self._text, self._stage, self._silence = text, stage, silence
        self._said: tuple[object, str] | None = None
        self._when = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Spoken:
        self._say()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._said is None or self._text() != self._said[1]:
            self._say()

    def _speak(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            changed = self._said is None or self._stage() != self._said[0]
            if changed or time.monotonic() - self._when >= self._silence:
                self._say()

    def _say(self) -> None:
        self._said, self._when = (self._stage(), self._text()), time.monotonic()
        print(stamped(self._said[1]), file=sys.stderr, flush=True)
