"""Build a frozen dataclass from a configuration section or a JSON record, or name every mistake in a line of its own.

A field's annotation gives its type; `setting` gives its default, its range and its part in the run's identity. Values
are validated by pydantic's core; the messages are ours.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from experiments.core.errors import InputError
from experiments.core.wording import did_you_mean

if TYPE_CHECKING:
    from pydantic_core import CoreSchema, ErrorDetails, SchemaValidator

T = TypeVar("T")
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def setting(
    default: Any = dataclasses.MISSING,
    *,
    factory: Any = dataclasses.MISSING,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
    since: int = 1,
    alike: Mapping[Any, Any] | None = None,
    heading: str | None = None,
) -> Any:
    """Declare a dataclass field with its default and range.

    Args:
        default: value if the key is absent; without one (and without `factory`) the key is required.
        factory: returns the default, if it is a mapping.
        low: smallest accepted value.
        high: largest accepted value.
        above: exclusive lower end.
        choices: the accepted values, if they can be listed.
        identity: whether a change of the value can change a run's number (then it is part of the run's identity).
        since: 1 for keys of the first release; later keys enter the identity only when they differ from the
            default, so that a new key does not orphan old runs.
        alike: values that enter the identity as another one.
        heading: line above this field and those that follow, in the generated file and reference page.
    """
    metadata = {
        "low": low, "high": high, "above": above, "choices": choices, "identity": identity, "since": since,
        "alike": tuple((alike or {}).items()), "heading": heading,
    }  # fmt: skip
    return dataclasses.field(default=default, default_factory=factory, metadata=metadata)


def build(cls: type[T], section: Mapping[str, Any], where: str, beside: Sequence[str] = ()) -> T:
    """Return an instance of the dataclass `cls` made from `section`.

    Args:
        cls: the dataclass.
        section: its values by key.
        where: stands before the key in every message.
        beside: further keys of the section, which others check; a mistyped key may have meant one of them.

    Raises:
        InputError: unknown keys, missing keys, wrong types, values out of range, or what the class itself refuses; the
            message has a line for each.
    """
    lines = functools.partial(_lines_of, cls, section, where, beside)
    made: T = _validated(_validator(cls, "forbid"), section, lines)  # type: ignore[arg-type]
    return made


def read(cls: type[T], content: Any, **known: Any) -> T:
    """Return an instance of the dataclass `cls` made from JSON content.

    Keys that it lacks are left out, or kept in its field `further` if it has one.

    Args:
        cls: the dataclass; records inside it are dataclasses too.
        content: a mapping, as it was written with `dataclasses.asdict`.
        known: values of fields that are not in the content.

    Raises:
        InputError: the content is damaged: no mapping, a key is missing, or a value of another type.
    """
    if not isinstance(content, Mapping):
        raise InputError(f"{cls.__name__}: not a record")
    lines = functools.partial(_lines_of, cls, content, f"{cls.__name__}.", ())
    made: T = _validated(_validator(cls, "ignore"), {**content, **known}, lines)  # type: ignore[arg-type]
    return made


def check(value: Any, kind: Any, where: str, metadata: Mapping[str, Any] = NOTHING) -> Any:
    """Return `value` as type `kind`, in the metadata's range; raise an `InputError` that names `where` otherwise."""
    hashable = tuple((name, tuple(x) if isinstance(x, list) else x) for name, x in metadata.items())
    validator = _value_validator(kind, hashable)
    return _validated(validator, value, functools.partial(_value_lines, kind, metadata, value, where))


def _validated(validator: SchemaValidator, value: Any, lines: Callable[[list[ErrorDetails]], list[str]]) -> Any:
    """Validate a value; `lines` words the mistakes of a refusal."""
    from pydantic_core import ValidationError

    try:
        return validator.validate_python(value)
    except ValidationError as error:
        raise InputError("\n".join(lines(error.errors(include_url=False)))) from None


def _lines_of(
    cls: type, section: Mapping[str, Any], where: str, beside: Sequence[str], errors: list[ErrorDetails]
) -> list[str]:
    """Return the messages of a section's mistakes, one a key (each option of a union has an error of its own)."""
    fields, hints = _fields(cls), _hints(cls)
    lines: dict[str, str] = {}
    for error in errors:
        if not error["loc"]:  # what the class itself says when all keys are good
            lines[""] = f"{where.rstrip('.')}: {error.get('ctx', {}).get('error', error['msg'])}".removeprefix(": ")
            continue
        key, *inside = error["loc"]
        if key not in fields:
            known = [*fields, *(name for name in beside if name not in fields)]
            near = did_you_mean(str(key), known, where)
            lines[str(key)] = f"{where}{key}: unknown key{near}; accepted: {', '.join(known)}"
        elif error["type"] == "missing" and not inside:
            name = str(key)
            lines[name] = f"{where}{name}: missing; accepted: {describe(hints[name], fields[name].metadata)}"
        else:
            name = str(key)
            items = [] if isinstance(section[name], str) else _items(error)
            for line in _value_lines(hints[name], fields[name].metadata, section[name], f"{where}{name}", items):
                lines.setdefault(line, line)
    return list(lines.values())


def _items(error: ErrorDetails) -> list[ErrorDetails]:
    """Return an error of an item of a list, with the item's place as location; none for any other error."""
    places = [part for part in error["loc"] if isinstance(part, int)]
    return [{**error, "loc": (places[0],)}] if len(places) == 1 else []


def _value_lines(
    kind: Any, metadata: Mapping[str, Any], value: Any, where: str, errors: list[ErrorDetails]
) -> list[str]:
    """Return the messages of one value: of the items of a list that are wrong, or of the value itself."""
    items = [place for error in errors for place in error["loc"] if isinstance(place, int)]
    listed = next((k for k in (kind, *typing.get_args(kind)) if typing.get_origin(k) is tuple), None)
    if items and listed is not None:
        of = typing.get_args(listed)[0]
        return [f"{where}[{n}]={value[n]!r}: accepted: {describe(of, metadata)}" for n in dict.fromkeys(items)]
    text = isinstance(value, float | bool) and str in (kind, *typing.get_args(kind)) and not metadata.get("choices")
    hint = f"; a text that looks like another value: {where}=\"'{value}'\"" if text else ""
    if listed is not None and isinstance(value, str) and value[:1] == "[":
        hint = f"; a list has no quotes of its own: {where}={value}"
    if isinstance(value, str) and value[:1] == "{" and _has_mapping(kind):
        hint = "; a name has letters, digits, blanks, '_', '.', '+' or '-', and a value with others stands in quotes"
    return [f"{where}={value!r}: accepted: {describe(kind, metadata)}{hint or _spelled(kind, value, where)}"]


def _has_mapping(kind: Any) -> bool:
    return any(typing.get_origin(one) is Mapping for one in (kind, *typing.get_args(kind)))


def _spelled(kind: Any, value: Any, where: str) -> str:
    """Show how a number is spelled that was given as a fraction, a list or with a comma too many; or return nothing."""
    if not {int, float} & {kind, *typing.get_args(kind)}:
        return ""
    if isinstance(value, float) and value.is_integer():
        return f"; here {where}={int(value)}"
    if isinstance(value, str) and (ends := re.fullmatch(r"(\d+)\s*(?:-|–|\.\.|:)\s*(\d+)", value)):
        return f"; a sweep: -m {where}={ends[1]}{'..' if where == 'seed' else ','}{ends[2]}"
    texts = [part.strip() for part in value.split(",")] if isinstance(value, str) else []
    numbers = [str(item) for item in value] if isinstance(value, list | tuple) else [text for text in texts if text]
    if numbers and len(texts) != 1 and all(re.fullmatch(r"-?\d+(\.\d+)?", number) for number in numbers):
        given = f"{where}={','.join(numbers)}"
        return f"; a sweep: -m {given}" if len(numbers) > 1 else f"; here {given}"
    return ""


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; cached, for a sweep has thousands of runs."""
    return typing.get_type_hints(cls)


@functools.cache
def _fields(cls: Any) -> dict[str, dataclasses.Field[Any]]:
    """Return the fields of a dataclass by name."""
    return {f.name: f for f in dataclasses.fields(cls)}


FURTHER = "further"
"""Field of a record that keeps the keys that its class does not declare."""
Extra = Literal["forbid", "ignore"]
"""Treatment of keys that a dataclass lacks: a mistake in a configuration; those of a later version in a record, which
may also hold numbers that are not finite."""


@functools.cache
def _validator(cls: Any, extra: Extra) -> SchemaValidator:
    from pydantic_core import SchemaValidator

    return SchemaValidator(section_schema(cls, extra))


@functools.cache
def _value_validator(kind: Any, metadata: tuple[tuple[str, Any], ...]) -> SchemaValidator:
    from pydantic_core import SchemaValidator

    return SchemaValidator(core_schema_of(kind, dict(metadata)))


def core_schema_of(kind: Any, metadata: Mapping[str, Any] = NOTHING, extra: Extra = "forbid") -> CoreSchema:
    """Return pydantic's schema of a type in a range: strict, but an integer is a number and any sequence a tuple."""
    from pydantic_core import core_schema as core

    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        options = [core_schema_of(a, metadata, extra) for a in arguments if a is not type(None)]
        one = options[0] if len(options) == 1 else core.union_schema(list(options), mode="left_to_right")
        return core.nullable_schema(one) if type(None) in arguments else one
    if metadata.get("choices") is not None and kind is str:
        return core.literal_schema(list(metadata["choices"]))
    if origin is Literal:
        return core.literal_schema(list(arguments))
    if origin is tuple:
        items = [core_schema_of(a, metadata, extra) for a in arguments if a is not Ellipsis]
        return core.tuple_schema(items, variadic_item_index=0 if Ellipsis in arguments else None)
    if origin in (Mapping, dict):
        return core.dict_schema(core.str_schema(strict=True), core_schema_of(arguments[1], metadata, extra))
    if dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        built = section_schema(kind, extra)
        return core.union_schema([core.is_instance_schema(kind), built], mode="left_to_right")
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return core.enum_schema(kind, list(kind))
    limits = {"ge": metadata.get("low"), "le": metadata.get("high"), "gt": metadata.get("above")}
    if kind is int:
        return core.int_schema(strict=True, **limits)
    if kind is float:
        return core.float_schema(strict=True, allow_inf_nan=extra == "ignore", **limits)
    if kind is bool:
        return core.bool_schema(strict=True)
    if kind is str:
        text = core.str_schema(strict=True)
        return text if extra == "ignore" else core.no_info_before_validator_function(_as_text, text)
    return core.any_schema() if kind in (Any, object) else core.is_instance_schema(kind)


def _as_text(value: Any) -> Any:
    """Return an integer where a text is meant as that text (`account=12345`); other values as they are.

    A number with a fraction or an exponent has lost its spelling (2024.10 is 2024.1) and stays one, which is refused.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def section_schema(cls: type, extra: Extra = "forbid") -> CoreSchema:
    """Return pydantic's schema of a mapping that becomes a dataclass, whose defaults absent keys take."""
    from pydantic_core import core_schema as core

    keys = {
        name: core.typed_dict_field(core_schema_of(_hints(cls)[name], f.metadata, extra), required=required(f))
        for name, f in _fields(cls).items()
    }
    if extra == "forbid" or FURTHER not in keys:
        mapping = core.typed_dict_schema(keys, extra_behavior=extra)
        return core.no_info_after_validator_function(lambda values: cls(**values), mapping)

    def with_further(values: dict[str, Any]) -> Any:
        own = {name: value for name, value in values.items() if name in keys}
        return cls(**{**own, FURTHER: {name: value for name, value in values.items() if name not in keys}})

    return core.no_info_after_validator_function(with_further, core.typed_dict_schema(keys, extra_behavior="allow"))


def as_json(record: Any) -> Any:
    """Return a record as it is written to JSON; `read` gives it back."""
    if dataclasses.is_dataclass(record):
        values = {f.name: as_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
        return {**{name: value for name, value in values.items() if name != FURTHER}, **values.get(FURTHER, {})}
    if isinstance(record, Mapping):
        return {name: as_json(value) for name, value in record.items()}
    return [as_json(item) for item in record] if isinstance(record, tuple | list) else record


def required(f: dataclasses.Field[Any]) -> bool:
    """Return whether a field has no default."""
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def describe(kind: Any, metadata: Mapping[str, Any] = types.MappingProxyType({})) -> str:
    """Describe in words what a field accepts: `an integer from 1 to 3`."""
    if metadata.get("choices") is not None:
        null = ["null"] if type(None) in typing.get_args(kind) else []
        return " | ".join([*null, *(str(choice) for choice in metadata["choices"])])
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("null" if a is type(None) else describe(a, metadata) for a in arguments)
    if origin is Literal:
        return " | ".join(map(str, arguments))
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
        value = next((other for one, other in f.metadata.get("alike", ()) if one == value), value)
        chosen[f.name] = list(value) if isinstance(value, tuple) else value
    return chosen
