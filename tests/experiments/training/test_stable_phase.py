"""A larger budget continues the stable phase of a smaller one, and is the run that it would have been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.training import checkpoint
from experiments.training.member import STABLE_PHASE, Member, usable_stable_phase
from experiments.training.schedule import Schedule


def left_by(laboratory: Any, name: str, steps: int, **changes: Any) -> Path:
    """The trunk that a run of `steps` updates leaves."""
    member: Member = laboratory.trained(name, {"max_steps": steps, **changes})
    member.save_stable_phase()
    return member.path / STABLE_PHASE


def continued(laboratory: Any, path: Path, steps: int, small: int, **changes: Any) -> Member:
    """A run of `steps` updates that starts from the stable phase at `path`, left by one of `small`."""
    task = laboratory.task()
    schedule = Schedule(steps, laboratory.settings.warmup_steps, laboratory.settings.cooldown)
    stable_phase = usable_stable_phase(path, schedule, small)
    assert stable_phase is not None
    member: Member = laboratory.member(task, "continued", max_steps=steps, stable_phase=stable_phase, **changes)
    laboratory.pack([member], task).train(lambda: False, lambda event: None)
    return member


@pytest.mark.parametrize("factor", [2, 4])
@pytest.mark.parametrize("steps", [12, 13])
def test_a_continued_run_is_the_whole_run(laboratory: Any, steps: int, factor: int) -> None:
    """Bit for bit: weights, and the errors of all budgets."""
    budget = factor * steps
    whole = laboratory.trained("whole", {"max_steps": budget})
    again = continued(laboratory, left_by(laboratory, "small", steps), budget, steps)
    assert whole.weights is not None
    assert again.weights is not None
    assert all(torch.equal(whole.weights[name], again.weights[name]) for name in whole.weights)
    assert sorted(whole.evaluations) == [budget // 4, budget // 2, budget]
    assert {b: e.to_json() for b, e in whole.evaluations.items()} == {
        b: e.to_json() for b, e in again.evaluations.items()
    }


def test_what_a_continuation_saves(laboratory: Any) -> None:
    """Twice the budget: neither the shared stable phase nor the branch, which was the smaller run, is walked again."""
    again = continued(laboratory, left_by(laboratory, "small", 24), 48, 24)
    schedule = again.schedule
    assert again.start == schedule.branches[-1].end
    assert schedule.total - again.start == 48 - 12  # from the end of the stable phase of 24 updates, at 12
    seen = [record["clock"] for record in again.history.records]
    assert min(seen) > again.start


def test_a_continued_run_leaves_a_trunk_too(laboratory: Any) -> None:
    again = continued(laboratory, left_by(laboratory, "small", 12), 24, 12)
    again.save_stable_phase()
    twice = continued(laboratory, again.path / STABLE_PHASE, 48, 24)
    whole = laboratory.trained("whole", {"max_steps": 48})
    assert whole.weights is not None
    assert twice.weights is not None
    assert all(torch.equal(whole.weights[name], twice.weights[name]) for name in whole.weights)


def test_an_interrupted_continuation(laboratory: Any) -> None:
    """Its own checkpoints count, not the stable phase."""
    from experiments.training.pack import Interrupted

    whole = laboratory.trained("whole", {"max_steps": 48})
    stable_phase = usable_stable_phase(left_by(laboratory, "small", 24), whole.schedule, 24)
    task = laboratory.task()
    first = laboratory.member(task, "again", max_steps=48, stable_phase=stable_phase)
    with pytest.raises(Interrupted):
        laboratory.pack([first], task).train(lambda: first.steps_done > 30, lambda event: None)
    second = laboratory.member(task, "again", attempt=2, max_steps=48, stable_phase=stable_phase)
    laboratory.pack([second], task).train(lambda: False, lambda event: None)
    assert second.start == first.start
    assert second.full is not None
    assert whole.full is not None
    assert second.full.to_json() == whole.full.to_json()


def test_what_is_no_trunk_for_a_schedule(laboratory: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = left_by(laboratory, "small", 24)  # its stable phase ends at 12
    assert usable_stable_phase(path, Schedule(48, 4, 0.5), 24) is not None
    assert usable_stable_phase(path, Schedule(40, 4, 0.5), 24) is None  # leaves its own at 10 for the first time
    assert usable_stable_phase(path.with_name("absent.safetensors"), Schedule(48, 4, 0.5), 24) is None
    path.write_bytes(path.read_bytes()[:-100])
    assert usable_stable_phase(path, Schedule(48, 4, 0.5), 24) is None
    assert "is damaged" in caplog.text


def test_a_trunk_of_two_schedules(laboratory: Any) -> None:
    """What a version without T/4 left: it has the errors of its whole schedule alone, which are T/2's of twice that."""
    path = left_by(laboratory, "small", 24)
    stored = checkpoint.load(path)
    assert stored is not None
    facts = {"step": stored.facts["step"], "full": stored.facts["ends"]["24"]}
    checkpoint.save(path, checkpoint.Checkpoint(stored.tensors, facts))
    again, whole = continued(laboratory, path, 48, 24), laboratory.trained("whole", {"max_steps": 48})
    assert sorted(again.evaluations) == [24, 48]
    assert again.evaluations[24].to_json() == whole.evaluations[24].to_json()
    assert again.evaluations[48].to_json() == whole.evaluations[48].to_json()


def test_a_trunk_without_the_best_weights_serves_no_run_that_stops_by_validation(laboratory: Any) -> None:
    by_budget, by_validation = left_by(laboratory, "a", 24), left_by(laboratory, "b", 24, stop="validation")
    assert usable_stable_phase(by_budget, Schedule(48, 4, 0.5), 24, by_validation=True) is None
    stored = usable_stable_phase(by_validation, Schedule(48, 4, 0.5), 24, by_validation=True)
    assert stored is not None
    assert any(name.startswith("best/") for name in stored.tensors)
    assert stored.facts["best"] in (12, 24)
