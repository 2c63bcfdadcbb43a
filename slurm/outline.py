"""What a sweep comes to before anything starts: runs, packs, and the hours they will take as far as that is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from slurm.estimate import Estimates
from slurm.plan import PlannedRun, Unnamed

KINDS = {"cuda": "GPU hours", "cpu": "core hours"}
GPU_PACK, CPU_PACK = 4096, 1
"""Most runs of one shape that train together where nothing else is asked for."""


@dataclass(frozen=True)
class Outline:
    """The sum of a sweep."""

    runs: int
    """Distinct runs."""
    unnamed: int
    """Of them those whose data are not on this machine, so that they have no name yet."""
    done: int
    """Of them those that are done."""
    packs: int
    """Packs of what is left."""
    hours: Mapping[str, float]
    """Hours by kind of device (cuda, cpu) of those runs whose time is known."""
    unknown: int
    """Runs left whose time nothing tells."""
    basis: Sequence[str]
    """What the hours were learned from, in words."""

    def text(self) -> str:
        """Two lines for people."""
        left = self.runs - self.done
        head = f"{self.runs} runs, {self.done} done, {left} left in {self.packs} packs"
        if self.unnamed:
            head += f"; the data of {self.unnamed} are not on this machine, so they have no name yet"
        if not left:
            return head
        if not self.hours:
            return f"{head}\nhours: unknown; no run like these has finished in the store"
        hours = " and ".join(f"{value:.3g} {KINDS[kind]}" for kind, value in self.hours.items())
        known = f"estimated {hours}, by what was taken by {'; '.join(self.basis)}"
        return f"{head}\n{known}" + (f"; unknown for {self.unknown} runs" if self.unknown else "")


def outline(runs: Sequence[PlannedRun], unnamed: Sequence[Unnamed], pack: int | None = None) -> Outline:
    """Count runs and packs, and learn hours from the finished runs of the stores.

    A run with device=auto is counted by the kind of device that runs like it were computed on, GPUs first.
    """
    left = [planned for planned in runs if planned.run.state() != "done"]
    estimates = {store: Estimates.of_store(store) for store in {planned.run.path.parent for planned in left}}
    shapes: Counter[tuple[str, str]] = Counter((p.shape_id, p.config.device) for p in left)
    shapes.update((one.config.shape_id(""), one.config.device) for one in unnamed)
    hours: dict[str, float] = {}
    basis: dict[str, None] = {}
    unknown = len(unnamed)
    for planned in left:
        found = _seconds(planned, estimates)
        if found is None:
            unknown += 1
            continue
        kind, seconds, words = found
        hours[kind] = hours.get(kind, 0.0) + seconds / 3600
        basis[words] = None
    return Outline(
        runs=len(runs) + len(unnamed),
        unnamed=len(unnamed),
        done=len(runs) - len(left),
        packs=sum(math.ceil(count / (pack or _most(device))) for (_, device), count in shapes.items()),
        hours=hours,
        unknown=unknown,
        basis=list(basis),
    )


def _most(device: str) -> int:
    return CPU_PACK if device == "cpu" else GPU_PACK


def _seconds(planned: PlannedRun, estimates: Mapping[Path, Estimates]) -> tuple[str, float, str] | None:
    """Kind of device, seconds and what they were learned from; None where nothing tells."""
    device = planned.config.device
    for kind in KINDS if device == "auto" else (device,):
        found = estimates[planned.run.path.parent].of(planned.config, planned.data_sha256, kind)
        if found.seconds is not None:
            return kind, found.seconds, found.basis
    return None
