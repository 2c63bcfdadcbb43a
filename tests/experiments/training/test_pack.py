"""The engine against a plain loop, and packs against their runs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from experiments.tasks.evaluation import Evaluation
from experiments.tasks.molecules import MoleculeTask
from experiments.tasks.task import LossTerms, LossWeights
from experiments.training import pack as engine
from experiments.training.chunk import Chunk, Request, draw
from experiments.training.layout import Layout
from experiments.training.member import Member, best_budget
from experiments.training.optimizers import OPTIMIZERS
from experiments.training.order import batches
from experiments.training.pack import Pack
from experiments.training.schedule import Schedule
from experiments.training.step import eager_gradient
from tests.experiments.training.ends import TOTAL, Weights, distance, ends, interrupt, same


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
    early, terms = LossWeights.of(settings.energy_weight, settings.force_weight), LossTerms(*settings.terms)
    late = early
    if settings.late_energy_weight is not None:
        late = LossWeights.of(settings.late_energy_weight, settings.force_weight)
    gradient = eager_gradient(lambda params, batch: task.loss(laboratory.model, params, batch, terms), layout)
    memory, average = optimizer.init(layout, params), params.clone()
    yes = torch.ones(1, dtype=torch.bool)
    for step in range(budget):
        start = budget - max(1, round(settings.cooldown * budget))
        rise = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
        rate = member.settings.learning_rate * (rise if step < start else rise * (budget - step) / (budget - start))
        assert schedule.max_steps == budget
        place = batches(member.seed, len(member.prepared.subset), settings.batch_size, np.array([step]))
        picked = torch.as_tensor(member.prepared.subset[place])
        targets = task.targets([member.prepared], [early if step < start else late])
        _, grads = gradient(params, constants, task.batch(targets, picked))
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


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adam", "ema_decay": 0.0, "clip": 0.05, "cooldown": 0.3},
        {"energy_weight": None, "late_energy_weight": 50.0},
    ],
)
def test_engine_is_the_plain_loop(laboratory: Any, changes: dict[str, Any]) -> None:
    """Weights of the full schedule, with a branch, chunks and a state kept at the branch point in between."""
    task = laboratory.task()
    member = laboratory.trained("a", changes)
    expected = plain_training(laboratory, member, task, 24, **changes)
    # The same operations but for the average's, whose weight is rounded elsewhere: round-off of float64.
    assert distance(ends(member)[0], expected) < 1e-13


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("steps", [24, 25])
def test_shorter_schedules_are_those_run_alone(
    laboratory: Any, precision: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The results at T/4 and T/2, from branches of a run of T, equal runs of these budgets bit for bit."""
    changes = {"max_steps": steps, "precision": precision}
    task = laboratory.task(dataclasses.replace(laboratory.settings, **changes))
    branched = laboratory.member(task, "branched")
    pack = laboratory.pack([branched], task, **changes)
    seen: list[Weights] = []
    full = pack.evaluator.full

    def watched(weights: Sequence[Weights], prepared: Any) -> Any:
        seen.extend({name: value.clone() for name, value in one.items()} for one in weights)
        return full(weights, prepared)

    monkeypatch.setattr(pack.evaluator, "full", watched)
    pack.train(lambda: False, lambda event: None)
    for weights, budget in zip(seen, (steps // 4, steps // 2), strict=False):
        alone = laboratory.trained(f"alone{budget}", {"max_steps": budget, "precision": precision})
        assert same(weights, ends(alone)[0])
        assert branched.evaluations[budget].to_json() == ends(alone)[1].to_json()
        assert not same(weights, ends(branched)[0])


def test_branches_change_no_digit_of_the_whole_schedule(laboratory: Any, whole_runs: Any) -> None:
    """Weights and errors of T are those of a schedule without any branch."""
    task = laboratory.task()
    member = laboratory.member(task, "bare")
    pack = laboratory.pack([member], task)
    member.schedule.__dict__["branches"] = ()  # the cached property
    pack.train(lambda: False, lambda event: None)
    assert list(member.evaluations) == [24]
    assert same(ends(whole_runs())[0], member.weights)
    assert member.evaluations[24].to_json() == ends(whole_runs())[1].to_json()


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
        {"ema_decay": 0.5, "energy_weight": 3.0, "force_weight": 0.2, "late_energy_weight": 9.0},
    ]
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i, optimizer="adam", **wanted) for i, wanted in enumerate(own)]
    order: list[str] = []
    laboratory.pack(members, task).train(lambda: False, lambda event: None, lambda m: order.append(m.name))
    assert order == ["m0", "m2", "m1"]
    for i, wanted in enumerate(own):
        alone = laboratory.trained(f"alone{i}", seed=i, optimizer="adam", **wanted)
        assert distance(ends(members[i])[0], ends(alone)[0]) < 1e-12  # round-off, see the pack of three


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


def test_chunks_drawn_ahead_are_those_drawn_when_they_are_needed(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a run ends, which makes what was drawn for all of them void; frames are rotated, too."""
    chunk = Pack._chunk
    requests: list[Request] = []

    def noted(request: Request, members: Any, optimizer: Any) -> Chunk:
        requests.append(request)
        return draw(request, members, optimizer)

    monkeypatch.setattr(engine, "draw", noted)

    def trained(name: str) -> tuple[list[Member], list[Request]]:
        requests.clear()
        task = laboratory.task()
        members = [laboratory.member(task, f"{name}{i}", seed=i, max_steps=12 + 8 * i, augment=True) for i in range(3)]
        Pack(members, task, laboratory.model, compile=False).train(lambda: False, lambda event: None)
        return members, list(requests)

    ahead, drawn = trained("ahead")
    monkeypatch.setattr(Pack, "_chunk", lambda self, length, following=None: chunk(self, length))
    needed, chunks = trained("ahead")
    assert [same(ends(one)[0], ends(other)[0]) for one, other in zip(ahead, needed, strict=True)] == [True] * 3
    assert set(chunks) <= set(drawn)
    assert len(drawn) == len(chunks) + 3  # one for nothing each time that a run ends


def test_runs_of_a_pack_are_validated_at_once(laboratory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the errors that each has by itself; the first ends before the others."""
    task = laboratory.task()
    members = [laboratory.member(task, f"m{i}", seed=i, max_steps=12 + 8 * (i > 0)) for i in range(3)]
    pack = Pack(members, task, laboratory.model, compile=False)
    sizes: list[int] = []
    validation = pack.evaluator.validation

    def counted(weights: Any, prepared: Any) -> list[dict[str, float]]:
        sizes.append(len(prepared))
        return validation(weights, prepared)

    monkeypatch.setattr(pack.evaluator, "validation", counted)
    pack.train(lambda: False, lambda event: None)
    assert set(sizes) == {1, 2, 3}
    assert sum(sizes) == sum(len(member.history.records) for member in members)
    for i, member in enumerate(members):
        alone = laboratory.member(task, f"alone{i}", seed=i, max_steps=12 + 8 * (i > 0))
        Pack([alone], task, laboratory.model, compile=False).train(lambda: False, lambda event: None)
        for found, expected in zip(member.history.records, alone.history.records, strict=True):
            for name in {*expected} - {"seconds"}:
                assert found[name] == pytest.approx(expected[name], rel=1e-10)  # round-off, see the pack of three


def test_the_longest_of_equals_is_best(laboratory: Any) -> None:
    one = Evaluation({}, {}, validation=0.5)
    assert best_budget({6: one, 12: one, 24: dataclasses.replace(one, validation=0.6)}) == 12
    assert best_budget({6: Evaluation({}, {})}) is None


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
