"""Frames turned at random: by which rotations, what they do to the loss, and no interruption or pack changes them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.config.parse import LacksKnob, parse
from experiments.config.training import TrainingConfig
from experiments.data.dataset import Dataset, Frames
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import subset
from experiments.models.mpnn import MpnnConfig
from experiments.models.networks.mpnn import Mpnn
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.task import LossTerms, LossWeights
from experiments.training.member import Member
from experiments.training.order import rotations
from experiments.training.pack import Interrupted, Pack
from tests.conftest import MakeConfig

MPNN = MpnnConfig(n_layers=2, channels=4, cutoff=2.0, n_bessel=3)
SETTINGS = TrainingConfig(
    max_steps=24, batch_size=3, learning_rate=3e-3, warmup_steps=4, ema_decay=0.9, precision="float64", compile=False,
    augment=True,
)  # fmt: skip


# --- the rotations


def test_rotations_are_a_function_of_seed_and_step_alone() -> None:
    steps = np.array([0, 7, 3])
    together = rotations(5, 4, steps)
    assert together.shape == (3, 4, 3, 3)
    for step, row in zip(steps, together, strict=True):
        assert np.array_equal(rotations(5, 4, np.array([step]))[0], row)
    assert not np.allclose(together[0], together[1])
    assert not np.allclose(together, rotations(6, 4, steps))


def test_rotations_are_proper_and_uniform() -> None:
    """Haar measure on SO(3): ⟨D_l⟩ = 0 for l = 1, 2 and ⟨R_ij R_kl⟩ = δ_ik δ_jl/3, to 4.5 standard errors."""
    found = rotations(0, 50, np.arange(400)).reshape(-1, 3, 3)
    assert np.abs(found @ found.transpose(0, 2, 1) - np.eye(3)).max() < 1e-14
    assert np.abs(np.linalg.det(found) - 1).max() < 1e-14
    flat = found.reshape(-1, 9)
    assert np.abs(flat.mean(0)).max() < 4.5 * np.sqrt(1 / 3 / len(flat))
    second = flat.T @ flat / len(flat)
    assert np.abs(second - np.eye(9) / 3).max() < 4.5 * np.sqrt(1 / 5 / len(flat))  # ⟨R_ij⁴⟩ = 1/5 bounds variances


def test_golden_rotation() -> None:
    """numpy promises Philox's stream; a change would change every augmented number without a word. If it is
    meant, raise `training` in experiments.config.run.NUMERICS_RAISED."""
    golden = [
        [0.21627460902852857, 0.9507866192700534, 0.22187856612701373],
        [-0.7300287376696826, 0.006582182758734678, 0.6833847503760532],
        [0.648292631198263, -0.3097764992493025, 0.6955251144616418],
    ]
    np.testing.assert_allclose(rotations(7, 1, np.array([2]))[0, 0], golden, atol=1e-12)


# --- the loss


def task_of(dataset: Dataset) -> MoleculeTask:
    return MoleculeTask(dataset, MPNN.cutoff, torch.float64, torch.device("cpu"))


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return star(StarConfig(n_neighbours=3, coefficients=(1.0, 0.5), pool=60, holdout=4, test=12))


def rotated_frames(frames: Frames, rotation: np.ndarray) -> Frames:
    return dataclasses.replace(frames, positions=frames.positions @ rotation.T, forces=frames.forces @ rotation.T)


def test_the_loss_is_that_of_rotated_frames(dataset: Dataset) -> None:
    """Positions and forces of every frame turned by hand, without the option."""
    model, task = Mpnn(MPNN, 2), task_of(dataset)
    params = {name: value[None] for name, value in model.init(0, torch.float64).items()}
    prepared, picked = task.prepare(np.arange(8)), torch.tensor([[2, 5]])
    targets = dict(task.targets([prepared], [LossWeights(1.0, 1.0)]))
    drawn = rotations(0, 2, np.array([3]))
    plain = task.loss(model, params, task.batch(targets, picked), LossTerms(True, True))
    targets["rotations"] = torch.as_tensor(drawn)
    found = task.loss(model, params, task.batch(targets, picked), LossTerms(True, True))
    by_hand = []
    for place, frame in enumerate((2, 5)):
        other = task_of(dataclasses.replace(dataset, pool=rotated_frames(dataset.pool, drawn[0, place])))
        own = other.targets([prepared], [LossWeights(1.0, 1.0)])
        by_hand.append(other.loss(model, params, other.batch(own, torch.tensor([[frame]])), LossTerms(True, True)))
    expected = torch.stack(by_hand).mean()
    assert abs(found - expected) < 1e-12 * expected
    assert abs(found - plain) > 1e-3 * plain


def test_a_symmetric_network_cannot_tell(laboratory: Any) -> None:
    """MACE trained with and without: the same weights to round-off, amplified by 24 updates."""
    plain = laboratory.trained("plain")
    other = laboratory.trained("turned", {"augment": True})
    for name, value in plain.weights.items():
        assert (other.weights[name] - value).abs().max() < 1e-7 * (1 + value.abs().max())


# --- the engine


def member(task: MoleculeTask, path: Path, seed: int = 0, attempt: int = 1, **changes: Any) -> Member:
    earlier = [path / f"attempt-{n}" for n in range(attempt, 0, -1)]
    earlier[0].mkdir(parents=True, exist_ok=True)
    settings = dataclasses.replace(SETTINGS, **changes)
    prepared = task.prepare(subset(len(task.dataset.pool), 8, seed, 5))
    return Member("a", earlier[0], earlier, seed, seed, settings, prepared)


def train(
    task: MoleculeTask, members: list[Member], stop: Callable[[], bool] = lambda: False
) -> list[dict[str, Tensor]]:
    Pack(members, task, Mpnn(MPNN, 2), compile=members[0].settings.compiles).train(stop, lambda event: None)
    assert all(m.weights is not None for m in members)
    return [dict(m.weights or {}) for m in members]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_an_interrupted_run_ends_as_if_it_were_not(dataset: Dataset, tmp_path: Path) -> None:
    task = task_of(dataset)
    (whole,) = train(task, [member(task, tmp_path / "whole")])
    (plain,) = train(task, [member(task, tmp_path / "plain", augment=False)])
    assert not same(whole, plain)
    for chunks in (1, 2):
        path = tmp_path / f"stopped-{chunks}"
        asked = iter([False] * (chunks - 1) + [True])
        with pytest.raises(Interrupted):
            train(task, [member(task, path)], lambda asked=asked: next(asked))  # type: ignore[misc]
        assert same(train(task, [member(task, path, attempt=2)])[0], whole)


def test_half_the_budget_is_that_schedule_run_alone(dataset: Dataset, tmp_path: Path) -> None:
    task = task_of(dataset)
    whole, half = member(task, tmp_path / "whole"), member(task, tmp_path / "half", max_steps=12)
    train(task, [whole])
    train(task, [half])
    assert whole.half is not None
    assert half.full is not None
    assert whole.half.test == half.full.test


def test_a_pack_is_its_runs(dataset: Dataset, tmp_path: Path) -> None:
    task = task_of(dataset)
    alone = [train(task, [member(task, tmp_path / f"{seed}", seed)])[0] for seed in (0, 1, 2)]
    lengths = (24, 24, 16)  # one ends before the others
    pack = [member(task, tmp_path / f"pack-{seed}", seed, max_steps=n) for seed, n in enumerate(lengths)]
    for one, other in zip(train(task, pack)[:2], alone, strict=False):
        for name, value in other.items():
            # batched products may sum in another order, and training amplifies that (test_pack)
            assert (one[name] - value).abs().max() < 1e-9 * (1 + value.abs().max())


def test_a_traced_step_turns_frames_too(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph that would be compiled takes each update's rotations, and has none built in."""
    monkeypatch.setattr(torch, "compile", lambda graph, **_: graph)
    task = task_of(dataset)
    (eager,) = train(task, [member(task, tmp_path / "eager")])
    (compiled,) = train(task, [member(task, tmp_path / "compiled", compile=True)])
    for name, value in eager.items():
        assert (compiled[name] - value).abs().max() < 1e-7 * (1 + value.abs().max())


def test_augmentation_makes_a_network_more_equivariant(dataset: Dataset, tmp_path: Path) -> None:
    """Trained on frames that all lie alike (their first bond along x), it errs on turned ones unless it saw some."""
    frames = {}
    for name in ("pool", "test"):
        own: Frames = getattr(dataset, name)
        first = own.positions[:, 1] - own.positions[:, 0]
        other = own.positions[:, 2] - own.positions[:, 0]
        z = np.cross(first, other)
        z /= np.linalg.norm(z, axis=1, keepdims=True)
        axes = np.stack([first, np.cross(z, first), z], 1)  # [F, 3, 3]: rows are the frame's own axes
        frames[name] = dataclasses.replace(
            own, positions=own.positions @ axes.transpose(0, 2, 1), forces=own.forces @ axes.transpose(0, 2, 1)
        )
    task = task_of(dataclasses.replace(dataset, pool=frames["pool"], test=frames["test"]))
    model, turn = Mpnn(MPNN, 2), rotations(1, 1, np.array([0]))[0, 0]
    there = MoleculeTask(
        dataclasses.replace(task.dataset, test=rotated_frames(task.dataset.test, turn)), 2.0, torch.float64, task.device
    )
    unequal = {}
    for augment in (False, True):
        made = member(task, tmp_path / f"{augment}", max_steps=240, learning_rate=0.02, batch_size=8, augment=augment)
        (weights,) = train(task, [made])
        params, everything = {k: v[None] for k, v in weights.items()}, [np.arange(12)]
        a = task.predict(model, params, [made.prepared], task.test, everything)[0]
        b = there.predict(model, params, [made.prepared], there.test, everything)[0]
        unequal[augment] = float(np.sqrt(((a.energies - b.energies) ** 2).mean()))
    # measured: 0.92 and 0.14 eV
    assert unequal[True] < 0.5 * unequal[False]


# --- the setting


def test_a_symmetric_model_has_no_use_for_it(make_config: MakeConfig) -> None:
    message = r"training.augment=true: model=mace has rotation symmetry \(E\(3\)\); accepted: false"
    with pytest.raises(LacksKnob, match=message):
        parse(make_config({"training.augment": True}))


def test_it_is_part_of_the_identity_where_it_is_on(make_config: MakeConfig) -> None:
    model = {"architecture": "mpnn", "cutoff": 2.0}
    base: dict[str, Any] = {"model": model, "L": None, "nu": None}
    off, on = (parse(make_config(base | more)) for more in ({}, {"training.augment": True}))
    assert off.run_id("0") != on.run_id("0")
    assert "augment" not in off.model_identity("0")["training"]  # added later: old runs keep their names
