"""Takes runs from the store, trains or solves them, and publishes their results: the only way to compute a run."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from experiments.config.parse import parse
from experiments.config.run import RunConfig
from experiments.config.suits import check_data
from experiments.core import files
from experiments.core.errors import DeviceLost, InputError
from experiments.core.interrupt import Abandoned, abandonable
from experiments.core.states import RunOutcome, RunState
from experiments.data.dataset import AnyDataset, Dataset
from experiments.data.load import TESTS, dataset_of, without_lost_tests
from experiments.runs.climb import Rung, climb, ladders
from experiments.runs.external import evaluate_lacking
from experiments.runs.result import origin
from experiments.runs.store import ORIGIN, Attempt, Run
from experiments.runs.train import train
from experiments.training.device_errors import does_not_fit, lost_device, out_of_memory, unusable
from experiments.training.lengthy import lengthy
from experiments.training.pack import Interrupted

logger = logging.getLogger(__name__)
Report = Callable[[Mapping[str, Any]], None]


def execute(
    runs: Sequence[Run], stop: Callable[[], bool], report: Report, device: str | None = None
) -> dict[str, RunOutcome]:
    """Compute the runs of a pack that no other process has.

    A run that fails does not affect the others. One that failed because its numbers were no longer finite starts afresh
    when it is taken again; after any other end a run goes on from its latest undamaged checkpoint.

    Args:
        runs: of equal shapes (`RunConfig.shape_id`) and on the same data.
        stop: returns whether to stop; called after each chunk of updates at the latest, so a worker sends its heartbeat
            from it.
        report: called with `progress` events and, as soon as a run has ended, with an `ended` event and its `outcome`.
        device: cpu or cuda, in place of the configured one: the launcher has assigned it to this process.

    Returns:
        The outcome of each run by id.

    Raises:
        Interrupted: `stop()` returned true; the checkpoints are written and the runs can be taken again.
        DeviceLost: nothing can be computed on the device any more; the runs can be taken again by a new process.
        OSError: the disk is full, read-only or broken; the runs can be taken again from their latest checkpoints.
    """
    outcome: dict[str, RunOutcome] = _Outcomes(report)
    with ExitStack() as leases:
        taken: list[Attempt] = []
        for run in runs:
            attempt = run.claim()
            if attempt is None:
                done = run.state() == RunState.DONE
                if done:
                    _evaluate_lacking(run, None, device)
                outcome[run.id] = RunOutcome.DONE if done else RunOutcome.TAKEN
                continue
            leases.enter_context(attempt)
            leases.enter_context(_LogTo(attempt.path / "log.txt"))
            attempt.note(ORIGIN, origin())
            run.set_state(RunState.RUNNING, attempt=attempt.number)
            taken.append(attempt)
        try:
            _guarded(taken, stop, report, outcome, device)
        except (Interrupted, Abandoned, DeviceLost) as error:
            message = f"its device was lost: {error}" if isinstance(error, DeviceLost) else "interrupted by a signal"
            for attempt in taken:
                if attempt.run.id not in outcome:
                    attempt.run.set_state(RunState.QUEUED, attempt=attempt.number, message=message)
            if isinstance(error, Abandoned):
                raise Interrupted from None
            raise
    return outcome


class _Outcomes(dict[str, RunOutcome]):
    """The outcome of each run by id, reported as it is entered."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report

    def __setitem__(self, run_id: str, outcome: RunOutcome) -> None:
        super().__setitem__(run_id, outcome)
        self.report({"event": "ended", "run": run_id, "outcome": outcome})


def _guarded(
    attempts: Sequence[Attempt],
    stop: Callable[[], bool],
    report: Report,
    outcome: dict[str, RunOutcome],
    device: str | None,
) -> None:
    """Compute all; an error in a run is recorded as a failure of that run alone."""
    if not attempts:
        return
    try:
        _compute(attempts, stop, report, outcome, device)
        return
    except (Interrupted, DeviceLost):
        raise
    except Exception as error:
        if stop():  # C++ code turns the interrupt that a signal raised in it into an error of its own
            raise Interrupted from error
        if isinstance(error, OSError) and error.errno in files.DISK:
            raise  # no fault of a run
        left = [attempt for attempt in attempts if attempt.run.id not in outcome]
        if len(left) == 1:
            outcome[left[0].run.id] = _fail(left[0], error)
            return
        logger.warning(
            "a pack of %d failed (%s: %s); its runs go on one by one", len(left), type(error).__name__, error
        )
    for attempt in left:  # not while the error is handled: it keeps the pack's memory alive
        _guarded([attempt], stop, report, outcome, device)


def _fail(attempt: Attempt, error: Exception | str) -> RunOutcome:
    """Record a failure; a message instead of an error means that the numbers were no longer finite."""
    if attempt.run.result() is not None:
        return RunOutcome.DONE
    if isinstance(error, Exception):
        message = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        (attempt.path / "error.txt").write_text("".join(traceback.format_exception(error)))
        if not isinstance(error, InputError):  # an InputError is told to the user in one line
            logger.error("run %s failed", attempt.run.id, exc_info=error)
    else:
        message = error
        logger.error("run %s failed: %s", attempt.run.id, error)
        attempt.diverged(message)
    refused = {"refused": True} if isinstance(error, InputError) else {}
    attempt.run.set_state(RunState.FAILED, attempt=attempt.number, message=message, **refused)
    return RunOutcome.FAILED


def _compute(
    attempts: Sequence[Attempt],
    stop: Callable[[], bool],
    report: Report,
    outcome: dict[str, RunOutcome],
    device: str | None,
) -> None:
    """Compute all, each entered into `outcome` as soon as it has ended."""
    with lengthy("loading data"), abandonable():
        checked = [(attempt, _checked(attempt)) for attempt in attempts]
    for attempt, config in checked:
        if isinstance(config, InputError):
            outcome[attempt.run.id] = _fail(attempt, config)
    attempts = [attempt for attempt, config in checked if isinstance(config, RunConfig)]
    configs = [config for _, config in checked if isinstance(config, RunConfig)]
    if not configs:
        return
    dataset = dataset_of(configs[0].data)
    check_data(configs[0], dataset)
    if configs[0].model.closed_form:
        assert isinstance(dataset, Dataset)
        _climb_all(list(zip(attempts, configs, strict=True)), dataset, stop, report, outcome)
        return
    place = _place(device, configs[0])

    def ended(attempt: Attempt, failure: str | None) -> None:
        if failure is None:
            _evaluate_lacking(attempt.run, dataset, device)
        outcome[attempt.run.id] = RunOutcome.DONE if failure is None else _fail(attempt, failure)

    try:
        train(attempts, configs, dataset, place, stop, report, ended)
    except (Interrupted, InputError):
        raise
    except Exception as error:
        if reason := lost_device(error, place):
            raise DeviceLost(reason) from error
        if out_of_memory(error):
            raise InputError(does_not_fit(error, place)) from error
        raise


def _climb_all(
    rungs: Sequence[Rung],
    dataset: Dataset,
    stop: Callable[[], bool],
    report: Report,
    outcome: dict[str, RunOutcome],
) -> None:
    """Solve fits in closed form, ladder by ladder; what only the largest run of one asks too much of fails alone."""
    waiting = ladders(rungs, dataset)
    while waiting:
        ladder = waiting.pop(0)
        try:
            climb(ladder, dataset, stop, report, lambda done: outcome.__setitem__(done.run.id, RunOutcome.DONE))
        except InputError as error:
            if len(ladder) == 1:
                outcome[ladder[0][0].run.id] = _fail(ladder[0][0], error)
            else:
                waiting[:0] = [ladder[:-1], ladder[-1:]]


def _evaluate_lacking(run: Run, dataset: AnyDataset | None, device: str | None) -> None:
    """Evaluate a run that is done on the test sets that it lacks; what prevents that is logged, for the run is done."""
    try:
        if dataset is None:
            data = run.config()["data"]
            if not data.get(TESTS):
                return
            dataset = dataset_of(config_of(run).data)
        if isinstance(dataset, Dataset) and dataset.further:
            evaluate_lacking(run, dataset, _place(device, config_of(run)))
    except (DeviceLost, Interrupted):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in files.DISK:
            raise
        known = isinstance(error, InputError)
        logger.error("run %s is done, but lacks errors on further test sets: %s", run.id, error, exc_info=not known)


def _place(given: str | None, config: RunConfig) -> torch.device:
    """Return the device to train on.

    Raises:
        DeviceLost: the device that this process was given is absent, which is no fault of a run.
    """
    if given is None:
        return device_of(config.device)
    device = torch.device(given)
    if reason := unusable(device):
        raise DeviceLost(reason, absent=True)
    return device


def _checked(attempt: Attempt) -> RunConfig | InputError:
    """Return the run's configuration, or the error that it has."""
    try:
        config = config_of(attempt.run)
        run_id = config.run_id(dataset_of(config.data).sha256())
    except InputError as error:
        return error
    if run_id == attempt.run.id:
        return config
    return InputError(
        f"run {attempt.run.id}: its data or the meaning of its configuration changed since it was queued "
        f"(now {run_id}); accepted: start the sweep again"
    )


def config_of(run: Run) -> RunConfig:
    """Return a run's configuration without test sets whose files are gone: it keeps every set it was asked for."""
    config = parse(run.config())
    return replace(config, data=without_lost_tests(config.data))


def device_of(name: str) -> torch.device:
    """Return the device of a name; `auto` is the first GPU of this machine if there is one.

    Raises:
        InputError: cuda was asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda': this machine has no CUDA device that torch can use; accepted: auto | cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class _Unheld(logging.FileHandler):
    """A log file that is closed after each line: a pack has more logs than a process may have open files."""

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.stream is not None:
            self.stream.close()
            self.stream = None  # FileHandler opens it again at the next line


class _LogTo:
    """A context inside which everything logged goes to a file too."""

    def __init__(self, path: Path) -> None:
        self.handler = _Unheld(path, delay=True)
        self.handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def __enter__(self) -> None:
        logging.getLogger().addHandler(self.handler)

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self.handler)
        self.handler.close()
