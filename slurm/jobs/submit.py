"""Submission of a sweep: its runs that nobody has computed or queued yet go to the cluster, in packs, as job arrays."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.states import ArrayState, RunState
from experiments.core.wording import counted
from slurm import requests
from slurm.estimate import Estimates
from slurm.gpu_models import asked_for
from slurm.jobs import ledger
from slurm.jobs.commands import NoAnswer, SlurmError, ask
from slurm.jobs.ledger import JobArray, Pack, Submission
from slurm.jobs.limits import Limits, limits, part_of_gpu
from slurm.jobs.scheduler import Answer, look
from slurm.jobs.script import after_script, array_script
from slurm.outline import compiling
from slurm.packing import COMPILE_GB, PlannedPack, at_most, pack
from slurm.plan import PlannedRun
from slurm.settings import SlurmSettings

Look = Callable[[Sequence[str]], Answer]
BUSY = re.compile("[Ss]ocket timed out|temporarily u|try again|Unable to contact slurm contr|Connection re(fus|s)e")
"""Complaints of sbatch that pass: a controller under load or starting. None of them leaves a job behind."""
BUSY_PAUSES = (2.0, 8.0, 30.0)
"""Seconds before each further attempt."""


@dataclass
class Outcome:
    """The runs of a sweep after it was submitted, by what became of them."""

    done: list[PlannedRun] = field(default_factory=list)
    joined: list[PlannedRun] = field(default_factory=list)
    """Running or queued already, here or by somebody else."""
    failed: list[PlannedRun] = field(default_factory=list)
    """Failed before, and not to be tried again."""
    submitted: list[PlannedRun] = field(default_factory=list)
    left: list[PlannedRun] = field(default_factory=list)
    """Not submitted, for sbatch refused or did not answer, or the cluster takes no more jobs."""
    submissions: list[Submission] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """One line each."""
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return a line such as `80 runs: 12 done, 8 queued or running, 60 submitted in 6 jobs`."""
        total = sum(map(len, (self.done, self.joined, self.failed, self.submitted, self.left)))
        jobs = sum(len(a.packs) for s in self.submissions for a in s.arrays if a.state.written)
        parts = [f"{len(self.submitted)} submitted in {counted(jobs, 'job')}"]
        counts = (("done", self.done), ("queued or running", self.joined), ("failed", self.failed))
        parts = [f"{len(runs)} {name}" for name, runs in counts if runs] + parts
        parts += [f"{len(self.left)} not submitted"] if self.left else []
        return f"{counted(total, 'run')}: {', '.join(parts)}"


def kind_of(planned: PlannedRun, settings: SlurmSettings) -> str:
    """Return the kind of device that a run gets, cpu or cuda.

    Raises:
        InputError: it asks for a GPU and the jobs have none.
    """
    device = planned.config.device
    if device == "cuda" and settings.gpus == 0:
        raise InputError("device=cuda and hydra.launcher.gpus=0: accepted: gpus=1 (or null), or device=cpu")
    return "cuda" if device == "cuda" or (device == "auto" and settings.gpus_of_a_job) else "cpu"


def submit_missing(planned: Sequence[PlannedRun], settings: SlurmSettings, look: Look = look) -> Outcome:
    """Submit every run that is neither done, nor running, nor queued by anybody, nor failed before (unless retried).

    Only one driver at a time does so for a store. The ledger is written before anything is submitted, and a line on
    standard error says what the jobs will compile.

    Args:
        planned: runs of the sweep.
        settings: of the launcher; with `submit=False` files are written and nothing is submitted.
        look: asks the controller for jobs by their names.

    Raises:
        InputError: the cluster does not have what is asked for.
        SlurmError: the controller does not answer; nothing was submitted.
        TimeoutError: another driver has been submitting for long.
    """
    outcome = Outcome()
    kinds = {p.run.id: kind_of(p, settings) for p in planned}
    allowed = _limits(settings)
    gres = _gres(kinds.values(), settings)
    by_store: dict[str, list[PlannedRun]] = {}
    for p in planned:
        by_store.setdefault(str(p.run.path.parent), []).append(p)
    for store, members in by_store.items():
        path = Path(store)
        files.writable(path, "store")
        with ledger.exclusive(path):
            missing = _missing(path, members, allowed.cluster, settings.retry, look, outcome)
            if untested := sum(bool(p.lacks_tests) for p in outcome.done if str(p.run.path.parent) == store):
                outcome.notes.append(
                    f"{untested} of the runs that are done lack errors on further test sets, for which no job is sent: "
                    f"python -m experiments.runs.evaluate {shlex.quote(store)}"
                )
            if not missing:
                continue
            if settings.submit:
                for p in missing:
                    known = (p.run.path / "config.yaml").exists()
                    p.run.create(p.config.as_dict())
                    if not known:
                        continue
                    p.run.repair(p.config.as_dict())
                    if RunState.of(p.run.recorded_state().get("state")) in (RunState.FAILED, RunState.CANCELLED):
                        p.run.set_state(RunState.QUEUED, message="submitted again")
            packs = _packs(path, missing, kinds, settings)
            room = min(x for x in (settings.max_jobs, allowed.jobs, len(packs)) if x is not None)
            if settings.submit and not room:
                outcome.left += missing
                outcome.problems.append("the cluster accepts no more jobs of yours at present")
                continue
            packs = at_most(packs, max(1, room))
            submission = _written(path, packs, allowed, gres, settings)
            if settings.submit:
                if text := compiling(missing):
                    print(text, file=sys.stderr)
                submission = _submitted(submission, look, outcome)
            outcome.submissions.append(submission)
            by_id = {p.run.id: p for p in missing}
            for array, element in submission.elements():
                runs = [by_id[run_id] for run_id in element.runs]
                (outcome.submitted if array.state.written else outcome.left).extend(runs)
    return outcome


def _limits(settings: SlurmSettings) -> Limits:
    try:
        return limits(settings.account)
    except SlurmError:
        if settings.submit:
            raise
        return Limits("none", 1001, None)  # Slurm's default; a dry run needs no cluster


def _gres(kinds: Any, settings: SlurmSettings) -> dict[str, str | None]:
    """Return the generic resources (`--gres`) of jobs for each kind of device."""
    if requests.gpu_flags(settings.sbatch):
        return {"cpu": None, "cuda": None}  # the user's own parameters of sbatch ask for them
    on_gpu = f"gpu:{settings.gpus or 1}"
    if settings.packs_per_gpu > 1 and "cuda" in set(kinds):
        on_gpu = part_of_gpu(settings.packs_per_gpu, settings.partition)
    return {"cpu": None, "cuda": on_gpu}


def _missing(
    store: Path, planned: Sequence[PlannedRun], cluster: str, retry: bool, look: Look, outcome: Outcome
) -> list[PlannedRun]:
    """Return the runs to submit, and sort the others into `outcome`."""
    states = {p.run.id: p.run.state() for p in planned}
    open_ids = {run_id for run_id, state in states.items() if not state.ended}
    live = _live(store, open_ids, cluster, look, outcome) if open_ids else set()
    missing = []
    for p in planned:
        state = states[p.run.id]
        if state == RunState.DONE:
            p.run.settle()  # whoever published it may have been killed right after
            outcome.done.append(p)
            if p.lacks_tests:
                p.run.create(p.config.as_dict())
        elif state == RunState.FAILED and not retry:
            outcome.failed.append(p)
        elif state == RunState.RUNNING or p.run.id in live:
            outcome.joined.append(p)
        else:
            missing.append(p)
    missing.sort(key=lambda p: p.budget)  # as the local launcher: a larger budget continues a smaller's stable phase
    return missing


def _live(store: Path, run_ids: set[str], cluster: str, look: Look, outcome: Outcome) -> set[str]:
    """Return those of the runs that are in a job which Slurm still holds."""
    mine, live = [], set()
    for submission in ledger.submissions(store):
        runs = run_ids.intersection(run_id for _, element in submission.elements() for run_id in element.runs)
        if submission.dry or not runs:
            continue
        if submission.cluster != cluster:
            live |= runs
            outcome.notes.append(
                f"{len(runs)} runs are in submission {submission.id} on cluster {submission.cluster}, which can't be "
                f"asked from here; to give it up, delete {submission.path}"
            )
            continue
        mine.append(submission)
    names = tuple(array.name for s in mine for array in s.arrays if array.state.may_have_jobs)
    answer = look(names)
    if not answer.reachable:
        raise SlurmError(answer.message)
    jobs = {job.name: job.array for job in answer.jobs.values() if job.held}
    places = {key for key, job in answer.jobs.items() if job.held}
    for submission in mine:
        for array, element in submission.elements():
            known = array.job in (None, jobs.get(array.name))
            if known and (array.name, element.index) in places and not submission.cancelled(element).exists():
                live.update(run_ids.intersection(element.runs))
        for array in submission.arrays:  # its driver was killed between sbatch and writing down the id
            if array.job is None and array.name in jobs:
                submission = submission.with_array(replace(array, job=jobs[array.name], state=ArrayState.SUBMITTED))
    return live


def _packs(
    store: Path, missing: Sequence[PlannedRun], kinds: Mapping[str, str], settings: SlurmSettings
) -> list[PlannedPack]:
    estimates, gpus = Estimates.of_store(store), asked_for(settings)
    packs = []
    for kind in dict.fromkeys(kinds.values()):
        costs = [(p, estimates.of(p.config, p.data_sha256, kind, gpus)) for p in missing if kinds[p.run.id] == kind]
        workers = settings.cores(kind) if kind == "cpu" else max(1, settings.gpus_of_a_job or 1)
        room = COMPILE_GB * settings.cores(kind) if kind == "cuda" else 0.0
        packs += pack(costs, kind, workers, 60 * settings.pack_minutes, settings.pack, room)
    return packs


def _written(
    store: Path, packs: Sequence[PlannedPack], allowed: Limits, gres: Mapping[str, str | None], settings: SlurmSettings
) -> Submission:
    """Write a submission with all its files and return it; nothing is submitted yet."""
    plain = {name: _plain(getattr(settings, name)) for name in settings.__dataclass_fields__}
    submission = ledger.new(store, allowed.cluster, plain, sys.argv)
    arrays: list[JobArray] = []
    for (kind, memory), members in _alike(packs, settings).items():
        for start in range(0, len(members), allowed.array_size):
            number = len(arrays)
            name = ledger.job_name(submission, number)
            chosen = members[start : start + allowed.array_size]
            elements = tuple(
                Pack(i, f"packs/{number}-{i}.json", tuple(p.run.id for p in planned.runs), planned.seconds)
                for i, planned in enumerate(chosen)
            )
            for element, planned in zip(elements, chosen, strict=True):
                content = _content(store, submission, kind, planned, settings)
                files.write_json(submission.path / element.file, content, durable=False)
            script = f"array-{number}.sh"
            cores = settings.cores(kind)
            text = array_script(submission.path, name, settings, len(chosen), cores, gres[kind], memory, number)
            files.write_bytes(submission.path / script, text.encode())
            state = ArrayState.PLANNED if settings.submit else ArrayState.DRY
            arrays.append(JobArray(name, state, script, "logs/%A_%a.log", elements))
    submission = replace(submission, arrays=tuple(arrays))
    submission.write()
    return submission


def _alike(packs: Sequence[PlannedPack], settings: SlurmSettings) -> dict[tuple[str, float | None], list[PlannedPack]]:
    """Group packs that can share an array, by kind of device and GB (a power of two, so that groups are few)."""
    own = set(requests.MEMORY) & requests.flags(settings.sbatch).keys()
    groups: dict[tuple[str, float | None], list[PlannedPack]] = {}
    for planned in packs:
        memory = settings.memory
        if memory is None and planned.memory is not None and not own:
            memory = 1.0
            while memory < planned.memory:
                memory *= 2
        groups.setdefault((planned.kind, memory), []).append(planned)
    return groups


def _content(
    store: Path, submission: Submission, kind: str, planned: PlannedPack, settings: SlurmSettings
) -> dict[str, Any]:
    """Return the content of the file that a job reads (see `slurm.jobs.job`)."""
    return {
        "submission": submission.id,
        "store": str(store.resolve()),
        "runs": [[p.run.id, p.shape_id] for p in planned.runs],
        "kind": kind,
        "workers": settings.cores(kind) if kind == "cpu" else 1,
        "cores": settings.cores(kind),
        "patience": settings.patience,
        "minutes": settings.minutes,
        "warning_seconds": settings.warning_seconds,
        "max_stalls": settings.max_stalls,
        "requeue": settings.requeue,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def _submitted(submission: Submission, look: Look, outcome: Outcome) -> Submission:
    """Hand the arrays to sbatch one by one, none after a refusal, and return the submission with their states."""
    for array in submission.arrays:
        if outcome.problems:
            submission = submission.with_array(replace(array, state=ArrayState.REFUSED, message="not tried"))
            continue
        try:
            job = _sbatch(submission.path / array.script)
        except NoAnswer as error:  # it may have got through: only its name tells
            job = next((job.array for job in look((array.name,)).jobs.values()), "")
            if not job:
                outcome.problems.append(f"{error}; the same command checks whether job {array.name} was submitted")
                submission = submission.with_array(replace(array, message=str(error)))
                continue
        except SlurmError as error:
            outcome.problems.append(str(error))
            submission = submission.with_array(replace(array, state=ArrayState.REFUSED, message=str(error)))
            continue
        submission = submission.with_array(replace(array, state=ArrayState.SUBMITTED, job=job))
    return submission


def _sbatch(script: Path) -> str:
    """Submit a script and return the job's id; a controller that is busy is asked again, ever later.

    Sites print banners around the id, so only a line of the form `number` or `number;cluster` counts.

    Raises:
        NoAnswer: sbatch did not end in time.
        SlurmError: sbatch refused, stayed busy, or gave no id.
    """
    for pause in (*BUSY_PAUSES, None):
        try:
            said = ask("sbatch", "--parsable", str(script))
            break
        except NoAnswer:
            raise
        except SlurmError as error:
            if pause is None or not BUSY.search(str(error)):
                raise
            time.sleep(pause)
    ids = [match[1] for line in said.splitlines() if (match := re.fullmatch(r"(\d+)(;\S+)?", line.strip()))]
    if not ids:
        raise SlurmError(f"sbatch: said no job id, but {said.strip()[:80]!r}")
    return ids[-1]


def submit_after(outcome: Outcome, settings: SlurmSettings) -> None:
    """Submit the job that makes tables and figures once all jobs of the sweep have ended, however they ended."""
    if settings.after is None:
        return
    for submission in outcome.submissions:
        jobs = [array.job for array in submission.arrays if array.job is not None]
        if not jobs and not submission.dry:
            continue
        store, out = submission.path.parent.parent.resolve(), submission.path.resolve() / "after"
        out.mkdir(exist_ok=True)
        python = settings.python or shlex.quote(sys.executable)
        names = {"python": python, "store": shlex.quote(str(store)), "out": shlex.quote(str(out))}
        commands = [str(command).format(**names) for command in settings.after_commands[settings.after]]
        name = f"equilaw-{submission.id}-after"
        text = after_script(submission.path, name, settings, commands, f"afterany:{':'.join(jobs) or 'JOBS'}")
        files.write_bytes(submission.path / "after.sh", text.encode())
        after = {"name": name, "script": "after.sh", "log": "logs/after-%A.log", "commands": commands, "job": None}
        if not submission.dry:
            try:
                after["job"] = _sbatch(submission.path / "after.sh")
            except SlurmError as error:
                outcome.problems.append(f"hydra.launcher.after={settings.after}: {error}")
        changed = replace(submission, after=after)
        changed.write()
        outcome.submissions[outcome.submissions.index(submission)] = changed
        outcome.notes.append(f"afterwards: {settings.after}, in {out}")
