"""A worker's signs of life come from the loop of the work itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from experiments import worker
from experiments.config import parse
from experiments.data.load import load
from experiments.execute import execute
from experiments.runs import RunStore
from experiments.worker import Heartbeat


def test_heartbeat_passes_the_answer_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 3600.0)
    answers = iter([False, True])
    beat = Heartbeat(lambda: next(answers))
    assert [beat(), beat()] == [False, True]
    assert capsys.readouterr().out == ""  # not more than one in its time


def test_a_run_shows_that_it_lives_and_says_what_became_of_it(
    make_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.0)
    config = parse(make_config())
    run = RunStore(config.store).run(config.run_id(load(config.data).sha256()))
    run.create(config.as_dict())
    execute([run], Heartbeat(lambda: False), worker.say)
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds.count("alive") >= 2
    assert kinds.index("alive") < kinds.index("ended")
    assert [e for e in events if e["event"] == "ended"] == [{"event": "ended", "run": run.id, "outcome": "done"}]
