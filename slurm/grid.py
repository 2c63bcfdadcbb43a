"""Sweeps as a union of grids: each grid is a product of choices, and the sweep is all their points."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from experiments.core.errors import InputError


def expand(arguments: Sequence[str], grids: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return the overrides of every point of the sweep, each point once, in order.

    Args:
        arguments: the command line's overrides; `P=16,32` sweeps. They replace a grid's choices of the same key.
        grids: mappings of keys to one value, to a text as on the command line, or to a list of values.

    Raises:
        InputError: a list of values is empty, or an override deletes a key.
    """
    given = {parsed.key_or_group: parsed for parsed in _parse(arguments)}
    fixed = [a for a, parsed in zip(arguments, _parse(arguments), strict=True) if parsed.is_hydra_override()]
    points: dict[tuple[str, ...], None] = {}
    for grid in grids or [{}]:
        own = [_text(key, value) for key, value in grid.items() if key not in given]
        chosen = [*_parse(own), *given.values()]
        options = [_choices(override) for override in chosen if not override.is_hydra_override()]
        for point in itertools.product(*options):
            points[tuple(point)] = None
    return [[*fixed, *point] for point in points]


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
        return [f"{key}={value}" for value in override.sweep_string_iterator()]
    return [f"{key}={override.get_value_element_as_str()}"]
