"""Sections become dataclasses or one clear line that names key, value and what is accepted."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.core.errors import InputError
from experiments.core.library_errors import one_line
from experiments.core.schema import build, check, describe, identity_of, read, setting
from experiments.core.wording import did_you_mean


@dataclass(frozen=True)
class Settings:
    count: int = setting(3, low=1, high=9)
    share: float = setting(0.5, above=0.0, high=1.0)
    kind: str = setting("soap", choices=("soap", "adam"))
    sizes: tuple[int, ...] = setting((64, 64), low=1)
    limit: int | None = setting(None, low=1)
    on: bool = setting(True)
    where: str = setting("here", identity=False)
    later: int = setting(7, since=2)
    account: str | None = setting(None)
    minutes: int | str = setting(240)
    choose: Literal["auto"] | bool = setting("auto", alike={"auto": True})


@dataclass(frozen=True)
class Required:
    molecule: str = setting()


BAD: list[tuple[str, Any, str]] = [
    ("count", 0, "s.count=0: accepted: an integer from 1 to 9"),
    ("count", 10, "s.count=10: accepted: an integer from 1 to 9"),
    ("count", 1.0, "s.count=1.0: accepted: an integer from 1 to 9"),
    ("count", True, "s.count=True: accepted: an integer from 1 to 9"),
    ("count", "3", "s.count='3': accepted: an integer from 1 to 9"),
    ("count", None, "s.count=None: accepted: an integer from 1 to 9"),
    ("share", 0, "s.share=0: accepted: a number > 0 and ≤ 1"),
    ("share", 1.01, "s.share=1.01: accepted: a number > 0 and ≤ 1"),
    ("share", math.nan, "s.share=nan: accepted: a number > 0 and ≤ 1"),
    ("share", math.inf, "s.share=inf: accepted: a number > 0 and ≤ 1"),
    ("share", True, "s.share=True: accepted: a number > 0 and ≤ 1"),
    ("share", 10**400, f"s.share={10**400}: accepted: a number > 0 and ≤ 1"),
    ("kind", "sgd", "s.kind='sgd': accepted: soap | adam"),
    ("kind", 1, "s.kind=1: accepted: soap | adam"),
    ("kind", ["soap"], "s.kind=['soap']: accepted: soap | adam"),
    ("sizes", "64", "s.sizes='64': accepted: a list, each an integer ≥ 1"),
    (
        "sizes",
        "[32,32]",
        "s.sizes='[32,32]': accepted: a list, each an integer ≥ 1; a list has no quotes of its own: s.sizes=[32,32]",
    ),
    ("sizes", 64, "s.sizes=64: accepted: a list, each an integer ≥ 1"),
    ("sizes", [64, 0], "s.sizes[1]=0: accepted: an integer ≥ 1"),
    ("limit", 0, "s.limit=0: accepted: an integer ≥ 1 or null"),
    ("limit", "none", "s.limit='none': accepted: an integer ≥ 1 or null"),
    ("on", 1, "s.on=1: accepted: true or false"),
    ("choose", "never", "s.choose='never': accepted: auto or true or false"),
    ("choose", 1, "s.choose=1: accepted: auto or true or false"),
    ("on", "true", "s.on='true': accepted: true or false"),
    (
        "account",
        2024.1,
        "s.account=2024.1: accepted: a text or null; a text that looks like another value: s.account=\"'2024.1'\"",
    ),
    (
        "account",
        True,
        "s.account=True: accepted: a text or null; a text that looks like another value: s.account=\"'True'\"",
    ),
    ("cuont", 3, "s.cuont: unknown key (did you mean s.count?); accepted: count, share, kind"),
    ("zzz", 3, "s.zzz: unknown key; accepted: count, share, kind"),
]


@pytest.mark.parametrize(("key", "value", "message"), BAD, ids=[f"{i}-{key}" for i, (key, _, _) in enumerate(BAD)])
def test_bad_value_has_one_line(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        build(Settings, {key: value}, "s.")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_integers_are_taken_as_texts_where_texts_are_meant() -> None:
    assert build(Settings, {"account": 12345, "where": 2024, "minutes": 30}, "s.") == Settings(
        account="12345", where="2024", minutes=30
    )
    with pytest.raises(InputError):
        read(Settings, {"where": 2024})  # a record is as it was written


def test_all_mistakes_come_at_once() -> None:
    with pytest.raises(InputError) as error:
        build(Settings, {"count": 0, "sizes": [0, 1, -1], "cuont": 1, "zzz": 2, "on": True}, "s.")
    accepted = "accepted: count, share, kind, sizes, limit, on, where, later, account, minutes, choose"
    assert str(error.value).splitlines() == [
        "s.count=0: accepted: an integer from 1 to 9",
        "s.sizes[0]=0: accepted: an integer ≥ 1",
        "s.sizes[2]=-1: accepted: an integer ≥ 1",
        f"s.cuont: unknown key (did you mean s.count?); {accepted}",
        f"s.zzz: unknown key; {accepted}",
    ]


@dataclass(frozen=True)
class Part:
    name: str
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Record:
    path: str
    parts: tuple[Part, ...]
    facts: Mapping[str, Any] | None = None


def test_a_record_reads_back_as_itself_with_keys_of_later_versions_left_out() -> None:
    record = Record("here", (Part("a", (1, 2)), Part("b")), {"x": [1, None]})
    content = json.loads(json.dumps(dataclasses.asdict(record)))
    del content["path"]
    content["parts"][0]["later"] = 3
    assert read(Record, {**content, "later": 1}, path="here") == record


@pytest.mark.parametrize("content", [None, [], {}, {"parts": None}, {"parts": [{"name": 3}]}, {"parts": [{}]}])
def test_a_damaged_record_is_refused(content: Any) -> None:
    with pytest.raises(InputError):
        read(Record, content, path="here")


def test_missing_key() -> None:
    with pytest.raises(InputError, match=r"^s.molecule: missing; accepted: a text$"):
        build(Required, {}, "s.")


def test_values_take_their_type() -> None:
    made = build(Settings, {"share": 1, "sizes": [1, 2], "limit": None}, "s.")
    assert made == Settings(share=1.0, sizes=(1, 2))
    assert isinstance(made.share, float)


@given(st.integers())
def test_range_is_what_the_words_say(value: int) -> None:
    """`describe` and `check` speak of the same set."""
    metadata = {"low": -3, "high": 12}
    words = describe(int, metadata)
    assert words == "an integer from -3 to 12"
    if -3 <= value <= 12:
        assert check(value, int, "k", metadata) == value
    else:
        with pytest.raises(InputError):
            check(value, int, "k", metadata)


def test_identity_leaves_out_what_changes_no_number_and_later_keys_at_their_default() -> None:
    base = identity_of(Settings())
    assert "where" not in base
    assert "later" not in base
    assert identity_of(Settings(where="there")) == base
    assert identity_of(Settings(later=8)) == {**base, "later": 8}
    assert identity_of(Settings(sizes=(64, 65))) != base
    assert base["sizes"] == [64, 64]  # as JSON has it
    assert base["choose"] is identity_of(Settings(choose=True))["choose"] is True
    assert identity_of(Settings(choose=False))["choose"] is False


@pytest.mark.parametrize(
    ("value", "hint"),
    [(16.0, "; here P=16"), ("8,16,", "; a sweep: -m P=8,16"), ("16,", "; here P=16"),
     ([8, 16], "; a sweep: -m P=8,16"), ("8-16", "; a sweep: -m P=8,16"), ("8..16", "; a sweep: -m P=8,16"),
     (1.5, ""), ([8, "x"], ""), ("a,", "")],
)  # fmt: skip
def test_the_spelling_of_a_number_is_shown(value: object, hint: str) -> None:
    with pytest.raises(InputError) as error:
        check(value, int, "P", {"low": 1})
    assert str(error.value) == f"P={value!r}: accepted: an integer ≥ 1{hint}"


def test_one_line_of_a_library_error() -> None:
    group = "In 'config': Could not find 'data/foo'\n\nAvailable options in 'data':\n\tethanol\n\tstar\nConfig search"
    assert one_line(ValueError(group)) == "data=foo: no such choice; accepted: ethanol | star"
    near = one_line(ValueError(group.replace("foo", "ethanl")))
    assert near == "data=ethanl: no such choice (did you mean ethanol?); accepted: ethanol | star"
    assert "(did you mean training.max_steps?)" in one_line(ValueError("Could not override 'training.max_step'."))
    assert one_line(ValueError("Could not override 'modle.x'.\nKey 'modle' is not in struct")).startswith("modle.x: un")
    assert one_line(ValueError("a\n    full_key: a.b\n    object_type=dict\n\nb")) == "a; b"
    assert one_line(ValueError("")) == "ValueError"
    lost = one_line(ValueError("Interpolation key 'DATA' not found\n    full_key: \n    object_type=dict"))
    assert lost == "${DATA}: no such key; accepted: a key, as ${P}; an environment variable is $DATA"


def test_names_of_submitit_are_known() -> None:
    known = ["hydra.launcher.array_parallelism", "hydra.launcher.sbatch"]
    for name in ("hydra.launcher.additional_parameters", "hydra.launcher.additional_parameters.mem"):
        assert did_you_mean(name, known) == " (did you mean hydra.launcher.sbatch?)"
    assert did_you_mean("additional_parameters", ["array_parallelism", "sbatch"], "h.") == " (did you mean h.sbatch?)"


def test_a_range_of_seeds_is_shown() -> None:
    with pytest.raises(InputError, match=r"accepted: an integer; a sweep: -m seed=0\.\.3$"):
        check("0-3", int, "seed")


def test_what_a_mapping_may_hold_is_shown() -> None:
    """Hydra reads no mapping with such a name or file, and hands it on as a text."""
    for text in ("{T=600: hot.xyz}", "{600K: a,b.xyz}"):
        with pytest.raises(InputError, match=r"a name has letters, digits, .* a value with others stands in quotes$"):
            check(text, Mapping[str, str] | None, "data.tests")
