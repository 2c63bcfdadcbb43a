"""What members of a pack end with, compared; and members that are interrupted on the way."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.tasks.evaluation import Evaluation
from experiments.tasks.molecules import MoleculeTask
from experiments.training.member import Member
from experiments.training.pack import Interrupted

Weights = dict[str, Tensor]
TOTAL = 33  # of 24 updates with cooldown 0.5: branches of 6 updates at 3 and of 12 at 6, 24 + 3 + 6 in all


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a: Weights, b: Weights) -> float:
    """Largest difference of two weights, relative to the largest weight."""
    scale = max(float(w.abs().max()) for w in a.values())
    return max(float((a[name] - b[name]).abs().max()) for name in a) / scale


def ends(member: Member) -> tuple[Weights, Evaluation, Evaluation]:
    assert member.failure is None
    assert member.weights is not None
    assert member.full is not None
    assert member.half is not None
    return member.weights, member.full, member.half


def interrupt(laboratory: Any, members: list[Member], task: MoleculeTask, steps_done: int, **changes: Any) -> None:
    """Train until the first member has done `steps_done` updates, then stop."""
    with pytest.raises(Interrupted):
        laboratory.pack(members, task, **changes).train(lambda: members[0].steps_done == steps_done, lambda event: None)


def resumed(laboratory: Any, name: str, stops: list[int], **changes: Any) -> Member:
    task = laboratory.task(dataclasses.replace(laboratory.settings, **changes))
    for attempt, stop in enumerate(stops, 1):
        interrupt(laboratory, [laboratory.member(task, name, attempt)], task, stop, **changes)
    member: Member = laboratory.member(task, name, len(stops) + 1)
    laboratory.pack([member], task, **changes).train(lambda: False, lambda event: None)
    return member
