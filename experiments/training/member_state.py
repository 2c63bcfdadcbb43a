"""The state of one run of a pack as tensors: what it starts from, and what its checkpoint holds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from experiments.nn.parameters import is_constant
from experiments.tasks.task import Model, Task
from experiments.training import checkpoint
from experiments.training.flat_state import part
from experiments.training.layout import Layout
from experiments.training.member import Member
from experiments.training.optimizers.optimizer import Optimizer


class Beginnings:
    """The states that members of one pack start from.

    Args:
        task: shared by all.
        model: shared by all.
        layout: of the flat parameters.
        optimizer: shared by all.
    """

    def __init__(self, task: Task, model: Model, layout: Layout, optimizer: Optimizer) -> None:
        self.task = task
        self.model = model
        self.layout = layout
        self.optimizer = optimizer

    def of(self, member: Member) -> dict[str, Tensor]:
        """Return a member's state: its latest checkpoint's, another run's stable phase's, or an initial one."""
        latest = checkpoint.latest(member.earlier)
        member.restart()
        if latest is not None:
            member.resume(latest.facts)
            tensors = {k: v.to(self.task.device) for k, v in latest.tensors.items()}
            member.branch_state = part(tensors, "aside") or None
            return _of_the_run(member, tensors)
        if member.stable_phase is not None:
            member.continue_stable_phase(member.stable_phase.facts)
            tensors = {k: v.to(self.task.device) for k, v in member.stable_phase.tensors.items()}
            return _of_the_run(member, tensors)
        return self.initial(member)

    def initial(self, member: Member) -> dict[str, Tensor]:
        """Return the state before a member's first update."""
        drawn = {k: v.to(self.task.device) for k, v in self.model.init(member.init_seed, self.task.dtype).items()}
        params = self.layout.flat({k: v[None] for k, v in drawn.items() if not is_constant(k)})
        constants = {k: v for k, v in drawn.items() if is_constant(k)}
        for name, value in member.prepared.constants.items():
            constants[name] = torch.tensor(value, dtype=self.task.dtype, device=self.task.device)
        memory = self.optimizer.init(self.layout, params)
        return {
            "params": params[0],
            "ema": params[0].clone(),
            **{f"constants/{k}": v for k, v in constants.items()},
            **{f"optimizer/{k}": v[0] for k, v in memory.items()},
        }


def _of_the_run(member: Member, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the run's state from a file's tensors, and hand the weights of its best schedule to the member."""
    member.best_weights = part(tensors, "best") or None
    return {k: v for k, v in tensors.items() if not k.startswith(("aside/", "best/"))}


def checkpoint_of(member: Member, state: Mapping[str, Tensor]) -> checkpoint.Checkpoint:
    """Return what `Beginnings.of` goes on from: a member's state, what it set aside, and its facts."""
    tensors = dict(state)
    if member.branch_state is not None:
        tensors |= {f"aside/{k}": v for k, v in member.branch_state.items()}
    if member.best_weights is not None:
        tensors |= {f"best/{k}": v for k, v in member.best_weights.items()}
    return checkpoint.Checkpoint(tensors, member.facts())
