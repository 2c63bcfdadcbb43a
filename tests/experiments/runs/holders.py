"""Holders of a run's lease: living, dead, and what they leave in its directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from experiments.core import files
from experiments.core.processes import Process
from experiments.runs.store import Run


def temporary_files(path: Path) -> list[Path]:
    return sorted(path.rglob(f"{files.TEMPORARY}*"))


def abandon(run: Run, process: Process, renewed: float = 0.0) -> Path:
    """An attempt that `process` holds, its lease `renewed` seconds ago."""
    path = run.path / f"attempt-{run.latest_attempt() + 1}"
    path.mkdir()
    lease = path / "alive.json"
    lease.write_text(json.dumps(vars(process)))
    stamp = time.time() - renewed
    os.utime(lease, (stamp, stamp))
    return path


def dead_process() -> Process:
    """One that ran on this machine and is gone."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    found = Process(Process.this().host, Process.this().boot, child.pid, started)
    assert found.lives()
    child.kill()
    child.wait()
    assert not found.lives()
    return found
