"""Training of a pack: runs of equal shapes, one update for all of them at a time, each with its own everything.

Parameters, optimiser state, average and batch carry the pack axis first; losses are summed over it. A run that
ends (or whose loss is no longer finite) goes idle, and when at most half of the pack is left it is compacted.
A pack of one is the ordinary case on a CPU.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.config import TrainingConfig
from experiments.tasks.task import Model, Task
from experiments.training import checkpoint
from experiments.training.evaluate import Evaluation
from experiments.training.history import History
from experiments.training.layout import Layout
from experiments.training.optimizers import OPTIMIZERS, Optimizer, along
from experiments.training.order import batches
from experiments.training.schedule import Schedule
from experiments.training.step import Gradient, Tensors, make_gradient

logger = logging.getLogger(__name__)
LEG = 20
"""Most updates between two looks at signals and clocks."""
GLANCES = 20
"""Holdout errors recorded over a run."""

Report = Callable[[Mapping[str, Any]], None]


class Interrupted(Exception):
    """A signal asked to stop; every run's checkpoint is written."""


@dataclass
class Member:
    """A run in a pack."""

    name: str
    path: Path
    """Directory of its attempt."""
    earlier: Sequence[Path]
    """Where to look for a checkpoint, latest attempt first."""
    seed: int
    init_seed: int
    learning_rate: float
    prepared: Any
    """What the task made of its training frames; a Prepared."""
    clock: int = 0
    seconds: float = 0.0
    half: Evaluation | None = None
    full: Evaluation | None = None
    trunk: dict[str, Tensor] | None = None
    weights: dict[str, Tensor] | None = None
    """Averaged parameters and constants, once it has ended."""
    failure: str | None = None
    history: History = field(init=False)

    def __post_init__(self) -> None:
        self.history = History(self.path)


def ignore(_: Member) -> None:
    """Nothing to do when a member ends."""


class Pack:
    """Members that train together.

    Args:
        members: runs of equal shapes; they may be at different clocks.
        task, model: shared by all.
        settings: everything but the learning rate is shared.
        compile: whether to compile the step (settings.compile where a compiler is at hand).
    """

    def __init__(
        self, members: Sequence[Member], task: Task, model: Model, settings: TrainingConfig, compile: bool
    ) -> None:
        self.task = task
        self.model = model
        self.settings = settings
        self.compile = compile
        self.schedule = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown)
        self.optimizer: Optimizer = OPTIMIZERS[settings.optimizer]()
        self.weights = (settings.energy_weight, settings.force_weight)
        self.evaluator = task.evaluator(model, self.weights)
        self.slots: list[Member | None] = list(members)
        shapes = {k: v.shape for k, v in model.init(0, task.dtype).items() if not is_constant(k)}
        self.layout = Layout(shapes)
        self.state = stack([self._start(member) for member in members])
        self.targets = task.targets([m.prepared for m in members])
        self._saved = time.monotonic()

    @property
    def active(self) -> list[tuple[int, Member]]:
        """Members still training with their place in the pack."""
        return [(i, m) for i, m in enumerate(self.slots) if m is not None]

    def _start(self, member: Member) -> dict[str, Tensor]:
        found = checkpoint.latest(member.earlier)
        if found is not None:
            facts = found.facts
            member.clock, member.seconds = int(facts["clock"]), float(facts["seconds"])
            member.half = None if facts["half"] is None else Evaluation.from_json(facts["half"])
            member.history.resume(facts["history"])
            tensors = {k: v.to(self.task.device) for k, v in found.tensors.items()}
            member.trunk = part(tensors, "trunk") or None
            return {k: v for k, v in tensors.items() if not k.startswith("trunk/")}
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

    def train(self, stop: Callable[[], bool], report: Report, ended: Callable[[Member], None] = ignore) -> None:
        """Train every member to its end; its evaluations are then on it, or its ``failure``.

        Args:
            stop: asked after at most ``LEG`` updates.
            report: hears of progress.
            ended: hears of each member as soon as it has ended, while the others go on.

        Raises:
            Interrupted: ``stop()`` turned true.
        """
        while self.active:
            for i, member in self.active:
                if member.clock == self.schedule.fork and member.trunk is None and member.half is None:
                    member.trunk = {k: v.clone() for k, v in take(self.state, i).items()}
            self._leg(min(self._until_event(member) for _, member in self.active))
            for i, member in self.active:
                self._events(i, member, report)
                if self.slots[i] is None:
                    ended(member)
            self._compact()
            if self.active and stop():
                self.save()
                raise Interrupted
            if time.monotonic() - self._saved > self.settings.checkpoint_seconds:
                self.save()

    def advance(self, length: int) -> None:
        """``length`` updates of every member, without events or checkpoints: for benchmarks."""
        self._leg(length)

    def bare_gradient(self) -> Tensor:
        """The traced gradient alone, on the first batch: what the engine's overhead is measured against."""
        picked = torch.zeros((len(self.slots), self.settings.batch_size), dtype=torch.int64, device=self.task.device)
        constants = part(self.state, "constants")
        gradient = self._gradient(picked)
        return gradient(self.state["params"], constants, self.targets, self.task.inputs, picked)[1]

    def _until_event(self, member: Member) -> int:
        glance = math.ceil(self.schedule.total / GLANCES)
        marks = [self.schedule.fork, self.schedule.half, self.schedule.total, (member.clock // glance + 1) * glance]
        return min(LEG, *(mark - member.clock for mark in marks if mark > member.clock))

    def _leg(self, length: int) -> None:
        """``length`` updates of every member."""
        began = time.monotonic()
        members = self.active
        p = len(self.slots)
        rates = np.zeros((length, p))
        steps = np.ones((length, p))
        picked = np.zeros((length, p, self.settings.batch_size), dtype=np.int64)
        for i, member in members:
            clocks = range(member.clock, member.clock + length)
            rates[:, i] = [member.learning_rate * self.schedule.factor(c) for c in clocks]
            places = np.array([self.schedule.step(c) for c in clocks])
            steps[:, i] = places + 1
            subset = member.prepared.subset
            picked[:, i] = subset[batches(member.seed, len(subset), self.settings.batch_size, places)]
        dtype, device = self.task.dtype, self.task.device
        rate_steps = torch.as_tensor(rates, dtype=dtype, device=device)
        number_steps = torch.as_tensor(steps, dtype=dtype, device=device)
        picked_steps = torch.as_tensor(picked, device=device)
        gradient = self._gradient(picked_steps[0])
        losses = []
        for j in range(length):
            losses.append(self._update(gradient, picked_steps[j], rate_steps[j], number_steps[j]))
            self._refresh([(i, int(steps[j, i])) for i, _ in members])
        seconds = (time.monotonic() - began) / len(members)
        all_losses = torch.stack(losses).cpu().numpy()  # the only wait for the device in a leg
        for i, member in members:
            member.clock += length
            member.seconds += seconds
            member.history.loss(all_losses[:, i])
            if not np.isfinite(all_losses[:, i]).all():
                where = member.clock - length + int(np.argmin(np.isfinite(all_losses[:, i])))
                member.failure = f"the loss is not finite at update {where}; {self._advice(member)}"

    def _update(self, gradient: Gradient, picked: Tensor, rate: Tensor, step: Tensor) -> Tensor:
        """One update of the pack; the losses before it ``[p]``."""
        state = self.state
        params = state["params"]
        losses, grads = gradient(params, part(state, "constants"), self.targets, self.task.inputs, picked)
        shrink = torch.clamp(self.settings.clip / (grads.norm(dim=1) + 1e-12), max=1.0)
        memory = part(state, "optimizer")
        params, memory = self.optimizer.update(self.layout, params, grads * along(shrink, grads), memory, rate, step)
        # Early on the average forgets faster, else it would be the initial weights for its first 1/(1−d) steps.
        keep = torch.clamp((1 + step) / (10 + step), max=self.settings.ema_decay)
        ema = torch.lerp(state["ema"], params, along(1 - keep, params))
        self.state = {**state, "params": params, "ema": ema, **{f"optimizer/{k}": v for k, v in memory.items()}}
        return losses

    def _refresh(self, steps: Sequence[tuple[int, int]]) -> None:
        due = [(i, number) for i, number in steps if self.optimizer.due(number)]
        if not due:
            return
        now = torch.zeros(len(self.slots), dtype=torch.bool, device=self.task.device)
        first = torch.zeros_like(now)
        for i, number in due:
            now[i] = True
            first[i] = number == 1
        memory = self.optimizer.refresh(self.layout, part(self.state, "optimizer"), first, now)
        self.state = {**self.state, **{f"optimizer/{k}": v for k, v in memory.items()}}

    def _gradient(self, picked: Tensor) -> Gradient:
        example = (self.state["params"], part(self.state, "constants"), self.targets, self.task.inputs, picked)
        shapes = tuple((k, tuple(v.shape)) for group in example[1:4] for k, v in sorted(group.items()))
        task, model, weights = self.task, self.model, self.weights
        key = (model, shapes, tuple(picked.shape), task.dtype, task.device, self.compile, weights)
        if key not in _GRADIENTS:

            def loss(params: Tensors, targets: Tensors, resident: Tensors, picked: Tensor) -> Tensor:
                return task.loss(model, params, targets, resident, picked, weights)

            began = time.monotonic()
            _GRADIENTS[key] = make_gradient(loss, self.layout, self.compile, example)
            logger.info("step traced in %.1f s", time.monotonic() - began)
        return _GRADIENTS[key]

    def _weights(self, i: int) -> dict[str, Tensor]:
        """Run ``i``'s averaged parameters and constants by name, without a pack axis."""
        state = take(self.state, i)
        named = {k: v[0] for k, v in self.layout.named(state["ema"][None]).items()}
        return {**named, **part(state, "constants")}

    def _events(self, i: int, member: Member, report: Report) -> None:
        glance = math.ceil(self.schedule.total / GLANCES)
        if member.failure is not None:
            self.slots[i] = None
            return
        if member.clock == self.schedule.half and member.half is None:
            member.half = self._evaluated(self._weights(i), member)
            assert member.trunk is not None
            self.state = put(self.state, i, member.trunk)
            member.trunk = None
        if member.clock == self.schedule.total:
            member.weights = {k: v.clone() for k, v in self._weights(i).items()}
            member.full = self._evaluated(member.weights, member)
        if member.failure is not None or member.full is not None:
            self.slots[i] = None
        if member.failure is None and (member.clock % glance == 0 or member.full is not None):
            errors = self.evaluator.glance(self._weights(i), member.prepared)
            record = {"clock": member.clock, "total": self.schedule.total, "seconds": member.seconds, **errors}
            member.history.write(record)
            report({"event": "progress", "run": member.name, **record})

    def _evaluated(self, weights: Mapping[str, Tensor], member: Member) -> Evaluation:
        """The member's errors; a failure where they are no numbers."""
        found = self.evaluator.full(weights, member.prepared)
        if not all(math.isfinite(error.value) for errors in (found.test, found.train) for error in errors.values()):
            member.failure = f"the errors after update {member.clock} are not finite; {self._advice(member)}"
        return found

    @staticmethod
    def _advice(member: Member) -> str:
        return f"try a training.learning_rate below {member.learning_rate:g} or a smaller training.clip"

    def _compact(self) -> None:
        """Drop idle slots once at most half of them work; shapes change only log₂(pack) times."""
        active = self.active
        if not active or len(active) > len(self.slots) // 2:
            return
        size = 1 << (len(active) - 1).bit_length()
        keep = [i for i, _ in active] + [i for i, m in enumerate(self.slots) if m is None][: size - len(active)]
        index = torch.as_tensor(keep, device=self.task.device)
        self.state = {k: v[index] for k, v in self.state.items()}
        self.targets = {k: v[index] for k, v in self.targets.items()}
        self.slots = [self.slots[i] for i in keep]

    def save(self) -> None:
        """Checkpoint every member."""
        for i, member in self.active:
            tensors = dict(take(self.state, i))
            if member.trunk is not None:
                tensors |= {f"trunk/{k}": v for k, v in member.trunk.items()}
            facts = {
                "clock": member.clock,
                "seconds": member.seconds,
                "half": None if member.half is None else member.half.to_json(),
                "history": member.history.records,
            }
            checkpoint.save_step(member.path, member.clock, checkpoint.Checkpoint(tensors, facts))
        self._saved = time.monotonic()


_GRADIENTS: dict[Any, Gradient] = {}
"""Traced gradients of this process by shape: a column of a sweep shares one."""


def is_constant(name: str) -> bool:
    """Whether an entry of a model's parameters is not trained."""
    return name.startswith("constant.")


def part(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Entries ``kind/name`` of a flat state, by name."""
    prefix = f"{kind}/"
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


def stack(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Single states side by side: ``[...]`` each → ``[p, ...]``."""
    return {key: torch.stack([state[key] for state in states]) for key in states[0]}


def take(state: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """Run ``i``'s state without the pack axis."""
    return {key: value[i] for key, value in state.items()}


def put(state: Mapping[str, Tensor], i: int, single: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The pack's state with run ``i``'s replaced."""
    new = {}
    for key, value in state.items():
        copy = value.clone()
        copy[i] = single[key]
        new[key] = copy
    return new
