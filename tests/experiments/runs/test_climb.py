"""Ladders in the store: one pass, each run as if alone; killed anywhere, what is published stays, nothing doubles."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.config.parse import parse
from experiments.core.errors import InputError
from experiments.data.dataset import Frames
from experiments.data.load import dataset_of
from experiments.regression import linearised, ntk, rows
from experiments.regression.ladder import Conditions, Ladder
from experiments.runs.climb import ladders, progress
from experiments.runs.execute import execute
from experiments.runs.store import PROGRESS, Run, RunStore
from experiments.runs.table import run_table
from experiments.training import lengthy
from experiments.training.pack import Interrupted
from tests.experiments.finished import configuration, queued

NTK: dict[str, Any] = {
    "architecture": "ntk", "of": "mace", "edge_lmax": 1, "n_layers": 1, "channels": 2, "cutoff": 4.0, "n_bessel": 3,
    "radial_hidden": [4], "readout_hidden": 3,
}  # fmt: skip
SIZES = (12, 25, 40)


def runs_of(path: Path, store: str, sizes: Sequence[int] = SIZES, **changes: Any) -> list[Run]:
    """Queue the runs of a ladder of a small linearised network."""
    made = []
    for P in sizes:
        config = {**configuration(path, "mace", {"store": str(path / store)}), "model": dict(NTK), "P": P, "L": 0}
        made.append(queued({**config, **changes}))
    return made


def never() -> bool:
    return False


def ignore(event: Mapping[str, Any]) -> None:
    """Hear nothing."""


def numbers(run: Run) -> dict[str, Any]:
    """Return what a result says of the fit: errors on test and training frames, ridge."""
    result = run.result()
    assert result is not None
    errors = {f"{m} {kind}": v[kind] for m, v in result["by_metric"].items() for kind in ("error", "train_error")}
    return {**errors, "ridge": result["fit"]["ridge"], "P": result["P"]}


def result_of(run: Run) -> Mapping[str, Any]:
    """The result of a run that is done."""
    found = run.result()
    assert found is not None
    return found


def agree(one: Run, other: Run) -> None:
    """Assert that two runs have the same numbers: 1e-7 for the order of sums, with the same ridge parameter."""
    assert one.id == other.id
    assert numbers(one) == pytest.approx(numbers(other), rel=1e-7)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """Every run by itself."""
    path = tmp_path_factory.mktemp("alone")
    runs = runs_of(path, "store")
    for run in runs:
        assert execute([run], never, ignore) == {run.id: "done"}
    return dict(zip(SIZES, runs, strict=True))


def test_a_ladder_is_one_pass_and_every_run_its_own(
    tmp_path: Path, alone: dict[int, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[list[int]] = []
    ladder = ntk.Ntk.ladder

    def counted(self: ntk.Ntk, frames: Frames, sizes: Sequence[int], conditions: Conditions) -> Ladder:
        passes.append(list(sizes))
        return ladder(self, frames, sizes, conditions)

    monkeypatch.setattr(ntk.Ntk, "ladder", counted)
    events: list[Mapping[str, Any]] = []
    runs = runs_of(tmp_path, "store")
    outcome = execute(runs[::-1], never, events.append)
    assert outcome == {run.id: "done" for run in runs}
    assert passes == [list(SIZES)]
    for P, run in zip(SIZES, runs, strict=True):
        agree(run, alone[P])
        assert run.id == alone[P].id
        assert (run.path / "frame_errors.parquet").exists()
        assert (run.path / "checkpoint" / "model.safetensors").exists()
    results = [result_of(run) for run in runs]
    shared = results[0]["ladder"]["cpu_seconds"]
    assert all(result["ladder"] == {"sizes": list(SIZES), "cpu_seconds": shared} for result in results)
    # the shares of the pass add up to it; what each run has beside it is its own publication
    assert sum(result["cpu_seconds"] for result in results) >= shared * (1 - 1e-9)
    assert all(result["cpu_seconds"] >= shared * P / sum(SIZES) for P, result in zip(SIZES, results, strict=True))
    table = run_table(RunStore(tmp_path / "store"))
    floors = {run.id: result_of(run)["fit"]["ridge_at_floor"] for run in runs}
    assert dict(zip(table["run_id"], table["ridge_at_floor"], strict=True)) == floors
    assert {event["run"] for event in events if event["event"] == "progress"} == {run.id for run in runs}
    assert all(0 <= event["share"] <= 1 for event in events if event["event"] == "progress")
    assert all((run.path / "attempt-1" / PROGRESS).exists() for run in runs)  # for `status`


def test_only_what_is_missing_is_solved(tmp_path: Path, alone: dict[int, Run]) -> None:
    """The largest is done already: the pass is made for the largest that is missing."""
    runs = runs_of(tmp_path, "store")
    execute(runs[2:], never, ignore)
    before = (runs[2].path / "result.json").read_bytes()
    assert execute(runs, never, ignore) == {run.id: "done" for run in runs}
    assert (runs[2].path / "result.json").read_bytes() == before
    assert result_of(runs[0])["ladder"]["sizes"] == list(SIZES[:2])
    for P, run in zip(SIZES, runs, strict=True):
        agree(run, alone[P])


def ticks(path: Path) -> int:
    """Return how often a ladder asks whether to stop."""
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return False

    execute(runs_of(path, "counted"), stop, ignore)
    return count


def stopping(at: int, act: Callable[[], bool]) -> Callable[[], bool]:
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return act() if count == at else False

    return stop


def die() -> bool:
    """End this process as a kill from outside does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return True


def test_stopped_anywhere_and_resumed(tmp_path: Path, alone: dict[int, Run]) -> None:
    """By a signal inside features, solves and between publications: each of the last three moments, and random ones."""
    total = ticks(tmp_path)
    random = np.random.default_rng(0).choice(np.arange(2, total - 2), size=3, replace=False)
    kept = []
    for number, at in enumerate(sorted({1, *random.tolist(), total - 2, total - 1, total})):
        runs = runs_of(tmp_path, f"store{number}")
        with pytest.raises(Interrupted):
            execute(runs, stopping(at, lambda: True), ignore)
        published = {run.id: (run.path / "result.json").read_bytes() for run in runs if run.result() is not None}
        kept.append(len(published))
        assert all(run.state() in ("done", "queued") for run in runs)
        assert execute(runs, never, ignore) == {run.id: "done" for run in runs}
        for P, run in zip(SIZES, runs, strict=True):
            agree(run, alone[P])
            if run.id in published:
                assert (run.path / "result.json").read_bytes() == published[run.id]
    assert kept[-3:] == [0, 1, 2]  # between publications


def test_in_tiles_stopped_and_resumed(tmp_path: Path, alone: dict[int, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same while rows do not stay in memory and are made again wherever they are needed."""
    monkeypatch.setattr(rows, "_AMPLE", 0.0)
    monkeypatch.setattr(rows, "_MORE", 1.0)
    monkeypatch.setattr(linearised, "_MOST_FRAMES", 8)
    total = ticks(tmp_path)
    for share in (0.2, 0.7):
        runs = runs_of(tmp_path, f"store{share}")
        with pytest.raises(Interrupted):
            execute(runs, stopping(round(share * total), lambda: True), ignore)
        assert execute(runs, never, ignore) == {run.id: "done" for run in runs}
        for P, run in zip(SIZES, runs, strict=True):
            agree(run, alone[P])


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_killed_and_resumed(tmp_path: Path, alone: dict[int, Run], share: float) -> None:
    at = max(1, round(share * ticks(tmp_path)))
    runs = runs_of(tmp_path, "store")
    child = multiprocessing.get_context("fork").Process(target=execute, args=(runs, stopping(at, die), ignore))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    published = {run.id: (run.path / "result.json").read_bytes() for run in runs if run.result() is not None}
    assert len(published) == (2 if share == 1.0 else 0)
    assert execute(runs, never, ignore) == {run.id: "done" for run in runs}
    for P, run in zip(SIZES, runs, strict=True):
        agree(run, alone[P])
        if run.id in published:
            assert (run.path / "result.json").read_bytes() == published[run.id]
            assert run.latest_attempt() == 1


def test_a_ladder_that_fails_fails_for_the_run_that_it_cannot(
    tmp_path: Path, alone: dict[int, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More frames than the pool has is the largest run's fault alone; so is more memory than there is."""
    runs = runs_of(tmp_path, "store", (*SIZES, 61))
    outcome = execute(runs, never, ignore)
    assert [outcome[run.id] for run in runs] == ["done", "done", "done", "failed"]
    message = runs[-1].recorded_state()["message"]
    assert re.match(
        r"P=61: the pool holds 54 frames and the validation set, .*; accepted: an integer from 1 to 60$", message
    )
    for P, run in zip(SIZES, runs, strict=False):
        agree(run, alone[P])
        assert result_of(run)["ladder"]["sizes"] == list(SIZES)
    plan = rows.Plan.for_size

    def short(frames: Any, sizes: Sequence[int], *rest: Any) -> rows.Plan:
        if max(sizes) == SIZES[-1]:
            raise InputError("P=40: too much; accepted: P=30 or fewer")
        return plan(frames, sizes, *rest)

    monkeypatch.setattr(rows.Plan, "for_size", staticmethod(short))
    runs = runs_of(tmp_path, "short")
    outcome = execute(runs, never, ignore)
    assert [outcome[run.id] for run in runs] == ["done", "done", "failed"]
    assert [result_of(run)["ladder"]["sizes"] for run in runs[:2]] == [list(SIZES[:2])] * 2


def test_ladders_are_of_one_seed_and_nested(tmp_path: Path) -> None:
    runs = [*runs_of(tmp_path, "store"), *runs_of(tmp_path, "store", seed=1)]
    rungs: list[Any] = [(run, parse(run.config())) for run in runs]
    dataset: Any = dataset_of(rungs[0][1].data)
    found = ladders(rungs[::-1], dataset)
    assert sorted([(one[1].seed, one[1].P) for one in members] for members in found) == [
        [(seed, P) for P in SIZES] for seed in (0, 1)
    ]
    shapes = {run.id: config.shape_id("0" * 64) for run, config in rungs}
    assert len(set(shapes.values())) == 2
    assert all(shape.startswith("ladder-") for shape in shapes.values())


def test_time_left_goes_by_the_share_that_is_done() -> None:
    assert progress(0.25, 30.0) == {"share": 0.25, "seconds": 30.0, "seconds_left": 90.0}
    assert progress(0.001, 30.0)["seconds_left"] is None  # the beginning tells nothing
    assert progress(1.0, 30.0)["seconds_left"] == 0.0


def test_the_whole_pool_and_the_validation_frames_train_a_closed_form(tmp_path: Path) -> None:
    """All 60 frames of the file; the runs of fewer keep theirs."""
    runs = runs_of(tmp_path, "store", (40, 60))
    assert execute(runs, never, ignore) == {run.id: "done" for run in runs}
    assert [result_of(run)["ladder"]["sizes"] for run in runs] == [[40, 60]] * 2
    assert not result_of(runs[1])["subsets_disjoint"]


def test_work_shows_that_it_lives(tmp_path: Path) -> None:
    """Inside a ladder a thread of the worker sends the heartbeat; each piece of work starts its time anew."""
    alive = []

    def stop() -> bool:
        alive.append(lengthy.at_work())
        return False

    execute(runs_of(tmp_path, "store", (12,)), stop, ignore)
    assert alive
    assert all(alive)
    assert not lengthy.at_work()
