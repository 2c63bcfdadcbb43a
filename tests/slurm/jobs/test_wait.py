"""Waiting for submitted runs, what a sweeper gets back, and what a Ctrl-C leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core.errors import RunsFailed
from experiments.core.states import RunState
from experiments.data.load import dataset_of
from experiments.runs.record import Result
from slurm import launcher
from slurm.jobs import submit, wait
from slurm.jobs.scheduler import Answer
from slurm.jobs.submit import submit_missing
from slurm.launcher import Errors, launch_on_slurm
from slurm.plan import Plan, PlannedRun
from slurm.progress import Progress
from slurm.settings import SlurmSettings
from tests.slurm.made_up import MadeUp

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def runs(make_config: MakeConfig) -> list[PlannedRun]:
    found = []
    for seed in range(3):
        config = parse(make_config({"seed": seed}))
        found.append(PlannedRun.of(config, dataset_of(config.data).sha256()))
    return found


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    made_up = MadeUp()
    monkeypatch.setattr(submit, "ask", made_up.ask)
    monkeypatch.setattr(submit, "limits", lambda *_: made_up.limits)
    monkeypatch.setattr(wait, "POLL_SECONDS", 0.01)
    return made_up


def publish(planned: PlannedRun, error: float = 1.0) -> None:
    attempt = planned.run.claim()
    assert attempt is not None
    with attempt:
        by_metric = {"force_mae": {"error": error, "holdout_error": error / 2}}
        attempt.publish({"metrics": {"force_mae": error}, "primary": "force_mae", "by_metric": by_metric})


def test_it_waits_for_results_and_names_what_is_gone(runs: list[PlannedRun], slurm: MadeUp) -> None:
    """One is done, one fails, and one's job is gone; a controller that is silent for a while changes nothing."""
    submit_missing(runs, SlurmSettings(pack=1), slurm.look)
    asked = 0

    def look(names: Sequence[str]) -> Answer:
        nonlocal asked
        asked += 1
        slurm.reachable = asked != 2
        if asked == 3:
            publish(runs[0])
            runs[1].run.set_state(RunState.FAILED, message="a reason")
            slurm.held = {name: set() for name in slurm.held}
        return slurm.look(names)

    progress = Progress(runs)
    assert wait.wait(runs, progress, look, ask_seconds=0.0) == [runs[2]]
    assert asked == 3 + wait.GONE_AFTER - 1
    assert progress.states == {runs[0].run.id: "done", runs[1].run.id: "failed", runs[2].run.id: "queued"}


def test_a_job_that_is_queued_again_is_not_gone(runs: list[PlannedRun], slurm: MadeUp) -> None:
    """It is absent once, as between its end and its place in the queue."""
    submit_missing(runs[:1], SlurmSettings(pack=1), slurm.look)
    answers = []

    def look(names: Sequence[str]) -> Answer:
        answers.append(slurm.look(names))
        if len(answers) == 4:
            publish(runs[0])
        return Answer({}, reachable=True) if len(answers) == 2 else answers[-1]

    assert wait.wait(runs[:1], Progress(runs[:1]), look, ask_seconds=0.0) == []


@pytest.fixture
def launch(runs: list[PlannedRun], slurm: MadeUp, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The launcher with its plan made up too: a point for each run, then one without a run and the first again."""
    numbered = {number: p.run.id for number, p in enumerate(runs)}
    made = Plan(list(runs), [], of_point={**numbered, len(runs) + 1: runs[0].run.id})
    monkeypatch.setattr(launcher, "plan", lambda *_: made)
    monkeypatch.setattr(launcher, "Composer", lambda *_: None)

    def missing(planned: Sequence[PlannedRun], settings: SlurmSettings) -> Any:
        return submit_missing(planned, settings, slurm.look)

    monkeypatch.setattr(submit, "submit_missing", missing)
    nothing: Any = SimpleNamespace()
    return lambda **settings: launch_on_slurm(nothing, nothing, [()] * (len(runs) + 2), {"pack": 1, **settings})


def test_a_sweeper_gets_errors_on_the_validation_set(
    launch: Callable[..., Any], runs: list[PlannedRun], slurm: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a mapping all test errors; as the number to minimise, the one that no choice may be made on is left out."""

    def finish(planned: Sequence[PlannedRun], progress: Progress) -> list[PlannedRun]:
        for number, p in enumerate(planned):
            publish(p, 1.0 + number)
        return []

    monkeypatch.setattr(wait, "wait", finish)
    returned = launch(detach=False)
    assert returned.pop(3).return_value is None  # the others are not handed to the wrong points
    assert [r.return_value["force_mae"] for r in returned] == [1.0, 2.0, 3.0, 1.0]
    assert [float(r.return_value) for r in returned] == [0.5, 1.0, 1.5, 0.5]
    with pytest.raises(TypeError, match="no validation error of force_mae"):
        float(Errors(Result(attempt=1, metrics={"force_mae": 1.0})))


def test_runs_whose_jobs_are_gone_are_submitted_again_but_not_for_ever(
    launch: Callable[..., Any], runs: list[PlannedRun], slurm: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(planned: Sequence[PlannedRun], progress: Progress) -> list[PlannedRun]:
        slurm.held = {name: set() for name in slurm.held}
        return list(planned)

    monkeypatch.setattr(wait, "wait", lose)
    with pytest.raises(RunsFailed, match="3 runs ended without a result"):
        launch(detach=False)
    assert len(slurm.scripts) == launcher.ROUNDS


def test_ctrl_c_leaves_the_jobs_and_says_how_to_look_at_them(
    launch: Callable[..., Any], runs: list[PlannedRun], slurm: MadeUp, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], tmp_path: Path,
) -> None:  # fmt: skip
    def interrupted(*_: Any) -> list[PlannedRun]:
        raise KeyboardInterrupt

    monkeypatch.setattr(wait, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        launch(detach=False)
    said = capsys.readouterr().err
    assert f"jobs that were submitted go on\nlook:   python -m slurm status --store {tmp_path / 'store'}\n" in said
    assert f"cancel: python -m slurm cancel --store {tmp_path / 'store'}\n" in said
    assert [len(held) for held in slurm.held.values()] == [3]


def test_a_refusal_is_told_and_the_same_command_goes_on(launch: Callable[..., Any], slurm: MadeUp) -> None:
    slurm.refuse = "error: invalid partition specified: nowhere"
    with pytest.raises(RunsFailed, match=r"3 runs were not submitted; the same command submits them\nsbatch: error"):
        launch()
    slurm.refuse = ""
    assert [r.return_value for r in launch()] == [None] * 5
