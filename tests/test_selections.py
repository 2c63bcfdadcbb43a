"""What `make quick`, `make test`, `make test-long` and `make test-faults` run: each test has one place."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from tests import selections
from tests.conftest import ROOT

_MAKEFILE = (ROOT / "Makefile").read_text()
_QUICK = re.search(r'^QUICK_TESTS := -m "(.*)"$', _MAKEFILE, flags=re.MULTILINE)
assert _QUICK
_LINES = re.findall(r'^([a-z-]+): \w+\n\t\$\(PYTEST\).* -m "([^"]+)"', _MAKEFILE, flags=re.MULTILINE)
TARGETS: dict[str, str] = {**dict(_LINES), "quick": _QUICK[1]}
"""What each target of the Makefile selects, an expression of pytest's that Python understands too."""


def chosen(target: str, **marked: bool) -> bool:
    return bool(eval(TARGETS[target], {}, marked))


@pytest.mark.parametrize(("slow", "long", "faults"), list(product((False, True), repeat=3)))
def test_every_test_has_one_place(slow: bool, long: bool, faults: bool) -> None:
    marked = {"slow": slow, "long": long, "faults": faults}
    places = [target for target in ("test", "test-long", "test-faults") if chosen(target, **marked)]
    assert len(places) == 1
    assert chosen("quick", **marked) == (not any(marked.values()))  # an unmarked test is in the quick loop
    assert not chosen("quick", **marked) or places == ["test"]


def test_listed_tests_exist() -> None:
    """A line of a test that has another name now would let that test into the quick loop unseen."""
    assert [name for name in selections.listed() if not selections.exists(name, ROOT)] == []


def test_markers_of_measured_times() -> None:
    costs = [("t.py::cheap", 0.4), ("t.py::many[a]", 0.7), ("t.py::many[b]", 0.7), ("t.py::minute", 61.0)]
    before = {"t.py::fixture": "slow", "t.py::minute": "slow"}
    assert selections.markers([*costs, ("t.py::fixture", 0.1)], before) == {
        "t.py::fixture": "slow", "t.py::many": "slow", "t.py::minute": "long"
    }  # fmt: skip


def test_list_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(selections.HEAD + "slow tests/a.py::test_b\nlong tests/c.py::T::test_d\n")
    assert selections.listed(path) == {"tests/a.py::test_b": "slow", "tests/c.py::T::test_d": "long"}
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "c.py").write_text("class T:\n    def test_d(self): ...\n")
    assert selections.exists("tests/c.py::T::test_d", tmp_path)
    assert not selections.exists("tests/c.py::test_d", tmp_path)
    assert not selections.exists("tests/a.py::test_b", tmp_path)


def test_a_test_pays_for_its_children() -> None:
    """A child that computes and is waited for counts; the loop's length is measured by the same clock."""
    import subprocess
    import sys

    clock = selections.Clock()
    spent = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-c", spent], check=True)
    assert clock.cost() >= 0.3
