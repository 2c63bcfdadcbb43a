"""A device lost in the middle of a run: the process stops, the run waits with its checkpoint and fails nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from experiments import __main__ as command
from experiments.config.parse import parse
from experiments.core.errors import DeviceLost
from experiments.core.states import RunOutcome
from experiments.data.load import dataset_of
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from experiments.training import pack as engine
from experiments.training.device_errors import lost_device
from experiments.training.pack import Pack

CPU = torch.device("cpu")
STICKY = (
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
)


@pytest.fixture
def runs(make_config: Callable[..., dict[str, Any]]) -> list[Run]:
    """Two runs of one shape, which leave the choice of the device to whoever runs them."""
    made = []
    for seed in range(2):
        config = parse(make_config({"seed": seed, "device": "auto"}))
        made.append(RunStore(config.store).run(config.run_id(dataset_of(config.data).sha256())))
        made[-1].create(config.as_dict())
    return made


def ignore(_: object) -> None:
    pass


def compute(runs: Sequence[Run], device: str | None = "cpu") -> dict[str, RunOutcome]:
    return execute(runs, lambda: False, ignore, device)


def fail_after(monkeypatch: pytest.MonkeyPatch, updates: int, error: Exception) -> None:
    """Every update after so many ends with `error`, as on a device that is lost."""
    update, count = Pack._update, [0]

    def limited(self: Pack, *rest: Any) -> Any:
        count[0] += 1
        if count[0] > updates:
            raise error
        return update(self, *rest)

    monkeypatch.setattr(Pack, "_update", limited)


@pytest.mark.parametrize("error", STICKY, ids=lambda error: str(error)[:30])
def test_a_lost_device_fails_no_run_and_none_of_the_others(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """One of them by itself could not have gone on either: nothing is tried again in this process."""
    with monkeypatch.context() as broken:
        broken.setattr(engine, "STEPS_PER_CHUNK", 5)
        fail_after(broken, 12, error)
        with pytest.raises(DeviceLost, match=str(error).splitlines()[0].replace("[", r"\[").replace("]", r"\]")):
            compute(runs)
    for run in runs:
        assert run.state() == "queued"
        assert run.recorded_state()["message"].startswith("its device was lost: ")
        assert "\n" not in run.recorded_state()["message"]
    assert compute(runs) == {run.id: "done" for run in runs}
    assert [run.latest_attempt() for run in runs] == [2, 2]


def test_after_a_lost_device_the_result_is_that_of_an_undisturbed_run(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = runs[0]
    with monkeypatch.context() as broken:
        broken.setattr(engine, "STEPS_PER_CHUNK", 5)
        broken.setattr(Pack, "_compact", lambda self: self.save())  # a checkpoint after each chunk of updates
        fail_after(broken, 12, STICKY[0])
        with pytest.raises(DeviceLost):
            compute([run])
    assert list(run.path.glob("attempt-1/step-*.safetensors"))
    compute([run])
    disturbed = run.result()
    assert disturbed is not None
    for leftover in sorted(run.path.rglob("*"), reverse=True):
        if leftover.name != "config.yaml":
            leftover.rmdir() if leftover.is_dir() else leftover.unlink()
    compute([run])
    whole = run.result()
    assert whole is not None
    assert disturbed["metrics"] == whole["metrics"]


def test_an_error_of_the_run_itself_is_not_a_lost_device(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after(monkeypatch, 3, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert compute(runs) == {run.id: "failed" for run in runs}


def test_out_of_memory_of_a_single_run_is_said_in_one_line(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    fail_after(monkeypatch, 3, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3.12 GiB. GPU 0 has …"))
    assert compute(runs) == {run.id: "failed" for run in runs}
    for run in runs:
        message = run.recorded_state()["message"]
        assert message.startswith("out of memory with this run alone: 3.12 GiB more were asked for, this machine has ")
        assert message.endswith("; accepted: a smaller training.batch_size or model.channels, or more memory")


class Probe:
    """Stands for torch.cuda on a machine with a GPU, of which the probe says `error`, or that it works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None) -> None:
        self.error = error
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch, "ones", self)

    def __call__(self, *_: Any, **__: Any) -> Any:
        if self.error is not None:
            raise self.error
        return torch.zeros(1)


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (None, None),
        (torch.OutOfMemoryError("CUDA out of memory"), None),  # it is full, not lost
        (RuntimeError("anything at all"), "RuntimeError: anything at all"),
    ],
)
def test_a_lost_device_is_found_by_a_try(
    monkeypatch: pytest.MonkeyPatch, probe: Exception | None, reason: str | None
) -> None:
    """Whatever the first error said: after a sticky one nothing works any more."""
    Probe(monkeypatch, probe)
    assert lost_device(ValueError("some consequence"), torch.device("cuda:0")) == reason


def test_a_device_that_was_given_and_is_not_there_is_no_fault_of_the_run(
    runs: list[Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that leaves the choice is never trained on a CPU where a GPU was asked for."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceLost, match="torch finds no CUDA device here") as lost:
        compute(runs, "cuda")
    assert lost.value.absent
    assert [run.state() for run in runs] == ["queued", "queued"]


def test_a_run_that_was_given_a_cpu_takes_no_gpu(runs: list[Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """A job without a GPU on a node that has some: `auto` means what was asked for, not what is there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert compute(runs) == {run.id: "done" for run in runs}
    results = [run.result() for run in runs]
    assert {None if result is None else result.device for result in results} == {"cpu"}


def test_a_single_run_says_that_its_device_was_lost(
    tiny_arguments: list[str], tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_after(monkeypatch, 3, STICKY[0])
    words = [*tiny_arguments, "P=8", "L=1", "nu=2", "seed=0", f"store={tmp_path / 'store'}", "device=cpu"]
    monkeypatch.setattr("sys.argv", ["experiments", *words, f"hydra.run.dir={tmp_path}"])
    command.PROBLEMS.clear()
    assert command.main() == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("equilaw: the device was lost (AcceleratorError: CUDA error: an illegal memory access")
    assert "the same command continues run " in said
