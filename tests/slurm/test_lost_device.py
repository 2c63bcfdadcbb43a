"""A device that is lost, hangs or was never there: workers end, jobs fail or ask to be queued again, no run fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.config.parse import parse
from experiments.core import files
from experiments.core.errors import DeviceLost, RunsFailed
from experiments.data.load import dataset_of
from slurm.jobs.job import Element, compute
from slurm.jobs.script import REQUEUE
from slurm.launcher import run_missing
from slurm.local import Pool
from slurm.plan import PlannedRun
from slurm.settings import LocalSettings

Stubs = Callable[[Mapping[str, str]], None]
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


class Listener:
    """Remembers what a person would be told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.states: list[str] = []

    def event(self, event: Mapping[str, Any]) -> None:
        pass

    def state(self, run_id: str, state: str) -> None:
        self.states.append(state)

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def planned(make_config: Callable[..., dict[str, Any]]) -> list[PlannedRun]:
    """Four runs of one shape in the queue."""
    made = []
    for seed in range(4):
        config = parse(make_config({"seed": seed}))
        made.append(PlannedRun.of(config, dataset_of(config.data).sha256()))
        made[-1].run.create(config.as_dict())
    return made


def states(planned: list[PlannedRun]) -> list[str]:
    return [p.run.state() for p in planned]


def test_runs_of_a_lost_device_go_on_with_another_worker(planned: list[PlannedRun], stubs: Stubs) -> None:
    stubs({planned[2].run.id: "lose once"})
    listener = Listener()
    assert Pool(1, listener, pack=4).compute(planned) == []
    assert states(planned) == ["done"] * 4
    assert listener.notes == ["a worker lost its device (CUDA error: as told); 2 runs back in the queue"]
    assert "failed" not in listener.states


def test_a_run_that_loses_every_device_is_left_and_does_not_fail(planned: list[PlannedRun], stubs: Stubs) -> None:
    """A device-side assertion of its own, say; the others are computed, one by one after the second loss."""
    stubs({planned[1].run.id: "lose"})
    listener = Listener()
    with pytest.raises(DeviceLost, match=r"^1 run left: CUDA error: as told$") as lost:
        Pool(1, listener, pack=4).compute(planned)
    assert not lost.value.absent
    assert states(planned) == ["done", "queued", "done", "done"]
    assert "failed" not in listener.states
    assert len(listener.notes) == 4  # twice in the pack, twice alone


def test_the_lost_device_of_one_place_leaves_the_others_at_work(planned: list[PlannedRun], stubs: Stubs) -> None:
    stubs({})
    places = [{"EQUILAW_STUB_DEVICE": "absent"}, {}]
    listener = Listener()
    assert Pool(2, listener, 1, 600.0, places).compute(planned) == []
    assert states(planned) == ["done"] * 4
    assert listener.notes == ["a worker has no device (as told); 1 run back in the queue"]


def test_with_the_last_lost_device_all_ends(planned: list[PlannedRun], stubs: Stubs) -> None:
    stubs({})
    with pytest.raises(DeviceLost, match=r"^4 runs left: as told$") as lost:
        Pool(2, Listener(), 1, 600.0, [{"EQUILAW_STUB_DEVICE": "absent"}]).compute(planned)
    assert lost.value.absent
    assert [p.run.latest_attempt() for p in planned] == [0] * 4


def test_a_worker_that_hangs_on_a_gpu_is_a_lost_device(planned: list[PlannedRun], stubs: Stubs) -> None:
    """Twice alone: on a CPU that run would fail."""
    stubs({planned[1].run.id: "hang always"})
    with pytest.raises(DeviceLost, match=r"^1 run left: showed no sign of life for 2 s and was killed$"):
        # The stub is stopped for good, so any patience will do; longer than it takes to start.
        Pool(1, Listener(), 1, 2.0, device="cuda").compute(planned)
    assert states(planned) == ["done", "queued", "done", "done"]
    stubs({})
    assert Pool(1, Listener(), 1, device="cuda").compute(planned) == []


def test_a_sweep_says_that_its_device_is_lost(planned: list[PlannedRun], stubs: Stubs) -> None:
    stubs({planned[0].run.id: "lose", planned[1].run.id: "fail"})
    with pytest.raises(RunsFailed) as error:
        run_missing(planned, LocalSettings(workers=1))
    assert str(error.value).splitlines()[:2] == [
        "the GPU was lost, 1 run left: CUDA error: as told; no result is lost, the same command continues",
        "1 of 4 runs failed",
    ]
    assert states(planned) == ["queued", "failed", "done", "done"]


@pytest.fixture
def element(planned: list[PlannedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Element]:
    """A start of the element of a job array that has the runs and was given a GPU."""
    file = tmp_path / "packs" / "0-3.json"
    file.parent.mkdir()
    content = {
        "store": str(tmp_path / "store"), "runs": [[p.run.id, "shape"] for p in planned], "kind": "cuda", "workers": 1,
        "patience": 600.0, "minutes": 240, "warning_seconds": 1, "max_stalls": 3, "requeue": True,
    }  # fmt: skip

    def start(restarts: int = 0, **changes: Any) -> Element:
        files.write_json(file, {**content, **changes})
        variables = {
            "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "10",
            "SLURM_RESTART_COUNT": str(restarts), "CUDA_VISIBLE_DEVICES": "0",
        }  # fmt: skip
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Element(file, variables)

    return start


def never() -> bool:
    return False


@without_gpu
def test_a_job_without_the_gpu_that_it_was_given_fails_and_its_runs_do_not(
    element: Callable[..., Element], planned: list[PlannedRun], capsys: pytest.CaptureFixture[str]
) -> None:
    """A real worker, whose runs would be content with a CPU."""
    assert compute(element(), never) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert "has no GPU for this job: 4 runs left: torch finds no CUDA device here" in last
    assert states(planned) == ["queued"] * 4
    assert [p.run.latest_attempt() for p in planned] == [0] * 4


def test_a_job_whose_device_was_lost_asks_to_be_queued_again(
    element: Callable[..., Element], planned: list[PlannedRun], stubs: Stubs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until that has helped nothing three times in a row."""
    stubs({planned[3].run.id: "lose"})
    assert [compute(element(restarts), never) for restarts in range(4)] == [REQUEUE] * 2 + [1, 1]
    assert states(planned) == ["done"] * 3 + ["queued"]
    assert capsys.readouterr().out.splitlines()[-1].endswith("CUDA error: as told; submit the sweep again")
    stubs({})
    assert compute(element(6), never) == 0


def test_a_lost_device_is_no_reason_to_requeue_where_that_is_off(
    element: Callable[..., Element], planned: list[PlannedRun], stubs: Stubs
) -> None:
    stubs({planned[3].run.id: "lose"})
    assert compute(element(requeue=False), never) == 1


@without_gpu
def test_a_worker_says_that_its_device_is_absent_and_ends(root: Path) -> None:
    command = [sys.executable, "-m", "experiments.runs.worker", str(os.getpid()), "cuda"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, cwd=root, timeout=300, check=False)
    assert ended.returncode == 1
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert events == [{"event": "device", "reason": "torch finds no CUDA device here", "absent": True}]
