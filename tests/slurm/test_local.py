"""The pool of workers and the launcher: deaths, failures, retries, and what is done is not done again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core.errors import RunsFailed
from experiments.core.interrupt import STOPPING
from experiments.core.states import RunState
from experiments.data.load import dataset_of
from slurm import local
from slurm.launcher import run_missing
from slurm.local import Pool
from slurm.plan import PlannedRun
from slurm.settings import LocalSettings

MakeConfig = Callable[..., dict[str, Any]]


class Silent:
    """A listener that remembers states, and may act on events."""

    def __init__(self, act: Callable[[Mapping[str, Any]], None] = lambda event: None) -> None:
        self.states: list[tuple[str, str]] = []
        self.notes: list[str] = []
        self.act = act

    def event(self, event: Mapping[str, Any]) -> None:
        self.act(event)

    def state(self, run_id: str, state: str) -> None:
        self.states.append((run_id, state))

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def planned(make_config: MakeConfig) -> Callable[..., PlannedRun]:
    def make(**changes: Any) -> PlannedRun:
        config = parse(make_config({key.replace("__", "."): value for key, value in changes.items()}))
        made = PlannedRun.of(config, dataset_of(config.data).sha256())
        made.run.create(config.as_dict())
        return made

    return make


def broken(planned: PlannedRun) -> PlannedRun:
    """Its configuration is no longer the one that its name stands for."""
    (planned.run.path / "config.yaml").write_text("P: 8\n")
    return planned


class Killer:
    """Kills the worker at its first so many events of progress."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.pool: Pool | None = None

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "progress" and self.times:
            self.times -= 1
            assert self.pool is not None
            (worker,) = self.pool.workers
            os.kill(worker.process.pid, signal.SIGKILL)
            worker.process.wait()


@pytest.mark.parametrize(("kills", "state"), [(1, "done"), (2, "failed")])
def test_worker_killed(planned: Callable[..., PlannedRun], kills: int, state: str) -> None:
    """Once: another worker does the run. Twice: it fails with a message, and the others are done."""
    first, second = planned(training__max_steps=200), planned(seed=1)
    killer = Killer(kills)
    pool = killer.pool = Pool(1, Silent(killer))
    failed = pool.compute([first, second])
    assert first.run.state() == state
    assert second.run.state() == "done"
    assert [p.run.id for p in failed] == ([first.run.id] if state == "failed" else [])
    if state == "failed":
        message = first.run.recorded_state()["message"]
        assert message.startswith("its worker ended with exit code -9 2 times, see ")
        assert Path(message.rpartition("see ")[2]).exists()


def test_failures_are_reported_and_retried_when_asked(planned: Callable[..., PlannedRun]) -> None:
    good, bad = planned(), broken(planned(seed=1))
    with pytest.raises(RunsFailed) as error:
        run_missing([good, bad], LocalSettings(workers=1))
    assert str(error.value).splitlines()[0] == "1 of 2 runs failed"
    assert bad.run.id in str(error.value)
    assert good.run.state() == "done"
    assert bad.run.state() == "failed"
    attempts = bad.run.latest_attempt()
    with pytest.raises(RunsFailed, match=r"run them again with hydra\.launcher\.retry=true"):
        run_missing([good, bad], LocalSettings(workers=1))
    assert bad.run.latest_attempt() == attempts
    (bad.run.path / "config.yaml").unlink()
    bad.run.create(bad.config.as_dict())
    run_missing([good, bad], LocalSettings(workers=1, retry=True))
    assert bad.run.state() == "done"
    assert good.run.latest_attempt() == 1


def test_a_larger_budget_waits_for_the_smaller_one(planned: Callable[..., PlannedRun]) -> None:
    """In whatever order they are asked for: it continues the other's stable phase."""
    large, small = (planned(**{"training.max_steps": steps}) for steps in (48, 24))
    run_missing([large, small], LocalSettings(workers=1))
    result = large.run.result()
    assert result is not None
    assert result["n_updates"] == 36  # of 60


def test_what_is_done_starts_no_worker_but_is_settled(
    planned: Callable[..., PlannedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = planned()
    attempt = one.run.claim()
    assert attempt is not None
    with attempt:
        attempt.publish({"metrics": {}})
    one.run.set_state(RunState.RUNNING)  # as if killed before it was settled

    def refuse(*arguments: Any, **keywords: Any) -> None:
        raise AssertionError("a worker was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    run_missing([one], LocalSettings())
    assert one.run.recorded_state()["state"] == "done"


def test_a_run_of_another_driver_is_waited_for_and_taken_over(planned: Callable[..., PlannedRun], root: Path) -> None:
    one = planned()
    code = (
        "import sys, time; from pathlib import Path; from experiments.runs.store import Run\n"
        "attempt = Run(Path(sys.argv[1])).claim(); print(attempt.number, flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(one.run.path)], stdout=subprocess.PIPE, cwd=root)
    assert other.stdout is not None
    assert other.stdout.readline().strip() == b"1"

    class Killing(Silent):
        def state(self, run_id: str, state: str) -> None:
            super().state(run_id, state)
            if state == "elsewhere":
                other.kill()
                other.wait()

    listener = Killing()
    assert Pool(1, listener).compute([one]) == []
    assert [s for _, s in listener.states] == ["running", "elsewhere", "running", "done"]
    assert one.run.latest_attempt() == 2


def test_an_orphaned_worker_ends(root: Path) -> None:
    """A worker whose parent is gone before it could ask to die with it."""
    worker = subprocess.run(
        [sys.executable, "-m", "experiments.runs.worker", "1"], stdin=subprocess.PIPE, cwd=root, timeout=120
    )
    assert worker.returncode == -signal.SIGTERM


def test_ctrl_c_is_answered_and_a_second_one_ends_what_does_not(
    planned: Callable[..., PlannedRun], stubs: Callable[[Mapping[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is stopped does not even hear of the first."""
    monkeypatch.setattr(local, "ANSWER_SECONDS", 0.1)
    one = planned()
    stubs({one.run.id: "hang always"})

    class Impatient(Silent):
        def note(self, text: str) -> None:
            super().note(text)
            os.kill(os.getpid(), signal.SIGINT)

    listener = Impatient()
    pool = Pool(1, listener)

    def press() -> None:
        while not any(_is_stopped(worker.process.pid) for worker in pool.workers):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pool.compute([one])
    assert listener.notes == [STOPPING]
    assert [worker.process.returncode for worker in pool.workers] == [-signal.SIGKILL]


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
