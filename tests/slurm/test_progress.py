"""What a sweep says while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.core.states import RunState
from experiments.runs.store import Run
from slurm.plan import PlannedRun
from slurm.progress import Progress
from tests.slurm.test_packing import result_of

MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def progress(make_config: MakeConfig, tmp_path: Path) -> Progress:
    """Four runs of one shape and one of another architecture, on two workers."""
    config = parse(make_config())
    other = parse(make_config(model="ace"))
    planned = [
        PlannedRun(one, "curve", Run(tmp_path / f"{number:012x}"), "shape", "data")
        for number, one in enumerate([config] * 4 + [other])
    ]
    return Progress(planned, workers=2)


def test_nothing_is_guessed_before_a_run_has_finished(progress: Progress) -> None:
    assert progress.summary() == "0 of 5 runs done"
    progress.state(f"{0:012x}", RunState.RUNNING)
    progress.state(f"{1:012x}", RunState.RUNNING)
    assert progress.summary() == "0 of 5 runs done, 2 running"


def test_time_left_is_of_finished_runs_of_the_same_shape(progress: Progress) -> None:
    config = progress.planned[f"{0:012x}"].config
    progress.states[f"{0:012x}"] = RunState.DONE
    progress._costs.learn(result_of(config, 1200.0))
    # three runs of 20 min on two workers; nothing like the fifth has finished
    assert progress.summary().endswith(", at least 30 min left")
    progress.states[f"{4:012x}"] = RunState.FAILED
    assert progress.summary().endswith(", about 30 min left")
    progress.state(f"{1:012x}", RunState.RUNNING)
    progress.event({"event": "progress", "run": f"{1:012x}", "clock": 5, "total": 10, "seconds": 600.0})
    assert progress.summary().endswith("1 running, 1 failed, about 25 min left")


def test_a_pass_of_several_runs_tells_its_own_time_left_once(progress: Progress) -> None:
    for number in (0, 1):  # two runs of one ladder
        progress.state(f"{number:012x}", RunState.RUNNING)
        progress.event(
            {"event": "progress", "run": f"{number:012x}", "share": 0.25, "seconds": 400.0, "seconds_left": 1200.0}
        )
    assert progress.summary() == "0 of 5 runs done, 2 running, at least 20 min left"
    progress._costs.learn(result_of(progress.planned[f"{2:012x}"].config, 1800.0))
    progress.states[f"{4:012x}"] = RunState.FAILED
    assert progress.summary().endswith(", about 40 min left")  # 20 min and two runs of 30 min on two workers


def test_a_log_gets_lines_with_the_time_of_day(progress: Progress, capsys: pytest.CaptureFixture[str]) -> None:
    with progress:
        for number in range(5):
            progress.states[f"{number:012x}"] = RunState.DONE
    lines = capsys.readouterr().err.splitlines()
    assert [line[10:] for line in lines] == ["0 of 5 runs done", "5 of 5 runs done"]
    assert all(line[2] == line[5] == ":" for line in lines)


def test_phases_are_named(progress: Progress) -> None:
    for number in range(3):
        progress.state(f"{number:012x}", RunState.RUNNING)
    progress.event({"event": "phase", "run": f"{0:012x}", "phase": "compiling"})
    assert progress.summary() == "0 of 5 runs done, 3 running (1 compiling, 2 starting)"
    for number in range(3):
        progress.event({"event": "phase", "run": f"{number:012x}", "phase": "training"})
    assert progress.summary() == "0 of 5 runs done, 3 running (training)"
