"""Words of the command line mean what the user typed: paths of any letters, `~` and variables."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.core.command import joined, path, quoted, spell_out
from experiments.core.errors import InputError
from experiments.core.paths import moved

PARSER = OverridesParser.create()


@pytest.mark.parametrize(
    "word",
    ["P=16,32", "store=runs", "L=null", "data.train=a/b.xyz", "model.radial_hidden=[16,16]", "-m", "+sweep=demo",
     "seed=range(5)", "store='~/runs'", "~model.nu", "hydra/launcher=slurm", "--help", "training.tuned=null"],
)  # fmt: skip
def test_words_that_hydra_reads_stay(word: str) -> None:
    assert quoted(word) == word


@pytest.mark.parametrize(
    "value",
    ["~/runs", "my data (v2)/a.xyz", "T=300K/a", "Müller/a", "run#1", "set[1]/a", "it's", "a\\'b ü", "ü\\", "a: b"],
)
def test_paths_of_any_letters_arrive_as_typed(value: str) -> None:
    assert PARSER.parse_override(quoted(f"store={value}")).value() == value


@pytest.mark.parametrize("value", ["2024", "2024.10", "1_000", "1e5", "+5"])
def test_numbers_stay_as_typed_where_texts_are_meant(value: str) -> None:
    assert PARSER.parse_override(quoted(f"store={value}")).value() == value
    assert PARSER.parse_override(quoted(f"+hydra.launcher.account={value}")).value() == value
    assert quoted(f"P={value}") == f"P={value}"
    assert quoted(f"store={value},runs") == f"store={value},runs"  # a sweep


@pytest.mark.parametrize("value", ["0.5", "3", "true", "null", "[a,null]", "{a: 1}"])
def test_groups_are_chosen_by_names(value: str) -> None:
    """Hydra raises a ValueError or a TypeError for others, and has no message for users."""
    assert PARSER.parse_override(quoted(f"model={value}")).value() == value
    assert quoted(f"model@x={value}") == f"model@x='{value}'"
    assert quoted("~cell=null") == "~cell=null"  # leaves the group out
    assert quoted("model=ace,mace") == "model=ace,mace"


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (["P=16,", "32", "L=0"], ["P=16, 32", "L=0"]),
        (["P=16,", "32,", "64"], ["P=16, 32, 64"]),
        (
            ["data.tests={600K:", "a.xyz,", "hot:", "b.xyz}", "seed=0"],
            ["data.tests={600K: a.xyz, hot: b.xyz}", "seed=0"],
        ),
        (["model.radial_hidden=[32,", "32]"], ["model.radial_hidden=[32, 32]"]),
        (["P=choice(16", ",32)"], ["P=choice(16 ,32)"]),
        (["store=a,", "L=0"], ["store=a,", "L=0"]),  # the next word is an override
        (["-m", "P=16", "32"], ["-m", "P=16", "32"]),  # what 32 is nobody knows
        (["store=a (b", "c"], ["store=a (b", "c"]),  # a bracket in a path opens no list
        (["P=16,", "--help"], ["P=16,", "--help"]),
    ],
)
def test_values_that_the_shell_took_apart_are_whole_again(words: list[str], whole: list[str]) -> None:
    assert joined(words) == whole


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1, max_size=12))
def test_any_text_parses_once_quoted(value: str) -> None:
    word = quoted(f"data.train={value}")
    parsed = PARSER.parse_override(word)
    if word != f"data.train={value}":
        assert parsed.value() == value


def test_home_and_variables_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    assert path("~/runs") == Path("/home/somebody/runs")
    assert path("$SCRATCH/runs") == Path("/scratch/me/runs")
    assert path("${SCRATCH}/a~b") == Path("/scratch/me/a~b")
    assert path("$NOT_SET/runs") == Path("$NOT_SET/runs")


def test_files_that_moved_with_their_store_are_found(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "runs", tmp_path / "new" / "place" / "runs"
    new.mkdir(parents=True)
    (new.parent / "train.xyz").touch()
    file = str(old.parent / "train.xyz")
    assert moved(file, str(old), str(new)) == str(new.parent / "train.xyz")
    assert moved(str(old.parent / "other.xyz"), str(old), str(new)) == str(old.parent / "other.xyz")
    old.parent.mkdir(exist_ok=True)
    Path(file).touch()
    assert moved(file, str(old), str(new)) == file
    assert moved("train.xyz", "runs", str(new)) == "train.xyz"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_terminal_can_show_any_letter(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding))
    spell_out()
    print("é β ± Å 水", flush=True)
    spelled = {"ascii": "e beta +/- A ?", "latin-1": "é beta ± Å ?", "utf-8": "é β ± Å 水"}[encoding]
    assert shown.getvalue().decode(encoding) == spelled + "\n"


def test_test_sets_may_be_named_one_by_one() -> None:
    """Hydra takes no key that begins with a digit, and `tests` is null at first."""
    words = joined(["-m", "data.tests.600K=a b.xyz", "P=8,16", "+data.tests.scan=it's,=.xyz", "data.tests.hot=900"])
    assert [words[0], words[2]] == ["-m", "P=8,16"]
    assert quoted(words[1]) == words[1]
    assert PARSER.parse_override(words[1]).value() == {"600K": "a b.xyz", "scan": "it's,=.xyz", "hot": 900}
    with pytest.raises(InputError, match=r"data.tests: 600K names two files; accepted: one name a file"):
        joined(["data.tests.600K=a.xyz", "data.tests.600K=b.xyz"])
    with pytest.raises(InputError, match=r"beside data.tests.a; accepted: all in data.tests=\{NAME: FILE, …\}"):
        joined(["data.tests.a=a.xyz", "data.tests={b: b.xyz}"])


def test_a_name_that_a_mapping_has_twice_is_refused() -> None:
    """Hydra would take the last."""
    for word in ("data.tests={600K:a.xyz,600K:b.xyz}", "data.tests={600K: a.xyz, hot: [1,2], 600K: {a: b}}"):
        with pytest.raises(InputError, match=r"^data.tests: 600K is named twice; accepted: each name once$"):
            quoted(word)
    for word in ("data.tests={a: '{a: x, a: y}'}", "data.tests={a: b.xyz, c: {a: d}}", "x={}", "x={a:[a,a]}"):
        assert quoted(word) == word


@pytest.mark.parametrize("word", ["=-0", "++=[1]", "~="])
def test_a_word_without_a_key(word: str) -> None:
    """Hydra would end in a traceback."""
    with pytest.raises(InputError, match=f"^{re.escape(word)}: no key before =; accepted: KEY=VALUE"):
        quoted(word)
