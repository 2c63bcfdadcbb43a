"""A scheduler made up for tests: takes sbatch files, holds their jobs until told otherwise, and refuses or hangs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from slurm.jobs.commands import NoAnswer, SlurmError
from slurm.jobs.limits import Limits
from slurm.jobs.scheduler import Answer, Job


class MadeUp:
    """Stands for `slurm.jobs.commands.ask` and `slurm.jobs.scheduler.look`.

    Attributes:
        held: indices of the elements of every job that it still holds, by the job's name.
        refuse: what sbatch says instead of taking a job.
        hang: whether sbatch hangs; `late`: whether the job gets through all the same.
        reachable: whether the controller answers.
    """

    def __init__(self, array_size: int = 1001, jobs: int | None = None) -> None:
        self.limits = Limits("made-up", array_size, jobs)
        self.held: dict[str, set[int]] = {}
        self.ids: dict[str, str] = {}
        self.scripts: list[str] = []
        self.refuse = ""
        self.hang = self.late = False
        self.reachable = True

    def ask(self, *command: str, **_: object) -> str:
        """sbatch."""
        assert command[0] == "sbatch"
        if self.refuse:
            raise SlurmError(f"sbatch: {self.refuse}")
        if not self.hang or self.late:
            text = Path(command[-1]).read_text()
            self.scripts.append(text)
            name = re.findall(r"--job-name=(\S+)", text)[0]
            first, last = re.findall(r"--array=(\d+)-(\d+)", text)[0]
            self.held[name] = set(range(int(first), int(last) + 1))
            self.ids[name] = str(100 + len(self.ids))
        if self.hang:
            raise NoAnswer("sbatch: no answer in 60 s")
        return f"{self.ids[name]};made-up\n"

    def look(self, names: Iterable[str]) -> Answer:
        """The queue."""
        if not self.reachable:
            return Answer({}, reachable=False, message="squeue: no answer in 10 s")
        found = {}
        for name in names:
            for index in self.held.get(name, ()):
                found[name, index] = Job(name, self.ids[name], index, "PENDING", held=True)
        return Answer(found, reachable=True)
