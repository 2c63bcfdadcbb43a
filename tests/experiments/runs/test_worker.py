"""A worker's signs of life come from the loop of the work itself, or from work that is marked as lengthy."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from torch import Tensor

from experiments.config.parse import parse
from experiments.data.load import load
from experiments.runs import climb, train, worker
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from experiments.runs.worker import Heartbeat
from experiments.tasks.evaluation import evaluation
from experiments.tasks.molecules import MoleculeEvaluator
from experiments.training import lengthy as marked
from experiments.training import step
from experiments.training.inductor import PositionalFunction
from experiments.training.lengthy import at_work, lengthy

MakeConfig = Callable[..., dict[str, Any]]


def queued(section: dict[str, Any]) -> Run:
    """The run of a configuration, in its store and not computed."""
    config = parse(section)
    run = RunStore(config.store).run(config.run_id(load(config.data).sha256()))
    run.create(config.as_dict())
    return run


def test_heartbeat_passes_the_answer_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 3600.0)
    answers = iter([False, True])
    beat = Heartbeat(lambda: next(answers))
    assert [beat(), beat()] == [False, True]
    assert capsys.readouterr().out == ""  # not more than one in its time


def test_a_run_shows_that_it_lives_and_says_what_became_of_it(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.0)
    run = queued(make_config())
    execute([run], Heartbeat(lambda: False), worker.say)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("alive") >= 2
    assert kinds.index("alive") < kinds.index("ended")
    assert [e for e in events if e["event"] == "ended"] == [{"event": "ended", "run": run.id, "outcome": "done"}]


def test_lengthy_work_is_alive_as_long_as_it_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert not at_work()
    with lengthy():
        now = marked.LONGEST_SECONDS - 1
        assert at_work()
        with lengthy():
            now += 2
            assert at_work()
        assert not at_work()  # the outer one takes too long: a hang
    with pytest.raises(ValueError, match="x"), lengthy():
        raise ValueError("x")
    assert not at_work()


def test_compiling_and_evaluating_are_marked_and_the_loop_is_not(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[bool]] = {"compiling": [], "evaluating": [], "looping": []}
    evaluate = MoleculeEvaluator.full

    def compiled_for(function: PositionalFunction, inputs: Sequence[Tensor], replayed: bool) -> PositionalFunction:
        seen["compiling"].append(at_work())
        return function

    def full(*arguments: Any) -> Any:
        seen["evaluating"].append(at_work())
        return evaluate(*arguments)

    def stop() -> bool:
        seen["looping"].append(at_work())
        return False

    monkeypatch.setattr(step, "compiled_for", compiled_for)
    monkeypatch.setattr(train, "can_compile", lambda *_: True)
    monkeypatch.setattr(MoleculeEvaluator, "full", full)
    run = queued(make_config({"training.compile": True}))
    assert execute([run], stop, lambda event: None) == {run.id: "done"}
    assert seen["compiling"] == [True, True]  # gradient and update
    assert seen["evaluating"] == [True, True, True]  # of T/4, T/2 and T updates
    assert not any(seen["looping"])


def test_solving_is_marked(make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    evaluate = evaluation

    def marked_evaluation(*arguments: Any) -> Any:
        seen.append(at_work())
        return evaluate(*arguments)

    monkeypatch.setattr(climb, "evaluation", marked_evaluation)
    run = queued(make_config(model="ace"))
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    assert seen == [True]


def test_two_threads_write_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        """A pipe that takes a line in two pieces, with time for another thread between them."""

        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text[:5]
            time.sleep(1e-3)
            self.text += text[5:]

        def flush(self) -> None:
            """Nothing is kept back."""

    out = Slow()
    monkeypatch.setattr("sys.stdout", out)

    def say_often() -> None:
        for _ in range(20):
            worker.say({"event": "alive"})

    threads = [threading.Thread(target=say_often) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line) for line in out.text.splitlines()] == [{"event": "alive"}] * 40
