"""Who may compute a run: one winner, dead holders are replaced, whatever the clocks say."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.core import leases
from experiments.core.leases import LEASE_SECONDS
from experiments.core.processes import Process
from experiments.core.states import RunState
from experiments.runs.store import Run
from tests.experiments.runs.holders import abandon, dead_process, temporary_files

pytestmark = pytest.mark.usefixtures("no_power_cut")


def test_many_threads_one_winner(run: Run) -> None:
    barrier, won = threading.Barrier(16), []

    def take() -> None:
        barrier.wait()
        attempt = run.claim()
        if attempt is not None:
            won.append(attempt.number)

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [1]
    assert temporary_files(run.path) == []


def _take_and_wait(path: str, start: Any, answers: Any, leave: Any) -> None:
    start.wait()
    attempt = Run(Path(path)).claim()
    answers.put(attempt is not None)
    leave.wait()


def test_many_processes_one_winner(run: Run) -> None:
    context = multiprocessing.get_context("fork")
    start, leave, answers = context.Event(), context.Event(), context.Queue()
    arguments = (str(run.path), start, answers, leave)
    children = [context.Process(target=_take_and_wait, args=arguments, daemon=True) for _ in range(8)]
    for child in children:
        child.start()
    start.set()
    taken = [answers.get(timeout=30) for _ in children]
    assert taken.count(True) == 1
    assert run.state() == "running"
    leave.set()
    for child in children:
        child.join()
    # All are gone now, the winner without giving up its lease: the run is free again.
    assert run.state() in ("queued", "interrupted")
    again = run.claim()
    assert again is not None
    assert again.number == 2


def test_lease_held_and_given_up(run: Run) -> None:
    attempt = run.claim()
    assert attempt is not None
    with attempt:
        assert run.state() == "running"
        assert run.claim() is None
    second = run.claim()
    assert second is not None
    assert second.number == 2
    assert [p.name for p in second.earlier()] == ["attempt-2", "attempt-1"]


def test_lease_is_renewed_while_held(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.01)
    attempt = run.claim()
    assert attempt is not None
    lease = attempt.path / "alive.json"
    os.utime(lease, (0, 0))
    with attempt:
        deadline = time.monotonic() + 30
        while lease.stat().st_mtime == 0:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_dead_process_is_taken_over(run: Run) -> None:
    abandon(run, dead_process())
    run.set_state(RunState.RUNNING)
    assert run.state() == "interrupted"
    attempt = run.claim()
    assert attempt is not None
    assert attempt.number == 2


def test_recycled_pid_is_not_its_former_owner(run: Run) -> None:
    me = Process.this()
    abandon(run, Process(me.host, me.boot, me.pid, str(int(me.started) - 1)))
    assert run.claim() is not None


def test_pid_of_an_earlier_boot_is_judged_by_its_lease(run: Run) -> None:
    me = Process.this()
    abandon(run, Process(me.host, "before-the-reboot", me.pid, me.started), renewed=LEASE_SECONDS + 5)
    assert run.claim() is not None


@pytest.mark.parametrize(
    ("renewed", "alive"),
    [
        (0.0, True),
        (LEASE_SECONDS - 20, True),
        (LEASE_SECONDS + 5, False),
        (-20.0, True),  # clocks differ a little
        (-3600.0, False),  # the clock was set back by an hour since: a living process would have renewed it
    ],
)
def test_other_hosts_lease(run: Run, renewed: float, alive: bool) -> None:
    abandon(run, Process("elsewhere", "boot", 1, "1"), renewed=renewed)
    assert (run.state() == "running") is alive
    assert (run.claim() is None) is alive


def test_lease_age_is_that_of_the_file_system(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock may be wrong by a day; what counts is the clock that stamps the files."""
    abandon(run, Process("elsewhere", "boot", 1, "1"))
    real = time.time()
    for jump in (-86400.0, 86400.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: real + jump)
        assert run.state() == "running"
        assert run.claim() is None


def test_claim_stops_at_errors_other_than_a_lost_race(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        run.claim()
    assert temporary_files(run.path) == []
