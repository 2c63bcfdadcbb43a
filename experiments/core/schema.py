"""Build a frozen dataclass from a configuration section, or name its mistake in one line.

A field's annotation gives its type; `setting` gives its default, its range and its part in the run's identity.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from experiments.core.errors import InputError

T = TypeVar("T")


def setting(
    default: Any = dataclasses.MISSING,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
    since: int = 1,
) -> Any:
    """Declare a dataclass field with its default and range.

    Args:
        default: value if the key is absent; without one the key is required.
        low: smallest accepted value.
        high: largest accepted value.
        above: exclusive lower end.
        choices: the accepted values, if they can be listed.
        identity: whether a change of the value can change a run's number (then it is part of the run's identity).
        since: 1 for keys of the first release; later keys enter the identity only when they differ from the
            default, so that a new key does not orphan old runs.
    """
    metadata = {"low": low, "high": high, "above": above, "choices": choices, "identity": identity, "since": since}
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], section: Mapping[str, Any], where: str) -> T:
    """Return an instance of the dataclass `cls` made from `section`; every message names `where` + the key.

    Raises:
        InputError: unknown key, missing key, wrong type, value out of range.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in section:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" (did you mean {where}{near[0]}?)" if near else ""
            raise InputError(f"{where}{key}: unknown key{hint}; accepted: {', '.join(fields)}")
    hints = _hints(cls)  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, f in fields.items():
        if name in section:
            values[name] = check(section[name], hints[name], f"{where}{name}", f.metadata)
        elif f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}{name}: missing; accepted: {describe(hints[name], f.metadata)}")
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where.rstrip('.')}: {error}") from None


def check(value: Any, kind: Any, where: str, metadata: Mapping[str, Any] = types.MappingProxyType({})) -> Any:
    """Return `value` as type `kind`, in the metadata's range; raise an `InputError` that names `where` otherwise."""
    given = value

    def wrong() -> InputError:  # made where it is raised: describing takes longer than checking
        return InputError(f"{where}={given!r}: accepted: {describe(kind, metadata)}")

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None:
            if type(None) in arguments:
                return None
            raise wrong()
        for option in arguments:
            if option is not type(None):
                try:
                    return check(value, option, where, metadata)
                except InputError:
                    continue
        raise wrong()
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise wrong()
        return tuple(check(item, arguments[0], where, metadata) for item in value)
    if kind is bool:
        if not isinstance(value, bool):
            raise wrong()
    elif kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong()
    elif kind is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong()
        try:
            value = float(value)
        except OverflowError:
            raise wrong() from None
        if not math.isfinite(value):
            raise wrong()
    elif (kind is str and not isinstance(value, str)) or (origin is Mapping and not isinstance(value, Mapping)):
        raise wrong()
    if metadata.get("choices") is not None and value not in metadata["choices"]:
        raise wrong()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        low, high, above = metadata.get("low"), metadata.get("high"), metadata.get("above")
        if (low is not None and value < low) or (high is not None and value > high):
            raise wrong()
        if above is not None and value <= above:
            raise wrong()
    return value


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; cached, for a sweep has thousands of runs."""
    return typing.get_type_hints(cls)


def describe(kind: Any, metadata: Mapping[str, Any] = types.MappingProxyType({})) -> str:
    """Describe in words what a field accepts: `an integer from 1 to 3`."""
    if metadata.get("choices") is not None:
        null = ["null"] if type(None) in typing.get_args(kind) else []
        return " | ".join([*null, *(str(choice) for choice in metadata["choices"])])
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else describe(a, metadata) for a in arguments)
    if origin is tuple:
        return f"a list, each {describe(arguments[0], metadata)}"
    if origin is Mapping:
        return "names with values, {name: value, …}"
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
    words = names.get(kind, getattr(kind, "__name__", str(kind)))
    low, high, above = (_number(metadata.get(name)) for name in ("low", "high", "above"))
    if low and high:
        return f"{words} from {low} to {high}"
    if low:
        return f"{words} ≥ {low}"
    if above:
        return f"{words} > {above}" + (f" and ≤ {high}" if high else "")
    if high:
        return f"{words} ≤ {high}"
    return words


def _number(value: float | None) -> str:
    """Print integers in full and other numbers short."""
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:g}"


def identity_of(settings: Any) -> dict[str, Any]:
    """Return the settings that can change a run's number, by name (see `setting`)."""
    chosen = {}
    for f in dataclasses.fields(settings):
        value = getattr(settings, f.name)
        if not f.metadata.get("identity", True):
            continue
        if f.metadata.get("since", 1) > 1 and value == f.default:
            continue
        if dataclasses.is_dataclass(value):
            value = identity_of(value)
        chosen[f.name] = list(value) if isinstance(value, tuple) else value
    return chosen
