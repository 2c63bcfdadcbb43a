"""The settings of the launchers (conf/hydra/launcher/), with their ranges and error messages. Torch-free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
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
    "open-mode": "append", "dependency": "after", "cpus-per-task": "cpus", "cpus-per-gpu": "cpus", "ntasks": "cpus",
    "nodes": "1", "no-requeue": "requeue=false", "wrap": "setup", "test-only": "submit=false", "wait": "detach=false",
    "parsable": "sbatch's own answer",
}  # fmt: skip
"""Parameters of sbatch that the setting `sbatch` must not replace → what sets them."""

REQUESTS = ("partition", "account", "qos", "constraint", "cpus", "memory", "gpus", "packs_per_gpu")
"""Settings that ask for what a parameter of sbatch could ask for too."""


TABLE = "{python} -m analysis table --store {store} --csv {out}/runs.csv"
FIT = "{python} -m analysis fit --table {out}/runs.csv --json {out}/fits.json"
FIGURES = "{python} -m analysis figures --table {out}/runs.csv --out {out}/figures"
REPORT = "{python} -m analysis report --table {out}/runs.csv --out {out}/report.html"


def _after_commands() -> dict[str, list[str]]:
    return {"fit": [TABLE, FIT, FIGURES], "report": [TABLE, FIT, FIGURES, REPORT]}


@dataclass(frozen=True)
class LocalSettings:
    """Worker processes on this machine, one thread each."""

    workers: int | None = setting(None, low=1, high=4096)
    """Number of processes; null: one per core, or one per GPU."""
    pack: int | None = setting(None, low=1, high=4096)
    """Most runs of one shape that a worker trains together; null: 1 on CPU, 4096 on a GPU, and of fits in closed form
    all that differ only in P (a ladder)."""
    patience: float = setting(1800.0, low=1.0, high=1e7)
    """Seconds without a sign of life after which a worker counts as hung and is replaced. Loading data, compiling,
    evaluating and fitting show it (each for two hours at most)."""
    retry: bool = setting(False)
    """Run failed runs again."""
    max_hours: float | None = setting(None, low=0.0)
    """Most hours that the sweep may take on one core (on GPUs: on one), by the times of finished runs; a sweep known to
    take more is refused before it starts. null: any."""
    submit: bool = setting(True)
    """false: print the plan, one line a run, and start nothing."""
    probe: bool = setting(False)
    """With submit=false: compute each shape whose time no finished run tells for half a minute, and keep nothing."""


@dataclass(frozen=True)
class SlurmSettings:
    """Jobs on a Slurm cluster (slurm/README.md: the first ten minutes on a new one).

    Give keys as hydra.launcher.KEY=VALUE, or keep a cluster's own file beside this one:
    conf/hydra/launcher/mycluster.yaml with "defaults: [slurm]" and its keys.
    """

    partition: str | None = setting(None, heading="Resources of a job (null: the cluster's default)")
    """sbatch --partition."""
    account: str | None = setting(None)
    """--account: the account to charge; null: $SBATCH_ACCOUNT or $SLURM_ACCOUNT, if the site sets it."""
    qos: str | None = setting(None)
    """--qos."""
    constraint: str | None = setting(None)
    """--constraint: features of nodes, as 'a100|h100'."""
    time: int | str = setting(240)
    """--time: minutes (to 1440), or 'HH:MM:SS' or 'D-HH:MM:SS' in quotes; a job that reaches it is queued again and
    continues."""
    memory: float | None = setting(None, above=0.0, high=1e6)
    """--mem, GB a job; null: learned from finished runs of the store, else the cluster's default."""
    cpus: int | None = setting(None, low=1, high=4096)
    """Cores a job; on CPUs each computes one run at a time, beside a GPU they compile; null: 8 a GPU (with
    packs_per_gpu its share of them, at least 2), 1 for a job on CPUs."""
    gpus: int | None = setting(None, low=0, high=64)
    """GPUs a job; null: one if device=cuda, else none (device=auto with gpus=1 uses it). Jobs of runs on the CPU, as
    fits in closed form are, have none."""
    packs_per_gpu: int = setting(1, low=1, high=64)
    """Jobs that share a GPU, if the cluster has shard or MPS."""
    sbatch: Mapping[str, Any] | None = setting(None)
    """Further parameters of sbatch, as {mail-user: me@example.org, exclude: 'n[1-3]'}; GPUs and memory in any spelling
    ({gpus-per-node: 'a100:2'}, {mem-per-cpu: 2G}) in place of gpus and memory."""
    setup: tuple[str, ...] = setting((), heading="Environment of the program in a job")
    """Shell lines before it, as ['module load cuda', 'source ~/venv/bin/activate']."""
    container: str | None = setting(None)
    """Command in front of python, as 'apptainer exec --nv image.sif'."""
    python: str | None = setting(None)
    """Interpreter in the job; null: the one that submits."""
    pack: int | None = setting(None, low=1, high=100_000, heading="How runs become jobs")
    """Most runs a job (if their times are unknown: that many); null: as many of one shape as fill pack_minutes, by the
    times of finished runs; if there are none, one a core, 16 on a GPU. A ladder (closed forms that differ only in P)
    counts as one run; with a number it is split."""
    pack_minutes: float = setting(60.0, above=0.0, high=1e5)
    """Intended duration of a job, after its start."""
    array_parallelism: int = setting(256, low=1, high=1_000_000)
    """Most jobs of an array that run at a time."""
    max_jobs: int | None = setting(None, low=1, high=1_000_000)
    """Most jobs of this sweep; null: as the cluster's limits allow (packs then grow)."""
    signal_delay: int = setting(90, low=1, high=3600, heading="Signals and ends")
    """Seconds before the time limit at which the job is warned (USR2); a quarter of it at most."""
    requeue: bool = setting(True)
    """Queue the job again after a preemption, a time limit or the loss of a node."""
    max_stalls: int = setting(3, low=1, high=1000)
    """Time limits in a row without progress in a checkpoint, after which the job gives up."""
    patience: float = setting(1800.0, low=1.0, high=1e7)
    """Seconds without a heartbeat after which a worker counts as hung and is replaced."""
    retry: bool = setting(False, heading="On the submitting machine")
    """Run failed runs again."""
    max_hours: float | None = setting(None, low=0.0)
    """Most hours that the sweep may take on one core (on GPUs: on one), by the times of finished runs; a sweep known to
    take more is refused before it starts. null: any."""
    submit: bool = setting(True)
    """false: write the sbatch files and the plan, one line a run, and submit nothing."""
    detach: bool = setting(True)
    """false: wait, show progress and return values to the sweeper (Optuna minimises the validation error)."""
    after: str | None = setting(None)
    """fit | report: a job that runs after_commands.NAME once all jobs of the sweep have ended."""
    after_sbatch: Mapping[str, Any] | None = setting(None)
    """Parameters of that job, as {partition: cpu, time: 30}."""
    after_commands: Mapping[str, Any] = setting(factory=_after_commands)
    """Commands by name; {store} is the sweep's, {out} is <store>/slurm/<submission>/after."""

    def __post_init__(self) -> None:
        _ = self.minutes
        for name in self.sbatch or {}:
            if (long := requests.long_name(name)) in OURS:
                raise InputError(f"sbatch.{name}: set by the launcher; accepted: {OURS[long]}")
        requests.check(self.sbatch, {name: getattr(self, name) for name in REQUESTS})
        requests.check_text(self.after_sbatch, "after_sbatch")
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
