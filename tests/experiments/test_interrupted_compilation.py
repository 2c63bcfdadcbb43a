"""A command that is asked to stop while g++ compiles its step ends, and g++ with it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import pytest

from experiments.core.states import RunOutcome
from experiments.runs import execute
from experiments.runs.store import Attempt
from experiments.training.pack import Interrupted
from tests.conftest import ROOT

RUN = [
    "data=star", "data.pool=40", "data.holdout=2", "data.test=4", "P=4", "L=0", "nu=1", "model.channels=2",
    "model.radial_hidden=[4]", "training.max_steps=8", "training.warmup_steps=2", "training.compile=true", "device=cpu",
]  # fmt: skip


def compilers(pid: int) -> list[int]:
    """Processes of g++ among the descendants of a process."""
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        try:
            children = [int(c) for c in Path(f"/proc/{one}/task/{one}/children").read_text().split()]
            name = Path(f"/proc/{one}/comm").read_text().strip()
        except OSError:  # it has ended
            continue
        waiting += children
        found += [one] if name == "cc1plus" else []
    return found


def test_an_error_after_a_request_to_stop_is_no_failure_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's C++ code turns an interrupt that is raised in a callback into a RuntimeError."""

    def broken(*_: object) -> None:
        raise RuntimeError("Unknown exception")

    monkeypatch.setattr(execute, "_compute", broken)
    outcome: dict[str, RunOutcome] = {}
    with pytest.raises(Interrupted):
        execute._guarded([cast(Attempt, object())], lambda: True, lambda event: None, outcome, None)
    assert outcome == {}


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_no_compiler_is_left(tmp_path: Path, number: int) -> None:
    command = [sys.executable, "-m", "experiments", *RUN, f"store={tmp_path / 'runs'}", f"hydra.run.dir={tmp_path}"]
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as run:
        while not (working := compilers(run.pid)) or not (tmp_path / "cache").exists():
            assert run.poll() is None
            time.sleep(0.02)
        run.send_signal(number)
        _, said = run.communicate()
    assert run.returncode == 128 + number
    assert "the same command continues" in said
    assert "Traceback" not in said
    end = time.monotonic() + 5  # what is killed gives its memory back first
    while (left := [pid for pid in working if Path(f"/proc/{pid}").exists()]) and time.monotonic() < end:
        time.sleep(0.02)
    assert not left
