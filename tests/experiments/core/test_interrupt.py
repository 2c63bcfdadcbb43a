"""Requests to stop: what is kept is finished first, what is not kept ends at once, with the processes it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from experiments import __main__ as command_line
from experiments.core.compiler import Stopped, compiling
from experiments.core.interrupt import STOPPED, STOPPING, Abandoned, StopRequest, abandonable


@pytest.fixture
def request_to_stop() -> StopRequest:
    """A handler of this process's signals, removed after the test."""
    return StopRequest(STOPPING).install()


def test_a_first_request_is_answered_and_a_second_interrupts(
    request_to_stop: StopRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    signal.raise_signal(signal.SIGINT)
    assert request_to_stop()
    assert capfd.readouterr().err == f"equilaw: {STOPPING}\n"
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_work_of_which_nothing_is_kept_ends_at_once(
    request_to_stop: StopRequest, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    with abandonable(), abandonable():
        pass
    with pytest.raises(Abandoned), abandonable():
        signal.raise_signal(number)
    assert request_to_stop.exit_code == 128 + number
    assert capfd.readouterr().err == ""  # it has ended: there is nothing to wait for
    with pytest.raises(Abandoned), abandonable():
        pytest.fail("begun although the request had come before")


@pytest.mark.usefixtures("request_to_stop")
def test_compilers_end_with_the_compilation() -> None:
    """A compiler starts others (g++: cc1plus), which outlive it."""
    before = _alive()  # what other tests have left: Python's tracker of shared memory ignores signals
    with pytest.raises(Stopped):
        _stopped_compilation(before)
    while _alive() - before:  # they end in their own time, long before they would by themselves
        time.sleep(0.01)


def _stopped_compilation(before: set[int]) -> None:
    with compiling():
        subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600; true"])
        while len(_alive() - before) < 3:  # the shell, and what it started
            time.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)


def _alive() -> set[int]:
    """The processes that this one has started, and those that they have, which are no zombies."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                parents[int(stat.parent.name)] = int(parent)
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return ours - {os.getpid()}


LEAVING = """\
import atexit
from experiments.core.interrupt import leave
atexit.register(print, "end")
print("said")
leave({})
"""


@pytest.mark.parametrize(("code", "said"), [(3, "said\nend\n"), (130, "said\n"), (143, "said\n")])
def test_only_what_a_signal_stopped_leaves_without_pythons_end(code: int, said: str) -> None:
    """What it has printed to a file or a pipe is written first."""
    ended = subprocess.run([sys.executable, "-c", LEAVING.format(code)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (code, said)
    assert ended.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_run_has_begun_is_told_too(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While torch is imported or a dataset loaded: TERM ended these without a word."""
    monkeypatch.setattr(command_line, "_main", lambda: signal.raise_signal(number))
    assert command_line.main() == 128 + number
    assert capsys.readouterr().err == f"equilaw: {STOPPED}\n"


@pytest.mark.usefixtures("request_to_stop")
@pytest.mark.parametrize("work", [abandonable, compiling])
def test_a_request_that_python_drops_is_made_again(
    work: Callable[[], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python prints and drops what is raised in a finaliser; imports and compilations run many."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)

    class Dropping:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def working() -> None:
        with work():
            Dropping()
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        working()


LOADING = """\
import os, signal, sys
from experiments.core.interrupt import ending_at_once
try:
    with ending_at_once():
        os.kill(os.getpid(), signal.{})
except BaseException:
    sys.exit("went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_while_nothing_is_held_ends_the_process(name: str) -> None:
    ended = subprocess.run([sys.executable, "-c", LOADING.format(name)], capture_output=True, text=True, check=False)
    assert ended.returncode == 128 + signal.Signals[name]
    assert ended.stderr == f"equilaw: {STOPPED}\n"
