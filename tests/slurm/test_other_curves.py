"""A run that is done as a point of another curve is told, for it will be missing from the one asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from experiments.config.parse import parse
from experiments.config.tuned_rates import Tuned
from experiments.runs.store import RunStore
from slurm.launcher import of_other_curves
from slurm.plan import PlannedRun

SHA = "0" * 64


@pytest.mark.parametrize("tuned", [False, True])
def test_of_other_curves(make_config: Callable[..., dict[str, Any]], tuned: bool) -> None:
    asked = parse(make_config({"training.learning_rate": 0.02}))
    run = RunStore(asked.store).run(asked.run_id(SHA))
    run.create(asked.as_dict())
    attempt = run.claim()
    assert attempt is not None
    with attempt:
        attempt.publish({"model_id": asked.model_id(SHA)})
    again = dataclasses.replace(asked, tuned=Tuned("star", ((8, 0.02), (64, 0.01)))) if tuned else asked
    assert again.run_id(SHA) == asked.run_id(SHA)  # the same run, done
    assert of_other_curves([PlannedRun.of(again, SHA)]) == int(tuned)
