"""Damage as it happens to files that people write, by a seed; and the one judge of what a program may make of it."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import re
import signal
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

ONE = "EQUILAW_FUZZ"
"""Environment variable with the number of the one case to repeat."""
DEADLINE = 120.0
"""Seconds a case may take, of which it needs a few hundredths: a hang, not a busy machine."""
NUMBER = re.compile(rb"[+-]?\d+\.?\d*(?:[eE][+-]?\d+)?")
NUMBERS = (
    b"nan", b"NaN", b"inf", b"-inf", b"1e400", b"1e308", b"1e-320", b"-0", b"0", b"-1", b"", b"None", b"1_000", b"0x10",
    "١".encode(), "−1".encode(), b"1,5", b"1.234,5", b"1e", b"--1", b"9" * 40, b"9" * 5000, b"1.5.2", b"12%", b"1/2",
    b"True", b"[1, 2]", b"1+2j", b"***", b"1D-3", b"1 000",
)  # fmt: skip
"""What may stand where a number should."""
SIGNS = (
    b"\0", b"\r", b"\x0c", b"\xff", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b'"', b"'", b"\t", b",", b";", b"|", b"=", b":",
    b"{", b"[", b"#", b"\\", b" ", b"\n", "é".encode(), "😀".encode(), b"$", b"%", b"&", b"<b>", b"=1+1", b"\x1b[31m",
)  # fmt: skip

Mutation = Callable[[bytes, random.Random], bytes]


def mutate(content: bytes, draw: random.Random, words: tuple[bytes, ...]) -> bytes:
    """Return damaged content: one to four changes, mostly small ones.

    Args:
        content: of a file that is right.
        draw: decides everything.
        words: what a word of the file may be replaced by.
    """
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
        content = (
            draw.choices(MUTATIONS, WEIGHTS)[0](content, draw) if draw.random() < 0.8 else _word(content, draw, words)
        )
    return content


def _word(content: bytes, draw: random.Random, words: tuple[bytes, ...]) -> bytes:
    return _replaced(content, draw, re.compile(rb"[A-Za-z_]\w*"), words)


def _number(content: bytes, draw: random.Random) -> bytes:
    return _replaced(content, draw, NUMBER, NUMBERS)


def _digit(content: bytes, draw: random.Random) -> bytes:
    """Change, add or leave out one digit, sign or point of a number."""
    found = list(re.finditer(rb"[\d.+-]", content))
    if not found:
        return content
    place = draw.choice(found).start()
    by = draw.choice((b"", b"0", b"1", b"9", b"-", b".", b"00", b"e", b"e9"))
    return content[:place] + by + content[place + draw.randrange(2) :]


def _replaced(content: bytes, draw: random.Random, what: re.Pattern[bytes], by: tuple[bytes, ...]) -> bytes:
    found = list(what.finditer(content))
    if not found:
        return content
    place = draw.choice(found)
    return content[: place.start()] + draw.choice(by) + content[place.end() :]


def _lines(content: bytes, draw: random.Random) -> bytes:
    """Leave out, repeat or exchange a line."""
    lines = content.split(b"\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    match draw.randrange(3):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case _:
            lines[i], lines[j] = lines[j], lines[i]
    return b"\n".join(lines)


def _cell(content: bytes, draw: random.Random) -> bytes:
    """Leave out or repeat a word of a line."""
    found = list(re.finditer(rb"[^\s,;]+[ ,;\t]?", content))
    if not found:
        return content
    place = draw.choice(found)
    return content[: place.start()] + draw.choice((b"", 2 * place[0])) + content[place.end() :]


def _sign(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(SIGNS) + content[place:]


def _byte(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) or 1)
    return content[:place] + bytes([draw.randrange(256)]) + content[place + 1 :]


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def _encoded(content: bytes, draw: random.Random) -> bytes:
    """Write it in another encoding, with other ends of lines, or packed."""
    match draw.randrange(6):
        case 0:
            return content.decode("utf-8", "replace").encode(draw.choice(("utf-16", "utf-16-le", "utf-8-sig")))
        case 1:
            return content.replace(b"\n", draw.choice((b"\r\n", b"\r", b"\n\n")))
        case 2:
            return gzip.compress(content, mtime=0)
        case 3:
            return gzip.compress(content, mtime=0)[: -draw.randrange(1, 20)]
        case 4:
            return content.decode("utf-8", "replace").encode("latin-1", "replace")
        case _:
            return content + content[: len(content) // 2]


MUTATIONS: tuple[Mutation, ...] = (_digit, _number, _lines, _cell, _sign, _byte, _cut, _encoded)
WEIGHTS = (9, 6, 3, 3, 3, 1, 1, 1)


class Hang(BaseException):
    """A case took longer than the deadline."""


@contextlib.contextmanager
def deadline(seconds: float = DEADLINE) -> Iterator[None]:
    """Raise `Hang` inside the block if it takes too long; not an `Exception`, so that nothing catches it."""

    def ring(_: int, frame: FrameType | None) -> None:
        raise Hang(f"no end after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def campaign(name: str, cases: int, folder: Path, case: Callable[[random.Random, Path], str]) -> dict[str, int]:
    """Try many cases, and fail with the numbers of those that break the rules.

    Args:
        name: of the campaign, which the seeds of its cases depend on.
        cases: how many; `ONE` in the environment chooses one of any number.
        folder: each case gets an empty folder in it.
        case: makes the input by the generator, tries it, and returns in a word what became of it; what it raises, a
            failed assertion among that, is a breach.

    Returns:
        How often which word was returned.
    """
    counts: dict[str, int] = {}
    wrong: list[str] = []
    chosen = os.environ.get(ONE)
    for number in range(cases) if chosen is None else [int(chosen)]:
        place = folder / str(number)
        place.mkdir(parents=True)
        try:
            with deadline():
                word = case(random.Random(f"{name} {number}"), place)
            counts[word] = counts.get(word, 0) + 1
        except (Exception, Hang, SystemExit) as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            said = " ".join(str(error).split())[:300]
            wrong.append(f"case {number}: {type(error).__name__}: {said} ({Path(last.filename).name}:{last.lineno})")
    print(f"{name}: {cases} cases: {', '.join(f'{count} {word}' for word, count in sorted(counts.items()))}")
    shown = "\n".join(wrong[:20])
    assert not wrong, (
        f"{len(wrong)} of {cases} cases of {name}; {ONE}=NUMBER repeats one (input: {folder}/NUMBER):\n{shown}"
    )
    return counts
