"""The work of tests/experiments/training/test_pretend.py on the pretended device, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from experiments.config.run import TrainingConfig
from experiments.data.splits import subset
from experiments.tasks import classification
from experiments.training import pack as engine
from experiments.training.member import STABLE_PHASE, Member
from experiments.training.pack import Interrupted, Pack
from tests.experiments import pretended_device
from tests.experiments.pretended_device import Copies, Meeting
from tests.experiments.training.small_networks import CASES, POOL

BUDGETS = (12, 8)
"""The second run ends first, so that the pack is compacted; bases of SOAP are renewed once on the way (after 10)."""


def prepare() -> None:
    """Make this process one with the device. Evaluations come now and then; those of examples in chunks smaller than
    the data."""
    torch.set_num_threads(1)
    pretended_device.device()
    engine.VALIDATIONS = 3
    classification.EVALUATION_NUMBERS[pretended_device.NAME] = 200


def started(name: str, path: Path, place: str, attempt: int, **changes: Any) -> tuple[Pack, list[Member]]:
    """A pack of two runs of the network `name` on a device, from their latest checkpoints below `path`."""
    task = CASES[name].task(torch.float64, torch.device(place))
    members = []
    for seed, budget in enumerate(BUDGETS):
        earlier = [path / f"{seed}-{number}" for number in range(attempt, 0, -1)]
        earlier[0].mkdir(parents=True)
        own = {"max_steps": budget, "warmup_steps": 2, "batch_size": 2, "compile": False, "precision": "float64"}
        settings = TrainingConfig(**{**own, **changes})
        prepared = task.prepare(subset(POOL, 6, seed, 1))
        members.append(Member(str(seed), earlier[0], earlier, seed, seed, settings, prepared))
    return Pack(members, task, CASES[name].network(task), compile=False), members


def trained(name: str, path: Path, place: str, stop: int | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Train two runs to their end, interrupted and resumed after `stop` steps.

    Return of each its errors, the devices of its weights, and the steps done when it resumed.
    """
    attempt = 1
    if stop is not None:
        pack, interrupted = started(name, path, place, attempt, **changes)
        try:
            pack.train(lambda: interrupted[0].steps_done >= stop, lambda event: None)
        except Interrupted:
            attempt = 2
    pack, members = started(name, path, place, attempt, **changes)
    resumed_at = [member.steps_done for member in members]
    pack.train(lambda: False, lambda event: None)
    found = []
    for member, steps_done in zip(members, resumed_at, strict=True):
        assert member.failure is None, member.failure
        assert member.weights is not None
        member.save_stable_phase()
        places = sorted({str(value.device) for value in member.weights.values()})
        whole = (member.path / STABLE_PHASE).exists()
        found.append({"errors": errors(member), "places": places, "resumed": steps_done, "stable_phase": whole})
    return found


def errors(member: Member) -> dict[str, float]:
    """Everything that was measured, on test, training and validation frames, by name."""
    assert member.full is not None
    assert member.half is not None
    found: dict[str, float] = {}
    for text, evaluation in (("full", member.full), ("half", member.half)):
        for split, values in (("test", evaluation.test), ("train", evaluation.train)):
            found |= {f"{text} {split} {metric}": value.value for metric, value in values.items()}
    for record in member.history.records:
        found |= {f"{record['clock']} {k}": v for k, v in record.items() if k.startswith("holdout")}
    return found


def copies(name: str, path: Path, **changes: Any) -> list[tuple[int, int]]:
    """Copies to the device and to the host in one update and in three more, each with what comes before and behind
    them, after a first update."""
    pack, _ = started(name, path, f"{pretended_device.NAME}:0", 1, **changes)
    pack.bare_steps(1)
    found = []
    for updates in (1, 3):
        before = Copies.to_device, Copies.to_host
        pack.bare_steps(updates)
        found.append((Copies.to_device - before[0], Copies.to_host - before[1]))
    return found


def meetings() -> list[str]:
    """Return the messages of four operations on tensors of both devices; empty for one that is computed."""
    here = torch.arange(3)
    there = torch.arange(3, device=pretended_device.device())
    wrong: list[Callable[[], Tensor]] = [
        lambda: here + there,
        lambda: there[here],
        lambda: here[there],
        lambda: torch.cat([there, here]),
    ]
    said = []
    for operation in wrong:
        try:
            operation()
            said.append("")
        except Meeting as error:
            said.append(str(error))
    return said


def counts() -> list[tuple[int, int, Any]]:
    """Copies to the device and to the host so far, before and after each of three steps, and what the steps found."""
    gpu = pretended_device.device()
    found: list[tuple[int, int, Any]] = [(Copies.to_device, Copies.to_host, None)]
    there = torch.as_tensor([1.0, 2.0], device=gpu)
    found.append((Copies.to_device, Copies.to_host, str(there.device)))
    back = (torch.ones(2).to(gpu) + there).cpu()
    found.append((Copies.to_device, Copies.to_host, back.tolist()))
    number = float((there * 2).sum())
    found.append((Copies.to_device, Copies.to_host, number))
    return found
