"""Errors on the right frames, in JSON and back, and the energy's free constant where forces alone are trained on."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from experiments.tasks.evaluation import Evaluation
from experiments.tasks.molecules import MoleculeEvaluator


def test_json_round_trip_is_exact(laboratory: Any) -> None:
    member = laboratory.trained("a")
    again = Evaluation.from_json(json.loads(json.dumps(member.full.to_json())))
    assert (again.test, again.train) == (member.full.test, member.full.train)
    assert again.frames is None


def test_errors_of_every_test_frame(laboratory: Any) -> None:
    member = laboratory.trained("a")
    frames = member.full.frames
    assert list(frames["frame"]) == list(range(12))
    assert member.full.test["energy_mae"].value == pytest.approx(float(frames["energy_mae"].mean()), rel=1e-12)


def test_forces_alone_leave_a_constant_that_the_training_frames_fix(laboratory: Any) -> None:
    """energy_weight=0: the mean error of the training energies per atom is zero, and test labels were not used."""
    changes = {"energy_weight": 0.0}
    member = laboratory.trained("a", changes)
    task = laboratory.task()
    evaluator = MoleculeEvaluator(task, laboratory.model, energy_offset=True)
    (shifted,) = evaluator.full([member.weights], [member.prepared])
    assert {k: v.value for k, v in shifted.test.items()} == {k: v.value for k, v in member.full.test.items()}
    bare = MoleculeEvaluator(task, laboratory.model, energy_offset=False)
    (plain,) = bare.full([member.weights], [member.prepared])
    for name in ("force_mae", "force_rmse"):
        assert shifted.test[name] == plain.test[name]
    # Of all constants the mean minimises the RMSE on the training frames.
    assert shifted.train["energy_rmse"].value < plain.train["energy_rmse"].value
    (predicted,) = evaluator._predict([member.weights], [member.prepared], task.pool, [member.prepared.subset])
    rest = laboratory.dataset.pool.energies[member.prepared.subset] - predicted.energies
    assert shifted.train["energy_rmse"].value == pytest.approx(float(np.std(rest)) / 4, rel=1e-9)


def test_an_empty_validation_set_has_no_errors(laboratory: Any) -> None:
    empty = laboratory.dataset.holdout.take(slice(0, 0))
    laboratory.dataset = dataclasses.replace(laboratory.dataset, holdout=empty)
    member = laboratory.trained("a")
    assert member.failure is None
    assert all("holdout_force_mae" not in record for record in member.history.records)
