"""What a person does to runs by hand: cancel them, run them again, read what they said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from experiments.config.run import parse
from experiments.core.errors import InputError
from experiments.core.schema import build
from experiments.core.wording import counted
from experiments.data.load import dataset_of
from experiments.runs.store import Run, RunStore, tail
from slurm.jobs import scheduler
from slurm.jobs.commands import SlurmError
from slurm.jobs.ledger import Submission
from slurm.jobs.status import RunStatus, survey
from slurm.plan import PlannedRun
from slurm.settings import SlurmSettings

OPEN = ("queued", "running", "lost", "unknown")
"""States that `cancel` ends."""
AGAIN = ("failed", "lost", "cancelled")
"""States that `retry` takes up."""


@dataclass
class Done:
    """What was done, and what could not be; one line each."""

    said: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def _chosen(rows: Sequence[RunStatus], names: Sequence[str], states: Sequence[str]) -> list[RunStatus]:
    """Rows in these states; of the named ones where some are named.

    Raises:
        InputError: a name fits no run or several, or a run that is in another state.
    """
    if not names:
        return [row for row in rows if row.state in states]
    found = list(dict.fromkeys(_named(rows, name).run_id for name in names))
    chosen = [row for row in rows if row.run_id in found]
    for row in chosen:
        if row.state not in states:
            raise InputError(f"run {row.run_id} is {row.state}; accepted: runs that are {' | '.join(states)}")
    return chosen


def _named(rows: Sequence[RunStatus], name: str) -> RunStatus:
    """The run whose id begins with `name`."""
    matching = [row for row in rows if row.run_id.startswith(name)]
    if not matching:
        raise InputError(f"{name}: no such run; accepted: the beginning of an id that python -m slurm status lists")
    if len({row.run_id for row in matching}) > 1:
        raise InputError(f"{name}: {len(matching)} runs begin so; accepted: more of the id")
    return matching[0]


def cancel(stores: Sequence[Path], names: Sequence[str]) -> Done:
    """End the jobs of some runs (of all, where none is named), so that they do not go on by themselves.

    What they computed stays, and a later sweep goes on from it.

    Raises:
        InputError: no such run; or its job computes others too, which were not named.
    """
    rows = survey(stores).runs
    chosen = _chosen(rows, names, OPEN)
    _refuse_part_of_a_job(rows, chosen)
    done = Done()
    arrays: dict[tuple[str, str], set[int]] = {}
    for row in chosen:
        if row.place is None:
            continue
        row.place.submission.cancelled(row.place.pack).touch()  # before scancel: a job that is ended looks for it
        if row.job is not None and row.state != "lost":
            arrays.setdefault((row.place.array.name, row.job.partition("_")[0]), set()).add(row.place.pack.index)
    for (name, job), indices in arrays.items():
        try:
            scheduler.cancel(name, job, sorted(indices))
        except SlurmError as error:
            done.problems.append(f"job {job}: {error}; the same command tries again")
    cancelled, ending = 0, 0
    for row in chosen:
        run, host = RunStore(row.store).run(row.run_id), row.host or "some machine"
        if row.place is None and (row.state == "running" or not row.why):
            done.problems.append(f"run {row.run_id}: a sweep on {host} has it; stop that (Ctrl-C)")
        elif run.state() == "running":
            ending += 1
            if row.why:  # an orphan
                done.problems.append(f"run {row.run_id}: {row.why}; only {host} can end it")
        elif run.state() in ("queued", "interrupted"):
            run.set_state("cancelled", message="cancelled by a person")
            cancelled += 1
    jobs = sum(map(len, arrays.values()))
    done.said.append(f"{counted(cancelled, 'run')} cancelled, {counted(jobs, 'job')} ended")
    if ending:
        done.said.append(f"{counted(ending, 'run')} will be as soon as their checkpoints are written")
    return done


def _refuse_part_of_a_job(rows: Sequence[RunStatus], chosen: Sequence[RunStatus]) -> None:
    """A job ends as a whole: who names one of its runs must name all that it still has to compute."""
    ids = {(row.store, row.run_id) for row in chosen}
    jobs = {(row.submission, row.job): row.run_id for row in chosen}
    mates: dict[str, list[str]] = {}
    for row in rows:
        here = row.job is not None and (row.submission, row.job) in jobs
        if here and row.state in ("queued", "running") and (row.store, row.run_id) not in ids:
            mates.setdefault(jobs[row.submission, row.job], []).append(row.run_id)
    for run_id, others in mates.items():
        names = f"{' '.join(others[:10])}{' …' if len(others) > 10 else ''}"
        raise InputError(
            f"run {run_id} shares its job with {counted(len(others), 'run')}, which would end too; accepted: name them "
            f"as well ({names})"
        )


def retry(stores: Sequence[Path], names: Sequence[str]) -> Done:
    """Queue failed, lost and cancelled runs again; those that were sent to a cluster go there, as they did before.

    Raises:
        InputError: no such run, or it is none of these.
    """
    chosen = _chosen(survey(stores).runs, names, AGAIN)
    done = Done()
    if not chosen:
        done.said.append("nothing to do: no run failed, is lost or was cancelled")
    sent: dict[Path, tuple[Submission, list[PlannedRun]]] = {}
    at_home = 0
    for row in chosen:
        run = RunStore(row.store).run(row.run_id)
        if row.place is None:
            run.set_state("queued", message="to be run again")
            at_home += 1
            continue
        try:
            planned = planned_again(run)
        except InputError as error:
            done.problems.append(f"run {run.id}: {error}")
            continue
        sent.setdefault(row.place.submission.path, (row.place.submission, []))[1].append(planned)
    for submission, runs in sent.values():
        _submit_again(submission, runs, done)
    if at_home:
        done.said.append(f"{counted(at_home, 'run')} queued again: start the sweep again, it goes on with them")
    return done


def _submit_again(submission: Submission, runs: Sequence[PlannedRun], done: Done) -> None:
    from slurm.jobs.submit import submit_missing

    settings = replace(build(SlurmSettings, submission.settings, "hydra.launcher."), retry=True, submit=True)
    try:
        outcome = submit_missing(runs, settings)
    except (SlurmError, TimeoutError) as error:
        done.problems.append(f"{error}; nothing is lost, the same command tries again")
        return
    done.said += [*outcome.notes, outcome.summary()]
    done.problems += outcome.problems


def planned_again(run: Run) -> PlannedRun:
    """A run of the store as a sweep would plan it.

    Raises:
        InputError: its configuration is damaged, or means something else by now.
    """
    config = parse(run.config())
    sha256 = dataset_of(config.data).sha256()
    if (now := config.run_id(sha256)) != run.id:
        raise InputError(f"its data or the meaning of its configuration changed (now {now}); start the sweep again")
    return replace(PlannedRun.of(config, sha256), run=run)  # its store may have been moved


def logs(stores: Sequence[Path], name: str, lines: int) -> Iterator[str]:
    """What a run and its job said last: its latest attempt's log, the traceback, the job's log; with their paths.

    Raises:
        InputError: no such run.
    """
    row = _named(survey(stores).runs, name)
    run = RunStore(row.store).run(row.run_id)
    yield f"run {run.id} is {row.state}" + (f": {row.why}" if row.why else "")
    latest = run.latest_attempt()
    found = [run.path / f"attempt-{latest}" / "log.txt", run.path / f"attempt-{latest}" / "error.txt"]
    found += [run.path / "worker.log", *([] if row.log is None else [Path(row.log)])]
    said = False
    for path in found:
        if text := tail(path, lines):
            said = True
            yield f"\n== {path}\n{text}"
    if not said:
        yield "it has said nothing yet"
