"""Submission of the runs that are missing: ledger, joins, limits, refusals, drivers that die or come two at a time."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core import files
from experiments.core.errors import InputError
from experiments.core.states import ArrayState, RunState
from experiments.data.load import dataset_of
from experiments.runs.store import RunStore
from experiments.training.schedule import Schedule
from slurm.estimate import SHAPE
from slurm.jobs import ledger, submit
from slurm.jobs.commands import SlurmError
from slurm.jobs.scheduler import Answer
from slurm.jobs.submit import submit_after, submit_missing
from slurm.plan import PlannedRun
from slurm.settings import SlurmSettings
from tests.slurm.made_up import MadeUp

MakeConfig = Callable[..., dict[str, Any]]
Planned = Callable[..., PlannedRun]
ONE_EACH = SlurmSettings(pack=1)


@pytest.fixture
def planned(make_config: MakeConfig) -> Planned:
    """A run whose directory is not made yet."""

    def make(**changes: Any) -> PlannedRun:
        config = parse(make_config({key.replace("__", "."): value for key, value in changes.items()}))
        return PlannedRun.of(config, dataset_of(config.data).sha256())

    return make


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """In place of the real one."""
    made_up = MadeUp()
    monkeypatch.setattr(submit, "ask", made_up.ask)
    monkeypatch.setattr(submit, "limits", lambda _: made_up.limits)
    return made_up


def ids(runs: list[PlannedRun]) -> list[str]:
    return [p.run.id for p in runs]


def test_the_ledger_says_what_was_submitted(planned: Planned, slurm: MadeUp, tmp_path: Path) -> None:
    runs = [planned(seed=seed) for seed in range(3)]
    outcome = submit_missing(runs, SlurmSettings(pack=2, cpus=2), slurm.look)
    assert outcome.summary() == "3 runs: 3 submitted in 2 jobs"
    (submission,) = ledger.submissions(tmp_path / "store")
    assert submission == outcome.submissions[0]
    (array,) = submission.arrays
    assert (array.state, array.job) == ("submitted", "100")
    assert [element.runs for element in array.packs] == [tuple(ids(runs[:2])), tuple(ids(runs[2:]))]
    content = files.read_json(submission.path / array.packs[1].file)
    assert content["runs"] == [[runs[2].run.id, runs[2].shape_id]]
    assert Path(content["store"]) == tmp_path / "store"
    assert [p.run.state() for p in runs] == ["queued"] * 3
    assert (submission.path / array.script).read_text() == slurm.scripts[0]


def test_what_the_jobs_compile_is_said_before_they_are_submitted(
    planned: Planned, slurm: MadeUp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that are submitted; a plan says it with its hours."""
    long = {"training__max_steps": 1500, "training__compile": "auto"}
    runs = [planned(seed=seed, L=L, **long) for seed in (0, 1) for L in (0, 1)]
    line = "compiles 2 shapes, once a machine, in about a minute of one core each\n"
    submit_missing(runs, replace(ONE_EACH, submit=False), slurm.look)
    assert capsys.readouterr().err == ""
    said: list[str] = []

    def refused(submission: ledger.Submission, *_: object) -> ledger.Submission:
        said.append(capsys.readouterr().err)
        return submission

    with monkeypatch.context() as patched:
        patched.setattr(submit, "_submitted", refused)
        submit_missing(runs, ONE_EACH, slurm.look)
    assert said == [line]
    submit_missing(runs[:3], ONE_EACH, slurm.look)
    capsys.readouterr()
    submit_missing(runs, ONE_EACH, slurm.look)
    assert capsys.readouterr().err == line.replace("2 shapes", "1 shape").replace(" each", "")


def test_what_is_queued_running_done_or_failed_is_not_submitted_again(planned: Planned, slurm: MadeUp) -> None:
    queued, running, done, failed, fresh = (planned(seed=seed) for seed in range(5))
    assert ids(submit_missing([queued], ONE_EACH, slurm.look).submitted) == [queued.run.id]
    for p in (running, done, failed):
        p.run.create(p.config.as_dict())
    attempts = [p.run.claim() for p in (running, done)]
    assert attempts[0] is not None
    assert attempts[1] is not None
    with attempts[0]:
        with attempts[1]:
            attempts[1].publish({"metrics": {}})
        failed.run.set_state(RunState.FAILED, message="a reason")
        outcome = submit_missing([queued, running, done, failed, fresh], ONE_EACH, slurm.look)
        assert ids(outcome.joined) == ids([queued, running])
        assert (ids(outcome.done), ids(outcome.failed)) == (ids([done]), ids([failed]))
        assert ids(outcome.submitted) == ids([fresh])
        assert outcome.summary() == "5 runs: 1 done, 2 queued or running, 1 failed, 1 submitted in 1 job"
        again = submit_missing([queued, running, done, failed, fresh], ONE_EACH, slurm.look)
        assert again.submitted == []
    retried = submit_missing([failed], replace(ONE_EACH, retry=True), slurm.look)
    assert ids(retried.submitted) == [failed.run.id]
    assert failed.run.state() == "queued"


def test_a_run_whose_job_is_gone_is_submitted_again(planned: Planned, slurm: MadeUp) -> None:
    runs = [planned(seed=seed) for seed in range(3)]
    outcome = submit_missing(runs, ONE_EACH, slurm.look)
    (name,) = slurm.held
    slurm.held[name] = {1}
    again = submit_missing(runs, ONE_EACH, slurm.look)
    assert ids(again.submitted) == ids([runs[0], runs[2]])
    cancelled = outcome.submissions[0].cancelled(outcome.submissions[0].arrays[0].packs[1])
    cancelled.touch()
    runs[1].run.set_state(RunState.CANCELLED)
    assert ids(submit_missing(runs, ONE_EACH, slurm.look).submitted) == ids([runs[1]])
    assert runs[1].run.state() == "queued"


def test_another_slurm_with_the_same_job_ids_is_not_ours(planned: Planned, slurm: MadeUp) -> None:
    """A controller that lost its state counts from 100 again: other people's jobs, by other names."""
    one = planned()
    submit_missing([one], ONE_EACH, slurm.look)
    slurm.held = {"somebody-else": {0}}
    slurm.ids = {"somebody-else": "100"}
    assert ids(submit_missing([one], ONE_EACH, slurm.look).submitted) == [one.run.id]


def test_runs_that_another_cluster_has_are_left_to_it(planned: Planned, slurm: MadeUp) -> None:
    one = planned()
    submit_missing([one], ONE_EACH, slurm.look)
    slurm.limits = replace(slurm.limits, cluster="other")
    outcome = submit_missing([one], ONE_EACH, slurm.look)
    assert outcome.submitted == []
    assert "on cluster made-up, which can't be asked from here" in outcome.notes[0]


def test_a_controller_that_does_not_answer_submits_nothing(planned: Planned, slurm: MadeUp) -> None:
    one = planned()
    submit_missing([one], ONE_EACH, slurm.look)
    slurm.reachable = False
    with pytest.raises(SlurmError, match="no answer in 10 s"):
        submit_missing([one], ONE_EACH, slurm.look)
    assert len(slurm.scripts) == 1


def test_refused_runs_are_left_and_submitted_later(planned: Planned, slurm: MadeUp, tmp_path: Path) -> None:
    runs = [planned(seed=seed) for seed in range(2)]
    slurm.refuse = "error: Batch job submission failed: Invalid partition name specified"
    outcome = submit_missing(runs, ONE_EACH, slurm.look)
    assert ids(outcome.left) == ids(runs)
    assert outcome.problems == [f"sbatch: {slurm.refuse}"]
    assert ledger.submissions(tmp_path / "store")[0].arrays[0].state == "refused"
    slurm.refuse = ""
    assert ids(submit_missing(runs, ONE_EACH, slurm.look).submitted) == ids(runs)


@pytest.mark.parametrize("late", [True, False])
def test_an_sbatch_that_hangs(planned: Planned, slurm: MadeUp, late: bool) -> None:
    """Whether the job got through is seen in the queue, by its name."""
    one = planned()
    slurm.hang, slurm.late = True, late
    outcome = submit_missing([one], ONE_EACH, slurm.look)
    assert bool(outcome.submitted) is late
    assert bool(outcome.problems) is not late
    slurm.hang = False
    again = submit_missing([one], ONE_EACH, slurm.look)
    assert bool(again.joined) is late
    assert len(slurm.held) == 1


def test_a_driver_killed_between_sbatch_and_the_ledger(planned: Planned, slurm: MadeUp, tmp_path: Path) -> None:
    one = planned()
    outcome = submit_missing([one], ONE_EACH, slurm.look)
    (submission,) = outcome.submissions
    submission.with_array(replace(submission.arrays[0], state=ArrayState.PLANNED, job=None))
    assert submit_missing([one], ONE_EACH, slurm.look).submitted == []
    (found,) = ledger.submissions(tmp_path / "store")
    assert (found.arrays[0].state, found.arrays[0].job) == ("submitted", "100")


def test_arrays_are_split_at_the_clusters_size(planned: Planned, slurm: MadeUp) -> None:
    slurm.limits = replace(slurm.limits, array_size=2)
    runs = [planned(seed=seed) for seed in range(5)]
    (submission,) = submit_missing(runs, replace(ONE_EACH, array_parallelism=1), slurm.look).submissions
    assert [len(array.packs) for array in submission.arrays] == [2, 2, 1]
    assert [re.findall(r"--array=(\S+)", text) for text in slurm.scripts] == [["0-1%1"], ["0-1%1"], ["0-0%1"]]


@pytest.mark.parametrize("by_setting", [True, False])
def test_a_limit_of_jobs_makes_packs_larger(planned: Planned, slurm: MadeUp, by_setting: bool) -> None:
    slurm.limits = replace(slurm.limits, jobs=None if by_setting else 2)
    runs = [planned(seed=seed) for seed in range(5)]
    outcome = submit_missing(runs, replace(ONE_EACH, max_jobs=2 if by_setting else None), slurm.look)
    (array,) = outcome.submissions[0].arrays
    assert len(array.packs) == 2
    assert sorted(run_id for element in array.packs for run_id in element.runs) == sorted(ids(runs))


def test_no_room_leaves_all(planned: Planned, slurm: MadeUp) -> None:
    slurm.limits = replace(slurm.limits, jobs=0)
    outcome = submit_missing([planned()], ONE_EACH, slurm.look)
    assert len(outcome.left) == 1
    assert slurm.scripts == []


def test_a_dry_run_submits_nothing_and_counts_for_nothing(planned: Planned, slurm: MadeUp, tmp_path: Path) -> None:
    one = planned()
    outcome = submit_missing([one], replace(ONE_EACH, submit=False), slurm.look)
    (submission,) = outcome.submissions
    assert submission.dry
    assert "#SBATCH --job-name=equilaw-" in (submission.path / "array-0.sh").read_text()
    assert slurm.scripts == []
    assert not one.run.path.exists()
    assert ids(submit_missing([one], ONE_EACH, slurm.look).submitted) == [one.run.id]


def test_devices_and_packs(planned: Planned, slurm: MadeUp) -> None:
    """CPU and GPU runs never share an array; each job of the latter asks for a GPU."""
    runs = [planned(device="cuda"), planned(device="cuda", seed=1), planned(P=4)]
    submit_missing(runs, SlurmSettings(cpus=4), slurm.look)
    asked = [re.findall(r"--(?:gres|array)=(\S+)", text) for text in slurm.scripts]
    assert asked == [["0-0%1", "gpu:1"], ["0-0%1"]]
    assert [re.findall(r"cpus-per-task=(\d+)", text) for text in slurm.scripts] == [["4", "4"]] * 2
    with pytest.raises(InputError, match=r"device=cuda and hydra.launcher.gpus=0: accepted: gpus=1"):
        submit_missing(runs, SlurmSettings(gpus=0), slurm.look)


@pytest.mark.parametrize("gpus", [None, 1])
def test_closed_forms_hold_no_gpu(planned: Planned, make_config: MakeConfig, slurm: MadeUp, gpus: int | None) -> None:
    """Beside trainings that do: their jobs ask for none, and for the cores of a job on CPUs."""
    config = parse(make_config({"device": "cuda"}, model="ace"))
    fit = PlannedRun.of(config, dataset_of(config.data).sha256())
    submit_missing([planned(device="cuda"), fit], SlurmSettings(gpus=gpus), slurm.look)
    asked = [re.findall(r"--(?:gres|cpus-per-task)=(\S+)", text) for text in slurm.scripts]
    assert asked == [["8", "gpu:1", "8"], ["1", "1"]]
    submit_missing([fit], SlurmSettings(gpus=0, retry=True), slurm.look)  # no error, as for a training


def test_cores_are_those_of_the_kind_of_job(planned: Planned, slurm: MadeUp) -> None:
    """Unless somebody set them: eight to compile beside a GPU, one on CPUs; to sbatch, to srun and to the job alike."""
    outcome = submit_missing([planned(device="cuda"), planned(P=4)], SlurmSettings(), slurm.look)
    assert [re.findall(r"cpus-per-task=(\d+)", text) for text in slurm.scripts] == [["8", "8"], ["1", "1"]]
    (submission,) = outcome.submissions
    contents = [files.read_json(submission.path / element.file) for _, element in submission.elements()]
    assert [(c["kind"], c["workers"], c["cores"]) for c in contents] == [("cuda", 1, 8), ("cpu", 1, 1)]


def test_jobs_are_sized_by_runs_on_the_gpu_that_they_ask_for(
    planned: Planned, slurm: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [planned(device="cuda", seed=seed) for seed in range(6)]
    config = runs[0].config
    assert config.training is not None
    like = {name: getattr(config.model, name, getattr(config, name, None)) for name in SHAPE}
    like |= {"architecture": config.architecture, "P": config.P, "dataset_sha256": runs[0].data_sha256}
    like |= {"training.batch_size": config.training.batch_size, "device": "cuda:0"}
    updates = Schedule(config.training.max_steps, config.training.warmup_steps, config.training.cooldown).total
    taken = [  # seconds and bytes of a run
        {**like, "gpu": "NVIDIA A100-SXM4-80GB", "seconds": 1200.0, "n_updates": updates, "peak_memory": 2e9},
        {**like, "gpu": "NVIDIA H200", "seconds": 100.0, "n_updates": updates, "peak_memory": 6e9},
    ]
    monkeypatch.setattr(RunStore, "results", lambda store: iter([(runs[0].run, result) for result in taken]))
    found = {}
    for asked in ("a100", "h200", None):
        outcome = submit_missing(runs, SlurmSettings(constraint=asked, submit=False), slurm.look)
        (submission,) = outcome.submissions
        (array,) = submission.arrays
        memory = re.findall(r"--mem=(\d+)M", (submission.path / array.script).read_text())
        found[asked] = [len(element.runs) for element in array.packs], [round(int(m) * 2**20 / 1e9) for m in memory]
    # An hour a job. 1.3 times what a worker had and half a GB for each of eight compilers, as the next power of two.
    assert found == {"a100": ([3, 3], [8]), "h200": ([6], [16]), None: ([6], [])}


def test_the_job_afterwards_depends_on_all_arrays(planned: Planned, slurm: MadeUp, tmp_path: Path) -> None:
    slurm.limits = replace(slurm.limits, array_size=1)
    settings = SlurmSettings(
        pack=1, after="fit", after_commands={"fit": ["{python} -m analysis table --store {store}"]}
    )
    outcome = submit_missing([planned(seed=seed) for seed in range(2)], settings, slurm.look)
    submit_after(outcome, settings)
    text = slurm.scripts[-1]
    assert "#SBATCH --dependency=afterany:100:101\n" in text
    assert f"-m analysis table --store {tmp_path / 'store'} || failed=1" in text
    (submission,) = ledger.submissions(tmp_path / "store")
    assert submission.after is not None
    assert submission.after["job"] == "102"


# --- two drivers


def _drive(run: PlannedRun, folder: Path) -> None:
    made_up = MadeUp()

    def ask(*command: str, **_: object) -> str:
        (folder / str(os.getpid())).touch()
        return "9"

    def look(names: Sequence[str]) -> Answer:
        """Whatever anybody submitted is in the queue."""
        made_up.held = {name: {0} for name in names}
        made_up.ids = dict.fromkeys(names, "9")
        return made_up.look(names)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(submit, "ask", ask)
        patch.setattr(submit, "limits", lambda _: made_up.limits)
        submit_missing([run], ONE_EACH, look)


def test_two_drivers_at_once_submit_once(planned: Planned, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    context = multiprocessing.get_context("fork")
    drivers = [context.Process(target=_drive, args=(planned(), folder)) for _ in range(4)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(120)
        assert driver.exitcode == 0
    assert len(list(folder.iterdir())) == 1


def _hold(store: Path, held: Any) -> None:
    with ledger.exclusive(store):
        held.set()
        signal.pause()


def test_a_killed_drivers_lock_is_passed_over(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    held = context.Event()
    driver = context.Process(target=_hold, args=(tmp_path, held))
    driver.start()
    assert held.wait(60)
    with pytest.raises(TimeoutError, match=f"driver {driver.pid} on"), ledger.exclusive(tmp_path, patience=0.3):
        pass
    assert driver.pid is not None
    os.kill(driver.pid, signal.SIGKILL)
    driver.join(60)
    for _ in range(2):
        with ledger.exclusive(tmp_path, patience=5.0):
            pass
