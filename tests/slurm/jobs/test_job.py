"""An element of a job array: it goes on by the run directories alone and says what Slurm shall do with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core import files
from experiments.core.interrupt import StopRequest
from experiments.core.states import RunState
from experiments.data.load import dataset_of
from experiments.runs.store import STOPPED, Run, RunStore
from slurm.jobs import job
from slurm.jobs.commands import SlurmError
from slurm.jobs.job import Element, JobState, ask_controller, cause_of, compute, stopped
from slurm.jobs.script import REQUEUE

MakeConfig = Callable[..., dict[str, Any]]
Stubs = Callable[[Mapping[str, str]], None]
RUNNING = JobState("RUNNING", 0, preempted=False, seconds_left=5000.0)


@pytest.fixture
def runs(make_config: MakeConfig, stubs: Stubs) -> list[Run]:
    """Three runs of one shape; workers are stubs."""
    stubs({})
    found = []
    for seed in range(3):
        config = parse(make_config({"seed": seed}))
        run = RunStore(config.store).run(config.run_id(dataset_of(config.data).sha256()))
        run.create(config.as_dict())
        found.append(run)
    return found


@pytest.fixture
def element(runs: list[Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Element]:
    """A start of the element that has the three runs."""
    file = tmp_path / "packs" / "0-3.json"
    file.parent.mkdir()
    content = {
        "store": str(tmp_path / "store"), "runs": [[run.id, "shape"] for run in runs], "kind": "cpu", "workers": 1,
        "together": 1, "patience": 600.0, "minutes": 240, "warning_seconds": 1, "max_stalls": 3, "requeue": True,
    }  # fmt: skip

    def start(restarts: int = 0, **changes: Any) -> Element:
        files.write_json(file, {**content, **changes})
        variables = {
            "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "10",
            "SLURM_RESTART_COUNT": str(restarts),
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Element(file, variables)

    return start


def never() -> bool:
    return False


def records(element: Element) -> list[dict[str, Any]]:
    return sorted((files.read_json(path) for path in element.records.iterdir()), key=lambda r: r["began"])


def test_workers_on_gpus_share_the_cores_to_compile_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    shared = [{"CUDA_VISIBLE_DEVICES": gpu, "TORCHINDUCTOR_COMPILE_THREADS": "8"} for gpu in ("0", "MIG-1")]
    assert job.environments(["0", "MIG-1"], 16) == shared
    assert job.environments(["0", "1"], 1)[1]["TORCHINDUCTOR_COMPILE_THREADS"] == "1"  # Inductor takes no 0
    assert job.environments(["0"], None) == [{"CUDA_VISIBLE_DEVICES": "0"}]
    assert job.environments([], 8) == []
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "3")
    assert job.environments(["0"], 16) == [{"CUDA_VISIBLE_DEVICES": "0"}]  # the worker inherits the user's own


def test_an_element_computes_its_runs_and_a_second_start_does_nothing(
    element: Callable[..., Element], runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    first = element()
    assert first.name == "7_3"
    assert compute(first, never) == 0
    assert [run.state() for run in runs] == ["done"] * 3
    assert "; 0 left" in capsys.readouterr().out
    assert compute(element(1), never) == 0
    assert [run.latest_attempt() for run in runs] == [1, 1, 1]
    assert [(r["restarts"], r["cause"]) for r in records(first)] == [(0, "done"), (1, "done")]


def test_a_failed_run_makes_the_job_fail_and_the_others_are_kept(
    element: Callable[..., Element], runs: list[Run], stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    stubs({runs[1].id: "fail"})
    assert compute(element(), never) == 1
    assert [run.state() for run in runs] == ["done", "failed", "done"]
    assert f"run {runs[1].id} failed: ValueError: as told" in capsys.readouterr().out
    assert compute(element(1), never) == 1  # and a later start does not try it again
    assert runs[1].latest_attempt() == 1


def test_a_signal_stops_it_and_the_job_asks_to_be_requeued(
    element: Callable[..., Element], runs: list[Run], stubs: Stubs
) -> None:
    """Its worker hangs, too: it is not waited for beyond half of the warning."""
    stubs({runs[0].id: "hang"})
    began = time.monotonic()
    first = element()
    assert compute(first, lambda: (runs[0].path / "reached").exists(), lambda name: RUNNING) == REQUEUE
    assert time.monotonic() - began < 30  # not the minute that a worker of one's own machine gets
    assert files.read_json(runs[0].path / "attempt-1" / STOPPED)["cause"] == "signal"
    assert runs[0].stops() == {"signal": 1}
    assert records(first)[0]["cause"] == "signal"
    assert compute(element(1), never) == 0
    assert [run.latest_attempt() for run in runs] == [2, 1, 1]


def test_where_requeue_is_off_it_just_ends(element: Callable[..., Element], runs: list[Run]) -> None:
    assert stopped(element(requeue=False), lambda name: RUNNING) == 143


def test_a_cancelled_element_is_not_requeued(element: Callable[..., Element], runs: list[Run]) -> None:
    first = element()
    first.file.with_suffix(".cancelled").touch()
    assert compute(first, never, lambda name: RUNNING) == 143
    assert [(run.state(), run.latest_attempt()) for run in runs] == [("cancelled", 0)] * 3


def test_cancelled_and_failed_runs_are_passed_over(element: Callable[..., Element], runs: list[Run]) -> None:
    runs[0].set_state(RunState.CANCELLED)
    runs[1].set_state(RunState.FAILED, message="before")
    assert compute(element(), never) == 1
    assert [run.state() for run in runs] == ["cancelled", "failed", "done"]


def test_a_run_that_no_time_limit_lets_finish_fails_in_the_end(
    element: Callable[..., Element], runs: list[Run]
) -> None:
    """Three limits in a row without an update kept; progress, or a preemption between, and it goes on."""
    late = JobState("RUNNING", 0, preempted=False, seconds_left=1.0)
    preempted = JobState("RUNNING", 0, preempted=True, seconds_left=1.0)
    codes = []
    for restarts, found in enumerate([late, late, preempted, late, late]):
        codes.append(stopped(element(restarts, minutes=0), lambda name, found=found: found))  # type: ignore[misc]
    (runs[0].path / "attempt-1").mkdir()
    (runs[0].path / "attempt-1" / "step-000000007.safetensors").touch()
    codes += [stopped(element(restarts, minutes=0), lambda name: late) for restarts in range(5, 8)]
    assert codes == [REQUEUE] * 7 + [1]
    assert {run.state() for run in runs} == {"failed"}
    assert "raise hydra.launcher.time" in runs[0].recorded_state()["message"]


def test_what_another_living_process_has_is_waited_for(element: Callable[..., Element], runs: list[Run]) -> None:
    """An orphan on a lost node, say: the requeued copy does not compute the same beside it."""
    orphan = runs[0].claim()
    assert orphan is not None
    with orphan:
        asked = []

        def publish_late() -> bool:
            asked.append(time.monotonic())
            if len(asked) > 20 and not orphan.won:
                orphan.publish({"metrics": {"force_mae": 1.0}})
            return False

        assert compute(element(1), publish_late) == 0
    result = runs[0].result()
    assert result is not None
    assert (result["attempt"], runs[0].latest_attempt()) == (1, 1)


def test_a_full_disk_fails_no_run(element: Callable[..., Element], runs: list[Run], stubs: Stubs) -> None:
    stubs({runs[1].id: "disk"})
    first = element()
    assert compute(first, never) == 1
    assert [run.state() for run in runs] == ["done", "queued", "queued"]
    assert records(first)[0]["cause"] == "disk"


@pytest.mark.parametrize("content", [None, "[1]", "{", '{"store": "s"}'])
def test_an_unusable_pack_file(tmp_path: Path, content: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "0-0.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr("sys.argv", ["job", str(file)])
    monkeypatch.setattr(StopRequest, "install", lambda self: self)
    assert job.main() == 2


# --- why it is stopped


def state(name: str, restarts: int = 0, preempted: bool = False) -> JobState:
    return JobState(name, restarts, preempted, 0.0)


@pytest.mark.parametrize(
    ("found", "cancelled", "seconds_left", "cause"),
    [
        (state("RUNNING"), False, 100.0, "timeout"),
        (state("RUNNING"), False, 5000.0, "signal"),  # somebody's scancel --signal
        (state("RUNNING", preempted=True), False, 5000.0, "preemption"),
        (state("RUNNING", preempted=True), False, 50.0, "preemption"),
        (state("PREEMPTED"), False, 5000.0, "preemption"),
        (state("COMPLETING"), False, 5000.0, "cancelled"),
        (state("CANCELLED"), False, 5000.0, "cancelled"),
        (state("COMPLETING"), False, 10.0, "timeout"),  # the limit itself: the warning did not come
        (state("TIMEOUT"), False, 0.0, "timeout"),
        (state("COMPLETING", restarts=1), False, 5000.0, "requeued"),  # preempted without a grace time
        (state("PENDING", restarts=1), False, 5000.0, "requeued"),
        (state("NODE_FAIL"), False, 5000.0, "requeued"),
        (state("RUNNING"), True, 50.0, "cancelled"),
        (None, True, 5000.0, "cancelled"),
        (None, False, 5000.0, "signal"),
        (None, False, 100.0, "timeout"),
    ],
)
def test_causes(found: JobState | None, cancelled: bool, seconds_left: float, cause: str) -> None:
    assert cause_of(found, 0, cancelled, seconds_left, warning=90.0) == cause


TOLD = (
    "JobId=7 ArrayJobId=7 ArrayTaskId=3 JobName=equilaw-x-0 JobState=RUNNING Reason=None Restarts=2 "
    "TimeLimit=00:10:00 EndTime=2026-11-25T02:59:08 PreemptEligibleTime=2026-11-25T02:58:54 "
    "PreemptTime={preempted} Comment=\n"
)


def test_what_the_controller_says(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def ask(*command: str, **_: object) -> str:
        asked.append(command)
        return TOLD.format(preempted="None" if len(asked) == 1 else "2026-11-25T02:58:58")

    monkeypatch.setattr(job, "ask", ask)
    first, second = ask_controller("7_3"), ask_controller("7_3")
    assert asked[0] == ("scontrol", "show", "job", "-o", "7_3")
    assert first is not None
    assert second is not None
    assert (first.state, first.restarts, first.preempted, second.preempted) == ("RUNNING", 2, False, True)

    def silent(*_: str, **__: object) -> str:
        raise SlurmError("scontrol: no answer in 5 s")

    monkeypatch.setattr(job, "ask", silent)
    assert ask_controller("7_3") is None
