"""The settings of the launchers (conf/hydra/launcher/), with their ranges and error messages. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.core.errors import InputError
from experiments.core.schema import setting
from slurm import requests

MOST_MINUTES = 1440
"""Longest time limit given as a number: YAML reads 4:00:00 without quotes as 14400, and nobody means ten days."""
TIMES = (
    f"1 to {MOST_MINUTES} minutes, or a text as Slurm has it, in quotes in a file: "
    "MM:SS | HH:MM:SS | D-HH | D-HH:MM | D-HH:MM:SS"
)
CORES_PER_GPU = 8
"""Cores of a job for each of its GPUs. Kernels of a shape are compiled by one process a core: in minutes on one core,
in less than one minute on sixteen. The training itself keeps one core busy."""
FEWEST_CORES_PER_GPU = 2
"""Fewest cores of a job that has part of a GPU: one trains, one compiles."""
OURS = {
    "array": "array_parallelism", "job-name": "no other name: the ledger finds jobs by it", "signal": "signal_delay",
    "output": "<store>/slurm/<submission>/logs", "error": "<store>/slurm/<submission>/logs", "requeue": "requeue",
    "open-mode": "append", "dependency": "after", "cpus-per-task": "cpus", "ntasks": "cpus", "nodes": "1",
}  # fmt: skip
"""Parameters of sbatch that the setting `sbatch` must not replace → what sets them."""

REQUESTS = ("partition", "account", "qos", "constraint", "cpus", "memory", "gpus", "packs_per_gpu")
"""Settings that ask for what a parameter of sbatch could ask for too."""


@dataclass(frozen=True)
class LocalSettings:
    """Settings of `hydra/launcher=local` (conf/hydra/launcher/local.yaml)."""

    workers: int | None = setting(None, low=1, high=4096)
    """Worker processes; null: one per core, or one per GPU."""
    pack: int | None = setting(None, low=1, high=4096)
    """Most runs of one shape that a worker trains together; null: 1 on CPU, 4096 on a GPU, and of fits in closed form
    all that differ only in P (a ladder)."""
    patience: float = setting(1800.0, low=1.0, high=1e7)
    """Seconds without a sign of life after which a worker counts as hung and is replaced. Compiling, evaluating and
    solving show it (each for two hours at most), loading or generating data does not."""
    retry: bool = setting(False)
    """Run failed runs again."""
    submit: bool = setting(True)
    """false: print the plan, one line a run, and start nothing."""


@dataclass(frozen=True)
class SlurmSettings:
    """Settings of `hydra/launcher=slurm` (conf/hydra/launcher/slurm.yaml says what each key means)."""

    partition: str | None = setting(None)
    account: str | None = setting(None)
    qos: str | None = setting(None)
    constraint: str | None = setting(None)
    time: int | str = setting(240)
    memory: float | None = setting(None, above=0.0, high=1e6)
    """GB of a job; null: learned from finished runs, else the cluster's default."""
    cpus: int | None = setting(None, low=1, high=4096)
    """null: 8 a GPU (with packs_per_gpu, their share of them, at least 2), 1 for a job on CPUs; see `cores`."""
    gpus: int | None = setting(None, low=0, high=64)
    packs_per_gpu: int = setting(1, low=1, high=64)
    sbatch: Mapping[str, Any] | None = setting(None)
    setup: tuple[str, ...] = setting(())
    container: str | None = setting(None)
    python: str | None = setting(None)
    pack: int | None = setting(None, low=1, high=100_000)
    pack_minutes: float = setting(60.0, above=0.0, high=1e5)
    array_parallelism: int = setting(256, low=1, high=1_000_000)
    max_jobs: int | None = setting(None, low=1, high=1_000_000)
    signal_delay: int = setting(90, low=1, high=3600)
    requeue: bool = setting(True)
    max_stalls: int = setting(3, low=1, high=1000)
    patience: float = setting(1800.0, low=1.0, high=1e7)
    retry: bool = setting(False)
    submit: bool = setting(True)
    detach: bool = setting(True)
    after: str | None = setting(None)
    after_commands: Mapping[str, Any] = field(default_factory=dict)
    after_sbatch: Mapping[str, Any] | None = setting(None)

    def __post_init__(self) -> None:
        _ = self.minutes
        for name in self.sbatch or {}:
            if name.replace("_", "-") in OURS:
                raise InputError(f"sbatch.{name}: set by the launcher; accepted: {OURS[name.replace('_', '-')]}")
        requests.check(self.sbatch, {name: getattr(self, name) for name in REQUESTS})
        if self.packs_per_gpu > 1 and self.gpus not in (None, 1):
            raise InputError(f"packs_per_gpu={self.packs_per_gpu}, gpus={self.gpus}: accepted: gpus=1 (or null)")
        if self.after is not None and self.after not in self.after_commands:
            raise InputError(f"after={self.after!r}: accepted: null | {' | '.join(self.after_commands)}")

    def cores(self, kind: str) -> int:
        """Return the cores of a job whose runs are on devices of `kind` (cpu, cuda)."""
        if self.cpus is not None:
            return self.cpus
        if kind == "cpu":
            return 1
        if self.packs_per_gpu > 1:
            return max(FEWEST_CORES_PER_GPU, -(-CORES_PER_GPU // self.packs_per_gpu))
        return CORES_PER_GPU * (self.gpus_of_a_job or 1)

    @property
    def gpus_of_a_job(self) -> int | None:
        """GPUs of a job by `gpus`, or by the user's own parameters of sbatch; None if nobody asks for any."""
        return self.gpus if self.gpus is not None else requests.gpu_count(self.sbatch) or None

    @property
    def minutes(self) -> int:
        """The time limit of a job in minutes, rounded up.

        Raises:
            InputError: `time` is not in a form that Slurm reads, or out of range.
        """
        if isinstance(self.time, int):
            if not 1 <= self.time <= MOST_MINUTES:
                raise InputError(f"time={self.time}: accepted: {TIMES}")
            return self.time
        forms = r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?"
        match = re.fullmatch(forms, self.time.strip())
        if match is None or (match[1] is None and match[3] is None):
            raise InputError(f"time={self.time!r}: accepted: {TIMES}")
        days, first, second, third = (int(part or 0) for part in match.groups())
        if match[1] is None and match[4] is None:  # MM:SS
            seconds = 60 * first + second
        else:
            seconds = ((24 * days + first) * 60 + second) * 60 + third
        if seconds < 1:
            raise InputError(f"time={self.time!r}: accepted: {TIMES}")
        return -(-seconds // 60)

    @property
    def warning_seconds(self) -> int:
        """Seconds before the time limit at which the warning signal is sent; a quarter of the limit at most."""
        return max(1, min(self.signal_delay, 15 * self.minutes))
