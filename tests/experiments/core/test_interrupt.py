"""Requests to stop: what is kept is finished first, what is not kept ends at once, with the processes it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from experiments.core.compiler import compiling
from experiments.core.interrupt import ASKING, STOPPING, Abandoned, StopRequest, abandonable
from experiments.core.processes import descendants


@pytest.fixture
def request_to_stop() -> Iterator[StopRequest]:
    """A handler of this process's signals, removed after the test."""
    before = {number: signal.getsignal(number) for number in ASKING}
    yield StopRequest(STOPPING).install()
    for number, handler in before.items():
        signal.signal(number, handler)
    StopRequest.installed = None


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
def test_compilers_end_with_the_compilation(tmp_path: object) -> None:
    """A compiler starts others (g++: cc1plus), which outlive it; what was there before goes on."""
    earlier = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        with pytest.raises(Abandoned):
            _stopped_compilation()
        while len(left := _alive()) > 1:  # those that were killed end in their own time; a miss ends at the timeout
            time.sleep(0.01)
        assert left == {earlier.pid}
    finally:
        earlier.kill()
        earlier.wait()


def _stopped_compilation() -> None:
    with compiling():
        subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60; true"])
        while len(descendants(os.getpid())) < 4:  # an earlier one, the shell, and what it started
            time.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)


def _alive() -> set[int]:
    """The descendants of this process that are no zombies."""
    states = {}
    for pid in descendants(os.getpid()):
        try:
            with open(f"/proc/{pid}/stat") as stat:
                states[pid] = stat.read().rpartition(")")[2].split()[0]
        except OSError:
            continue
    return {pid for pid, state in states.items() if state not in "ZX"}
