"""Runs of a pack that fail: the others go on as they would alone."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
from torch import Tensor

from experiments.training.member import Member
from experiments.training.pack import Pack
from tests.experiments.training.ends import distance, ends, same
from tests.experiments.training.test_pack import MEMBERS


def poisoned(member: Any) -> Member:
    """The loss of this member is NaN from its first update."""
    baseline = dataclasses.replace(member.prepared.baseline, constant=math.nan)
    member.prepared = dataclasses.replace(member.prepared, baseline=baseline)
    made: Member = member
    return made


def test_nan_in_one_run_leaves_the_others_bit_for_bit(laboratory: Any) -> None:
    task = laboratory.task()
    found = []
    for poison in (False, True):
        members = [laboratory.member(task, f"{poison}{i}", **wanted) for i, wanted in enumerate(MEMBERS)]
        if poison:
            poisoned(members[1])
        ended: list[str] = []
        laboratory.pack(members, task).train(lambda: False, lambda event: None, lambda m, e=ended: e.append(m.name))
        assert sorted(ended) == sorted(m.name for m in members)
        found.append(members)
    clean, spoilt = found
    assert spoilt[1].failure is not None
    assert spoilt[1].failure.startswith("the loss is not finite at update 0; try a training.learning_rate below 0.001")
    assert clean[1].failure is None
    for i in (0, 2):
        assert same(ends(clean[i])[0], ends(spoilt[i])[0])
        assert ends(clean[i])[1].test == ends(spoilt[i])[1].test


def test_weights_that_end_as_no_numbers_are_a_failure(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is seen before each update, so the last update's ruin shows in the errors only."""
    task = laboratory.task()
    update = Pack._update

    def ruin(self: Pack, step: Any, picked: Tensor, rate: Tensor, number: Tensor) -> Tensor:
        losses = update(self, step, picked, rate, number)
        if number[0] == 24:
            self.state = {**self.state, "ema": self.state["ema"] * math.nan}
        return losses

    monkeypatch.setattr(Pack, "_update", ruin)
    member = laboratory.member(task, "a")
    laboratory.pack([member], task).train(lambda: False, lambda event: None)
    assert member.failure is not None
    assert "errors after update" in member.failure


@pytest.mark.parametrize(("size", "failing", "left"), [(2, 1, 1), (4, 2, 2), (4, 1, 4), (5, 3, 2), (8, 5, 4)])
def test_compaction_at_powers_of_two(laboratory: Any, size: int, failing: int, left: int) -> None:
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i, P=4) for i in range(size)]
    for member in members[:failing]:
        poisoned(member)
    pack, sizes = laboratory.pack(members, task, optimizer="adam"), []

    def stop() -> bool:
        sizes.append(len(pack.slots))
        return False

    pack.train(stop, lambda event: None)
    assert set(sizes) == {left}
    assert all(len(value) == left for value in pack.state.values())
    assert [m.failure is not None for m in members] == [i < failing for i in range(size)]
    alone = laboratory.trained("alone", {"optimizer": "adam"}, seed=size - 1, P=4)
    assert distance(ends(members[-1])[0], ends(alone)[0]) < 1e-12  # round-off, see the pack of three
