"""A sweep on a real cluster that a test can disturb, and the truth that must hold at each stage and at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.runs.store import Run, RunStore
from slurm.cluster import daemons
from slurm.cluster.cluster import Cluster
from slurm.jobs import ledger
from slurm.jobs.scheduler import look
from slurm.jobs.status import RunStatus, survey
from tests.conftest import MACE, STAR
from tests.faults.checks import assert_clean, assert_same

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 420.0
"""Longest wait for a stage that takes seconds on an idle machine."""
SECTIONS: dict[str, Mapping[str, Any]] = {
    "data": STAR,
    "model": MACE,
    "training": {
        "max_steps": 160, "batch_size": 4, "warmup_steps": 4, "precision": "float32", "compile": False,
        "checkpoint_seconds": 1.0,
    },
}  # fmt: skip
"""Of the runs: eager, seconds of computing each."""


def arguments(**swept: str) -> list[str]:
    """Two runs of one shape, or what `swept` says."""
    said = ["data=star", "model=mace", "L=1", "nu=2", "seed=0"]
    for section, values in SECTIONS.items():
        for key, value in values.items():
            if key not in ("source", "architecture") and value is not None:
                shown = str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")
                said.append(f"{section}.{key}={shown}")
    return [*said, *(f"{key}={value}" for key, value in {"P": "4,8", **swept}.items())]


class Sweep:
    """One sweep on a cluster, as it is watched and disturbed.

    Args:
        allowed: states that `status` may ever tell; anything else is an untruth.
    """

    def __init__(self, cluster: Cluster, folder: Path, reference: Path, allowed: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self.folder = folder
        self.store = folder / "store"
        self.reference = reference
        self.allowed = {"queued", "running", "done", *allowed}
        self.faults = folder / "faults.json"
        self.swept: dict[str, str] = {}
        self.steps: dict[tuple[str, int], set[int]] = {}
        """Updates of the checkpoints seen in each attempt of each run."""
        self.disturb(slow=0.4)
        self.programs = folder / "programs"
        self.programs.mkdir()

    def disturb(self, **faults: Any) -> None:
        """Set the faults inside jobs that start from now on (see inside/sitecustomize.py)."""
        self.faults.write_text(json.dumps(faults))

    def replace_program(self, name: str, script: str | None) -> None:
        """Put a shell script in front of one of Slurm's commands for the driver; None takes it away."""
        path = self.programs / name
        path.unlink(missing_ok=True)
        if script is not None:
            path.write_text(f"#!/bin/sh\nreal={daemons.program(name)}\n{script}\n")
            path.chmod(0o755)

    def start(self, *settings: str, **swept: str) -> subprocess.Popen[str]:
        """`python -m experiments -m hydra/launcher=slurm …` as a user would; settings without their prefix."""
        self.swept = swept or self.swept
        launcher = [f"hydra.launcher.{setting}" for setting in ("time=60", "pack=1", *settings)]
        environment = {
            **self.cluster.environment(), "OMP_NUM_THREADS": "1", "EQUILAW_TEST_FAULTS": str(self.faults),
            "PYTHONPATH": str(Path(__file__).parent / "inside"),
            "PATH": f"{self.programs}:{os.environ['PATH']}",
        }  # fmt: skip
        return subprocess.Popen(
            [sys.executable, "-m", "experiments", "-m", "hydra/launcher=slurm", *launcher, *arguments(**self.swept),
             f"store={self.store}"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def launch(self, *settings: str, code: int | None = 0, **swept: str) -> str:
        """The same, to its end; what it said."""
        driver = self.start(*settings, **swept)
        out, err = driver.communicate(timeout=SECONDS)
        assert code in (None, driver.returncode), out + err
        return out + err

    def rows(self) -> list[RunStatus]:
        """Return the rows of `status`; each must be in a state that can be true."""
        rows = list(survey([self.store]).runs)
        untrue = [(row.run_id, row.state, row.why) for row in rows if row.state not in self.allowed]
        assert not untrue, untrue
        for step in self.store.glob("*/attempt-*/step-*.safetensors"):
            number = int(step.name.removeprefix("step-").partition(".")[0])
            self.steps.setdefault((step.parts[-3], int(step.parts[-2][8:])), set()).add(number)
        return rows

    def states(self) -> list[str]:
        """Of the runs, sorted."""
        return sorted(row.state for row in self.rows())

    def until(self, condition: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Wait, and look at the truth meanwhile."""

        def true() -> bool:
            self.rows()
            return bool(condition())

        assert daemons.wait(true, seconds), f"not in {seconds:g} s: {what}; {[(r.state, r.why) for r in self.rows()]}"

    def until_running(self, updates: int = 20, count: int = 1) -> list[RunStatus]:
        """So many runs run and have left a record of their first updates; these."""

        def running() -> list[RunStatus]:
            return [row for row in self.rows() if row.state == "running" and (row.updates or 0) >= updates]

        self.until(lambda: len(running()) >= count, f"{count} running")
        return running()

    def until_kept(self, count: int = 1) -> list[RunStatus]:
        """So many runs run and have a checkpoint: what is killed now without a warning has something to go on from."""

        def kept() -> list[RunStatus]:
            rows = [row for row in self.rows() if row.state == "running"]
            seen = {run for run, _ in self.steps}
            return [row for row in rows if row.run_id in seen]

        self.until(lambda: len(kept()) >= count, f"{count} running with a checkpoint")
        return kept()

    def jobs(self) -> list[str]:
        """Elements that Slurm holds, `123_0`, …"""
        names = [array.name for s in ledger.submissions(self.store) for array in s.arrays]
        return sorted(job.id for job in look(names, seconds=60.0).jobs.values() if job.held)

    def finish(self, count: int = 2, seconds: float = SECONDS) -> None:
        """All is done: once each, with the undisturbed numbers; nothing is left, and the sweep has nothing to do."""
        self.until(lambda: self.states() == ["done"] * count, "all done", seconds)
        self.until(lambda: not self.jobs(), "the end of the jobs")
        self.until(lambda: not self.cluster.job_processes(), "the end of all processes")
        assert_clean(self.store, count)
        assert_same(self.store, self.reference)
        again = self.launch()
        assert "0 submitted" in again
        assert f"{count} done" in again

    def runs(self) -> list[Run]:
        """Their directories."""
        return RunStore(self.store).runs()

    def attempts(self) -> list[int]:
        """Return the number of attempts of each run."""
        return [run.latest_attempt() for run in self.runs()]

    def assert_resumed(self) -> None:
        """Every attempt after one of which a checkpoint was seen went on from there: its history begins with that of
        the one before, down to the measured seconds, which no training from the start repeats. A checkpoint of its
        own need not have been seen: on an idle machine it may be done in less than a second. An attempt that ended
        before its first update has no history, and the one after it goes on from the same checkpoint."""
        followed = 0
        for (run, n), seen in self.steps.items():
            later = self._next_history(run, n)
            if later is None:
                continue
            followed += 1
            before, later = (
                [record for record in history if record["clock"] <= max(seen)]
                for history in (self._history(run, n) or [], later)
            )
            assert before
            assert later == before
        assert followed

    def _next_history(self, run: str, attempt: int) -> list[dict[str, Any]] | None:
        """Return the history of the first later attempt that has one."""
        last = RunStore(self.store).run(run).latest_attempt()
        found = (self._history(run, later) for later in range(attempt + 1, last + 1))
        return next((history for history in found if history), None)

    def _history(self, run: str, attempt: int) -> list[dict[str, Any]] | None:
        path = self.store / run / f"attempt-{attempt}" / "history.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else None

    def causes(self) -> set[str]:
        """Why schedulers ended attempts."""
        return {cause for run in self.runs() for cause in run.stops()}
