"""Runs in every state and what a scheduler says of them, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.core.processes import Process
from experiments.core.states import ArrayState, RunState
from experiments.runs.store import Run, RunStore
from slurm.jobs import ledger
from slurm.jobs.ledger import JobArray, Pack, Submission
from slurm.jobs.scheduler import Answer, Job, Key

HERE = "this-cluster"


class Store:
    """A store whose runs are made by hand."""

    def __init__(self, path: Path, config: Mapping[str, Any]) -> None:
        self.path = path
        self.config = config

    def run(self, name: str, state: str = "queued", **details: Any) -> Run:
        """A run with a recorded state."""
        run = RunStore(self.path).run(name)
        run.create(self.config)
        run.set_state(RunState(state), **details)
        return run

    def claimed(self, name: str, alive: bool) -> Run:
        """A run that a process took, this one or one that is gone."""
        run = self.run(name)
        attempt = run.claim()
        assert attempt is not None
        run.set_state(RunState.RUNNING, attempt=attempt.number)
        if not alive:
            files.write_json(attempt.path / "alive.json", vars(replace(Process.this(), started="1")))
        return run

    def sent(self, *packs: tuple[str, ...], **changes: Any) -> Submission:
        """A submission of one array with these packs."""
        cluster = changes.pop("cluster", HERE)
        made = ledger.new(self.path, cluster, {}, ["python"])
        elements = tuple(Pack(i, f"packs/0-{i}.json", runs) for i, runs in enumerate(packs))
        array = JobArray(
            ledger.job_name(made, 0), ArrayState.SUBMITTED, "array-0.sh", "logs/%A_%a.log", elements, job="7"
        )
        driver = changes.pop("driver", made.driver)
        made = replace(made, arrays=(replace(array, **changes),), driver=driver)
        made.write()
        return made


class Slurm:
    """Answers that the scheduler will give."""

    def __init__(self) -> None:
        self.jobs: dict[Key, Job] = {}
        self.past: dict[Key, Job] = {}
        self.reachable = True
        self.asked = 0
        self.cancelled: list[tuple[str, str, list[int]]] = []

    def job(self, submission: Submission, index: int, state: str, held: bool = True, **details: Any) -> None:
        name = submission.arrays[0].name
        self.jobs[name, index] = Job(name, "7", index, state, held, **details)

    def look(self, *_: Any) -> Answer:
        self.asked += 1
        return Answer(self.jobs if self.reachable else {}, self.reachable, "" if self.reachable else "squeue: it hangs")
