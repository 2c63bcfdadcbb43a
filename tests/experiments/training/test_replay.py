"""A compiled gradient's outputs are overwritten by its next call, as a replayed CUDA graph's are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.training import trusted_step
from experiments.training.history import History
from experiments.training.step import Gradient, make_gradient


def made_static(*arguments: Any) -> Gradient:
    """Make a gradient whose outputs have the same memory at each call."""
    gradient = make_gradient(*arguments)
    kept: list[Tensor] = []

    def replay(*inputs: Any) -> tuple[Tensor, Tensor]:
        for i, output in enumerate(gradient(*inputs)):
            if len(kept) <= i:
                kept.append(torch.empty_like(output))
            kept[i].copy_(output)
        return kept[0], kept[1]

    return replay


@pytest.mark.parametrize("members", [1, 3])
def test_losses_of_a_replay_are_kept(laboratory: Any, monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    """Of each update, not of the last of a chunk; and gradients are used before the next replay."""
    seen: list[np.ndarray[Any, Any]] = []
    loss = History.loss

    def watched(self: History, losses: np.ndarray[Any, Any]) -> None:
        seen.append(losses.copy())
        loss(self, losses)

    monkeypatch.setattr(History, "loss", watched)

    def train(name: str) -> tuple[list[Any], np.ndarray[Any, Any]]:
        seen.clear()
        task = laboratory.task()
        runs = [laboratory.member(task, f"{name}{i}", seed=i) for i in range(members)]
        laboratory.pack(runs, task).train(lambda: False, lambda event: None)
        return [run.weights for run in runs], np.concatenate(seen)

    weights, losses = train("plain")
    monkeypatch.setattr(trusted_step, "make_gradient", made_static)
    replayed_weights, replayed_losses = train("replayed")
    assert np.array_equal(losses, replayed_losses)
    assert len(np.unique(losses)) > len(losses) / 2
    for one, other in zip(weights, replayed_weights, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
