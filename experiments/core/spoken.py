"""Lines on standard error while long work goes on and nobody has a terminal: a log that is read later, or `tail -f`."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import ClassVar

EVERY_SECONDS = 30.0
"""Longest silence."""
LOOK_SECONDS = 1.0


def stamped(text: str) -> str:
    """Return a line with the time of day in front."""
    return f"{time.strftime('%H:%M:%S')}  {text}"


class Spoken:
    """Print what `text` returns, with a time stamp, when its stage changes and at least every half minute.

    A context manager: it prints at the start and, if something changed since the last line, at the end. Inside another
    one it speaks alone, for it knows more.

    Args:
        text: a line on how far the work is; called from a thread of its own.
        stage: what must change for a line before half a minute has passed; None: nothing.
        silence: longest time without a line, s.
        at_once: whether to print at the start and the end; else nothing is said of work that is done before `silence`.
    """

    _speaking: ClassVar[list[Spoken]] = []

    def __init__(
        self,
        text: Callable[[], str],
        stage: Callable[[], object] | None = None,
        silence: float = EVERY_SECONDS,
        at_once: bool = True,
    ) -> None:
        self._text, self._stage, self._silence, self._at_once = text, stage or (lambda: None), silence, at_once
        self._said: tuple[object, str] | None = None
        self._when = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True)

    def __enter__(self) -> Spoken:
        Spoken._speaking.append(self)
        self._when = time.monotonic()
        if self._at_once:
            self._say()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        Spoken._speaking.remove(self)
        if self._at_once and (self._said is None or self._text() != self._said[1]):
            self._say()

    def _speak(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            if self is not Spoken._speaking[-1]:
                continue
            changed = self._said is not None and self._stage() != self._said[0]
            if changed or time.monotonic() - self._when >= self._silence:
                self._say()

    def _say(self) -> None:
        self._said, self._when = (self._stage(), self._text()), time.monotonic()
        print(stamped(self._said[1]), file=sys.stderr, flush=True)
