"""The engine against a plain loop, packs against their runs, and interruptions against none."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from experiments.tasks.evaluation import Evaluation
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.task import LossWeights
from experiments.training import pack as engine
from experiments.training.layout import Layout
from experiments.training.member import Member
from experiments.training.optimizers import OPTIMIZERS
from experiments.training.order import batches
from experiments.training.pack import Interrupted, Pack
from experiments.training.schedule import Schedule
from experiments.training.step import eager_gradient

Weights = dict[str, Tensor]


def same(a: Weights, b: Weights) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(a: Weights, b: Weights) -> float:
    """Largest difference of two weights, relative to the largest weight."""
    scale = max(float(w.abs().max()) for w in a.values())
    return max(float((a[name] - b[name]).abs().max()) for name in a) / scale


def ends(member: Member) -> tuple[Weights, Evaluation, Evaluation]:
    assert member.failure is None
    assert member.weights is not None
    assert member.full is not None
    assert member.half is not None
    return member.weights, member.full, member.half


def plain_training(laboratory: Any, member: Any, task: MoleculeTask, budget: int, **changes: Any) -> Weights:
    """One schedule of `budget` updates as one would write it down: no pack, shared phase, branch or chunks."""
    settings = dataclasses.replace(laboratory.settings, **changes)
    optimizer = OPTIMIZERS[settings.optimizer]()
    schedule = Schedule(max(budget, 2), settings.warmup_steps, settings.cooldown)
    drawn = laboratory.model.init(member.init_seed, task.dtype)
    names = [name for name in drawn if not name.startswith("constant.")]
    layout = Layout({name: drawn[name].shape for name in names})
    params = layout.flat({name: drawn[name][None] for name in names})
    constants = {"constant.inverse_neighbours": torch.tensor([member.prepared.inverse_neighbours], dtype=task.dtype)}
    weights = LossWeights(settings.energy_weight, settings.force_weight)
    targets, terms = task.targets([member.prepared], [weights]), weights.trained
    gradient = eager_gradient(
        lambda params, targets, resident, picked: task.loss(laboratory.model, params, targets, resident, picked, terms),
        layout,
    )
    memory, average = optimizer.init(layout, params), params.clone()
    yes = torch.ones(1, dtype=torch.bool)
    for step in range(budget):
        start = budget - max(1, round(settings.cooldown * budget))
        rise = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
        rate = member.settings.learning_rate * (rise if step < start else rise * (budget - step) / (budget - start))
        assert schedule.max_steps == budget
        place = batches(member.seed, len(member.prepared.subset), settings.batch_size, np.array([step]))
        picked = torch.as_tensor(member.prepared.subset[place])
        _, grads = gradient(params, constants, targets, task.pool.tensors, picked)
        grads = grads * torch.clamp(settings.clip / (grads.norm(dim=1) + 1e-12), max=1.0)[:, None]
        number = torch.tensor([step + 1.0], dtype=task.dtype)
        rates = torch.tensor([rate], dtype=task.dtype)
        params, memory = optimizer.update(layout, params, grads, memory, rates, number)
        keep = min((1 + number.item()) / (10 + number.item()), settings.ema_decay)
        average = keep * average + (1 - keep) * params
        if optimizer.due(step + 1):
            memory = optimizer.refresh(layout, memory, yes & (step == 0), yes)
    return {name: value[0] for name, value in layout.named(average).items()} | {
        name: value[0] for name, value in constants.items()
    }


# --- what is trained


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adam", "ema_decay": 0.0, "clip": 0.05, "cooldown": 0.3}])
def test_engine_is_the_plain_loop(laboratory: Any, changes: dict[str, Any]) -> None:
    """Weights of the full schedule, with a branch, chunks and a state kept at the branch point in between."""
    task = laboratory.task()
    member = laboratory.trained("a", changes)
    expected = plain_training(laboratory, member, task, 24, **changes)
    # The same operations but for the average's, whose weight is rounded elsewhere: round-off of float64.
    assert distance(ends(member)[0], expected) < 1e-13


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("steps", [24, 25])
def test_half_budget_is_that_schedule_run_alone(
    laboratory: Any, precision: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result at T/2, from the branch of a run of T, equals a run of max_steps=T/2 bit for bit."""
    changes = {"max_steps": steps, "precision": precision}
    task = laboratory.task(dataclasses.replace(laboratory.settings, **changes))
    branched = laboratory.member(task, "branched")
    pack, seen = laboratory.pack([branched], task, **changes), []
    full = pack.evaluator.full

    def watched(weights: Weights, prepared: Any) -> Any:
        seen.append({name: value.clone() for name, value in weights.items()})
        return full(weights, prepared)

    monkeypatch.setattr(pack.evaluator, "full", watched)
    pack.train(lambda: False, lambda event: None)
    alone = laboratory.trained("alone", {"max_steps": steps // 2, "precision": precision})
    assert same(seen[0], ends(alone)[0])
    assert ends(branched)[2].test == ends(alone)[1].test
    assert ends(branched)[2].train == ends(alone)[1].train
    assert not same(seen[0], ends(branched)[0])


def test_denormal_numbers_are_zero_in_updates_alone(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """1e-20 · 1e-20 is below single precision's normal range, and not below what it can hold; after training, and after
    one that ends in an error, numbers have all their digits again."""

    def product() -> float:
        return float(torch.tensor(1e-20, dtype=torch.float32) * torch.tensor(1e-20, dtype=torch.float32))

    seen: list[float] = []
    task = laboratory.task()
    pack = laboratory.pack([laboratory.member(task, "one")], task)
    update = pack._update

    def watched(*arguments: Any) -> Any:
        seen.append(product())
        return update(*arguments)

    monkeypatch.setattr(pack, "_update", watched)
    pack.advance(2)
    assert seen == [0.0, 0.0]
    assert product() > 0

    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(pack, "_update", broken)
    with pytest.raises(RuntimeError, match="broken"):
        pack.advance(1)
    assert product() > 0


def test_seeds_do_what_they_say(laboratory: Any) -> None:
    base = laboratory.trained("base", seed=1)
    assert same(ends(base)[0], ends(laboratory.trained("again", seed=1))[0])
    assert not same(ends(base)[0], ends(laboratory.trained("init", seed=1, init_seed=2))[0])
    assert not same(ends(base)[0], ends(laboratory.trained("order", seed=2, init_seed=1))[0])


def test_holdout_and_test_never_touch_the_weights(laboratory: Any, whole_runs: Any) -> None:
    before = ends(whole_runs())[0]
    frames = laboratory.dataset.test
    spoilt = dataclasses.replace(frames, energies=frames.energies + 7, forces=-frames.forces)
    laboratory.dataset = dataclasses.replace(laboratory.dataset, holdout=spoilt.take(slice(0, 4)), test=spoilt)
    assert same(before, ends(laboratory.trained("b"))[0])


def test_labels_outside_the_subset_never_touch_the_weights(laboratory: Any) -> None:
    """P counts every label that was used."""
    member = laboratory.trained("a")
    pool = laboratory.dataset.pool
    energies, forces = np.full_like(pool.energies, np.nan), np.full_like(pool.forces, np.nan)
    mine = member.prepared.subset
    energies[mine], forces[mine] = pool.energies[mine], pool.forces[mine]
    spoilt = dataclasses.replace(pool, energies=energies, forces=forces)
    laboratory.dataset = dataclasses.replace(laboratory.dataset, pool=spoilt)
    assert same(ends(member)[0], ends(laboratory.trained("b"))[0])


# --- packs

MEMBERS: list[dict[str, Any]] = [
    {"P": 8, "seed": 0},
    {"P": 2, "seed": 3, "learning_rate": 1e-3},
    {"P": 12, "seed": 1},
]


@pytest.mark.parametrize(
    ("optimizer", "precision", "tolerance"),
    [("adam", "float64", 1e-13), ("soap", "float64", 1e-12), ("soap", "float32", 1e-3)],
)
def test_pack_of_three_is_three_packs_of_one(laboratory: Any, optimizer: str, precision: str, tolerance: float) -> None:
    """To round-off: batched products may sum in another order, and training amplifies that (optimizers.tilted).

    Measured: 0 to 2e-16 in float64, up to 2e-5 in float32. A member that saw another's batch, rate or loss would
    differ by 1e-1.
    """
    changes = {"optimizer": optimizer, "precision": precision}
    task = laboratory.task(dataclasses.replace(laboratory.settings, **changes))
    members = [laboratory.member(task, f"m{i}", **wanted) for i, wanted in enumerate(MEMBERS)]
    laboratory.pack(members, task, **changes).train(lambda: False, lambda event: None)
    for i, wanted in enumerate(MEMBERS):
        alone = laboratory.trained(f"alone{i}", changes, **wanted)
        assert distance(ends(members[i])[0], ends(alone)[0]) < tolerance
        for one, other in zip(ends(members[i])[1:], ends(alone)[1:], strict=True):
            for name, value in other.test.items():
                assert one.test[name].value == pytest.approx(value.value, rel=tolerance)


def test_members_with_settings_of_their_own(laboratory: Any) -> None:
    """Budget, warm-up, cooldown, rate, clipping, average and the loss's weights are each run's."""
    own: list[dict[str, Any]] = [
        {"max_steps": 20, "warmup_steps": 2},
        {"max_steps": 33, "cooldown": 0.3, "clip": 0.05, "learning_rate": 1e-3},
        {"ema_decay": 0.5, "energy_weight": 3.0, "force_weight": 0.2},
    ]
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i, optimizer="adam", **wanted) for i, wanted in enumerate(own)]
    order: list[str] = []
    laboratory.pack(members, task).train(lambda: False, lambda event: None, lambda m: order.append(m.name))
    assert order == ["m0", "m2", "m1"]
    for i, wanted in enumerate(own):
        alone = laboratory.trained(f"alone{i}", seed=i, optimizer="adam", **wanted)
        assert distance(ends(members[i])[0], ends(alone)[0]) < 1e-12  # round-off, see the pack of three


def poisoned(member: Any) -> Member:
    """The loss of this member is NaN from its first update."""
    baseline = dataclasses.replace(member.prepared.baseline, constant=math.nan)
    member.prepared = dataclasses.replace(member.prepared, baseline=baseline)
    made: Member = member
    return made


def test_nan_in_one_run_leaves_the_others_bit_for_bit(laboratory: Any) -> None:
    task = laboratory.task()
    found = []
    for poison in (False, True):
        members = [laboratory.member(task, f"{poison}{i}", **wanted) for i, wanted in enumerate(MEMBERS)]
        if poison:
            poisoned(members[1])
        ended: list[str] = []
        laboratory.pack(members, task).train(lambda: False, lambda event: None, lambda m, e=ended: e.append(m.name))
        assert sorted(ended) == sorted(m.name for m in members)
        found.append(members)
    clean, spoilt = found
    assert spoilt[1].failure is not None
    assert spoilt[1].failure.startswith("the loss is not finite at update 0; try a training.learning_rate below 0.001")
    assert clean[1].failure is None
    for i in (0, 2):
        assert same(ends(clean[i])[0], ends(spoilt[i])[0])
        assert ends(clean[i])[1].test == ends(spoilt[i])[1].test


def test_weights_that_end_as_no_numbers_are_a_failure(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss is seen before each update, so the last update's ruin shows in the errors only."""
    task = laboratory.task()
    update = Pack._update

    def ruin(self: Pack, step: Any, picked: Tensor, rate: Tensor, number: Tensor) -> Tensor:
        losses = update(self, step, picked, rate, number)
        if number[0] == 24:
            self.state = {**self.state, "ema": self.state["ema"] * math.nan}
        return losses

    monkeypatch.setattr(Pack, "_update", ruin)
    member = laboratory.member(task, "a")
    laboratory.pack([member], task).train(lambda: False, lambda event: None)
    assert member.failure is not None
    assert "errors after update" in member.failure


@pytest.mark.parametrize(("size", "failing", "left"), [(2, 1, 1), (4, 2, 2), (4, 1, 4), (5, 3, 2), (8, 5, 4)])
def test_compaction_at_powers_of_two(laboratory: Any, size: int, failing: int, left: int) -> None:
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i, P=4) for i in range(size)]
    for member in members[:failing]:
        poisoned(member)
    pack, sizes = laboratory.pack(members, task, optimizer="adam"), []

    def stop() -> bool:
        sizes.append(len(pack.slots))
        return False

    pack.train(stop, lambda event: None)
    assert set(sizes) == {left}
    assert all(len(value) == left for value in pack.state.values())
    assert [m.failure is not None for m in members] == [i < failing for i in range(size)]
    alone = laboratory.trained("alone", {"optimizer": "adam"}, seed=size - 1, P=4)
    assert distance(ends(members[-1])[0], ends(alone)[0]) < 1e-12  # round-off, see the pack of three


def test_members_at_different_clocks(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that were interrupted at different places may continue in one pack."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    task = laboratory.task()
    counts = [3, 11, 0, 17]
    for i, steps_done in enumerate(counts):
        member = laboratory.member(task, f"m{i}", seed=i)
        if steps_done:
            interrupt(laboratory, [member], task, steps_done, optimizer="adam")
    members = [laboratory.member(task, f"m{i}", attempt=2, seed=i) for i in range(4)]
    pack = laboratory.pack(members, task, optimizer="adam")
    assert [m.steps_done for m in members] == counts
    order: list[str] = []
    pack.train(lambda: False, lambda event: None, lambda m: order.append(m.name))
    assert order == ["m3", "m1", "m0", "m2"]
    for i, member in enumerate(members):
        alone = laboratory.trained(f"alone{i}", {"optimizer": "adam"}, seed=i)
        assert distance(ends(member)[0], ends(alone)[0]) < 1e-12  # round-off, see the pack of three


# --- interruptions


def interrupt(laboratory: Any, members: list[Member], task: MoleculeTask, steps_done: int, **changes: Any) -> None:
    """Train until the first member has done `steps_done` updates, then stop."""
    with pytest.raises(Interrupted):
        laboratory.pack(members, task, **changes).train(lambda: members[0].steps_done == steps_done, lambda event: None)


def resumed(laboratory: Any, name: str, stops: list[int], **changes: Any) -> Member:
    task = laboratory.task(dataclasses.replace(laboratory.settings, **changes))
    for attempt, stop in enumerate(stops, 1):
        interrupt(laboratory, [laboratory.member(task, name, attempt)], task, stop, **changes)
    member: Member = laboratory.member(task, name, len(stops) + 1)
    laboratory.pack([member], task, **changes).train(lambda: False, lambda event: None)
    return member


TOTAL = 30  # of 24 updates with cooldown 0.5: branch point at 6, half at 12, 24 + 12 − 6 in all
STOPS = [[1], [5], [6], [7], [11], [12], [13], [TOTAL - 1], [1, 2, 3], [6, 12], [9, 9 + 1, 20, 21]]


@pytest.mark.parametrize("stops", STOPS, ids=str)
@pytest.mark.parametrize("changes", [{}, {"precision": "float32", "optimizer": "adam"}], ids=["soap64", "adam32"])
def test_resumed_is_uninterrupted(
    laboratory: Any, whole_runs: Any, stops: list[int], changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, wherever it was stopped: at the branch point, on the branch, at half the budget, near the end."""
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 1)
    schedule = Schedule(24, 4, 0.5)
    assert (schedule.branch_point, schedule.half, schedule.total) == (6, 12, TOTAL)
    whole, again = whole_runs(**changes), resumed(laboratory, "again", stops, **changes)
    assert same(ends(whole)[0], ends(again)[0])
    for one, other in zip(ends(whole)[1:], ends(again)[1:], strict=True):
        assert json.dumps(one.to_json()) == json.dumps(other.to_json())
    frames, found = ends(whole)[1].frames, ends(again)[1].frames
    assert frames is not None
    assert found is not None
    assert frames.equals(found)
    timing = {"seconds", "loss"}  # the mean loss since the last record begins anew
    seen = [[{k: r[k] for k in r if k not in timing} for r in m.history.records] for m in (whole, again)]
    assert seen[0] == seen[1]


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


def test_legs_do_not_change_numbers(laboratory: Any, whole_runs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ends(whole_runs())
    monkeypatch.setattr(engine, "STEPS_PER_CHUNK", 3)
    monkeypatch.setattr(engine, "VALIDATIONS", 7)
    assert same(before[0], ends(laboratory.trained("b"))[0])


def test_a_stop_at_the_very_end_throws_nothing_away(laboratory: Any) -> None:
    """The last update is done when the signal comes: the result counts."""
    task = laboratory.task()
    member = laboratory.member(task, "a")
    laboratory.pack([member], task).train(lambda: member.steps_done == TOTAL, lambda event: None)
    ends(member)


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


def test_checkpoints_by_the_clock_on_the_wall(laboratory: Any) -> None:
    """One a chunk where the interval is shorter than a chunk; the last two are kept."""
    task = laboratory.task()
    member = laboratory.member(task, "a")
    laboratory.pack([member], task, checkpoint_seconds=1e-6).train(lambda: False, lambda event: None)
    assert len(list(member.path.glob("step-*.safetensors"))) == 2


def test_history_and_progress(laboratory: Any) -> None:
    events: list[Any] = []
    task = laboratory.task()
    member = laboratory.member(task, "a")
    laboratory.pack([member], task).train(lambda: False, events.append)
    counts = [event["clock"] for event in events]
    assert counts == sorted(counts)
    assert counts[-1] == TOTAL
    assert all(event["total"] == TOTAL and event["run"] == "a" for event in events)
    assert all(math.isfinite(event["holdout_force_mae"]) for event in events)
    lines = (member.path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == member.history.records
