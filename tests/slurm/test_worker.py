"""A worker process from its driver's side."""

from __future__ import annotations

import queue
import signal
import sys
from pathlib import Path

import pytest

from slurm import worker
from slurm.worker import Inbox, Worker

PATIENCE = 30.0
"""Seconds for a process to start or end on a busy machine; without an end the test would wait for as long as that."""
HANDLERS = {False: "signal.SIG_IGN", True: "lambda *_: sys.exit(7)"}
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, {handler})
print('{{"event": "listening"}}', flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(("ready", "how"), [(False, -signal.SIGKILL), (True, 7)])
def test_a_worker_that_is_not_ready_is_killed_and_any_other_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ready: bool, how: int
) -> None:
    """One that imports a large library hears no signal before it is done, and holds nothing."""
    monkeypatch.setattr(worker, "COMMAND", (sys.executable, "-c", PROGRAM.format(handler=HANDLERS[ready])))
    inbox: Inbox = queue.Queue()
    one = Worker(inbox, 0, tmp_path / "log", {})
    one.ready = ready
    inbox.get(timeout=PATIENCE)  # its handler of the signal is set
    one.stop()
    assert one.ends(PATIENCE)
    assert one.process.returncode == how
    one.end()
