"""Surroundings that are not the developers' own: terminals of few letters, no home, packages of the same name."""

from __future__ import annotations

import io
import json
import locale
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from analysis import cli
from analysis.calibration.synthetic import demo_table
from analysis.files import as_meant, csv_text
from analysis.reading import read_table
from analysis.table import write_csv
from experiments.core import files
from experiments.core.paths import ROOT
from experiments.data.download import cache_root

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


def nobody(*_: object) -> None:
    raise KeyError("no entry for the user")


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As in a container that is run under a number: neither $HOME nor a line of passwd."""
    for name in ("HOME", "XDG_CACHE_HOME", "EQUILAW_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert files.user_cache() == cache_root() == tmp_path / f"equilaw-{os.geteuid()}"


def test_commands_need_no_home_and_no_cache(tmp_path: Path) -> None:
    """As of service accounts, or on a read-only disk: nothing can be made in /proc, by nobody."""
    demo_table().to_csv(tmp_path / "t.csv", index=False)
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR", "EQUILAW_DATA"), "/proc/nowhere")
    run = ["data=ethanol_small", "model=mace", "P=4", "L=0", "nu=1", "seed=0", "model.channels=2", "model.n_layers=1"]
    for words in (
        ["-m", "analysis", "fit", "--table", "t.csv", "--forms", "power"],
        ["-m", "experiments", *run, "training.max_steps=16", "training.compile=false", "device=cpu", "store=runs"],
        ["-m", "slurm", "status", "--store", "runs"],
    ):
        ended = python(*words, cwd=tmp_path, **nowhere)
        assert ended.returncode == 0, ended.stderr
        assert b"Traceback" not in ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "t.csv"]


@pytest.mark.parametrize(
    "words",
    [
        ["-m", "equilaw", "--help"], ["-m", "experiments", "--help"], ["-m", "experiments.data", "list"],
        ["-m", "slurm", "doctor"], ["-m", "analysis", "fit", "--table", "t.csv", "--forms", "power"],
        ["-m", "experiments", "-m", "P=8,16", "data=ethanol_small", "model=krr", "L=null", "nu=null",
         "hydra.launcher.submit=false"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_reader_that_has_gone_is_no_traceback(words: list[str], tmp_path: Path) -> None:
    """As `| head` leaves it, from the first line on."""
    demo_table().to_csv(tmp_path / "t.csv", index=False)
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(write)
    assert ended.returncode == 1
    assert b"Traceback" not in ended.stderr
    assert b"BrokenPipe" not in ended.stderr


def test_a_locale_with_decimal_commas_changes_no_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = demo_table()
    table = table[table["architecture"] == table["architecture"].iloc[0]]
    table.to_csv(tmp_path / "t.csv", index=False)

    def outputs(name: str) -> list[str]:
        out = [tmp_path / f"{name}.{kind}" for kind in ("json", "md", "tex")]
        options = zip(("--json", "--markdown", "--latex"), map(str, out), strict=True)
        words = [word for pair in options for word in pair]
        assert cli.main(["fit", "--table", str(tmp_path / "t.csv"), "--forms", "power", *words]) == 0
        return [path.read_text() for path in out]

    points = outputs("points")
    german = {**locale.localeconv(), "decimal_point": ",", "thousands_sep": ".", "grouping": [3, 3, 0]}
    monkeypatch.setattr(locale, "localeconv", lambda: german)
    assert locale.format_string("%.1f", 0.5) == "0,5"
    assert outputs("commas") == points
    assert json.loads(points[0])


NAMES = ["=1+1", "@x", "+cmd|' /C calc'!A0", "-x", "'=2", "'quoted'", "a,b", 'a"b', "-1.5", "plain", "=HYPERLINK(1)"]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_a_table_is_a_formula(name: str, tmp_path: Path) -> None:
    """Spreadsheets compute cells that begin with =, +, - or @; the table reads back as it was."""
    frame = pd.DataFrame({"dataset": [name] * 2, "P": [8, 16], "error": [0.5, -0.25], name: ["x", "y"]})
    text = csv_text(frame)
    cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    assert not any(cell[0] in "=@" or cell[:2] in ("+c", "-x") for cell in [*cells.columns, *cells["dataset"]])
    assert [as_meant(cell) for cell in cells["dataset"]] == [name] * 2
    assert list(cells["error"]) == ["0.5", "-0.25"]
    write_csv(frame, tmp_path / "t.csv")
    again = read_table(tmp_path / "t.csv")
    assert list(again["dataset"]) == [name] * 2
    assert list(again[name]) == ["x", "y"]
