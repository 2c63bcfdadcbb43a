"""The training of a pack of runs: what the store and the data know becomes members, and members become results."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from experiments.config.compiling import in_words
from experiments.config.run import RunConfig
from experiments.core.interrupt import abandonable
from experiments.data.dataset import AnyDataset, Dataset
from experiments.data.load import Section, dataset_of, key_of
from experiments.data.splits import training_subset
from experiments.models.contract import ModelConfig
from experiments.models.networks.plain import PlainNetwork
from experiments.models.networks.probe import traceable
from experiments.models.registry import widths
from experiments.nn.parameters import is_constant
from experiments.runs.capacity import features
from experiments.runs.evaluations import FURTHER_TESTS
from experiments.runs.problems import TaskSettings, problem_of, task_settings
from experiments.runs.result import peak_memory, publish
from experiments.runs.schedules import Schedules, by_budget, by_validation
from experiments.runs.store import WEIGHTS, Attempt
from experiments.runs.trackers import Tracking
from experiments.training.arithmetic import arithmetic
from experiments.training.checkpoint import Checkpoint
from experiments.training.lengthy import lengthy
from experiments.training.member import STABLE_PHASE, Member, usable_stable_phase
from experiments.training.memory import train_within_memory
from experiments.training.pack import Pack, Report
from experiments.training.schedule import Schedule
from experiments.training.step import can_compile

logger = logging.getLogger(__name__)


def train(
    attempts: Sequence[Attempt],
    configs: Sequence[RunConfig],
    dataset: AnyDataset,
    device: torch.device,
    stop: Callable[[], bool],
    report: Report,
    ended: Callable[[Attempt, str | None], None],
) -> None:
    """Train the runs of a pack and publish each result as soon as the run has ended.

    Args:
        attempts: holds on the runs.
        configs: the runs' configurations, of equal shapes and on the same data.
        dataset: those data.
        device: what to train on.
        stop: returns whether to stop; called after each chunk of updates at the latest.
        report: called with `progress` events.
        ended: called with each run that has ended, and the reason if it failed.

    Raises:
        Interrupted: `stop()` turned true.
        Abandoned: a signal asked to stop before the training began.
    """
    settings = configs[0].training
    assert settings is not None
    with lengthy("loading data"), abandonable():
        training = _Training(attempts, configs, dataset, device, report, ended)
    by_kind: dict[bool, list[Member]] = {}
    for member in training.members:
        by_kind.setdefault(member.compiles, []).append(member)
    with training.tracking, arithmetic(settings.tf32):
        for asked, members in by_kind.items():
            compile = asked and can_compile(device) and _compilable(training.model, training.task.dtype)
            if settings.compile is not False or compile:
                report({"event": "step", "text": in_words(compile, members[0].settings.compiles)})

            def pack(members: Sequence[Member], compile: bool = compile) -> Pack:
                return Pack(members, training.task, training.model, compile)

            train_within_memory(members, pack, stop, training.on_event, training.on_end)


def _compilable(model: Any, dtype: torch.dtype) -> bool:
    """Return whether a step of this network can be compiled: any, but some modules of users."""
    if not isinstance(model, PlainNetwork) or traceable(model, dtype):
        return True
    logger.warning(
        "%s is trained eagerly: some of its operations depend on values and not on shapes alone",
        model.config.architecture,
    )
    return False


class _Training:
    """The members of a pack with the runs that they stand for; see `train` for the arguments."""

    def __init__(
        self,
        attempts: Sequence[Attempt],
        configs: Sequence[RunConfig],
        dataset: AnyDataset,
        device: torch.device,
        report: Report,
        ended: Callable[[Attempt, str | None], None],
    ) -> None:
        self.dataset = dataset
        self.report = report
        self.ended = ended
        self.tracking = Tracking()
        self.problem = problem_of(dataset)
        first = configs[0]
        assert first.training is not None
        section = key_of(first.data)
        self.task = _task(section, task_settings(first.model), first.training.precision, device)
        self.model = _network(section, first.model)
        self.runs = {attempt.run.id: (attempt, config) for attempt, config in zip(attempts, configs, strict=True)}
        self.members = [self._member(attempt, config) for attempt, config in self.runs.values()]
        self._by_name = {member.name: member for member in self.members}

    def _member(self, attempt: Attempt, config: RunConfig) -> Member:
        assert config.training is not None
        return Member(
            name=attempt.run.id,
            path=attempt.path,
            earlier=list(attempt.earlier()),
            seed=config.seed,
            init_seed=config.init_seed,
            settings=config.training,
            prepared=self.task.prepare(training_subset(self.dataset, config.P, config.subset_seed)),
            stable_phase=_stable_phase(attempt, config, self.dataset),
        )

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Pass an event on, to the run's tracker first."""
        attempt, config = self.runs[event["run"]]
        if config.training is not None:
            records = self._by_name[event["run"]].history.records
            self.tracking.follow(config.training.tracker, attempt.run, records)
        self.report(event)

    def on_end(self, member: Member) -> None:
        """Publish the result of a member that has ended, unless it failed."""
        attempt, config = self.runs[member.name]
        if member.failure is None:
            self._publish(member, attempt, config)
        self.ended(attempt, member.failure)

    def _publish(self, member: Member, attempt: Attempt, config: RunConfig) -> None:
        member.history.to_parquet(attempt.path / "history.parquet")
        if member.settings.keep == "trunk":
            member.save_stable_phase()
        self.problem.save(attempt.path / WEIGHTS, self.task, member)
        last = member.history.records[-1] if member.history.records else {}
        validation = {
            name.removeprefix("holdout_"): error for name, error in last.items() if name.startswith("holdout_")
        }
        stopped = by_validation(member.evaluations, member.schedule)
        own = stopped if member.stops_by_validation else by_budget(member.evaluations, member.schedule)
        assert own is not None  # a run that stops by validation has such frames (`check_data`)
        facts = {**self._facts(member, config), **_shorter_on_further_tests(own, self.dataset)}
        publish(attempt, config, self.dataset, own, facts, validation, stopped)
        shown = member.outcome.test.items()
        self.tracking.end(member.name, {f"test_{name}": error.value for name, error in shown})

    def _facts(self, member: Member, config: RunConfig) -> dict[str, Any]:
        """Return the size and the cost of a training, as `result.json` has them."""
        assert member.weights is not None
        return {
            "n_parameters": sum(value.numel() for name, value in member.weights.items() if not is_constant(name)),
            "n_features": features(config.model) if widths(config.model) is not None else None,
            "n_steps": member.settings.max_steps,
            "n_updates": member.schedule.total - member.start,
            "seconds": member.seconds,
            "cpu_seconds": member.cpu_seconds,
            "peak_memory": peak_memory(),
            "device": str(self.task.device),
            "step": member.step_kind,
            "step_reason": member.step_reason,
        }


def _shorter_on_further_tests(errors: Schedules, dataset: AnyDataset) -> dict[str, Any]:
    """Return the errors of T/2 and T/4 on further test sets, for `result.json`: their weights are not kept."""
    if not isinstance(dataset, Dataset) or not errors.full.further:
        return {}
    shorter = {"error_half_budget": errors.half, "error_quarter_budget": errors.quarter}
    return {
        FURTHER_TESTS: {
            name: {
                "sha256": dataset.further_sha256[name],
                "by_metric": {
                    metric: {
                        column: one.further[name][metric].value if one is not None and name in one.further else None
                        for column, one in shorter.items()
                    }
                    for metric in of_full
                },
            }
            for name, of_full in errors.full.further.items()
        }
    }


def _stable_phase(attempt: Attempt, config: RunConfig, dataset: AnyDataset) -> Checkpoint | None:
    """Return the end of the stable phase of a run with half the budget (a quarter, …) and all else equal, or None.

    A run whose step is compiled goes on from compiled ones only, so that its digits are the same without them.
    """
    assert config.training is not None
    settings = config.training
    schedule = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown)
    budget = settings.max_steps
    while budget % 2 == 0 and budget > 2:
        budget //= 2
        smaller = replace(config, training=replace(settings, max_steps=budget))
        assert smaller.training is not None
        if smaller.training.compiles != settings.compiles:
            return None
        run = attempt.run.sibling(smaller.run_id(dataset.sha256()))
        stored = run.path / "checkpoint" / STABLE_PHASE
        by_validation = settings.stop == "validation"
        done = run.result() is not None
        stable_phase = usable_stable_phase(stored, schedule, budget, by_validation) if done else None
        if stable_phase is not None:
            logger.info("continues the stable phase of run %s, from update %d", run.id, stable_phase.facts["step"])
            return stable_phase
    return None


@functools.lru_cache(maxsize=4)
def _task(section: Section, settings: TaskSettings, precision: str, device: torch.device) -> Any:
    return problem_of(dataset_of(dict(section))).task(settings, getattr(torch, precision), device)


@functools.lru_cache(maxsize=16)
def _network(section: Section, config: ModelConfig) -> Any:
    return problem_of(dataset_of(dict(section))).network(config)
