"""Conventions that all commands share: a mistake is told in one line, and the exit code says whose it was."""

from __future__ import annotations

import argparse
import codecs
import io
import logging
import os
import re
import select
import sys
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from experiments.core.errors import InputError
from experiments.core.paths import given
from experiments.core.wording import did_you_mean


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line and exits with code 2, on any terminal."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        spell_out()

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line on stderr, which names the choice nearest to a mistyped one."""
        if match := re.search(r"invalid choice: '?([^' ]+)'? \(choose from (.*)\)", message):
            message += did_you_mean(match[1], re.findall(r"[^', ]+", match[2]))
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def integer_from(least: int) -> Callable[[str], int]:
    """Return an argument's type: an integer ≥ `least`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"must be an integer ≥ {least}, got {text}")
        return value

    return read


TEXTS = frozenset({
    *("store", "plugins", "data.name"),  # not data.train, test, holdout: elsewhere they are numbers of frames
    *(f"hydra.launcher.{name}" for name in ("account", "partition", "qos", "constraint", "python")),
})  # fmt: skip
"""Settings that are texts, whatever they look like: store=2024.10 is no number."""
GROUPS = frozenset({"cell", "data", "model", "training", "sweep", "hydra/launcher", "hydra/sweeper"})
"""Keys whose value is the name of a file; Hydra has no message for a number there."""


_OVERRIDE = re.compile(r"([+~]{0,2}[\w./@:-]+)=(.*)", re.DOTALL)


def joined(words: Sequence[str]) -> list[str]:
    """Return a command line's words, with those put together that the shell took apart at a space within a value.

    `P=16, 32` and `data.tests={600K: FILE}` arrive as two words each: a value goes on after a comma, and until its
    brackets are closed, with any word that is neither an override nor an option.
    """
    whole: list[str] = []
    for word in words:
        if whole and _goes_on(whole[-1]) and not _OVERRIDE.fullmatch(word) and not word.startswith("-"):
            whole[-1] += f" {word}"
        else:
            whole.append(word)
    return _tests_together(whole)


_ONE_TEST = re.compile(r"\+{0,2}data\.tests\.([^=]+)=(.*)", re.DOTALL)


def _tests_together(words: list[str]) -> list[str]:
    """Return the words with `data.tests.NAME=FILE`, any number of them, as one `data.tests={NAME: FILE, …}`.

    Hydra would take no name that begins with a digit, and none at all that its files do not have.

    Raises:
        InputError: one name has two files, or `data.tests={…}` stands beside.
    """
    named: dict[str, str] = {}
    for word in words:
        if (match := _ONE_TEST.fullmatch(word)) and named.setdefault(match[1], match[2]) != match[2]:
            raise InputError(f"data.tests: {match[1]} names two files; accepted: one name a file")
    if not named:
        return words
    if other := next((word for word in words if re.match(r"\+{0,2}data\.tests=", word)), None):
        raise InputError(
            f"{other}: beside data.tests.{next(iter(named))}; accepted: all in data.tests={{NAME: FILE, …}}"
        )
    plain = re.compile(r"-?[\w./]+|'.*'")  # a value may be a number, as a temperature, or in quotes already
    values = {name: value if plain.fullmatch(value) else _as_text(value) for name, value in named.items()}
    mapping = ", ".join(f"{name}: {value}" for name, value in values.items())
    first = next(n for n, word in enumerate(words) if _ONE_TEST.fullmatch(word))
    rest = [word for word in words if not _ONE_TEST.fullmatch(word)]
    return [*rest[:first], f"data.tests={{{mapping}}}", *rest[first:]]


def _goes_on(word: str) -> bool:
    """Return whether the value of an override ends with a comma, or within a list, a mapping or a function."""
    parsed = _OVERRIDE.fullmatch(word)
    if parsed is None:
        return False
    value = parsed[2]
    opened = sum(map(value.count, "[{(")) - sum(map(value.count, ")}]"))
    return value.endswith(",") or (opened > 0 and re.match(r"\w*[\[{(]", value) is not None)


def quoted(word: str) -> str:
    """Return an override KEY=VALUE that Hydra reads: a value that is not of its grammar becomes a text in quotes.

    So does a number where a text is meant (`TEXTS`), for Hydra would not keep its spelling. Shells take the user's own
    quotes away, so that `store=~/runs` and `data.train="my data/train.xyz"` arrive bare.

    Raises:
        InputError: no key, or a name twice in a value.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    if not word.lstrip("+~").partition("=")[0] and "=" in word:
        raise InputError(f"{word}: no key before =; accepted: KEY=VALUE")
    override = _OVERRIDE.fullmatch(word)
    if override is None:
        return word
    key, value = override.groups()
    try:
        parsed = OverridesParser.create().parse_override(word)
        kind = None if parsed.is_sweep_override() else type(parsed.value())
        if kind is dict and (twice := _named_twice(value)):
            raise InputError(f"{key}: {twice} is named twice; accepted: each name once")
        bare = key.lstrip("+~").partition("@")[0]  # a group may name its place: data@data
        as_text = (kind in (int, float) and bare in TEXTS) or (
            kind in (int, float, bool, dict, list) and bare in GROUPS
        )
        as_text |= kind is type(None) and bare in GROUPS and not key.startswith("~")  # ~data=null leaves data out
    except HydraException:
        as_text = True
    return f"{key}={_as_text(value)}" if as_text else word


def _as_text(value: str) -> str:
    """Return a value in quotes, as Hydra's grammar reads a text of any letters."""
    # Hydra takes backslashes literally unless they stand before a quote
    escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", value)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return f"'{escaped}{trailing * chr(92)}'"


_PIECE = re.compile(r"""'(?:\\.|[^'])*'|"(?:\\.|[^"])*"|[\[{(]|[\]})]|,|[^'"\[{(\]}),]+|.""", re.DOTALL)


def _named_twice(mapping: str) -> str:
    """Return a name that a mapping `{NAME: value, …}` of Hydra's grammar has twice, where the last would win; or ""."""
    depth, item, names = 0, "", list[str]()
    for piece in _PIECE.findall(mapping):
        depth += {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}.get(piece, 0)
        if piece == "{" and depth == 1:
            continue
        if (piece == "," and depth == 1) or (piece == "}" and depth == 0):
            names.append(item.partition(":")[0].strip())
            item = ""
        else:
            item += piece
    return next((name for name in names if names.count(name) > 1), "")


def path(text: str) -> Path:
    """Return an argument's type: a path as the user means it, `~` and `$VARIABLES` replaced."""
    try:
        return Path(given(text))
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def draw_without_screen() -> None:
    """Let matplotlib draw to files, whatever MPLBACKEND says: notebooks export one that plain processes lack."""
    os.environ["MPLBACKEND"] = "agg"


SPELLED = {
    "±": "+/-", "β": "beta", "ν": "nu", "δ": "delta", "ε": "error", "Δ": "d", "κ": "kappa", "−": "-", "–": "-",
    "—": "-", "×": "x", "·": "*", "…": "...", "≥": ">=", "≤": "<=", "→": "->", "√": "sqrt", "∞": "inf", "†": "+",
}  # fmt: skip
"""Signs in output, and how a terminal without them shows them."""


def spell_out() -> None:
    """Let stdout and stderr print what their encoding lacks in other letters, instead of raising UnicodeEncodeError."""
    codecs.register_error("spelled", _spelled)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what stands in for them in tests and notebooks holds any letter
            stream.reconfigure(errors="spelled")


def _spelled(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    letters = (SPELLED.get(c) or unicodedata.normalize("NFKD", c) for c in error.object[error.start : error.end])
    plain = ("".join(x if x.isascii() else "" for x in letter) or "?" for letter in letters)
    return "".join(plain), error.end


def show_warnings() -> None:
    """Print log messages from warnings on to stderr, a line each with its module's name."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


def say(message: object, name: str = "equilaw") -> None:
    """Print each line of a message to stderr, `name: ` before it."""
    for line in str(message).splitlines():
        sys.stderr.write(f"{name}: {line}\n")


def run(
    command: Callable[[argparse.Namespace], int | None],
    arguments: argparse.Namespace,
    name: str = "equilaw",
    failures: tuple[type[Exception], ...] = (),
) -> int:
    """Carry out a command and return its exit code; report errors on stderr without a traceback.

    Args:
        command: returns an exit code, or None for 0.
        arguments: handed to `command`.
        name: prefix of every line of an error.
        failures: exceptions that are not the user's fault.

    Returns:
        The command's own code; 1: one of `failures`, or the reader of the output has gone (as `head` does);
        2: bad input; 130: Ctrl-C.
    """
    try:
        return read_or_not(lambda: command(arguments) or 0)
    except failures as error:
        say(error, name)
        return 1
    except InputError as error:
        say(error, name)
        return 2
    except KeyboardInterrupt:
        return 130


def read_or_not(command: Callable[[], int]) -> int:
    """Carry out a command, see its output off, and return its code; 1 if the reader of the output has gone (`head`)."""
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if not any(event & select.POLLERR for _, event in output.poll(0)):
            raise  # the reader of another pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return 1
