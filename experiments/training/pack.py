"""Training of a pack: runs of equal shapes that are updated together, with settings, data and results of their own.

Parameters, optimiser state, average and batch carry the pack axis first; losses are summed over it. Schedule, rate,
clipping, average and the weights of the loss are each run's own. A run that ends (or whose loss is no longer finite)
leaves its slot idle, and when at most half of the slots are in use the pack is compacted. A pack of one is the ordinary
case on a CPU.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.core.compiler import Stopped, compiling
from experiments.nn.parameters import is_constant
from experiments.tasks.evaluation import Evaluation
from experiments.tasks.task import LossTerms, Model, Task
from experiments.training import checkpoint
from experiments.training.arithmetic import denormals_are_zero
from experiments.training.chunk import Chunk, Request, draw
from experiments.training.device_errors import out_of_memory
from experiments.training.evaluating import evaluate_together
from experiments.training.flat_state import part, put, stack, take
from experiments.training.layout import Layout
from experiments.training.lengthy import lengthy
from experiments.training.member import Member, best_budget
from experiments.training.member_state import Beginnings, checkpoint_of
from experiments.training.optimizers import OPTIMIZERS
from experiments.training.optimizers.optimizer import Optimizer
from experiments.training.order import batches
from experiments.training.schedule import Schedule
from experiments.training.step import LossFunction, Tensors, eager_gradient
from experiments.training.trusted_step import Example, Step, make_step

logger = logging.getLogger(__name__)
STEPS_PER_CHUNK = 20
"""Most updates between two checks for signals and due checkpoints."""
VALIDATIONS = 20
"""Evaluations on the validation set over a run, at equal distances, for history and progress."""

Report = Callable[[Mapping[str, Any]], None]


class Interrupted(Exception):
    """Training was asked to stop; every run's checkpoint is written."""


class TooLarge(Exception):
    """The device's memory does not hold this pack; every run's checkpoint is written."""


def ignore(_: Member) -> None:
    """Do nothing when a member ends."""


class Pack:
    """Members that train together.

    Args:
        members: runs of equal shapes and operations; they may differ in the updates already done.
        task: shared by all.
        model: shared by all.
        compile: whether to compile the step (their settings' `compile` if a compiler is installed).
    """

    def __init__(self, members: Sequence[Member], task: Task, model: Model, compile: bool) -> None:
        self.task = task
        self.model = model
        self.compile = compile
        shared = members[0].settings
        self.batch_size = shared.batch_size
        self.checkpoint_seconds = shared.checkpoint_seconds
        self.optimizer: Optimizer = OPTIMIZERS[shared.optimizer]()
        self.tf32 = shared.tf32
        self.terms = LossTerms(*members[0].settings.terms)
        self.evaluator = task.evaluator(model, self.terms)
        self.slots: list[Member | None] = list(members)
        shapes = {k: v.shape for k, v in model.init(0, task.dtype).items() if not is_constant(k)}
        self.layout = Layout(shapes)
        self.beginnings = Beginnings(task, model, self.layout, self.optimizer)
        self.state = stack([self.beginnings.of(member) for member in members])
        self.targets = dict(task.targets([m.prepared for m in members], [m.weighting for m in members]))
        self.augment = shared.augment
        if self.augment:
            identity = torch.eye(3, dtype=task.dtype, device=task.device)
            self.targets["rotations"] = identity.expand(len(members), self.batch_size, 3, 3).contiguous()
        self.limits = {
            "clip": self._column([m.settings.clip for m in members]),
            "ema_decay": self._column([m.settings.ema_decay for m in members]),
        }
        self._upcoming: Chunk | None = None
        self._evaluations: dict[str, Evaluation] = {}
        """Of runs whose schedule has just ended, by name, until each takes its own."""
        self._saved = time.monotonic()
        self._stop: Callable[[], bool] = lambda: False

    @property
    def active(self) -> list[tuple[int, Member]]:
        """Members still training, each with its place in the pack."""
        return [(i, m) for i, m in enumerate(self.slots) if m is not None]

    def train(self, stop: Callable[[], bool], report: Report, ended: Callable[[Member], None] = ignore) -> None:
        """Train every member to its end, and set its `evaluations` or its `failure`.

        Args:
            stop: returns whether to stop; called after at most `STEPS_PER_CHUNK` updates.
            report: called with each `progress` event.
            ended: called with each member as soon as it has ended, while the others go on.

        Raises:
            Interrupted: `stop()` returned true.
            TooLarge: out of memory during an update of a pack of two or more; each of its runs has a checkpoint of the
                last whole chunk of updates. Out of memory at any other time raises the error itself.
        """
        self._stop = stop
        while self.active:
            for i, member in self.active:
                schedule = member.schedule
                kept_at = {*(branch.start for branch in schedule.branches), schedule.cooldown_start}
                if member.branch_state is None and member.steps_done in kept_at:
                    # Compaction may move what is not a copy.
                    member.branch_state = {k: v.clone() for k, v in take(self.state, i).items()}
            length = self._until_event()
            self._checked_chunk(length, self._until_event(length))
            ending = [(self._weights(i), m) for i, m in self.active if m.ends_a_schedule]
            self._evaluations = evaluate_together(self.evaluator, ending)
            for i, member in self.active:
                self._events(i, member)
                if self.slots[i] is None:  # at once, so that no later error costs what has ended
                    self._validate([(i, member)], report)
                    ended(member)
            self._validate(self.active, report)
            self._compact()
            if self.active and stop():
                self.save()
                raise Interrupted
            if time.monotonic() - self._saved > self.checkpoint_seconds:
                self.save()

    def advance(self, length: int) -> None:
        """Make `length` updates of every member, without events or checkpoints: for benchmarks."""
        self._chunk(length)

    def bare_gradient(self, eager: bool = False) -> Tensor:
        """Return the gradient `[p, n]` on one batch: for benchmarks; `eager`, to choose sizes of packs."""
        picked = torch.zeros((len(self.slots), self.batch_size), dtype=torch.int64, device=self.task.device)
        constants = part(self.state, "constants")
        gradient = eager_gradient(self._loss, self.layout) if eager else self._step().gradient
        return gradient(self.state["params"], constants, self.task.batch(self.targets, picked))[1]

    def bare_steps(self, length: int) -> None:
        """Make only the traced steps of `length` updates, on one batch at rate 0: for benchmarks of the overhead."""
        step = self._step()
        picked = torch.zeros((len(self.slots), self.batch_size), dtype=torch.int64, device=self.task.device)
        rate, ones = (self._column(np.full(len(self.slots), value)) for value in (0.0, 1.0))
        everyone = ones > 0
        for number in range(2, length + 2):
            self._update(step, picked, rate, ones)
            if self.optimizer.due(number):
                self._refresh(everyone, None)

    def _until_event(self, ahead: int = 0) -> int:
        """Return the updates until the next event of a member, counted from when `ahead` more are done."""
        return min(until_event(member.schedule, member.steps_done + ahead) for _, member in self.active)

    def _checked_chunk(self, length: int, following: int) -> None:
        """Make a chunk of updates; if memory runs out, undo the part that was made.

        Raises:
            TooLarge: out of memory in a pack of two or more.
        """
        before = self.state
        try:
            self._chunk(length, following)
        except Exception as error:
            if len(self.slots) == 1 or not out_of_memory(error):
                raise
            self.state, self._upcoming = before, None
            self.save()
            raise TooLarge from error

    def _chunk(self, length: int, following: int | None = None) -> None:
        """Make `length` updates of every member, and draw the `following` ones while the device computes."""
        members = self.active
        step = self._step()
        for _, member in members:
            member.computed_by(step.kind, step.why)
        began, began_cpu = time.monotonic(), time.process_time()
        request = self._request(length)
        drawn = self._upcoming
        if drawn is None or drawn.request != request:
            drawn = draw(request, [member for _, member in members], self.optimizer)
        self._upcoming = None
        rates, steps = self._column(drawn.rates), self._column(drawn.steps)
        picked = self._column(drawn.picked, torch.int64)
        due, first = (self._column(mask, torch.bool) for mask in (drawn.due, drawn.due & (drawn.steps == 1)))
        weights = None if drawn.weights is None else self._column(drawn.weights)
        rotations = None if drawn.rotations is None else self._column(drawn.rotations)
        # A compiled gradient's outputs live in memory that its next call overwrites (a replayed CUDA graph).
        losses = torch.empty((length, request.size), dtype=self.task.dtype, device=self.task.device)
        with denormals_are_zero():
            for j in range(length):
                if weights is not None:
                    self.targets["weights"] = weights[j]
                if rotations is not None:
                    self.targets["rotations"] = rotations[j]
                losses[j] = self._update(step, picked[j], rates[j], steps[j])
                if drawn.due[j].any():
                    begins = bool((drawn.due[j] & (drawn.steps[j] == 1)).any())
                    self._refresh(due[j], first[j] if begins else None)
        if following is not None:
            coming = self._request(following, ahead=length)
            self._upcoming = draw(coming, [member for _, member in members], self.optimizer)
        all_losses = losses.cpu().numpy()  # the only wait for the device in a chunk besides those of `_refresh`
        seconds = (time.monotonic() - began) / len(members)
        cpu_seconds = (time.process_time() - began_cpu) / len(members)
        for i, member in members:
            member.steps_done += length
            member.seconds += seconds
            member.cpu_seconds += cpu_seconds
            member.history.loss(all_losses[:, i])
            if not np.isfinite(all_losses[:, i]).all():
                where = member.steps_done - length + int(np.argmin(np.isfinite(all_losses[:, i])))
                member.failure = f"the loss is not finite at update {where}; {member.advice}"

    def _request(self, length: int, ahead: int = 0) -> Request:
        """Describe the chunk of `length` updates that begins after `ahead` further ones."""
        places, members = zip(*self.active, strict=True)
        names, done = zip(*((member.name, member.steps_done + ahead) for member in members), strict=True)
        return Request(length, len(self.slots), self.batch_size, places, names, done, self._staged, self.augment)

    @property
    def _staged(self) -> bool:
        """Whether the loss's weights change in some run's schedule; only molecules have any."""
        staged = any(member.settings.late_energy_weight is not None for _, member in self.active)
        return staged and "weights" in self.targets

    def _column(self, values: Any, dtype: torch.dtype | None = None) -> Tensor:
        return torch.as_tensor(values, dtype=dtype or self.task.dtype, device=self.task.device)

    def _update(self, step: Step, picked: Tensor, rate: Tensor, number: Tensor) -> Tensor:
        """Make one update of the pack and return the losses before it, `[p]`."""
        constants = part(self.state, "constants")
        # Outside of the compiled step, whose shapes are then none of the data's.
        batch = self.task.batch(self.targets, picked)
        losses, grads = step.gradient(self.state["params"], constants, batch)
        self.state = {**self.state, **step.update(self.state, grads, rate, number, self.limits)}
        return losses

    def _refresh(self, due: Tensor, first: Tensor | None) -> None:
        """Renew the optimiser's state of the runs for which `due` `[p]` is true (`Optimizer.refresh`)."""
        memory = self.optimizer.refresh(self.layout, part(self.state, "optimizer"), first, due)
        self.state = {**self.state, **{f"optimizer/{k}": v for k, v in memory.items()}}

    def _step(self) -> Step:
        """Return gradient and update, made once for each shape: runs that differ in numbers alone share them."""
        constants = part(self.state, "constants")
        shapes = tuple((k, tuple(v.shape)) for group in (constants, self.targets) for k, v in sorted(group.items()))
        batch = (len(self.slots), self.batch_size)
        key = (self.model, shapes, batch, self.compile, self.terms, self.optimizer, self.tf32)
        if key not in self.task.traced:
            began = time.monotonic()
            name = type(self.model).__name__
            try:
                if self.compile and self._stop():  # nothing has asked since training began
                    raise Stopped
                with compiling():
                    self.task.traced[key] = make_step(
                        self._loss, self.optimizer, self.layout, self.compile, self._example(), name, self.tf32
                    )
            except Stopped:
                self.save()
                raise Interrupted from None
            logger.info("step ready after %.1f s", time.monotonic() - began)
        step: Step = self.task.traced[key]
        return step

    def _example(self) -> Example:
        """Return the arguments of the pack's first update, whatever has been trained since; idle slots have the first
        run's."""
        members = [member or self.active[0][1] for member in self.slots]
        state = stack([self.beginnings.initial(member) for member in members]) if self.compile else self.state
        places = [batches(m.seed, len(m.prepared.subset), self.batch_size, np.zeros(1, int))[0] for m in members]
        picked = np.stack([m.prepared.subset[place] for m, place in zip(members, places, strict=True)])
        return Example(
            {k: v for k, v in state.items() if not k.startswith("constants/")},
            part(state, "constants"),
            self.task.batch(self.targets, torch.as_tensor(picked, device=self.task.device)),
            self.limits,
        )

    @property
    def _loss(self) -> LossFunction:
        """The loss of a batch; it must not refer to this pack, for the task keeps the compiled step for later ones."""
        task, model, terms = self.task, self.model, self.terms

        def loss(params: Tensors, batch: Tensors) -> Tensor:
            return task.loss(model, params, batch, terms)

        return loss

    def _weights(self, i: int) -> dict[str, Tensor]:
        """Return run `i`'s averaged parameters and constants by name, without a pack axis."""
        state = take(self.state, i)
        memory = {k: v[None] for k, v in part(state, "optimizer").items()}
        evaluated = self.optimizer.evaluated(state["ema"][None], memory)
        named = {k: v[0] for k, v in self.layout.named(evaluated).items()}
        return {**named, **part(state, "constants")}

    @lengthy("evaluating")
    def _events(self, i: int, member: Member) -> None:
        """Do what is due for a run after a chunk: end a schedule and evaluate it, return from a branch, end the run."""
        schedule = member.schedule
        if member.failure is not None:
            self.slots[i] = None
            return
        for branch in schedule.branches:
            if member.steps_done == branch.end and branch.budget not in member.evaluations:
                self._end_schedule(i, member, branch.budget)
                assert member.branch_state is not None
                self.state = put(self.state, i, member.branch_state)
                member.branch_state = None
        if member.steps_done == schedule.total:
            self._end_schedule(i, member, schedule.max_steps)
            self._choose(i, member)
        if member.failure is not None or member.full is not None:
            self.slots[i] = None

    @lengthy("evaluating")
    def _validate(self, members: Sequence[tuple[int, Member]], report: Report) -> None:
        """Evaluate all runs at once whose validation is due after a chunk, and record and report their progress."""
        due = [
            (i, m)
            for i, m in members
            if m.failure is None and (m.full is not None or m.steps_done % validation_interval(m.schedule) == 0)
        ]
        weights, data = [m.weights or self._weights(i) for i, m in due], [m.prepared for _, m in due]
        for (_, m), errors in zip(due, self.evaluator.validation(weights, data) if due else [], strict=True):
            record = {"clock": m.steps_done, "total": m.schedule.total, "seconds": m.seconds, **errors}
            m.history.write(record)
            report({"event": "progress", "run": m.name, **record})

    def _end_schedule(self, i: int, member: Member, budget: int) -> None:
        """Evaluate the end of a schedule, and keep its weights if they are the best so far and the run goes by that."""
        weights = self._weights(i)
        member.evaluations[budget] = self._evaluated(weights, member)
        if member.stops_by_validation and best_budget(member.evaluations) == budget:
            member.best_weights = {k: v.clone() for k, v in weights.items()}

    def _choose(self, i: int, member: Member) -> None:
        """Set the weights that the run keeps: the last ones, or those of the schedule that is best by validation."""
        best = best_budget(member.evaluations) if member.stops_by_validation else None
        if best is None or best == member.schedule.max_steps:
            member.weights = {k: v.clone() for k, v in self._weights(i).items()}
            return
        assert member.best_weights is not None
        member.weights = member.best_weights
        member.evaluations[best] = self._evaluated(member.weights, member)  # errors of single frames are in no file

    def _evaluated(self, weights: Mapping[str, Tensor], member: Member) -> Evaluation:
        """Evaluate the member unless that was done; record a failure if an error is not finite."""
        evaluation = self._evaluations.pop(member.name, None)
        if evaluation is None:
            (evaluation,) = self.evaluator.full([weights], [member.prepared])
        splits = (evaluation.test, evaluation.train)
        if not all(math.isfinite(error.value) for errors in splits for error in errors.values()):
            member.failure = f"the errors after update {member.steps_done} are not finite; {member.advice}"
        return evaluation

    def _compact(self) -> None:
        """Drop idle slots once at most half of all are in use; shapes change only log₂(pack) times."""
        active = self.active
        if not active or len(active) > len(self.slots) // 2:
            return
        size = 1 << (len(active) - 1).bit_length()
        keep = [i for i, _ in active] + [i for i, m in enumerate(self.slots) if m is None][: size - len(active)]
        index = torch.as_tensor(keep, device=self.task.device)
        self.state = {k: v[index] for k, v in self.state.items()}
        self.targets = {k: v[index] for k, v in self.targets.items()}
        self.limits = {k: v[index] for k, v in self.limits.items()}
        self.slots = [self.slots[i] for i in keep]

    def save(self) -> None:
        """Write a checkpoint of every member."""
        for i, member in self.active:
            checkpoint.save_step(member.path, member.steps_done, checkpoint_of(member, take(self.state, i)))
        self._saved = time.monotonic()


def until_event(schedule: Schedule, steps_done: int) -> int:
    """Return the number of updates from `steps_done` to the next event of a run, `STEPS_PER_CHUNK` at most."""
    interval = validation_interval(schedule)
    validation = (steps_done // interval + 1) * interval
    return min(STEPS_PER_CHUNK, *(mark - steps_done for mark in (*schedule.marks, validation) if mark > steps_done))


def validation_interval(schedule: Schedule) -> int:
    """Return the updates between two evaluations on the validation set."""
    return math.ceil(schedule.total / VALIDATIONS)
