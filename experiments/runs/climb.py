"""The ladders of closed forms: runs that differ only in P are solved in one pass, and each is published as its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from experiments.config.run import RunConfig
from experiments.core.interrupt import abandonable
from experiments.data.dataset import Dataset
from experiments.data.splits import training_subset
from experiments.models.contract import ModelConfig
from experiments.regression.ladder import Conditions
from experiments.regression.methods import closed_form
from experiments.runs import trained
from experiments.runs.external import of_predictions, write
from experiments.runs.problems import mean_neighbours
from experiments.runs.result import peak_memory, publish
from experiments.runs.schedules import Schedules
from experiments.runs.store import PROGRESS, WEIGHTS, Attempt
from experiments.tasks.evaluation import evaluation
from experiments.training.lengthy import go_on, lengthy
from experiments.training.pack import Interrupted

Report = Callable[[Mapping[str, Any]], None]
PROGRESS_SECONDS, NOTED_SECONDS = 1.0, 5.0
"""Time between reports of progress, and between those that are written into the runs' directories."""
_FITTED = 0.95
"""Share of a pass at which its last predictions are made; publication is the rest."""
_TELLS_SHARE, _TELLS_SECONDS = 0.02, 2.0
"""Progress and time from which on the time left can be told."""
Rung = tuple[Attempt, RunConfig]


def ladders(rungs: Sequence[Rung], dataset: Dataset) -> list[list[Rung]]:
    """Divide runs into ladders: by model and seeds, and so that the frames of a smaller P are a larger one's first.

    Each is ordered by P. A run of more frames than there are is a ladder of its own, which fails.
    """
    alike: dict[tuple[ModelConfig, int, int, int], list[Rung]] = {}
    found, most = [], len(dataset.pool) + len(dataset.holdout)
    for rung in sorted(rungs, key=lambda one: one[1].P):
        config = rung[1]
        if most < config.P:
            found.append([rung])
            continue
        alike.setdefault((config.model, config.seed, config.subset_seed, config.init_seed), []).append(rung)
    for members in alike.values():
        largest = members[-1][1]
        order = training_subset(dataset, largest.P, largest.subset_seed, closed_form=True)
        nested: list[Rung] = []
        for rung in members:
            own = training_subset(dataset, rung[1].P, rung[1].subset_seed, closed_form=True)
            if np.array_equal(own, order[: len(own)]):
                nested.append(rung)
            else:
                found.append([rung])
        found.append(nested)
    return found


@lengthy("fitting")
def climb(
    rungs: Sequence[Rung],
    dataset: Dataset,
    stop: Callable[[], bool],
    report: Report,
    ended: Callable[[Attempt], None],
) -> None:
    """Solve the runs of a ladder in one pass over its largest P, and publish each result.

    Args:
        rungs: runs with their configurations, ordered by P (`ladders`).
        dataset: their data.
        stop: returns whether to stop; called between pieces of work.
        report: called with `progress` events about once a second.
        ended: called with each run as soon as its result is published.

    Raises:
        Interrupted: `stop()` turned true; what is published stays, the rest is solved again.
        Abandoned: the same, by a signal during the solution.
        InputError: see `ClosedForm`.
    """
    clock = _Clock()
    left = {attempt.run.id: attempt for attempt, _ in rungs}
    watch = _Watcher(left, clock, stop, report)
    watch(0.0)
    largest, elements = rungs[-1][1], dataset.elements()
    model = closed_form(largest.model, elements, lambda: mean_neighbours(dataset, largest.model))
    frames = dataset.labelled.take(training_subset(dataset, largest.P, largest.subset_seed, closed_form=True))
    for others in (dataset.test, *dataset.further.values()):
        model.accept(frames, others)
    conditions = Conditions(
        dataset.isolated_energies,
        largest.init_seed,
        dataset.pool,
        lambda share: watch(_FITTED * share),
        len(dataset.test),
    )
    sizes = [config.P for _, config in rungs]
    with abandonable():
        ladder = model.ladder(frames, sizes, conditions)
        tests = ladder.predict(dataset.test)
        further = {name: ladder.predict(others) for name, others in dataset.further.items()}
    shared = clock.lap()
    for number, (attempt, config) in enumerate(rungs):
        watch(_FITTED + (1 - _FITTED) * number / len(rungs))
        solution, train = ladder.solutions[number], frames.take(slice(0, config.P))
        geometry = ladder.train[number]
        if geometry is None:
            geometry = model.geometry(solution.tensors)(train)
        on_train, on_test = (
            replace(one, energies=one.energies + trained.constants(solution, elements, others))
            for one, others in ((geometry, train), (tests[number], dataset.test))
        )
        errors = evaluation(on_test, on_train, dataset.test, train)
        trained.save_solution(attempt.path / WEIGHTS, solution, elements, dataset)
        own, part = clock.lap(), config.P / sum(sizes)
        facts = {
            "n_parameters": solution.n_parameters,
            "n_steps": None,
            "seconds": own[0] + shared[0] * part,
            "cpu_seconds": own[1] + shared[1] * part,
            "peak_memory": peak_memory(),
            "device": "cpu",
            "fit": dict(solution.facts),
            "ladder": {"sizes": sizes, "cpu_seconds": shared[1]},
        }
        publish(attempt, config, dataset, Schedules(errors), facts)
        for name, predicted in further.items():
            others = dataset.further[name]
            energies = predicted[number].energies + trained.constants(solution, elements, others)
            on_others = of_predictions(name, replace(predicted[number], energies=energies), others, solution.baseline)
            write(attempt.run, on_others, torch.device("cpu"), axis=True)
        del left[attempt.run.id]
        ended(attempt)


def progress(share: float, seconds: float) -> dict[str, float | None]:
    """Return a record of progress: the share that is done, the time it took, and the time left at that speed.

    The last is None at the beginning, which tells nothing of it.
    """
    left = None if share < _TELLS_SHARE or seconds < _TELLS_SECONDS else seconds * (1 - share) / share
    return {"share": share, "seconds": seconds, "seconds_left": left}


class _Watcher:
    """Hears of the share of a pass that is done: looks whether to stop, and tells of progress now and then."""

    def __init__(self, runs: Mapping[str, Attempt], clock: _Clock, stop: Callable[[], bool], report: Report) -> None:
        """Watch over `runs`, those of the pass that are not published yet."""
        self.runs, self.clock, self.stop, self.report = runs, clock, stop, report
        self._share, self._told, self._noted = 0.0, -np.inf, -np.inf

    def __call__(self, share: float) -> None:
        """Raise `Interrupted` if the work has to stop."""
        if self.stop():
            raise Interrupted
        go_on()
        now = time.monotonic()
        self._share = max(self._share, share)  # an estimate of work may prove too small, and then stands still
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told, record = now, progress(self._share, self.clock.seconds)
        note = now - self._noted >= NOTED_SECONDS
        for run_id, attempt in self.runs.items():
            self.report({"event": "progress", "run": run_id, **record})
            if note:
                attempt.note(PROGRESS, record)
        self._noted = now if note else self._noted


class _Clock:
    """Wall time and CPU time (s) of a pass, and of its parts."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._last = self._began, time.process_time()

    @property
    def seconds(self) -> float:
        """Wall time since the beginning."""
        return time.monotonic() - self._began

    def lap(self) -> tuple[float, float]:
        """Return the wall time and the CPU time since the last lap."""
        before, self._last = self._last, (time.monotonic(), time.process_time())
        return self._last[0] - before[0], self._last[1] - before[1]
