"""The work of tests/experiments/training/test_pretend.py on the pretended device, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.on_gpu import small_trainings
from experiments.tasks import classification, molecules
from experiments.training import pack as engine
from experiments.training.chunk import Chunk, Request, draw
from tests.experiments import pretended_device
from tests.experiments.pretended_device import Copies, Meeting


def prepare() -> None:
    """Make this process one with the device. Evaluations come now and then; those of examples in chunks smaller than
    the data."""
    torch.set_num_threads(1)
    pretended_device.device()
    engine.VALIDATIONS = 3
    classification.EVALUATION_NUMBERS[pretended_device.NAME] = 200
    molecules.EVALUATION_SLOTS[pretended_device.NAME] = 100


def trained(name: str, path: Path, place: str, stop: int | None = None, **changes: Any) -> list[dict[str, Any]]:
    """Train two runs to their end on a device (`small_trainings.trained`)."""
    return small_trainings.trained(name, path, torch.device(place), stop, **changes)


def copies(name: str, path: Path, **changes: Any) -> list[tuple[int, int]]:
    """Copies to the device and to the host in one update and in three more, each with what comes before and behind
    them, after a first update."""
    pack, _ = small_trainings.started(name, path, torch.device(f"{pretended_device.NAME}:0"), **changes)
    pack.bare_steps(1)
    found = []
    for updates in (1, 3):
        before = Copies.to_device, Copies.to_host
        pack.bare_steps(updates)
        found.append((Copies.to_device - before[0], Copies.to_host - before[1]))
    return found


def waits(name: str, path: Path, lengths: Sequence[int], **changes: Any) -> list[dict[str, Any]]:
    """Of each chunk of updates its copies to the device and to the host, the updates after which bases were due, and
    the copies to the host that had been made when chunks were drawn."""
    pack, _ = small_trainings.started(name, path, torch.device(f"{pretended_device.NAME}:0"), **changes)
    drawn: list[tuple[int, int]] = []

    def noted(request: Request, *others: Any) -> Chunk:
        made = draw(request, *others)
        drawn.append((Copies.to_host, int(made.due.any(1).sum())))
        return made

    found = []
    with mock.patch.object(engine, "draw", noted):
        for length, following in zip(lengths, [*lengths[1:], None], strict=True):
            to_device, to_host, due = Copies.to_device, Copies.to_host, drawn[-1][1] if drawn else None
            before = len(drawn)
            pack._chunk(length, following)
            found.append(
                {
                    "to_device": Copies.to_device - to_device,
                    "to_host": Copies.to_host - to_host,
                    "due": drawn[0][1] if due is None else due,
                    "drawn_after": [copies - to_host for copies, _ in drawn[before:]],
                }
            )
    return found


def evaluations(name: str, path: Path) -> list[list[dict[str, float]]]:
    """Errors of two runs that have not begun, on test and training frames: evaluated at once, and one by one."""
    pack, members = small_trainings.started(name, path, torch.device(f"{pretended_device.NAME}:0"))
    runs = [(pack._weights(i), member.prepared) for i, member in enumerate(members)]
    single = [pack.evaluator.full([weights], [prepared])[0] for weights, prepared in runs]
    weights, prepared = zip(*runs, strict=True)
    found = []
    for made in (pack.evaluator.full(weights, prepared), single):
        splits = [{"test": one.test, "train": one.train} for one in made]
        found.append([{f"{k} {part}": v.value for part, e in one.items() for k, v in e.items()} for one in splits])
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
