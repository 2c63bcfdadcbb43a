"""The console command: every sub-command answers, what is mistyped is named, and nothing trains unasked."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import equilaw
from equilaw import COMMANDS, main


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore sys.argv, which the command sets for the module that it calls."""
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def test_bare(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("usage: equilaw COMMAND")
    assert said.out == ""


@pytest.mark.parametrize(("word", "near"), [("swep", "sweep"), ("figure", "figures"), ("tables", "table")])
def test_a_mistyped_command_names_the_nearest(word: str, near: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    first, *others = capsys.readouterr().err.splitlines()
    assert first == f"equilaw: {word}: no such command (did you mean {near}?)"
    assert others == [equilaw.USAGE]


def test_a_package_is_no_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["analsis"]) == 2
    (first, *_) = capsys.readouterr().err.splitlines()
    assert first == "equilaw: analsis: no such command (did you mean python -m analysis?)"


def test_an_unknown_command_like_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    assert capsys.readouterr().err.splitlines()[0] == "equilaw: xyzzy: no such command"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"equilaw {metadata.version('equilaw')}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage == equilaw.USAGE
    assert [line.split()[0] for line in lines] == list(COMMANDS)


@pytest.mark.parametrize("name", [n for n, (module, _, _) in COMMANDS.items() if module != "experiments.__main__"])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The help is the command's own, not the list of the program that it belongs to."""
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: ")
    first = COMMANDS[name][1]
    assert not first or f" {first[0]} " in said.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (["run", "P=3"], ["equilaw run", "P=3"]),
        (["sweep", "P=3,4"], ["equilaw sweep", "-m", "P=3,4"]),
        (["plan", "P=3,4"], ["equilaw plan", "-m", "hydra.launcher.submit=false", "P=3,4"]),
    ],
)
def test_runs_and_sweeps_are_the_same_command(
    words: list[str], asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fake() -> int:
        seen.extend(sys.argv)
        return 7

    monkeypatch.setattr("experiments.__main__.main", fake)
    assert main(words) == 7
    assert seen == asked


def test_a_run_from_an_empty_directory(root: Path, tmp_path: Path) -> None:
    """Paths are of the directory that the command is given in."""
    command = [sys.executable, str(root / "equilaw.py"), "run", "data=star", "model=ace", "P=4", "store=x"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert len(list((tmp_path / "x").glob("*/result.json"))) == 1
