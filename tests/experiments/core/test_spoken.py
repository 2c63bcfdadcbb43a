"""Lines on standard error while long work goes on."""

from __future__ import annotations

import re
import time

import pytest

from experiments.core.spoken import LOOK_SECONDS, Spoken


def test_a_line_at_the_start_at_each_stage_and_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    done = [0]
    with Spoken(lambda: f"{done[0]} of 2 done", lambda: done[0]):
        done[0] = 1
        time.sleep(2.5 * LOOK_SECONDS)
        done[0] = 2
    lines = capsys.readouterr().err.splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in lines] == [f"{n} of 2 done" for n in (0, 1, 2)]


def test_no_silence_is_longer_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Spoken(lambda: "sampling", lambda: 0, silence=0.5):
        time.sleep(3.5 * LOOK_SECONDS)
    assert len(capsys.readouterr().err.splitlines()) >= 3


def test_nothing_is_said_twice_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with Spoken(lambda: "1 of 1 runs done", lambda: 1):
        pass
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_work_that_is_soon_done_need_not_be_told(capsys: pytest.CaptureFixture[str]) -> None:
    with Spoken(lambda: "loading data", at_once=False):
        pass
    assert capsys.readouterr().err == ""


def test_the_innermost_alone_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    with Spoken(lambda: "loading data", silence=0.1, at_once=False), Spoken(lambda: "sampling, 3 %"):
        time.sleep(2.5 * LOOK_SECONDS)
    assert [line[10:] for line in capsys.readouterr().err.splitlines()] == ["sampling, 3 %"]
