"""Memory that runs out anywhere halves the pack; what a failed try held is free before the next one."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.exc import BackendCompilerFailed
from torch._inductor.exc import InductorError

from experiments.training import memory
from experiments.training.device_errors import does_not_fit, lost_device, out_of_memory
from experiments.training.member import Member
from experiments.training.memory import train_within_memory
from experiments.training.pack import Pack

CPU = torch.device("cpu")


def raised() -> torch.OutOfMemoryError:
    """As the allocator of a GPU says it."""
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of …")


def inside_the_compiler() -> Exception:
    """As torch.compile hands it on: the backend's error around Inductor's around the allocator's."""
    inner = InductorError(raised(), None)
    return BackendCompilerFailed("inductor", inner, None)


def train(laboratory: Any, count: int) -> tuple[list[Member], list[int]]:
    """Train `count` members within memory; the members, and the sizes of the packs that were begun."""
    task, sizes = laboratory.task(), []
    members = [laboratory.member(task, f"m{i}", seed=i, optimizer="adam") for i in range(count)]

    def build(part: Sequence[Member]) -> Pack:
        sizes.append(len(part))
        return laboratory.pack(list(part), task)  # type: ignore[no-any-return]

    train_within_memory(members, build, lambda: False, lambda event: None, lambda member: None)
    return members, sizes


def after_construction(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    init = Pack.__init__

    def limited(self: Pack, members: Sequence[Member], *rest: Any, **named: Any) -> None:
        init(self, members, *rest, **named)
        if len(members) > 2:
            raise error()

    monkeypatch.setattr(Pack, "__init__", limited)


def in_the_first_step(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    step = Pack._step

    def limited(self: Pack) -> Any:
        if len(self.slots) > 2:
            raise error()
        return step(self)

    monkeypatch.setattr(Pack, "_step", limited)


def in_a_late_update(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    update, calls = Pack._update, [0]

    def limited(self: Pack, *rest: Any) -> Any:
        calls[0] += 1
        if len(self.slots) > 2 and calls[0] > 9:
            raise error()
        return update(self, *rest)

    monkeypatch.setattr(Pack, "_update", limited)


def in_the_last_evaluation(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """Of the third member: the first two of its pack have ended by then, and are not trained again."""
    evaluated = Pack._evaluated

    def limited(self: Pack, weights: Any, member: Member) -> Any:
        if len(self.slots) > 2 and member.steps_done == member.schedule.total and member.name == "m2":
            raise error()
        return evaluated(self, weights, member)

    monkeypatch.setattr(Pack, "_evaluated", limited)


def in_a_validation(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]) -> None:
    """After the last evaluation, when the member has its errors but nobody has heard of them."""
    validate = Pack._validate

    def limited(self: Pack, members: Sequence[tuple[int, Member]], report: Any) -> None:
        validate(self, members, report)
        if len(self.slots) > 2 and any(member.full is not None for _, member in members):
            raise error()

    monkeypatch.setattr(Pack, "_validate", limited)


STAGES = (after_construction, in_the_first_step, in_a_late_update, in_the_last_evaluation, in_a_validation)


@pytest.mark.parametrize("error", [raised, inside_the_compiler])
@pytest.mark.parametrize("stage", STAGES)
def test_out_of_memory_anywhere_halves_the_pack(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch, stage: Callable[..., None], error: Callable[[], Exception]
) -> None:
    alone = [laboratory.trained(f"alone{i}", {"optimizer": "adam"}, seed=i) for i in range(3)]
    stage(monkeypatch, error)
    members, sizes = train(laboratory, 3)
    assert sizes[:3] == [1, 3, 1 if stage is in_the_last_evaluation else 2]  # the first to measure, which finds a CPU
    for one, other in zip(members, alone, strict=True):
        assert one.failure is None
        assert one.full is not None
        assert len(one.history.records) == len(other.history.records)
        for name, expected in other.full.test.items():
            # Round-off of float64, as batched products may sum in another order.
            assert one.full.test[name].value == pytest.approx(expected.value, rel=1e-10)


def test_after_out_of_memory_no_pack_is_as_large_again(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting runs are not tried in packs of a size that has turned out too large."""
    monkeypatch.setattr(memory, "fitting", lambda build, members: 4)
    in_the_first_step(monkeypatch, raised)
    _, sizes = train(laboratory, 8)
    assert sizes == [4, 2, 2, 2, 2]


def test_out_of_memory_leaves_nothing_of_the_failed_try(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the pack's tensors nor those of the functions that the error came through."""
    update, held, seen = Pack._update, [], []  # type: ignore[var-annotated]
    init = Pack.__init__

    def watched(self: Pack, *rest: Any, **named: Any) -> None:
        seen.append([reference() is None for reference in held])
        init(self, *rest, **named)

    def limited(self: Pack, *rest: Any) -> Tensor:
        if len(self.slots) > 1:
            large = torch.zeros(1000)
            held.extend([weakref.ref(large), weakref.ref(self.state["params"]), weakref.ref(self)])
            raise raised()
        return update(self, *rest)

    monkeypatch.setattr(Pack, "__init__", watched)
    monkeypatch.setattr(Pack, "_update", limited)
    train(laboratory, 2)
    assert seen == [[], [], [True] * 3, [True] * 3]


def test_a_single_run_out_of_memory_raises(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pack, "_step", lambda self: (_ for _ in ()).throw(inside_the_compiler()))
    with pytest.raises(BackendCompilerFailed) as error:
        train(laboratory, 1)
    message = does_not_fit(error.value, CPU)
    assert message.startswith("out of memory with this run alone: 20.00 GiB more were asked for, this machine has ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "error",
    [
        raised(), inside_the_compiler(), MemoryError(),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)  # fmt: skip
def test_out_of_memory_is_recognised(error: Exception) -> None:
    assert out_of_memory(error)
    assert lost_device(error, CPU) is None


def test_other_errors_are_not_out_of_memory() -> None:
    assert not out_of_memory(ValueError("the message says out of memory, and it is no error of a device"))
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
