"""Launchers: what a sweep asks for and is not done yet goes to workers; what is done or taken is left alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from experiments import files
from experiments.data.dataset import Dataset
from experiments.errors import InputError, RunsFailed
from experiments.execute import dataset_of, device_of
from experiments.interrupt import sigterm_raises
from experiments.schema import build, setting
from slurm.local import Pool, remove_old_logs
from slurm.outline import outline
from slurm.plan import Composer, DataAbsent, PlannedRun, plan
from slurm.progress import Progress


@dataclass(frozen=True)
class LocalSettings:
    """``hydra/launcher=local`` (conf/hydra/launcher/local.yaml)."""

    workers: int | None = setting(None, low=1, high=4096)
    """Worker processes; null: one per core, or one per GPU."""
    pack: int | None = setting(None, low=1, high=4096)
    """Most runs of one shape that a worker trains together; null: 1 on CPU, 4096 on a GPU."""
    patience: float = setting(1800.0, low=1.0, high=1e7)
    """Seconds without a sign of life after which a worker counts as hung and is replaced; compiling, evaluating and
    solving show none."""
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
    with sigterm_raises():
        made = plan(Composer(loader, master), points, dataset_of if chosen.submit else dataset_if_here)
        for line in dict.fromkeys(made.dropped):
            print(f"left out: {line}", file=sys.stderr)
        if not chosen.submit:
            for line in [*(p.line() for p in made.runs), *(one.line() for one in made.unnamed)]:
                print(line)
            for reason in dict.fromkeys(one.reason for one in made.unnamed):
                print(f"no data: {reason}", file=sys.stderr)
            print(outline(made.runs, made.unnamed, chosen.pack).text(), file=sys.stderr)
            return []
        run_missing(made.runs, chosen)
    return [_returned(planned) for planned in made.runs]


def dataset_if_here(section: Mapping[str, Any]) -> Dataset:
    """The dataset, for a plan that starts nothing: what cannot be loaded is absent, not a mistake."""
    try:
        return dataset_of(section)
    except InputError as error:
        raise DataAbsent(str(error)) from None


def run_missing(planned: Sequence[PlannedRun], settings: LocalSettings) -> None:
    """Compute every run that is not done; see :func:`launch_locally`."""
    for store in {p.config.store for p in planned}:
        files.writable(Path(store), "store")
        files.remove_abandoned(Path(store), deep=False)
        remove_old_logs(Path(store))
    for p in planned:
        p.run.create(p.config.as_dict())
    states = {p.run.id: p.run.state() for p in planned}
    for p in planned:
        if states[p.run.id] == "done":
            p.run.settle()  # whoever published it may have been killed right after
    if others := of_other_curves(planned):
        print(
            f"{others} of {len(planned)} runs were done as points of other curves, with the same learning rate "
            "that was set or tuned otherwise, and stay there; give this sweep a store of its own",
            file=sys.stderr,
        )
    given_up = [p for p in planned if states[p.run.id] == "failed" and not settings.retry]
    missing = [p for p in planned if states[p.run.id] != "done" and p not in given_up]
    missing.sort(key=_budget)  # a larger budget goes on from the trunk of a smaller one, once that is done
    for p in missing:
        p.run.repair(p.config.as_dict())
    failures = list(given_up)
    with Progress(planned) as progress:
        for kind, runs in _by_device(missing).items():
            pack = settings.pack or (4096 if kind == "cuda" else 1)
            places = [{"CUDA_VISIBLE_DEVICES": name} for name in visible_gpus()] if kind == "cuda" else [{}]
            workers = settings.workers or (len(places) if kind == "cuda" else len(os.sched_getaffinity(0)))
            pool = Pool(min(workers, len(runs)), progress, pack, settings.patience, places)
            failures += pool.compute(runs)
    if failures:
        reasons = [f"run {p.run.id}: {p.run.recorded_state().get('message', 'no message')}" for p in failures]
        hint = "; run them again with hydra.launcher.retry=true" if given_up else ""
        raise RunsFailed("\n".join([f"{len(failures)} of {len(planned)} runs failed{hint}", *reasons[:10]]))


def of_other_curves(planned: Sequence[PlannedRun]) -> int:
    """How many runs are done, but as points of another curve.

    A run is named by its learning rate alone, a curve also by where the rate comes from (``training.tuned``).
    """
    done = [(p, p.run.result()) for p in planned]
    return sum(result is not None and result.get("model_id", p.model_id) != p.model_id for p, result in done)


def _by_device(planned: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """Runs by the kind of device they ask for; a sweep over both kinds takes one after the other."""
    kinds: dict[str, list[PlannedRun]] = {}
    for p in planned:
        kinds.setdefault(device_of(p.config.device).type, []).append(p)
    return kinds


def visible_gpus() -> list[str]:
    """Names for ``CUDA_VISIBLE_DEVICES`` of each GPU that this process may use."""
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named or [str(number) for number in range(torch.cuda.device_count())]


def _budget(planned: PlannedRun) -> int:
    return 0 if planned.config.training is None else planned.config.training.max_steps


def _returned(planned: PlannedRun) -> JobReturn:
    returned = JobReturn()
    returned.status = JobStatus.COMPLETED
    returned.return_value = (planned.run.result() or {}).get("metrics")
    return returned
