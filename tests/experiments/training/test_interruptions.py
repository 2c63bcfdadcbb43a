"""Interruptions of a pack against none, wherever they come, and the schedule that is best by validation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from experiments.core.compiler import Stopped
from experiments.tasks.evaluation import Evaluation
from experiments.training import checkpoint
from experiments.training import pack as engine
from experiments.training.member import Member
from experiments.training.pack import Interrupted, Pack
from experiments.training.schedule import Schedule
from tests.experiments.training.ends import TOTAL, Weights, ends, interrupt, resumed, same

STOPS = [[1], [3], [4], [6], [7], [9], [10], [14], [15], [16], [TOTAL - 1], [1, 2, 3], [5, 12], [4, 5, 13, 14, 24]]


@pytest.mark.parametrize("stops", STOPS, ids=str)
@pytest.mark.parametrize("changes", [{}, {"precision": "float32", "optimizer": "adam"}], ids=["soap64", "adam32"])
def test_resumed_is_uninterrupted(
    laboratory: Any, whole_runs: Any, stops: list[int], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, wherever it was stopped: at a branch point, on either branch, at its end, near the end of all."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    schedule = Schedule(24, 4, 0.5)
    assert [(one.start, one.end) for one in schedule.branches] == [(3, 6), (9, 15)]
    assert schedule.total == TOTAL
    whole, again = whole_runs(**changes), resumed(laboratory, "again", stops, **changes)
    assert same(ends(whole)[0], ends(again)[0])
    assert sorted(whole.evaluations) == [6, 12, 24]
    errors = [{budget: e.to_json() for budget, e in m.evaluations.items()} for m in (whole, again)]
    assert json.dumps(errors[0]) == json.dumps(errors[1])
    frames, found = ends(whole)[1].frames, ends(again)[1].frames
    assert frames is not None
    assert found is not None
    assert frames.equals(found)
    timing = {"seconds", "loss"}  # the mean loss since the last record begins anew
    seen = [[{k: r[k] for k in r if k not in timing} for r in m.history.records] for m in (whole, again)]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("stop", [2, 3, 5, 6, 8, 12, 13, 20])
def test_a_checkpoint_of_two_schedules_goes_on(
    laboratory: Any, whole_runs: Any, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a version without T/4 left: the same weights and errors, and T/4 where its branch point is still ahead."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    monkeypatch.setattr(Schedule, "quarter", None)
    task = laboratory.task()
    first = laboratory.member(task, "old")
    interrupt(laboratory, [first], task, stop)
    path = next(first.path.glob("step-*.safetensors"))
    stored = checkpoint.load(path)
    assert stored is not None
    ended = stored.facts.pop("ends")
    checkpoint.save(path, checkpoint.Checkpoint(stored.tensors, {**stored.facts, "half": ended.get("12")}))
    monkeypatch.undo()
    member = laboratory.member(task, "old", 2)
    laboratory.pack([member], task).train(lambda: False, lambda event: None)
    whole = whole_runs()
    assert same(ends(whole)[0], ends(member)[0])
    assert sorted(member.evaluations) == ([6, 12, 24] if stop <= 3 else [12, 24])
    for budget, evaluation in member.evaluations.items():
        assert evaluation.test == whole.evaluations[budget].test


def test_damaged_latest_checkpoint_costs_time_only(
    laboratory: Any, whole_runs: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    whole = whole_runs()
    task = laboratory.task()
    interrupt(laboratory, [laboratory.member(task, "a", 1)], task, 8)
    interrupt(laboratory, [laboratory.member(task, "a", 2)], task, 15)
    latest = laboratory.path / "a" / "attempt-2" / "step-000000015.safetensors"
    latest.write_bytes(latest.read_bytes()[: latest.stat().st_size // 2])
    member = laboratory.member(task, "a", 3)
    pack = laboratory.pack([member], task)
    assert member.steps_done == 8
    assert "step-000000015.safetensors is damaged" in caplog.text
    assert "going on without it" in caplog.text
    pack.train(lambda: False, lambda event: None)
    assert same(ends(whole)[0], ends(member)[0])


def test_the_state_lies_in_memory_as_a_checkpoint_gives_it_back(laboratory: Any) -> None:
    """Products along other strides round differently: in float32 a resumed run then differed in the last digits."""
    task = laboratory.task()
    pack, seen = laboratory.pack([laboratory.member(task, f"m{i}", seed=i) for i in range(2)], task), []

    def look() -> bool:
        seen.append([name for name, value in pack.state.items() if not value.is_contiguous()])
        return False

    pack.train(look, lambda event: None)
    assert len(seen) > 3
    assert not any(seen)


@pytest.mark.parametrize("before", [0, 7])
def test_a_stop_while_compiling_costs_the_compilation_only(
    laboratory: Any, whole_runs: Any, before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once, with a checkpoint: at the beginning, and when a run goes on in a new process."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    whole = whole_runs()
    task = laboratory.task()
    if before:
        interrupt(laboratory, [laboratory.member(task, "a", 1)], task, before)

    def abandoned(*_: object) -> None:
        raise Stopped

    member = laboratory.member(laboratory.task(), "a", 2)
    pack = laboratory.pack([member], laboratory.task())
    with monkeypatch.context() as patch:
        patch.setattr(engine, "make_step", abandoned)
        with pytest.raises(Interrupted):
            pack.train(lambda: False, lambda event: None)
    task = laboratory.task()
    member = laboratory.member(task, "a", 3)
    pack = laboratory.pack([member], task)
    assert member.steps_done == before
    pack.train(lambda: False, lambda event: None)
    assert same(ends(whole)[0], ends(member)[0])


# --- the schedule that is best by validation


def spoilt_ends(monkeypatch: pytest.MonkeyPatch, values: dict[int, float]) -> None:
    """Give the ends of schedules validation errors of our own, by budget."""
    evaluated = Pack._evaluated

    def own(self: Pack, weights: Weights, member: Member) -> Evaluation:
        branch = next((b for b in member.schedule.branches if b.end == member.steps_done), None)
        budget = 24 if branch is None else branch.budget
        found = dataclasses.replace(evaluated(self, weights, member), validation=values[budget])
        return (
            found if budget not in member.evaluations else dataclasses.replace(found, validation=min(values.values()))
        )

    monkeypatch.setattr(Pack, "_evaluated", own)


@pytest.mark.parametrize("best", [6, 12, 24])
@pytest.mark.parametrize("stops", [[], [8], [4, 17]])
def test_a_run_may_keep_the_schedule_that_is_best_by_validation(
    laboratory: Any, best: int, stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights and errors are those of that budget alone, interrupted or not; all other numbers stay."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    alone = laboratory.trained("alone", {"max_steps": best})
    whole = laboratory.trained("whole")
    spoilt_ends(monkeypatch, {budget: 0.5 if budget == best else 1.0 for budget in (6, 12, 24)})
    member = resumed(laboratory, "stopped", stops, stop="validation")
    assert member.weights is not None
    assert same(ends(alone)[0], member.weights)
    assert member.outcome.test == ends(alone)[1].test
    assert member.outcome.frames is not None
    for budget, evaluation in whole.evaluations.items():
        assert member.evaluations[budget].test == evaluation.test
