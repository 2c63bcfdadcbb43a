"""Commands of a person on runs: cancel them, queue them again, read their logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.config.parse import parse
from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.core.states import RunState
from experiments.core.wording import counted
from experiments.data.load import dataset_of, without_lost_tests
from experiments.runs.store import Run, RunStore, tail
from slurm.jobs import scheduler
from slurm.jobs.commands import SlurmError
from slurm.jobs.ledger import Submission
from slurm.jobs.status import RunStatus, survey
from slurm.plan import PlannedRun
from slurm.settings import SlurmSettings

OPEN = (RunState.QUEUED, RunState.RUNNING, RunState.LOST, RunState.UNKNOWN)
"""States that `cancel` ends."""
AGAIN = (RunState.FAILED, RunState.LOST, RunState.CANCELLED)
"""States that `retry` takes up."""


@dataclass
class ActionReport:
    """Lines for the person who asked for an action."""

    messages: list[str] = field(default_factory=list)
    """Lines about what was done."""
    problems: list[str] = field(default_factory=list)
    """Lines about what could not be done, with the reason."""


def _chosen(rows: Sequence[RunStatus], names: Sequence[str], states: Sequence[str]) -> list[RunStatus]:
    """Return the rows in these states; if runs are named, theirs only.

    Raises:
        InputError: a name fits no run or several, or a run that is in another state.
    """
    if not names:
        return [row for row in rows if row.state in states]
    ids = {_named(rows, name).run_id for name in names}
    chosen = [row for row in rows if row.run_id in ids]
    for row in chosen:
        if row.state not in states:
            raise InputError(f"run {row.run_id} is {row.state}; accepted: runs that are {' | '.join(states)}")
    return chosen


def _named(rows: Sequence[RunStatus], name: str) -> RunStatus:
    """Return the row of the run whose id begins with `name`; InputError if there is none, or several."""
    matching = [row for row in rows if row.run_id.startswith(name)]
    if not matching:
        raise InputError(f"{name}: no such run; accepted: the beginning of an id that python -m slurm status lists")
    if len({row.run_id for row in matching}) > 1:
        raise InputError(f"{name}: {len(matching)} run ids begin with this; accepted: more of the id")
    return matching[0]


def cancel(stores: Sequence[Path], names: Sequence[str]) -> ActionReport:
    """End the jobs of runs, so that they do not go on by themselves. Their checkpoints stay for a later sweep.

    Args:
        stores: of the runs.
        names: beginnings of run ids; none: all queued and running runs.

    Raises:
        InputError: no such run; or its job computes others too, which were not named.
    """
    rows = survey(stores).runs
    chosen = _chosen(rows, names, OPEN)
    _refuse_part_of_a_job(rows, chosen)
    report = ActionReport()
    arrays: dict[tuple[str, str], set[int]] = {}
    for row in chosen:
        if row.place is None:
            continue
        row.place.submission.cancelled(row.place.pack).touch()  # before scancel: a job that is ended looks for it
        if row.job is not None and row.state != RunState.LOST:
            arrays.setdefault((row.place.array.name, row.job.partition("_")[0]), set()).add(row.place.pack.index)
    for (name, job), indices in arrays.items():
        try:
            scheduler.cancel(name, job, sorted(indices))
        except SlurmError as error:
            report.problems.append(f"job {job}: {error}; the same command tries again")
    cancelled, ending = 0, 0
    for row in chosen:
        run, host = RunStore(row.store).run(row.run_id), row.host or "some machine"
        if row.place is None and (row.state == RunState.RUNNING or not row.why):
            report.problems.append(f"run {row.run_id}: it belongs to a sweep on {host}; stop that sweep (Ctrl-C)")
        elif run.state() == RunState.RUNNING:
            ending += 1
            if row.why:  # an orphan
                report.problems.append(f"run {row.run_id}: {row.why}; only {host} can end it")
        elif run.state() in (RunState.QUEUED, RunState.INTERRUPTED):
            run.set_state(RunState.CANCELLED, message="cancelled by a person")
            cancelled += 1
    jobs = sum(map(len, arrays.values()))
    report.messages.append(f"{counted(cancelled, 'run')} cancelled, {counted(jobs, 'job')} ended")
    if ending:
        report.messages.append(f"{counted(ending, 'run')} will be cancelled as soon as checkpoints are written")
    return report


def _refuse_part_of_a_job(rows: Sequence[RunStatus], chosen: Sequence[RunStatus]) -> None:
    """Raise InputError if a job has unnamed runs left beside the chosen ones: a job can only end as a whole."""
    ids = {(row.store, row.run_id) for row in chosen}
    jobs = {(row.submission, row.job): row.run_id for row in chosen}
    mates: dict[str, list[str]] = {}
    for row in rows:
        here = row.job is not None and (row.submission, row.job) in jobs
        if here and row.state in (RunState.QUEUED, RunState.RUNNING) and (row.store, row.run_id) not in ids:
            mates.setdefault(jobs[row.submission, row.job], []).append(row.run_id)
    for run_id, others in mates.items():
        names = f"{' '.join(others[:10])}{' …' if len(others) > 10 else ''}"
        raise InputError(
            f"run {run_id} shares its job with {counted(len(others), 'run')}, which would end too; accepted: name them "
            f"as well ({names})"
        )


def retry(stores: Sequence[Path], names: Sequence[str]) -> ActionReport:
    """Queue failed, lost and cancelled runs again; those that were sent to a cluster are submitted with their settings.

    Args:
        stores: of the runs.
        names: beginnings of run ids; none: all runs in these states.

    Raises:
        InputError: no such run, or it is in another state.
    """
    chosen = _chosen(survey(stores).runs, names, AGAIN)
    report = ActionReport()
    if not chosen:
        report.messages.append("nothing to do: no run failed, is lost or was cancelled")
    sent: dict[Path, tuple[Submission, list[PlannedRun]]] = {}
    at_home = 0
    for row in chosen:
        run = RunStore(row.store).run(row.run_id)
        if row.place is None:
            run.set_state(RunState.QUEUED, message="to be run again")
            at_home += 1
            continue
        try:
            planned = planned_again(run)
        except InputError as error:
            report.problems.append(f"run {run.id}: {error}")
            continue
        sent.setdefault(row.place.submission.path, (row.place.submission, []))[1].append(planned)
    for submission, runs in sent.values():
        _submit_again(submission, runs, report)
    if at_home:
        report.messages.append(f"{counted(at_home, 'run')} queued again: start the sweep again, it goes on with them")
    return report


def _submit_again(submission: Submission, runs: Sequence[PlannedRun], report: ActionReport) -> None:
    from slurm.jobs.submit import submit_missing

    settings = replace(build(SlurmSettings, submission.settings, "hydra.launcher."), retry=True, submit=True)
    try:
        outcome = submit_missing(runs, settings)
    except (SlurmError, TimeoutError) as error:
        report.problems.append(f"{error}; nothing is lost, the same command tries again")
        return
    report.messages += [*outcome.notes, outcome.summary()]
    report.problems += outcome.problems


def planned_again(run: Run) -> PlannedRun:
    """Plan a run of a store again from its configuration, as a sweep would.

    Raises:
        InputError: its configuration is damaged, or gives another run id by now.
    """
    config = parse(run.config())
    sha256 = dataset_of(without_lost_tests(config.data)).sha256()
    if (now := config.run_id(sha256)) != run.id:
        raise InputError(f"its data or the meaning of its configuration changed (now {now}); start the sweep again")
    return replace(PlannedRun.of(config, sha256), run=run)  # its store may have been moved


def logs(stores: Sequence[Path], name: str, lines: int) -> Iterator[str]:
    """Yield the state of a run, then the last lines of its latest attempt's log, its traceback and its job's log.

    Args:
        stores: of the run.
        name: beginning of its id.
        lines: of each log; each begins with the log's path.

    Raises:
        InputError: no such run.
    """
    row = _named(survey(stores).runs, name)
    run = RunStore(row.store).run(row.run_id)
    yield f"run {run.id} is {row.state}" + (f": {row.why}" if row.why else "")
    latest = run.latest_attempt()
    paths = [run.path / f"attempt-{latest}" / "log.txt", run.path / f"attempt-{latest}" / "error.txt"]
    paths += [run.path / "worker.log", *([] if row.log is None else [Path(row.log)])]
    empty = True
    for path in paths:
        if text := tail(path, lines):
            empty = False
            yield f"\n== {path}\n{text}"
    if empty:
        yield "its logs are empty so far"
