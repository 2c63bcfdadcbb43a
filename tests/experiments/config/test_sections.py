"""Every section: what it accepts survives YAML, and a mistake has one line that names its key."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.config.channel_match import Reference
from experiments.config.run import RunKeys, jsonable
from experiments.config.training import TrainingConfig, TrainingKeys
from experiments.core.errors import InputError
from experiments.core.kinds import KINDS
from experiments.core.schema import build, required
from experiments.core.subsets import SubsetKeys
from experiments.data.load import config_of
from experiments.models.ntk import NtkConfig
from experiments.models.registry import MODELS
from slurm.settings import LocalSettings, SlurmSettings

KEYS = (RunKeys, Reference, TrainingConfig, TrainingKeys, SubsetKeys, LocalSettings, SlurmSettings)
SECTIONS: list[Any] = sorted(
    {*KEYS, *(m for m in MODELS.values() if m is not NtkConfig), *map(config_of, KINDS)}, key=lambda cls: cls.__name__
)
FINITE: dict[str, Any] = {"allow_nan": False, "allow_infinity": False}
WRONG: tuple[Any, ...] = (object(), [[]], {"a": 1}, b"")
"""Values of types that no setting has; mappings, which some have, are left out for those."""


def good(kind: Any, metadata: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Values of a type in a range, as YAML has them."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([good(argument, metadata) for argument in arguments])
    if kind is type(None):
        return st.none()
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if metadata.get("choices"):
        return st.sampled_from(list(metadata["choices"]))
    if origin is tuple:
        return st.lists(good(arguments[0], metadata), max_size=3)
    if origin is Mapping:
        return st.just({})
    if dataclasses.is_dataclass(kind):
        return st.just({})
    low, high, above = (metadata.get(name) for name in ("low", "high", "above"))
    if kind is int:
        return st.integers(low, high if high is None else int(high))
    if kind is float:
        least = above if low is None else low
        numbers = st.floats(least, high, exclude_min=low is None and above is not None, **FINITE)
        whole = st.integers(math.floor(least or 0) + 1, int(high or 99)) if high is None or high >= 1 else st.nothing()
        return st.one_of(numbers, whole)
    return st.booleans() if kind is bool else st.text("abcµ:#'\" \n-~0", max_size=8)


def takes_a_mapping(kind: Any) -> bool:
    options = [kind, *typing.get_args(kind)]
    return any(typing.get_origin(one) is Mapping or dataclasses.is_dataclass(one) for one in options)


@pytest.mark.parametrize("cls", SECTIONS, ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(data=st.data())
def test_what_is_accepted_survives_yaml(cls: Any, data: st.DataObject) -> None:
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    chosen = data.draw(st.lists(st.sampled_from(list(fields)), unique=True)) if fields else []
    chosen += [name for name, f in fields.items() if name not in chosen and required(f)]
    section = {name: data.draw(good(hints[name], fields[name].metadata)) for name in chosen}
    try:
        made = build(cls, section, "s.")
    except InputError as error:  # each value is good by itself, and the class refuses them together
        if not str(error).startswith("s: "):
            raise
        return
    written = yaml.safe_dump(jsonable(dataclasses.asdict(made)), allow_unicode=True)
    assert build(cls, yaml.safe_load(written), "s.") == made


@pytest.mark.parametrize("cls", [cls for cls in SECTIONS if dataclasses.fields(cls)], ids=lambda cls: cls.__name__)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_every_mistake_has_one_line_that_names_its_key(cls: Any, data: st.DataObject) -> None:
    hints = typing.get_type_hints(cls)
    names = data.draw(st.lists(st.sampled_from([f.name for f in dataclasses.fields(cls)]), unique=True, min_size=1))
    section = {}
    for name in names:
        options = [wrong for wrong in WRONG if not (isinstance(wrong, dict) and takes_a_mapping(hints[name]))]
        section[name] = data.draw(st.sampled_from(options))
    unknown = data.draw(st.booleans())
    needed = [f.name for f in dataclasses.fields(cls) if f.name not in names and required(f)]
    with pytest.raises(InputError) as error:
        build(cls, {**section, **({"no such key": 1} if unknown else {})}, "s.")
    lines = str(error.value).splitlines()
    assert sorted(subject(line) for line in lines) == sorted([*names, *needed, *(["no such key"] if unknown else [])])


def subject(line: str) -> str:
    """The key that a message names."""
    assert line.startswith("s."), line
    return line[2:].split("=")[0].split(":")[0].split("[")[0]
