"""Training on a device that is not the CPU, which here is a pretended one (tests/experiments/pretended_device.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from experiments.architectures import MODELS
from experiments.config import TrainingConfig
from experiments.data.splits import subset
from experiments.networks import EXAMPLE_NETWORKS, NETWORKS
from experiments.tasks import examples
from experiments.training import pack as engine
from experiments.training.member import Member
from experiments.training.optimizers import OPTIMIZERS
from experiments.training.pack import Interrupted, Pack
from tests.experiments import pretended_device
from tests.experiments.pretended_device import Copies, Meeting
from tests.experiments.training.small_networks import CASES, POOL

CPU = torch.device("cpu")
BUDGETS = (12, 8)
"""The second run ends first, so that the pack is compacted; bases of SOAP are renewed once on the way (after 10)."""


@pytest.fixture(autouse=True)
def _few_glances(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations now and then; those of examples in chunks smaller than the data, as on any device."""
    monkeypatch.setattr(engine, "GLANCES", 3)
    monkeypatch.setitem(examples.EVALUATION_NUMBERS, pretended_device.NAME, 200)


@pytest.fixture(scope="module")
def gpu() -> torch.device:
    return pretended_device.device()


def started(name: str, path: Path, device: torch.device, attempt: int, **changes: Any) -> tuple[Pack, list[Member]]:
    """A pack of two runs of the network ``name``, from their latest checkpoints below ``path``."""
    task = CASES[name].task(torch.float64, device)
    members = []
    for seed, budget in enumerate(BUDGETS):
        earlier = [path / f"{seed}-{number}" for number in range(attempt, 0, -1)]
        earlier[0].mkdir(parents=True)
        own = {"max_steps": budget, "warmup_steps": 2, "batch_size": 2, "compile": False, "precision": "float64"}
        settings = TrainingConfig(**{**own, **changes})
        prepared = task.prepare(subset(POOL, 6, seed, 1))
        members.append(Member(str(seed), earlier[0], earlier, seed, seed, settings, prepared))
    return Pack(members, task, CASES[name].network(task), compile=False), members


def trained(name: str, path: Path, device: torch.device, stop: int | None = None, **changes: Any) -> list[Member]:
    """Two runs at their end, interrupted and resumed at clock ``stop``."""
    if stop is not None:
        pack, members = started(name, path, device, 1, **changes)
        with pytest.raises(Interrupted):
            pack.train(lambda: members[0].clock >= stop, lambda event: None)
        assert members[0].aside is not None  # on the branch, with a state to come back to
    pack, members = started(name, path, device, 1 if stop is None else 2, **changes)
    assert members[0].clock == (stop or 0)
    pack.train(lambda: False, lambda event: None)
    for member in members:
        assert member.failure is None
        member.leave_trunk()
    return members


def errors(member: Member) -> dict[str, float]:
    """Everything that was measured, on test, training and holdout frames, by name."""
    assert member.full is not None
    assert member.half is not None
    found: dict[str, float] = {}
    for text, evaluation in (("full", member.full), ("half", member.half)):
        for split, values in (("test", evaluation.test), ("train", evaluation.train)):
            found |= {f"{text} {split} {metric}": value.value for metric, value in values.items()}
    for record in member.history.records:
        found |= {f"{record['clock']} {k}": v for k, v in record.items() if k.startswith("holdout")}
    return found


def compare(name: str, path: Path, gpu: torch.device, **changes: Any) -> None:
    expected = trained(name, path / "cpu", CPU, **changes)
    found = trained(name, path / "gpu", gpu, stop=4, **changes)
    for one, other in zip(found, expected, strict=True):
        assert one.weights is not None
        assert all(value.device == gpu for value in one.weights.values())
        # The same arithmetic but for the contractions of MACE, which go another way: round-off of float64, and 15
        # updates that amplify it (5e-13 at most, measured).
        assert errors(one) == pytest.approx(errors(other), rel=1e-10)
        assert (one.path / "trunk.safetensors").exists()


def test_every_trained_network_has_a_case() -> None:
    molecules = {case.architecture for case in CASES.values() if case.kind == "molecules"}
    others = {case.architecture for case in CASES.values() if case.kind != "molecules"}
    assert molecules == {config.architecture for config in NETWORKS}
    assert others == {config.architecture for config in EXAMPLE_NETWORKS}
    assert molecules | others == {name for name, config in MODELS.items() if not config.closed_form}


@pytest.mark.parametrize("name", CASES)
def test_errors_on_a_device_are_the_cpus(name: str, gpu: torch.device, tmp_path: Path) -> None:
    """Training, evaluation, checkpoints and resumption without a tensor of the CPU among those of the device."""
    compare(name, tmp_path, gpu)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != TrainingConfig.optimizer])
def test_every_optimizer_on_a_device(optimizer: str, gpu: torch.device, tmp_path: Path) -> None:
    compare("mlp", tmp_path, gpu, optimizer=optimizer)


def test_frames_are_turned_on_a_device(gpu: torch.device, tmp_path: Path) -> None:
    compare("mpnn", tmp_path, gpu, augment=True)


@pytest.mark.parametrize("name", CASES)
def test_nothing_goes_to_the_device_within_an_update(name: str, gpu: torch.device, tmp_path: Path) -> None:
    """Each copy would make the host wait; what networks keep there is there after one update."""
    pack, _ = started(name, tmp_path, gpu, 1)
    pack.bare_steps(1)
    before = Copies.to_device, Copies.to_host
    pack.bare_gradient()
    assert (Copies.to_device, Copies.to_host) == before


# --- the pretended device itself


def test_tensors_of_two_devices_do_not_meet(gpu: torch.device) -> None:
    here, there = torch.arange(3), torch.arange(3, device=gpu)
    assert str(there.device) == "gpu:0"
    wrong: list[Callable[[], Tensor]] = [
        lambda: here + there,
        lambda: there[here],
        lambda: here[there],
        lambda: torch.cat([there, here]),
    ]
    for mixed in wrong:
        with pytest.raises(Meeting, match=r"tensors \[\(3,\)\] of the CPU"):
            mixed()
    assert torch.equal((there + 1).cpu(), here + 1)
    assert there.sum().item() == 3


def test_copies_are_counted(gpu: torch.device) -> None:
    before = Copies.to_device, Copies.to_host
    there = torch.as_tensor([1.0, 2.0], device=gpu)
    assert (Copies.to_device, Copies.to_host) == (before[0] + 1, before[1])
    assert torch.equal(torch.ones(2).to(gpu).cpu(), torch.ones(2))
    assert (Copies.to_device, Copies.to_host) == (before[0] + 2, before[1] + 1)
    assert float((there * 2).sum()) == 6
    assert (Copies.to_device, Copies.to_host) == (before[0] + 2, before[1] + 2)
