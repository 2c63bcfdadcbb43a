"""Sweeps as a union of grids: each grid is a product of choices, and the sweep is all their points."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from experiments.core.errors import InputError

MOST = 1_000_000
"""Most points of a sweep; nobody means more, and they would fill the memory before any run started."""
_PART = re.compile(r"(?:(\d+)(?:\.\.(\d+))?:)?(\d+)(?:\.\.(\d+))?")
"""A part of seeds by P: `8:0..3`, `32..128:0`, or `0..3` for every P."""


def expand(arguments: Sequence[str], grids: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the overrides of every point of the sweep, each point once, in order.

    `seed=8..16:0..7,32..128:0..3` gives seeds by P: 0 to 7 where 8 ≤ P ≤ 16, and 0 to 3 where 32 ≤ P ≤ 128.

    Args:
        arguments: the command line's overrides; `P=16,32` sweeps. They replace a grid's choices of the same key.
        grids: mappings of keys to one value, to a text as on the command line, or to a list of values.

    Raises:
        InputError: a list of values is empty, an override deletes a key, or seeds by P leave out a P of the grid.
    """
    given = {parsed.key_or_group: parsed for parsed in _parse(arguments)}
    fixed = [a for a, parsed in zip(arguments, _parse(arguments), strict=True) if parsed.is_hydra_override()]
    points: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        own = [_text(key, value) for key, value in grid.items() if key not in given]
        chosen = [*_parse(own), *given.values()]
        options = [_choices(override) for override in chosen if not override.is_hydra_override()]
        if (count := math.prod(map(len, options))) > MOST:
            raise InputError(f"the sweep has {count} points; accepted: at most {MOST}")
        for point in _points(options):
            points[tuple(point)] = None
    return [[*fixed, *point] for point in points]


def _points(options: Sequence[list[str]]) -> Iterator[list[str]]:
    """Yield the points of a product; seeds by P are those of the point's P."""
    parts = next((choices for choices in options if _by_size(choices)), None)
    if parts is None:
        yield from map(list, itertools.product(*options))
        return
    at = list(options).index(parts)
    text = ",".join(choice.removeprefix("seed=").replace("\\:", ":").strip("'\"") for choice in parts)
    for point in itertools.product(*options[:at], [""], *options[at + 1 :]):
        for seed in _seeds(text, point):
            yield [*point[:at], f"seed={seed}", *point[at + 1 :]]


def _by_size(choices: Sequence[str]) -> bool:
    """Whether these are seeds by P, or a range of seeds, and no plain list of them."""
    return any(choice.startswith("seed=") and (":" in choice or ".." in choice) for choice in choices)


def _seeds(text: str, point: Sequence[str]) -> list[int]:
    """Return the seeds that the parts of `text` have for the P of a point, each once."""
    size = next((override.removeprefix("P=") for override in point if override.startswith("P=")), "")
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InputError(f"seed={part}: accepted: parts like 8:0, 8..16:0..3 or 0..3, with commas between them")
        low, high, first, last = (None if number is None else int(number) for number in match.groups())
        assert first is not None
        if low is not None and not size.isdigit():
            raise InputError(f"seed={text}: gives seeds by P; accepted: beside P=…, in the same grid")
        if low is None or low <= int(size) <= (low if high is None else high):
            seeds |= dict.fromkeys(range(first, (first if last is None else last) + 1))
    if not seeds:
        raise InputError(f"seed={text}: no seed for P={size}; accepted: a part for every P of the grid")
    return list(seeds)


def _text(key: str, value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) == 0:
            raise InputError(f"{key}=[] in a grid: nothing to choose from; accepted: one value or more")
        return f"{key}={','.join('null' if v is None else str(v) for v in value)}"
    return f"{key}={'null' if value is None else value}"


def _parse(arguments: Sequence[str]) -> list[Override]:
    return list(OverridesParser.create().parse_overrides(list(arguments)))


def _choices(override: Override) -> list[str]:
    """Return one override for each of its values: `P=16,32` → `P=16`, `P=32`."""
    if override.is_delete():
        raise InputError(f"{override.input_line}: a sweep cannot delete a key; accepted: key=value,value…")
    key = override.get_key_element()
    if override.is_sweep_override():
        choices = [f"{key}={value}" for value in itertools.islice(override.sweep_string_iterator(), MOST + 1)]
        if len(choices) > MOST:
            raise InputError(f"{override.input_line}: accepted: at most {MOST} values")
        return choices
    return [f"{key}={override.get_value_element_as_str()}"]
