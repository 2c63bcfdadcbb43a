"""Runs of a pack whose schedules end together are evaluated at once, and each gets what it would get by itself."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from experiments.models.cnn import CnnConfig
from experiments.models.networks import example_network
from experiments.tasks.classification import ExampleTask
from experiments.tasks.evaluation import Evaluation
from experiments.tasks.molecules import MoleculeEvaluator
from experiments.tasks.task import LossTerms
from experiments.training import evaluating
from experiments.training.member import Member
from experiments.training.pack import Pack
from tests.experiments.tasks.test_classification import labelled

RUNS = [{"seed": 0, "P": 8}, {"seed": 1, "P": 8}, {"seed": 2, "P": 5}, {"seed": 3, "P": 8, "max_steps": 12}]
"""Three with eight training frames, of which one ends its schedules before the others."""
ROUND_OFF = 1e-10
"""Of float64: batched products may sum in another order, and training amplifies that (see the pack of three)."""


def pack_of(laboratory: Any, members: list[Member], task: Any) -> tuple[Pack, list[int]]:
    """A pack, and the numbers of runs that it evaluates at once, filled as it trains."""
    pack, sizes = Pack(members, task, laboratory.model, compile=False), []
    full = pack.evaluator.full

    def counted(weights: Any, prepared: Any) -> list[Evaluation]:
        sizes.append(len(prepared))
        return full(weights, prepared)

    pack.evaluator.full = counted  # type: ignore[method-assign]
    return pack, sizes


def same(one: Evaluation, other: Evaluation, tolerance: float) -> None:
    assert one.n_validation == other.n_validation
    for mine, its in ((one.test, other.test), (one.train, other.train)):
        assert mine.keys() == its.keys()
        for name, error in its.items():
            assert mine[name].value == pytest.approx(error.value, rel=tolerance)
    assert one.validation == (None if other.validation is None else pytest.approx(other.validation, rel=tolerance))
    assert one.energy_offset == pytest.approx(other.energy_offset, rel=tolerance, abs=tolerance)
    assert one.frames is not None
    assert other.frames is not None
    np.testing.assert_allclose(one.frames.to_numpy(), other.frames.to_numpy(), rtol=1e3 * tolerance, atol=tolerance)


@pytest.mark.parametrize("fits", [True, False])
def test_runs_of_a_pack_are_evaluated_at_once(
    laboratory: Any, fits: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Those with equally many training frames; if memory does not hold that, one by one, and the pack goes on whole."""
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", **wanted) for i, wanted in enumerate(RUNS)]
    pack, sizes = pack_of(laboratory, members, task)
    if not fits:
        counted = pack.evaluator.full

        def limited(weights: Any, prepared: Any) -> list[Evaluation]:
            if len(prepared) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return counted(weights, prepared)

        monkeypatch.setattr(pack.evaluator, "full", limited)
    ended: list[str] = []
    with caplog.at_level(logging.WARNING, logger="experiments.training.evaluating"):
        pack.train(lambda: False, lambda event: None, lambda member: ended.append(member.name))
    assert ended == ["m3", "m0", "m1", "m2"]
    # Three schedules of each run; those of the last end with none beside it.
    assert sorted(sizes) == ([1] * 6 + [2] * 3 if fits else [1] * 12)
    warned = "out of memory in the evaluation of 2 runs at once; they follow one by one"
    assert caplog.messages == ([] if fits else [warned] * 3)
    for i, wanted in enumerate(RUNS):
        alone = laboratory.member(task, f"alone{i}", **wanted)
        pack_of(laboratory, [alone], task)[0].train(lambda: False, lambda event: None)
        assert members[i].evaluations.keys() == alone.evaluations.keys()
        for budget, expected in alone.evaluations.items():
            same(members[i].evaluations[budget], expected, ROUND_OFF)


def test_other_errors_of_an_evaluation_are_raised(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i) for i in range(2)]
    pack, _ = pack_of(laboratory, members, task)
    monkeypatch.setattr(pack.evaluator, "full", lambda weights, prepared: (_ for _ in ()).throw(ValueError("a fault")))
    with pytest.raises(ValueError, match="a fault"):
        pack.train(lambda: False, lambda event: None)


def test_no_more_runs_than_the_host_holds(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluating, "MOST", 2)
    task = laboratory.task()
    pack, sizes = pack_of(laboratory, [laboratory.member(task, f"m{i}", seed=i) for i in range(5)], task)
    pack.train(lambda: False, lambda event: None)
    assert sizes == [2, 2, 1] * 3


@pytest.mark.parametrize("energy_offset", [False, True])
def test_molecules_of_several_runs(laboratory: Any, energy_offset: bool) -> None:
    task = laboratory.task()
    evaluator = MoleculeEvaluator(task, laboratory.model, energy_offset)
    prepared = [laboratory.member(task, f"m{i}", seed=i).prepared for i in range(3)]
    weights = [
        {**laboratory.model.init(i, task.dtype), "constant.inverse_neighbours": torch.tensor(run.inverse_neighbours)}
        for i, run in enumerate(prepared)
    ]
    together = evaluator.full(weights, prepared)
    for i in range(3):
        (alone,) = evaluator.full([weights[i]], [prepared[i]])
        same(together[i], alone, 1e-13)  # round-off of float64, without training
    assert len({one.test["force_mae"].value for one in together}) == 3


@pytest.mark.parametrize("classes", [3, None])
def test_examples_of_several_runs(classes: int | None) -> None:
    made = labelled(classes)
    model = example_network(CnnConfig(n_layers=1, channels=2, kernel=3), made.shape, classes or 1)
    task = ExampleTask(made, 2, torch.float64, torch.device("cpu"))
    prepared = [task.prepare(np.array(chosen)) for chosen in ([7, 2, 11], [0, 1, 2], [5, 9, 3])]
    weights = [model.init(i, torch.float64) for i in range(3)]
    evaluator = task.evaluator(model, LossTerms(True, True))
    together = evaluator.full(weights, prepared)
    for i in range(3):
        (alone,) = evaluator.full([weights[i]], [prepared[i]])
        same(together[i], alone, 1e-13)  # round-off of float64, without training
    assert len({tuple(error.value for error in one.test.values()) for one in together}) == 3
