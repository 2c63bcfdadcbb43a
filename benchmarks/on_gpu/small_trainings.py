"""Short trainings of the small networks, on any device: two runs of different length, stopped and resumed if asked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.on_gpu.small_networks import CASES, POOL
from experiments.config.training import TrainingConfig
from experiments.data.splits import subset
from experiments.training.member import STABLE_PHASE, Member
from experiments.training.pack import Interrupted, Pack

BUDGETS = (12, 8)
"""The second run ends first, so that the pack is compacted; bases of SOAP are renewed once on the way (after 10)."""


def started(
    name: str, path: Path, device: torch.device, attempt: int = 1, runs: Sequence[int] = (0, 1), **changes: Any
) -> tuple[Pack, list[Member]]:
    """Make a pack of runs of the network `name` on a device, from their latest checkpoints below `path`.

    Args:
        name: of the network, in `CASES`.
        path: directory of all attempts; that of this one must not be there.
        device: of all tensors.
        attempt: its number, counted from 1.
        runs: places in `BUDGETS`, which are the runs' seeds too.
        changes: to the runs' settings, which are eager and in double precision by default.
    """
    own = {"warmup_steps": 2, "batch_size": 2, "compile": False, "precision": "float64", **changes}
    settings = [TrainingConfig(**{"max_steps": BUDGETS[run], **own}) for run in runs]
    task = CASES[name].task(getattr(torch, settings[0].precision), device)
    members = []
    for run, chosen in zip(runs, settings, strict=True):
        earlier = [path / f"{run}-{number}" for number in range(attempt, 0, -1)]
        earlier[0].mkdir(parents=True)
        prepared = task.prepare(subset(POOL, 6, run, 1))
        members.append(Member(str(run), earlier[0], earlier, run, run, chosen, prepared))
    return Pack(members, task, CASES[name].network(task), bool(own["compile"])), members


def trained(
    name: str,
    path: Path,
    device: torch.device,
    stop: int | None = None,
    runs: Sequence[int] = (0, 1),
    **changes: Any,
) -> list[dict[str, Any]]:
    """Train runs to their end, interrupted and resumed once the first has done `stop` updates.

    Return of each its errors, the devices of its weights, and the updates done when it resumed.

    Raises:
        RuntimeError: a run failed; the message is its failure.
    """
    attempt = 1
    if stop is not None:
        pack, interrupted = started(name, path, device, attempt, runs, **changes)
        try:
            pack.train(lambda: interrupted[0].steps_done >= stop, lambda event: None)
        except Interrupted:
            attempt = 2
    pack, members = started(name, path, device, attempt, runs, **changes)
    resumed_at = [member.steps_done for member in members]
    pack.train(lambda: False, lambda event: None)
    found = []
    for member, steps_done in zip(members, resumed_at, strict=True):
        if member.failure is not None:
            raise RuntimeError(member.failure)
        assert member.weights is not None
        member.save_stable_phase()
        places = sorted({str(value.device) for value in member.weights.values()})
        whole = (member.path / STABLE_PHASE).exists()
        found.append({"errors": errors(member), "places": places, "resumed": steps_done, "stable_phase": whole})
    return found


def errors(member: Member) -> dict[str, float]:
    """Return everything that was measured, on test, training and validation frames, by name."""
    assert member.full is not None
    assert member.half is not None
    found: dict[str, float] = {}
    for text, evaluation in (("full", member.full), ("half", member.half)):
        for split, values in (("test", evaluation.test), ("train", evaluation.train)):
            found |= {f"{text} {split} {metric}": value.value for metric, value in values.items()}
    for record in member.history.records:
        found |= {f"{record['clock']} {k}": v for k, v in record.items() if k.startswith("holdout")}
    return found
