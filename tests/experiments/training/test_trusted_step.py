"""A compiler that fails, or whose step is wrong, costs a training its speed, and no digit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._inductor.exc import InductorError

from experiments.core.compiler import warn
from experiments.core.interrupt import ASKING, StopRequest
from experiments.training import step
from experiments.training.checkpoint import latest
from experiments.training.inductor import PositionalFunction
from experiments.training.member import Member
from experiments.training.pack import Interrupted
from experiments.training.trusted_step import TOLERANCE, distance

Changed = Callable[..., tuple[Tensor, ...]]


@pytest.fixture(autouse=True)
def _every_warning() -> None:
    warn.cache_clear()


def compile_as(monkeypatch: pytest.MonkeyPatch, gradient: Changed, update: Changed) -> None:
    """Let a compiler change what it compiles: outputs of gradient and update go through these functions."""

    def compiled_for(function: PositionalFunction, inputs: Sequence[Tensor], replayed: bool) -> PositionalFunction:
        change = gradient if replayed else update
        return lambda *tensors: change(*function(*tensors))

    monkeypatch.setattr(step, "compiled_for", compiled_for)


def same(*outputs: Tensor) -> tuple[Tensor, ...]:
    return outputs


def fails(*_: Any) -> Any:
    raise InductorError(TypeError("list indices must be integers or slices, not NoneType"), None)


def trained(laboratory: Any, name: str, compile: bool) -> list[Member]:
    task = laboratory.task()
    members = [laboratory.member(task, f"{name}{i}", seed=i) for i in range(2)]
    laboratory.pack(members, task, compile=compile).train(lambda: False, lambda event: None)
    return members


def equal(ones: list[Member], others: list[Member]) -> bool:
    """Whether the weights are equal, bit for bit."""
    pairs = [(one.weights, other.weights) for one, other in zip(ones, others, strict=True)]
    return all(a is not None and b is not None and all(torch.equal(a[k], b[k]) for k in b) for a, b in pairs)


def larger_gradient(losses: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return losses, gradient * (1 + 2 * TOLERANCE[torch.float64])


def one_run_wrong(losses: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return losses, torch.cat([gradient[:-1], -gradient[-1:]])


def not_a_number(losses: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return losses, gradient * torch.nan


def wrong_losses(losses: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    return losses[:1].expand_as(losses), gradient


def wrong_update(*state: Tensor) -> tuple[Tensor, ...]:
    return tuple(1.01 * value for value in state)


@pytest.mark.parametrize(
    ("gradient", "update", "reason"),
    [
        (larger_gradient, same, "the compiled step's gradient differs from the eager one's by 2e-08 of its norm"),
        (one_run_wrong, same, "the compiled step's gradient differs from the eager one's by 2 of its norm"),
        (not_a_number, same, "the compiled step's gradient differs from the eager one's by inf of its norm"),
        (wrong_losses, same, "the compiled step's loss differs"),
        (same, wrong_update, "the compiled step's params differs from the eager one's by 0.01 of its norm"),
        (fails, same, "its compiler failed (InductorError: TypeError: list indices must be integers"),
        (same, fails, "its compiler failed (InductorError"),
    ],
)
def test_a_wrong_step_is_not_used(
    laboratory: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    gradient: Changed,
    update: Changed,
    reason: str,
) -> None:
    eager = trained(laboratory, "eager", False)
    compile_as(monkeypatch, gradient, update)
    caplog.clear()
    found = trained(laboratory, "compiled", True)
    assert equal(found, eager)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"Mace on cpu with torch {torch.__version__} is trained eagerly")
    assert reason in warnings[0]
    for member in found:
        assert member.step_kind == "eager"
        assert member.step_reason is not None
        assert reason in member.step_reason


def test_a_right_step_is_used(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the comparison changes no digit."""
    eager = trained(laboratory, "eager", False)
    used: list[int] = []

    def counted(*outputs: Tensor) -> tuple[Tensor, ...]:
        used.append(1)
        return outputs

    compile_as(monkeypatch, counted, same)
    found = trained(laboratory, "compiled", True)
    assert equal(found, eager)
    assert len(used) > found[0].schedule.total
    assert [(m.step_kind, m.step_reason) for m in (*found, *eager)] == [("compiled", None)] * 2 + [("eager", None)] * 2


@pytest.mark.parametrize("message", ["CUDA out of memory. Tried to allocate 20.00 GiB", "CUDA error: unspecified"])
def test_memory_and_device_are_not_the_compilers(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    def gone(*_: Any) -> Any:
        raise InductorError(RuntimeError(message), None)

    compile_as(monkeypatch, gone, same)
    task = laboratory.task()
    with pytest.raises(InductorError, match=message):
        laboratory.pack([laboratory.member(task, "m")], task, compile=True)._step()


def test_a_resumed_run_says_what_computed_it(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begun with a step that was right, gone on with one that fails; a run is checked where training begins, so what
    it has learned meanwhile decides nothing."""

    def attempt(number: int, stop: bool) -> Member:
        task = laboratory.task()
        member: Member = laboratory.member(task, "m", attempt=number)
        asked = iter([False, stop])  # before the compilation, and after the first chunk of updates
        laboratory.pack([member], task, compile=True).train(lambda: next(asked, stop), lambda event: None)
        return member

    compile_as(monkeypatch, same, same)
    with pytest.raises(Interrupted):
        attempt(1, True)
    kept = latest([laboratory.path / "m" / "attempt-1"])
    assert kept is not None
    assert (kept.facts["step_kind"], kept.facts["step_reason"]) == ("compiled", None)
    compile_as(monkeypatch, fails, same)
    found = attempt(2, False)
    assert found.step_kind == "mixed"
    assert found.step_reason is not None
    assert "its compiler failed" in found.step_reason


@pytest.mark.parametrize("begun", ["compiled", "eager"])
def test_a_resumed_run_goes_on_with_the_step_that_it_began_with(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch, begun: str
) -> None:
    """Whatever the settings say now, for the digits are those of the step."""
    compile_as(monkeypatch, same, same)
    task = laboratory.task()
    first = laboratory.member(task, "m", compile=begun == "compiled")
    assert first.compiles == (begun == "compiled")
    asked = iter([False] if first.compiles else [])
    with pytest.raises(Interrupted):
        laboratory.pack([first], task, compile=first.compiles).train(lambda: next(asked, True), lambda event: None)
    again = laboratory.member(task, "m", attempt=2, compile=begun != "compiled")
    assert again.compiles == (begun == "compiled")
    assert laboratory.member(task, "new", compile="auto").compiles is False
    assert laboratory.member(task, "new", compile="auto", max_steps=1500).compiles is True


def test_a_signal_while_compiling_ends_it(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a checkpoint, as elsewhere; the updates so far are in it."""

    def endless(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the compilation went on")

    monkeypatch.setattr(step, "compiled_for", endless)
    task = laboratory.task()
    member = laboratory.member(task, "m")
    before = {number: signal.getsignal(number) for number in ASKING}
    stop = StopRequest().install()
    try:
        with pytest.raises(Interrupted):
            laboratory.pack([member], task, compile=True).train(stop, lambda event: None)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stop.exit_code == 128 + signal.SIGTERM
    with pytest.raises(Interrupted):  # and one that came before begins none
        laboratory.pack([laboratory.member(task, "other")], task, compile=True).train(stop, lambda event: None)
    kept = latest([laboratory.path / "m" / "attempt-1"])
    assert kept is not None
    assert kept.facts["clock"] == 0


def test_distance_is_the_worst_runs() -> None:
    expected = torch.tensor([[3.0, 4.0], [30.0, 40.0]])
    assert distance(expected + torch.tensor([[0.0, 0.5], [0.0, 0.5]]), expected) == pytest.approx(0.1)
    assert distance(torch.tensor([[torch.nan], [1.0]]), torch.tensor([[torch.inf], [1.0]])) == 0  # fails in both
    assert distance(torch.zeros(2), torch.zeros(2)) == 0
