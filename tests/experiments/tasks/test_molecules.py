"""The task: loss by hand, normalisation, padding, predictions in eV and eV/Å."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.nn.graph import Graph
from experiments.tasks import molecules
from experiments.tasks.molecules import MoleculeTask, pick_graph
from experiments.tasks.task import LossTerms, LossWeights

Tensors = Mapping[str, Tensor]
CPU = torch.device("cpu")


class Springs:
    """Atomic energy `a·z + ½ k Σ |r|²`: energies and forces that can be written down.

    Each pair is counted at both ends: E = Σ_i a z_i + k Σ_pairs |r|², so F_i = 2k Σ_j (x_j − x_i).
    """

    def energies(self, params: Tensors, graph: Graph) -> Tensor:
        lengths = (graph.vectors**2).sum(-1) * graph.mask
        return params["a"][:, None] * (graph.species + 1) + 0.5 * params["k"][:, None] * lengths.sum(-1)


def frames_of(sizes: list[int], seed: int) -> Frames:
    """Random clusters of carbon and hydrogen, padded, all atoms within a few Å."""
    rng = np.random.default_rng(seed)
    n = max(sizes)
    numbers = np.where(np.arange(n) < np.array(sizes)[:, None], rng.choice([1, 6], (len(sizes), n)), 0).astype(np.int64)
    numbers[:, 0] = 6
    numbers[:, 1] = 1
    real = (numbers > 0)[..., None]
    positions = rng.uniform(0, 2, (len(sizes), n, 3)) * real
    return Frames(
        numbers, positions, rng.normal(size=len(sizes)) * 5 - 40, rng.normal(size=(len(sizes), n, 3)) * real,
        np.zeros((len(sizes), 3, 3)), np.zeros((len(sizes), 3), bool),
    )  # fmt: skip


def dataset_of(sizes: list[int]) -> Dataset:
    known = {1: -13.0, 6: -1000.0}
    return Dataset(
        "clusters", frames_of(sizes, 1), frames_of(sizes[:2], 2), frames_of(sizes, 3), isolated_energies=known
    )


def by_hand(frames: Frames, f: int, a: float, k: float) -> tuple[float, np.ndarray]:
    """Energy and forces of `Springs` on one frame."""
    atoms = [i for i in range(frames.numbers.shape[1]) if frames.numbers[f, i] > 0]
    energy, forces = 0.0, np.zeros((frames.numbers.shape[1], 3))
    for i in atoms:
        energy += a * {1: 1, 6: 2}[int(frames.numbers[f, i])]
        for j in atoms:
            if i != j:
                difference = frames.positions[f, j] - frames.positions[f, i]
                energy += 0.5 * k * float(difference @ difference)
                forces[i] += 2 * k * difference
    return energy, forces


@pytest.fixture
def task() -> MoleculeTask:
    return MoleculeTask(dataset_of([4, 2, 3, 5, 2, 4]), 20.0, torch.float64, CPU)


PARAMS = {"a": torch.tensor([0.3, -0.2], dtype=torch.float64), "k": torch.tensor([0.1, 0.7], dtype=torch.float64)}


@pytest.mark.parametrize("weights", [(1.0, 0.0), (0.0, 1.0), (0.25, 3.0), (None, 3.0)])
def test_loss_is_the_definition(task: MoleculeTask, weights: tuple[float | None, float]) -> None:
    """Energy: mean over frames of (ΔE/atoms)²; forces: mean over the components of real atoms; in units of the scale.

    Without a weight of the energy, each frame's is a third of its atoms.

    A batch of two runs, each with its own subset, scale and baseline; frames of several sizes, one frame twice.
    """
    subsets = [np.array([0, 1, 3]), np.array([2, 4, 5])]
    prepared = [task.prepare(s) for s in subsets]
    picked = torch.tensor([[0, 3, 0], [2, 5, 4]])
    both, terms = LossWeights.of(*weights), LossTerms(weights[0] != 0, weights[1] != 0)
    targets = task.targets(prepared, [both] * 2)
    found = task.loss(Springs(), PARAMS, task.batch(targets, picked), terms)
    pool = task.dataset.pool
    for run in range(2):
        a, k = float(PARAMS["a"][run]), float(PARAMS["k"][run])
        energy, squares, components = [], 0.0, 0
        for f in picked[run].tolist():
            E, F = by_hand(pool, f, a, k)
            atoms = int((pool.numbers[f] > 0).sum())
            target = (pool.energies[f] - prepared[run].baseline.predict(pool.numbers[f : f + 1])[0]) / prepared[
                run
            ].scale
            energy.append((atoms / 3 if weights[0] is None else weights[0]) * ((E - target) / atoms) ** 2)
            squares += float(((F[:atoms] - pool.forces[f, :atoms] / prepared[run].scale) ** 2).sum())
            components += 3 * atoms
        expected = float(np.mean(energy)) + weights[1] * squares / components
        assert float(found[run].detach()) == pytest.approx(expected, rel=1e-12)


def test_predictions_are_in_eV(task: MoleculeTask) -> None:
    prepared = [task.prepare(np.array([0, 1, 3])), task.prepare(np.array([2, 4]))]
    picked = [np.array([5, 0]), np.array([1, 2])]
    found = task.predict(Springs(), PARAMS, prepared, task.test, picked)
    test = task.dataset.test
    for run in range(2):
        for place, f in enumerate(picked[run]):
            E, F = by_hand(test, f, float(PARAMS["a"][run]), float(PARAMS["k"][run]))
            baseline = prepared[run].baseline.predict(test.numbers[f : f + 1])[0]
            assert found[run].energies[place] == pytest.approx(prepared[run].scale * E + baseline, rel=1e-12)
            np.testing.assert_allclose(found[run].forces[place], prepared[run].scale * F, rtol=1e-12, atol=1e-12)


def test_predictions_do_not_depend_on_the_chunks(task: MoleculeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = task.prepare(np.array([0, 1, 3]))
    one = {name: value[:1] for name, value in PARAMS.items()}
    before = task.predict(Springs(), one, [prepared], task.test, [np.arange(6)])[0]
    monkeypatch.setitem(molecules.EVALUATION_SLOTS, "cpu", 1)
    after = task.predict(Springs(), one, [prepared], task.test, [np.arange(6)])[0]
    np.testing.assert_allclose(before.energies, after.energies, rtol=1e-14)
    np.testing.assert_allclose(before.forces, after.forces, rtol=1e-13, atol=1e-14)


def test_padding_does_not_count(task: MoleculeTask) -> None:
    """The same frames padded to more atoms give the same loss and the same errors."""
    dataset = task.dataset

    def padded(frames: Frames) -> Frames:
        wide = [(0, 0), (0, 3)]
        return dataclasses.replace(
            frames, numbers=np.pad(frames.numbers, wide), positions=np.pad(frames.positions, [*wide, (0, 0)]),
            forces=np.pad(frames.forces, [*wide, (0, 0)]),
        )  # fmt: skip

    wider = dataclasses.replace(
        dataset, pool=padded(dataset.pool), holdout=padded(dataset.holdout), test=padded(dataset.test)
    )
    other = MoleculeTask(wider, task.cutoff, torch.float64, CPU)
    losses = []
    for t in (task, other):
        prepared = t.prepare(np.array([0, 1, 3]))
        one = {name: value[:1] for name, value in PARAMS.items()}
        picked = torch.tensor([[0, 1, 3]])
        targets = t.targets([prepared], [LossWeights(1.0, 1.0)])
        losses.append(t.loss(Springs(), one, t.batch(targets, picked), LossTerms(True, True)).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-13)


def test_prepared_uses_the_training_frames_alone(task: MoleculeTask) -> None:
    chosen = np.array([1, 3])
    prepared = task.prepare(chosen)
    pool = task.dataset.pool
    components = np.concatenate([pool.forces[f][pool.numbers[f] > 0].ravel() for f in chosen])
    assert prepared.scale == pytest.approx(float(np.sqrt(np.mean(components**2))), rel=1e-12)
    atoms = [int((pool.numbers[f] > 0).sum()) for f in chosen]
    neighbours = sum(n * (n - 1) for n in atoms) / sum(atoms)  # the cutoff holds everything
    assert prepared.inverse_neighbours == pytest.approx(1 / neighbours, rel=1e-12)
    spoilt = np.full_like(pool.forces, np.nan)
    spoilt[chosen] = pool.forces[chosen]
    other = dataclasses.replace(task.dataset, pool=dataclasses.replace(pool, forces=spoilt))
    assert MoleculeTask(other, 20.0, torch.float64, CPU).prepare(chosen).scale == prepared.scale


def test_vanishing_forces_take_the_energy_as_scale(task: MoleculeTask) -> None:
    pool = dataclasses.replace(task.dataset.pool, forces=np.zeros_like(task.dataset.pool.forces))
    other = MoleculeTask(dataclasses.replace(task.dataset, pool=pool), 20.0, torch.float64, CPU)
    prepared = other.prepare(np.array([0, 1, 3]))
    rest = pool.energies[[0, 1, 3]] - prepared.baseline.predict(pool.numbers[[0, 1, 3]])
    assert prepared.scale == pytest.approx(float(np.std(rest)), rel=1e-12)
    assert other.prepare(np.array([2])).scale == 1.0  # one frame has no spread


def test_no_neighbours_at_all(task: MoleculeTask) -> None:
    alone = MoleculeTask(task.dataset, 1e-6, torch.float64, CPU)
    assert np.isfinite(alone.prepare(np.array([0, 1])).inverse_neighbours)


def test_baseline_that_cannot_predict_the_test_set_is_refused_before_training(task: MoleculeTask) -> None:
    dataset = dataclasses.replace(task.dataset, isolated_energies=None)
    other = MoleculeTask(dataset, 20.0, torch.float64, CPU)
    with pytest.raises(InputError, match="the training frames do not determine its energy baseline"):
        other.prepare(np.array([1]))


def test_graph_indices_are_global_to_the_pack(task: MoleculeTask) -> None:
    """Every edge's reverse is the edge back, and senders lie in the same frame, wherever a frame is put."""
    graph = pick_graph(task.pool.tensors, torch.tensor([[3, 0], [2, 3]]))
    p, n, k = graph.senders.shape
    flat: dict[str, Any] = {
        "vectors": graph.vectors.reshape(-1, 3), "mask": graph.mask.reshape(-1), "senders": graph.senders.reshape(-1),
    }  # fmt: skip
    receivers = torch.arange(p * n).repeat_interleave(k)
    reverse = graph.reverse.reshape(-1)
    real = flat["mask"] > 0
    assert torch.equal(flat["vectors"][reverse][real], -flat["vectors"][real])
    assert torch.equal(flat["senders"][reverse][real], receivers[real])
    atoms = n // 2
    assert torch.equal(flat["senders"] // atoms, receivers // atoms)
