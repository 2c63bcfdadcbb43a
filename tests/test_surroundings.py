"""Surroundings that are not the developers' own: terminals of few letters, no home, packages of the same name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from analysis.calibration.synthetic import demo_table
from experiments.core.paths import ROOT

PLAIN = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale of ASCII alone, which Python by itself would leave for UTF-8."""


def python(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([*filter(None, [environment.pop("BEFORE", "")]), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )


@pytest.mark.parametrize("words", [["-m", "equilaw", "--help"], ["-m", "experiments", "--help"]], ids=" ".join)
def test_help_is_printed_on_any_terminal(words: list[str], tmp_path: Path) -> None:
    ended = python(*words, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_exponents_are_printed_on_any_terminal(tmp_path: Path) -> None:
    demo_table().to_csv(tmp_path / "t.csv", index=False)
    ended = python("-m", "analysis", "fit", "--table", "t.csv", "--forms", "power", cwd=tmp_path, **PLAIN)
    assert ended.returncode == 0, ended.stderr
    assert b"beta, last octaves" in ended.stdout
    assert b" +/- " in ended.stdout


def test_letters_that_the_locale_lacks_are_refused_in_one_line(tmp_path: Path) -> None:
    ended = python("-m", "experiments", "store=r\u00fcns", cwd=tmp_path, **PLAIN)
    assert ended.returncode == 2
    assert ended.stderr.decode("ascii").splitlines() == [
        "equilaw: store=r??ns: letters that the locale (ascii) lacks; set PYTHONUTF8=1"
    ]


def test_another_package_of_the_same_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").touch()
    ended = python("-P", "-m", "equilaw", "fit", "--table", "t.csv", cwd=tmp_path, BEFORE=str(tmp_path))
    assert ended.returncode == 2
    place = tmp_path / "analysis"
    assert ended.stderr.decode().splitlines() == [
        f"equilaw: {place}: hides this program's own package 'analysis'; accepted: a PYTHONPATH without that folder"
    ]
