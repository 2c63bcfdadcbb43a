"""Classes and numbers of examples: losses and errors with known answers, and nothing learned from other labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from experiments.data.examples import Examples, ExampleSet
from experiments.models.cnn import CnnConfig
from experiments.models.mlp import MlpConfig
from experiments.models.networks import example_network
from experiments.runs.problems import LabelledExamples
from experiments.tasks import classification as tasks
from experiments.tasks.classification import ExampleTask
from experiments.tasks.task import LossTerms, LossWeights

CPU = torch.device("cpu")


def labelled(n_classes: int | None, seed: int = 0) -> ExampleSet:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Examples:
        labels = rng.normal(3.0, 2.0, count) if n_classes is None else rng.integers(0, n_classes, count)
        return Examples(rng.normal(size=(count, 1, 4, 4)).astype(np.float32), labels)

    quantity = {} if n_classes else {"quantity": "energy", "unit": "eV"}
    return ExampleSet("made", "images", some(20), some(4), some(8), n_classes, **quantity)  # type: ignore[arg-type]


def test_the_content_decides_the_digest() -> None:
    made = labelled(3)
    assert made.sha256() == labelled(3).sha256()
    assert made.sha256() != labelled(3, seed=1).sha256()
    flipped = made.test.labels.copy()
    flipped[0] += 1
    other = ExampleSet("made", "images", made.pool, made.holdout, Examples(made.test.inputs, flipped), 3)
    assert other.sha256() != made.sha256()
    renamed = ExampleSet("another name", "images", made.pool, made.holdout, made.test, 3)
    assert renamed.sha256() == made.sha256()


def test_errors_of_classes() -> None:
    made = labelled(3)
    certain = np.full((8, 3), math.log(0.1))
    right = made.test.labels.astype(int)
    certain[np.arange(8), right] = math.log(0.8)
    certain[0] = np.roll(certain[0], 1)  # one wrong answer in eight
    errors = tasks.example_errors(certain, made.test, made)
    found = tasks.metrics_of(errors, made)
    assert found["error_rate"].value == 1 / 8
    assert found["error_rate"].sem == pytest.approx(math.sqrt(1 / 8 * 7 / 8 / 7))
    assert found["cross_entropy"].value == pytest.approx(-(7 * math.log(0.8) + math.log(0.1)) / 8)
    assert list(errors.columns) == ["frame", "error_rate", "cross_entropy"]


def test_errors_of_numbers() -> None:
    made = labelled(None)
    left = np.array([1.0, -1.0, 2.0, 0.0, 0.0, 0.0, 0.0, -4.0])
    found = tasks.metrics_of(tasks.example_errors(made.test.labels + left, made.test, made), made)
    assert found["energy_mae"].value == pytest.approx(1.0)
    assert found["energy_rmse"].value == pytest.approx(math.sqrt(22 / 8))
    squares = left**2
    assert found["energy_rmse"].sem == pytest.approx(squares.std(ddof=1) / math.sqrt(8) / (2 * math.sqrt(22 / 8)))


def test_who_sees_no_input_has_the_errors_of_frequencies_and_means() -> None:
    made = labelled(3)
    counts = np.bincount(made.pool.labels[:10].astype(int), minlength=3) + 1
    expected = -np.log(counts / counts.sum())[made.test.labels.astype(int)].mean()
    found = LabelledExamples(made).mean_errors(np.arange(10))
    assert found["cross_entropy"] == pytest.approx(expected)
    assert found["error_rate"] == (made.test.labels != counts.argmax()).mean()
    numbers = labelled(None)
    errors = LabelledExamples(numbers).mean_errors(np.arange(10))
    assert errors["energy_mae"] == pytest.approx(np.abs(numbers.test.labels - numbers.pool.labels[:10].mean()).mean())


@pytest.mark.parametrize("n_classes", [3, None])
def test_loss_and_predictions_say_the_same(n_classes: int | None) -> None:
    """The loss over a whole subset is the mean of what its own predictions miss."""
    made = labelled(n_classes)
    model = example_network(MlpConfig(channels=4), made.shape, n_classes or 1)
    task = ExampleTask(made, 1, torch.float64, CPU)
    runs = [task.prepare(np.array([3, 1, 4])), task.prepare(np.array([5, 9, 2]))]
    weights = [model.init(seed, torch.float64) for seed in (0, 1)]
    packed = {name: torch.stack([w[name] for w in weights]) for name in weights[0]}
    picked = torch.as_tensor(np.stack([run.subset for run in runs]))
    targets = task.targets(runs, [LossWeights(1.0, 1.0)] * 2)
    loss = task.loss(model, packed, task.batch(targets, picked), LossTerms(True, True))
    for i, run in enumerate(runs):
        own = made.pool.take(run.examples)
        predicted = task.predict(model, weights[i], run, torch.as_tensor(own.inputs, dtype=torch.float64))
        errors = tasks.example_errors(predicted, own, made)
        expected = errors["cross_entropy"] if n_classes else errors["energy_mse"] / own.labels.std() ** 2
        assert float(loss[i]) == pytest.approx(expected.mean(), rel=1e-12)


def test_predictions_are_probabilities() -> None:
    made = labelled(3)
    model = example_network(MlpConfig(channels=4), made.shape, 3)
    task = ExampleTask(made, 1, torch.float64, CPU)
    weights = model.init(0, torch.float64)
    run = task.prepare(np.arange(4))
    found = task.predict(model, weights, run, task.test)
    scores = model.outputs({k: v[None] for k, v in weights.items()}, task.test[None])[0].numpy()
    assert np.allclose(found, log_softmax(scores, 1), atol=1e-12)


@pytest.mark.parametrize("copies", [1, 4])
def test_labels_of_others_change_nothing(copies: int) -> None:
    """Labels outside of the subset are never seen, and P copies of an image count once."""
    made = labelled(3)
    subset = np.array([7, 2, 11])
    labels = made.pool.labels.copy()
    others = np.setdiff1d(np.arange(20), subset)
    labels[others] = (labels[others] + 1) % 3
    changed = ExampleSet("made", "images", Examples(made.pool.inputs, labels), made.holdout, made.test, 3)
    targets = []
    for dataset in (made, changed):
        task = ExampleTask(dataset, copies, torch.float64, CPU)
        run = task.prepare(subset)
        assert len(run.subset) == 3 * copies
        assert np.array_equal(task.pool[run.subset[::copies]].numpy(), made.pool.inputs[subset].astype(np.float64))
        targets.append(task.targets([run], [LossWeights(1.0, 1.0)])["labels"])
    assert torch.equal(*targets)
    assert np.array_equal(targets[0][0][run.subset], np.repeat(made.pool.labels[subset], copies))


def test_training_errors_are_of_the_examples_themselves() -> None:
    made = labelled(3)
    model = example_network(CnnConfig(n_layers=1, channels=2, kernel=3, copies=4), made.shape, 3)
    weights = model.init(0, torch.float64)
    found = []
    for copies in (1, 4):
        task = ExampleTask(made, copies, torch.float64, CPU)
        run = task.prepare(np.array([7, 2, 11]))
        found += task.evaluator(model, LossTerms(True, True)).full([weights], [run])
    assert found[0].train == found[1].train
    assert found[0].test == found[1].test
