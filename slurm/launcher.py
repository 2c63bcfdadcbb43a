"""Launchers: what a sweep asks for and is not done yet goes to workers; what is done or taken is left alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from experiments import files
from experiments.errors import RunsFailed
from experiments.execute import dataset_of
from experiments.schema import build, setting
from slurm.local import Pool
from slurm.plan import Composer, PlannedRun, plan
from slurm.progress import Progress


@dataclass(frozen=True)
class LocalSettings:
    """``hydra/launcher=local`` (conf/hydra/launcher/local.yaml)."""

    workers: int | None = setting(None, low=1, high=4096)
    """Worker processes, one thread each; null: one per core."""
    retry: bool = setting(False)
    """Run failed runs again."""
    submit: bool = setting(True)
    """false: print the plan, one line a run, and start nothing."""


def launch_locally(
    loader: ConfigLoader, master: DictConfig, points: Sequence[Sequence[str]], settings: Mapping[str, Any]
) -> list[JobReturn]:
    """Run what is missing on this machine's cores and wait for it.

    Raises:
        InputError: before anything started.
        RunsFailed: after everything else was done.
    """
    chosen = build(LocalSettings, settings, "hydra.launcher.")
    made = plan(Composer(loader, master), points, dataset_of)
    for line in dict.fromkeys(made.dropped):
        print(f"left out: {line}", file=sys.stderr)
    if not chosen.submit:
        for planned in made.runs:
            print(planned.line())
        return []
    run_missing(made.runs, chosen)
    return [_returned(planned) for planned in made.runs]


def run_missing(planned: Sequence[PlannedRun], settings: LocalSettings) -> None:
    """Compute every run that is not done; see :func:`launch_locally`."""
    for store in {p.config.store for p in planned}:
        files.writable(Path(store), "store")
        files.remove_abandoned(Path(store), deep=False)
    for p in planned:
        p.run.create(p.config.as_dict())
    states = {p.run.id: p.run.state() for p in planned}
    for p in planned:
        if states[p.run.id] == "done":
            p.run.settle()  # whoever published it may have been killed right after
    given_up = [p for p in planned if states[p.run.id] == "failed" and not settings.retry]
    missing = [p for p in planned if states[p.run.id] != "done" and p not in given_up]
    workers = min(settings.workers or len(os.sched_getaffinity(0)), max(1, len(missing)))
    with Progress(planned) as progress:
        failed = Pool(workers, progress).compute(missing)
    failures = [*given_up, *failed]
    if failures:
        reasons = [f"run {p.run.id}: {p.run.recorded_state().get('message', 'no message')}" for p in failures]
        hint = "; run them again with hydra.launcher.retry=true" if given_up else ""
        raise RunsFailed("\n".join([f"{len(failures)} of {len(planned)} runs failed{hint}", *reasons[:10]]))


def _returned(planned: PlannedRun) -> JobReturn:
    returned = JobReturn()
    returned.status = JobStatus.COMPLETED
    returned.return_value = (planned.run.result() or {}).get("metrics")
    return returned
