"""Conventions that all commands share: a mistake is told in one line, and the exit code says whose it was."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from experiments.core.errors import InputError
from experiments.core.paths import given


class Parser(argparse.ArgumentParser):
    """An argument parser that reports a mistake in one line and exits with code 2."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 and one line on stderr."""
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


def quoted(word: str) -> str:
    """Return an override KEY=VALUE that Hydra reads: a value that is not of its grammar becomes a text in quotes.

    Shells take the user's own quotes away, so that `store=~/runs` and `data.train="my data/train.xyz"` arrive bare.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, sign, value = word.partition("=")
    if not sign or not re.fullmatch(r"[+~]{0,2}[\w./@:-]+", key):
        return word
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        # Hydra takes backslashes literally unless they stand before a quote
        escaped = re.sub(r"(\\*)'", lambda found: 2 * found[1] + "\\'", value)
        trailing = len(escaped) - len(escaped.rstrip("\\"))
        return f"{key}='{escaped}{trailing * chr(92)}'"
    return word


def path(text: str) -> Path:
    """Return an argument's type: a path as the user means it, `~` and `$VARIABLES` replaced."""
    return Path(given(text))


def draw_without_screen() -> None:
    """Let matplotlib draw to files, whatever MPLBACKEND says: notebooks export one that plain processes lack."""
    os.environ["MPLBACKEND"] = "agg"


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
        code = command(arguments) or 0
        sys.stdout.flush()
    except failures as error:
        say(error, name)
        return 1
    except InputError as error:
        say(error, name)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
        return 1
    return code
