"""Checks that a device computes what the CPU does, and that a pack, a resumed or a compiled run changes nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.engine import pack_of, random_ethanol_dataset
from benchmarks.on_gpu.plan import ETHANOL
from benchmarks.on_gpu.small_trainings import started, trained
from benchmarks.on_gpu.solitude import beside
from experiments.core.schema import build
from experiments.models.networks import Trainable, network
from experiments.models.registry import MODELS
from experiments.tasks.molecules import MoleculeTask
from experiments.training.flat_state import part
from experiments.training.pack import Pack
from experiments.training.step import eager_gradient

CPU = torch.device("cpu")
Facts = dict[str, Any]
ROUND_OFF = 1e-9
"""Largest error in float64, relative to the largest number: round-off of 1e-16, times what sums of second derivatives
lose (a thousand, measured on CPUs), times a margin."""
ROUND_OFF_SINGLE = 2e-3
"""The same of float32, beside float64."""
AFTER_TRAINING = 1e-7
"""Relative change of errors by round-off of float64 that 15 updates amplified (5e-13, measured on CPUs; a GPU adds
in another order each time)."""
COMPILED = 1e-3
"""Relative change of gradients, in float32, by another order of operations."""


def distance(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference relative to the largest number expected."""
    return float((found.double().cpu() - expected.double().cpu()).abs().max() / (expected.abs().max() + 1e-300))


def gradient_of(pack: Pack) -> tuple[Tensor, Tensor]:
    """Return losses `[p]` and gradient `[p, n]` on the first frames, eagerly."""
    count = len(pack.slots) * pack.batch_size
    chosen = np.arange(count).reshape(len(pack.slots), pack.batch_size) % 8
    picked = torch.as_tensor(chosen, device=pack.task.device)
    gradient = eager_gradient(pack._loss, pack.layout)
    return gradient(pack.state["params"], part(pack.state, "constants"), pack.task.batch(pack.targets, picked))


def quantities(pack: Pack) -> dict[str, Tensor]:
    """Return losses, gradient and predictions of a new pack."""
    losses, gradient = gradient_of(pack)
    member = pack.slots[0]
    assert member is not None
    task: Any = pack.task
    if isinstance(task, MoleculeTask):
        weights = {name: value[None] for name, value in pack._weights(0).items()}
        model: Any = pack.model
        found = task.predict(model, weights, [member.prepared], task.test, [np.arange(2)])[0]
        rest = {"energies": torch.as_tensor(found.energies), "forces": torch.as_tensor(found.forces)}
    else:
        outputs = task.predict(pack.model, pack._weights(0), member.prepared, task.test)
        rest = {"outputs": torch.as_tensor(outputs)}
    return {"loss": losses, "gradient": gradient, **rest}


def compared(device: Mapping[str, Mapping[str, Tensor]], expected: Mapping[str, Tensor]) -> Facts:
    """Return the distances of quantities by precision, float64 and float32, from those of the CPU in float64."""
    facts: Facts = {
        precision: {name: distance(value, expected[name]) for name, value in values.items()}
        for precision, values in device.items()
    }
    double, single = (max(facts[precision].values()) for precision in ("float64", "float32"))
    return {**facts, "bad": not (double < ROUND_OFF and single < ROUND_OFF_SINGLE)}


def same(device: torch.device, case: str) -> Facts:
    """Compare predictions, loss and gradient of a small network with the CPU's."""

    def found(precision: str, place: torch.device) -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            return quantities(started(case, Path(folder), place, precision=precision)[0])

    with beside():
        return compared({p: found(p, device) for p in ("float64", "float32")}, found("float64", CPU))


def ethanol_network(name: str, channels: int, task: MoleculeTask) -> Trainable:
    """Return a network of `ETHANOL` with that many channels."""
    architecture, settings = ETHANOL[name]
    config: Any = build(MODELS[architecture], {**settings, "channels": channels}, "model.")
    return network(config, len(task.elements))


def same_ethanol(device: torch.device, name: str, channels: int) -> Facts:
    """Compare predictions, loss and gradient of a network of ordinary size with the CPU's."""

    def found(dtype: torch.dtype, place: torch.device) -> dict[str, Tensor]:
        task = MoleculeTask(random_ethanol_dataset(64), 5.0, dtype, place)
        with tempfile.TemporaryDirectory() as folder:
            return quantities(pack_of(2, ethanol_network(name, channels, task), task, Path(folder), False, "adam", 4))

    with beside():
        mine = {"float64": found(torch.float64, device), "float32": found(torch.float32, device)}
        return compared(mine, found(torch.float64, CPU))


def _differences(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> Facts:
    """Compare all errors of runs with those of others that should be equal."""
    pairs = [
        (value, second["errors"][name])
        for first, second in zip(one, other, strict=True)
        for name, value in first["errors"].items()
    ]
    largest = max(abs(a - b) / (abs(b) + 1e-300) if a != b else 0.0 for a, b in pairs)
    equal = all(a == b for a, b in pairs)
    return {"largest": largest, "equal_bits": equal, "errors": len(pairs), "bad": not largest < AFTER_TRAINING}


def packed(device: torch.device, case: str) -> Facts:
    """Train two runs as a pack, and each by itself."""
    with beside(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        singles = [trained(case, root / f"single{run}", device, runs=[run])[0] for run in (0, 1)]
        return _differences(trained(case, root / "pack", device), singles)


def resumed(device: torch.device, case: str) -> Facts:
    """Train a pack in one go, and one that is stopped and resumed."""
    with beside(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        again = trained(case, root / "again", device, stop=4)
        facts = _differences(again, trained(case, root / "whole", device))
        at = [run["resumed"] for run in again]
        return {**facts, "resumed_at": at, "bad": facts["bad"] or min(at) < 1}


def trainings(device: torch.device, case: str) -> Facts:
    """Train a pack on the device and on the CPU."""
    with beside(), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return _differences(trained(case, root / "device", device), trained(case, root / "cpu", CPU))


def compiled(device: torch.device, case: str) -> Facts:
    """Compare gradient and losses of a pack's first updates, compiled, with eager ones, in single precision.

    The losses of successive updates must differ: outputs of a CUDA graph are overwritten by its next replay.
    """
    import time

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        changes: dict[str, Any] = {"precision": "float32", "optimizer": "adam", "max_steps": 40}
        fast, ours = started(case, root / "compiled", device, compile=True, **changes)
        slow, theirs = started(case, root / "eager", device, **changes)
        began = time.monotonic()
        step = fast._step()
        seconds = time.monotonic() - began
        with beside():
            gradients = distance(fast.bare_gradient(), slow.bare_gradient())
            for pack in (fast, slow):
                pack.advance(9)
        losses = [torch.as_tensor(member.history._losses) for member in (ours[0], theirs[0])]
    apart = distance(*losses)
    different = len(set(losses[0].tolist()))
    return {
        "compile_s": seconds,
        "step": step.kind,
        **({} if step.why is None else {"why": step.why}),
        "gradient": gradients,
        "losses": apart,
        "different_losses": different,
        "bad": not (step.kind == "compiled" and gradients < COMPILED and apart < 0.01 and different == len(losses[0])),
    }
