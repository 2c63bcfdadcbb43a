"""Launchers: they send the runs of a sweep that are not done to workers, and skip those that are done or taken."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from experiments.core import files
from experiments.core.errors import DeviceLost, InputError, RunsFailed
from experiments.core.interrupt import sigterm_raises
from experiments.core.schema import build
from experiments.core.states import RunState
from experiments.core.wording import counted
from experiments.data.dataset import AnyDataset
from experiments.data.load import dataset_of
from experiments.data.offline import DataNotCached, offline
from experiments.runs.record import Result
from slurm import requests
from slurm.gpu_models import asked_for
from slurm.local import Pool, remove_old_logs, visible_gpus
from slurm.outline import Outline, compiling, outline
from slurm.plan import Composer, DataAbsent, Plan, PlannedRun, UnnamedRun, plan
from slurm.probe import probe
from slurm.progress import Progress
from slurm.settings import LocalSettings, SlurmSettings
from slurm.worker import Task

if TYPE_CHECKING:
    from slurm.jobs.submit import Outcome


def launch_locally(
    loader: ConfigLoader, master: DictConfig, points: Sequence[Sequence[str]], settings: Mapping[str, Any]
) -> list[JobReturn]:
    """Compute the runs of a sweep that are not done on this machine, and wait for them.

    Args:
        loader: of Hydra's configuration files.
        master: configuration that the points override.
        points: overrides of each point of the sweep.
        settings: of `hydra.launcher` (`LocalSettings`).

    Returns:
        One entry a run, with its errors; none if `submit=false`, which prints the plan.

    Raises:
        InputError: a point or a setting is bad; nothing was started.
        RunsFailed: runs failed; all others are done.
    """
    chosen = build(LocalSettings, settings, "hydra.launcher.")
    with sigterm_raises():
        sweep = plan(Composer(loader, master), points, dataset_of if chosen.submit else dataset_if_here)
        _tell_left_out(sweep)
        if not chosen.submit:
            _print_runs(sweep)
            print(_outline(sweep.runs, sweep.unnamed, chosen).text(), file=sys.stderr)
            return []
        from experiments.runs.execute import device_of

        for device in {planned.config.device for planned in sweep.runs}:
            device_of(device)  # before a directory is made
        refuse_longer(sweep.runs, chosen)
        run_missing(sweep.runs, chosen)
        for store in sorted({str(p.run.path.parent) for p in sweep.runs}):
            where = shlex.quote(store)
            print(f"look:   python -m analysis report --store {where} --out report.html", file=sys.stderr)
    return _job_returns(sweep, len(points))


def _tell_left_out(sweep: Plan) -> None:
    for line in [*(f"left out: {reason}" for reason in dict.fromkeys(sweep.dropped)), *sweep.notes]:
        print(line, file=sys.stderr)


def _print_runs(sweep: Plan) -> None:
    """Print the runs of a sweep that is not started, and on standard error why some have no data."""
    for line in [*(p.line() for p in sweep.runs), *(one.line() for one in sweep.unnamed)]:
        print(line)
    for reason in dict.fromkeys(one.reason for one in sweep.unnamed):
        print(f"no data: {reason}", file=sys.stderr)


def _outline(
    runs: Sequence[PlannedRun], unnamed: Sequence[UnnamedRun], settings: LocalSettings | SlurmSettings
) -> Outline:
    """Return the size of a sweep on the devices that the launcher gives its runs."""
    if isinstance(settings, LocalSettings):
        return outline(runs, unnamed, settings.pack, probe=probe if settings.probe and not settings.submit else None)
    return outline(runs, unnamed, settings.pack, "cuda" if settings.gpus_of_a_job else "cpu", asked_for(settings))


def refuse_longer(runs: Sequence[PlannedRun], settings: LocalSettings | SlurmSettings) -> None:
    """Raise InputError for a sweep that is known to take more than `hydra.launcher.max_hours`."""
    if settings.max_hours is not None and (excess := _outline(runs, [], settings).over(settings.max_hours)):
        raise InputError(excess)


def dataset_if_here(section: Mapping[str, Any]) -> AnyDataset:
    """Load a dataset for a plan that starts nothing; download and generate nothing.

    Raises:
        DataAbsent: its data are not on this machine.
    """
    try:
        with offline():
            return dataset_of(section)
    except DataNotCached as error:
        raise DataAbsent(str(error)) from None


def run_missing(
    planned: Sequence[PlannedRun], settings: LocalSettings, ended: Callable[[str], None] | None = None
) -> None:
    """Compute every run that is not done.

    Args:
        planned: the runs.
        settings: of the workers.
        ended: called with the id of each run that is done, after its result is published.

    Raises:
        RunsFailed: runs failed, now or (without `retry`) before, or the GPU was lost; all others are done.
    """
    for store in {p.config.store for p in planned}:
        files.writable(Path(store), "store")
        files.remove_abandoned(Path(store), deep=False)
        remove_old_logs(Path(store))
    for p in planned:
        p.run.create(p.config.as_dict())
    states = {p.run.id: p.run.state() for p in planned}
    for p in planned:
        if states[p.run.id] == RunState.DONE:
            p.run.settle()  # whoever published it may have been killed right after
    if others := of_other_curves(planned):
        print(
            f"{others} of {len(planned)} runs are done already as points of other curves (the same learning rate, but "
            "set or tuned otherwise) and stay on those; give this sweep a store of its own",
            file=sys.stderr,
        )
    given_up = [p for p in planned if states[p.run.id] == RunState.FAILED and not settings.retry]
    missing = [p for p in planned if states[p.run.id] != RunState.DONE and p not in given_up]
    missing.sort(key=lambda p: p.budget)  # a larger budget continues the stable phase of a smaller one that is done
    if text := compiling(missing):
        print(text, file=sys.stderr)
    missing += [p for p in planned if states[p.run.id] == RunState.DONE and p.lacks_tests]
    for p in missing:
        p.run.repair(p.config.as_dict())
    failures: list[Task] = list(given_up)
    problems: list[str] = []
    with Progress(planned, workers=1, ended=ended) as progress:
        for kind, runs in _by_device(missing).items():
            places = [{"CUDA_VISIBLE_DEVICES": name} for name in visible_gpus()] if kind == "cuda" else [{}]
            workers = settings.workers or (len(places) if kind == "cuda" else len(os.sched_getaffinity(0)))
            progress.workers = min(workers, len(runs))
            pool = Pool(progress.workers, progress, settings.pack, settings.patience, places, device=kind)
            try:
                failures += pool.compute(runs)
            except DeviceLost as error:
                failures += pool.failed
                problems.append(f"the GPU was lost, {error}; no result is lost, the same command continues")
    if untested := [p for p in planned if p.lacks_tests and p.run.state() == RunState.DONE]:
        names = ", ".join(dict.fromkeys(name for p in untested for name in p.lacks_tests))
        logs = untested[0].run.path.parent / "workers"
        problems.append(f"{len(untested)} runs are done, but lack errors on {names}; see {logs}")
    if failures or problems:
        reasons = [f"run {p.run.id}: {p.run.recorded_state().get('message', 'no message')}" for p in failures]
        hint = "; run them again with hydra.launcher.retry=true" if given_up else ""
        heading = [f"{len(failures)} of {len(planned)} runs failed{hint}"] if failures else []
        raise RunsFailed("\n".join([*problems, *heading, *reasons[:10]]))


def of_other_curves(planned: Sequence[PlannedRun]) -> int:
    """Count the runs that are done, but as points of another curve.

    A run's id depends on its learning rate alone, a curve's also on where the rate comes from (`training.tuned`).
    """
    done = [(p, p.run.result()) for p in planned]
    return sum(result is not None and (result.model_id or p.model_id) != p.model_id for p, result in done)


def _by_device(planned: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """Group runs by the kind of device they ask for; a sweep over both kinds computes one kind after the other."""
    from experiments.runs.execute import device_of

    kinds: dict[str, list[PlannedRun]] = {}
    for p in planned:
        kinds.setdefault(device_of(p.config.device).type, []).append(p)
    return kinds


def launch_on_slurm(
    loader: ConfigLoader, master: DictConfig, points: Sequence[Sequence[str]], settings: Mapping[str, Any]
) -> list[JobReturn]:
    """Submit the runs of a sweep that are not done to a Slurm cluster; return at once, or wait (`detach=false`).

    Args:
        loader: of Hydra's configuration files.
        master: configuration that the points override.
        points: overrides of each point of the sweep.
        settings: of `hydra.launcher` (`SlurmSettings`).

    Returns:
        One entry a run, with its errors if it is done.

    Raises:
        InputError: a point or a setting is bad; nothing was submitted.
        RunsFailed: a run failed, now or before, or could not be submitted; all others are done, running or queued.
        KeyboardInterrupt: Ctrl-C; jobs that were submitted go on, and a message says how to look at them.
    """
    from slurm.jobs import submit, wait
    from slurm.jobs.commands import SlurmError

    chosen, notes = with_site_defaults(build(SlurmSettings, settings, "hydra.launcher."))
    for note in notes:
        print(note, file=sys.stderr)
    sweep = plan(Composer(loader, master), points, dataset_of if chosen.submit else dataset_if_here)
    _tell_left_out(sweep)
    if not chosen.submit:
        _print_runs(sweep)
    for p in sweep.runs:
        submit.kind_of(p, chosen)
    refuse_longer(sweep.runs, chosen)
    stores = sorted({str(p.run.path.parent) for p in sweep.runs})
    gone: list[PlannedRun] = []
    try:
        for round in range(ROUNDS):
            outcome = submit.submit_missing(gone or sweep.runs, chosen)
            if round == 0:
                submit.submit_after(outcome, chosen)
                _print_outcome(outcome, chosen, stores)
                if not chosen.submit:
                    jobs = sum(len(array.packs) for one in outcome.submissions for array in one.arrays)
                    size = dataclasses.replace(_outline(sweep.runs, sweep.unnamed, chosen), packs=jobs)
                    print(size.text(), file=sys.stderr)
            if chosen.detach or not chosen.submit:
                break
            with Progress(sweep.runs) as progress:
                gone = wait.wait([*outcome.submitted, *outcome.joined], progress) + outcome.left
            if not gone or not outcome.submitted:
                break
    except (SlurmError, TimeoutError) as error:
        raise RunsFailed(f"{error}; nothing is lost, the same command continues") from None
    except KeyboardInterrupt:
        print("\n".join(["jobs that were submitted go on", *_next_commands(stores)]), file=sys.stderr)
        raise
    _raise_if_failed(sweep.runs, outcome, chosen)
    return _job_returns(sweep, len(points))


def with_site_defaults(settings: SlurmSettings) -> tuple[SlurmSettings, list[str]]:
    """Return the settings with what the site's variables give where the user gave nothing, and a note on each.

    The user may have given them as parameters of sbatch, too.
    """
    own, others = requests.lifted(settings.sbatch)
    settings = dataclasses.replace(settings, **own, sbatch=others or None)
    plain = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    found, notes = requests.exported(plain, os.environ)
    return dataclasses.replace(settings, **found), notes


ROUNDS = 3
"""Most times that a run is submitted while a driver waits for it, if its job is gone or the cluster had no room."""


def _print_outcome(outcome: Outcome, settings: SlurmSettings, stores: Sequence[str]) -> None:
    """Print what was submitted, and the commands to go on with."""
    for note in outcome.notes:
        print(note, file=sys.stderr)
    out = sys.stdout if settings.submit else sys.stderr
    print(outcome.summary().replace("submitted", "submitted" if settings.submit else "to submit"), file=out)
    for submission in outcome.submissions:
        for array in submission.arrays:
            if array.state.written:
                seconds = [p.seconds for p in array.packs if p.seconds is not None]
                about = f", about {max(seconds) / 60:.1f} min each" if len(seconds) == len(array.packs) else ""
                job = "" if array.job is None else f"job {array.job}: "
                runs_of = sum(len(p.runs) for p in array.packs)
                print(f"  {job}{counted(len(array.packs), 'pack')}, {counted(runs_of, 'run')}{about}", file=out)
        print(f"  {submission.path}", file=out)
    if settings.submit and (outcome.submitted or outcome.joined):
        print("\n".join(_next_commands(stores)), file=out)


def _next_commands(stores: Sequence[str]) -> list[str]:
    where = " ".join(f"--store {shlex.quote(store)}" for store in stores)
    return [f"look:   python -m slurm status {where}", f"cancel: python -m slurm cancel {where}"]


def _raise_if_failed(runs: Sequence[PlannedRun], outcome: Outcome, settings: SlurmSettings) -> None:
    """Raise RunsFailed if a run failed, was not submitted, or (`detach=false`) ended without a result."""
    lines = []
    if outcome.left:
        lines.append(f"{len(outcome.left)} runs were not submitted; the same command submits them")
    lines += outcome.problems
    states = {p.run.id: p.run.state() for p in runs} if settings.submit else {}
    failed = [p for p in runs if states.get(p.run.id) == RunState.FAILED]
    if failed:
        lines.append(f"{len(failed)} of {len(runs)} runs failed; run them again with hydra.launcher.retry=true")
        lines += [f"run {p.run.id}: {p.run.recorded_state().get('message', 'no message')}" for p in failed[:10]]
    if not settings.detach and settings.submit:
        open_ = [p for p in runs if states[p.run.id] not in (RunState.DONE, RunState.FAILED)]
        if open_ and not outcome.left:
            lines.append(f"{len(open_)} runs ended without a result (cancelled or lost); the same command continues")
    if lines:
        raise RunsFailed("\n".join(lines))


class Errors(dict[str, float]):
    """Test errors by metric; as a number, the error for a sweeper to minimise.

    That is the error on the validation set: a choice made on test frames would be biased. A run without a validation
    set (a fit in closed form) has no such number.
    """

    def __init__(self, result: Result) -> None:
        super().__init__({name: error for name, error in result.metrics.items() if error is not None})
        self.primary = result.primary
        values = result.by_metric.get(result.primary)
        self.objective = None if values is None else values.holdout_error

    def __float__(self) -> float:
        if self.objective is None:
            raise TypeError(f"no validation error of {self.primary}: a sweeper has nothing to minimise")
        return float(self.objective)


def _job_returns(sweep: Plan, points: int) -> list[JobReturn]:
    """Return the errors of every point, in order: a sweeper tells its trials apart by nothing else."""
    results = {planned.run.id: planned.run.result() for planned in sweep.runs}
    returns = []
    for number in range(points):
        result = results.get(sweep.of_point.get(number, ""))
        job_return = JobReturn()
        job_return.status = JobStatus.COMPLETED
        job_return.return_value = None if result is None else Errors(result)
        returns.append(job_return)
    return returns
