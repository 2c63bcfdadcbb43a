"""How commands end: an exit code that says whose mistake it was, and one line without a traceback."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.core import command
from experiments.core.errors import InputError, RunsFailed

ROOT = Path(__file__).resolve().parents[3]


def ending(error: BaseException | None = None, code: int | None = None) -> int:
    def carry_out(_: argparse.Namespace) -> int | None:
        if error is not None:
            raise error
        return code

    return command.run(carry_out, argparse.Namespace(), "python -m x", failures=(RunsFailed,))


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("P=0: expected an integer ≥ 1"), 2, "python -m x: P=0: expected an integer ≥ 1\n"),
        (RunsFailed("2 runs failed"), 1, "python -m x: 2 runs failed\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_are_one_line_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == code
    assert capsys.readouterr().err == said


def test_a_commands_own_code_is_kept() -> None:
    assert ending() == 0
    assert ending(code=1) == 1


def test_an_error_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        ending(ZeroDivisionError())


def test_a_reader_that_leaves_makes_no_traceback() -> None:
    """As `head` does: what was printed cannot be written any more."""
    code = (
        "import argparse, sys; from experiments.core import command\n"
        "sys.exit(command.run(lambda _: print('x' * 1_000_000), argparse.Namespace()))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as errors:
        assert errors.read() == b""
    assert process.wait() == 1


@pytest.mark.parametrize("text", ["1", "-3", "two", "2.5"])
def test_an_integer_out_of_range_is_refused_in_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    parser = command.Parser(prog="x")
    parser.add_argument("--seeds", type=command.integer_from(2))
    assert parser.parse_args(["--seeds", "2"]).seeds == 2
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([f"--seeds={text}"])
    expected = f"x: argument --seeds: must be an integer ≥ 2, got {text} (see x --help)\n"
    assert capsys.readouterr().err == expected


def test_a_mistyped_choice_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    parser = command.Parser(prog="x")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name in ("fit", "figures", "table"):
        commands.add_parser(name)
    for word, hint in (("figurs", " (did you mean figures?)"), ("zzz", "")):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args([word])
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert said.endswith(f"){hint} (see x --help)\n"), said
        assert said.count("\n") == 1
