"""All mistakes of a command line at once: Hydra stops at the first override that it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.config.parse import parse
from experiments.core.command import quoted
from experiments.core.errors import InputError
from experiments.core.library_errors import one_line
from experiments.core.paths import CONF

MOST = 100
"""Most values of a sweep that are looked at."""


def mistakes_of(words: Sequence[str], first: Exception) -> str:
    """Return a line for each mistake in the command line of a run or of a sweep.

    Args:
        words: `KEY=VALUE`, as Hydra got them.
        first: what Hydra raised; its override is left out, then the next, until the rest composes and is checked.
    """
    lines = dict.fromkeys([one_line(first)])
    choices = [_choices(word) for word in words if word not in _about(words, one_line(first))]
    if len(choices) < len(words):  # else the message names no override, and what the others are worth is unknown
        for n in range(max(map(len, choices), default=1)):  # each choice of a sweep once, not all their combinations
            lines.update(dict.fromkeys(_mistakes([options[min(n, len(options) - 1)] for options in choices])))
    return "\n".join(lines)


def _mistakes(words: Sequence[str]) -> list[str]:
    """Return the lines of a run's mistakes."""
    lines, left = list[str](), list(words)
    while True:
        try:
            GlobalHydra.instance().clear()
            with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
                composed = OmegaConf.to_container(compose("config", left), resolve=True)
            assert isinstance(composed, dict)
            parse({str(key): value for key, value in composed.items()})
            return lines
        except (HydraException, OmegaConfBaseException) as error:
            lines.append(one_line(error))
            culprits = _about(left, lines[-1])
            if not culprits:
                return lines
            left = [word for word in left if word not in culprits]
        except InputError as error:
            return [*lines, *str(error).splitlines()]


def _choices(word: str) -> list[str]:
    """Return one override for each of its values: `P=16,32` → `P=16`, `P=32`; the word itself if it is no sweep."""
    try:
        (override,) = OverridesParser.create().parse_overrides([word])
        if override.is_sweep_override():
            values = islice(override.sweep_string_iterator(), MOST)
            return [quoted(f"{override.get_key_element()}={value}") for value in values] or [word]
    except HydraException:
        pass
    return [word]


def _about(words: Sequence[str], message: str) -> list[str]:
    """Return the words that a message (of `one_line`) is about: it begins with a key, or a group and its option."""
    subject = message.split(": ", 1)[0]
    key, _, option = subject.partition("=")
    return [
        word
        for word in words
        if word == subject
        or (word.lstrip("+~").partition("=")[0].partition("@")[0] == key and option in word.partition("=")[2])
    ]
