"""Out of memory: halves go on from where the whole was, and nothing of a run changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from experiments.training.member import Member
from experiments.training.memory import chosen_size, train_within_memory
from experiments.training.pack import Pack, TooLarge


def refuse_beyond(monkeypatch: pytest.MonkeyPatch, runs: int, after: int) -> list[int]:
    """Memory that ends `after` updates of a pack of more than `runs`; the sizes of the packs that updated."""
    update, sizes = Pack._update, []

    def limited(self: Pack, step: Any, picked: Tensor, rate: Tensor, number: Tensor) -> Tensor:
        sizes.append(len(self.slots))
        if len(self.slots) > runs and len(sizes) > after:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return update(self, step, picked, rate, number)

    monkeypatch.setattr(Pack, "_update", limited)
    return sizes


@pytest.mark.parametrize("after", [0, 1, 9])
def test_halves_until_it_fits(laboratory: Any, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    task = laboratory.task()
    alone = [laboratory.trained(f"alone{i}", {"optimizer": "adam"}, seed=i) for i in range(5)]
    sizes = refuse_beyond(monkeypatch, 2, after)
    members = [laboratory.member(task, f"m{i}", seed=i, optimizer="adam") for i in range(5)]
    ended: list[str] = []

    def build(part: Sequence[Member]) -> Pack:
        return laboratory.pack(list(part), task)  # type: ignore[no-any-return]

    train_within_memory(members, build, lambda: False, lambda event: None, lambda m: ended.append(m.name))
    assert sorted(ended) == [m.name for m in members]
    assert set(sizes) == {5, 3, 2, 1}
    for one, other in zip(members, alone, strict=True):
        assert one.full is not None
        assert other.full is not None
        for name, error in other.full.test.items():
            # Round-off of float64, as batched products may sum in another order.
            assert one.full.test[name].value == pytest.approx(error.value, rel=1e-10)


def test_a_run_that_does_not_fit_alone_fails(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_beyond(monkeypatch, 0, 0)
    task = laboratory.task()
    with pytest.raises(torch.OutOfMemoryError):
        laboratory.pack([laboratory.member(task, "a")], task).train(lambda: False, lambda event: None)


def test_a_pack_that_does_not_fit_leaves_checkpoints(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last chunk that was whole: an update of a part of the members counts for none."""
    refuse_beyond(monkeypatch, 1, 7)
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i) for i in range(2)]
    with pytest.raises(TooLarge):
        laboratory.pack(members, task).train(lambda: False, lambda event: None)
    assert [m.steps_done for m in members] == [6, 6]  # chunks of two
    assert all((m.path / "step-000000006.safetensors").exists() for m in members)


@given(st.integers(1, 5000), st.integers(1, 10**6), st.integers(1, 10**5), st.integers(0, 10**9))
def test_chosen_size(count: int, first: int, each: int, free: int) -> None:
    size = chosen_size(count, first, each, free)
    assert 1 <= size <= count
    assert size == 1 or first + (size - 1) * each <= free
    if size < count:  # the next power of two would not fit
        assert size & (size - 1) == 0
        assert first + (min(2 * size, count) - 1) * each > free
