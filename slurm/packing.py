"""Packs of runs: runs of one shape that one job computes, as many as fill the time that a job should take.

A ladder is never divided, for its runs are solved in one pass.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slurm.estimate import Estimate
from slurm.local import is_ladder
from slurm.plan import PlannedRun

UNKNOWN_ON_GPU = 16
"""Runs of a pack on a GPU if their time is unknown; they train together."""
MEMORY_MARGIN = 1.3
"""Memory asked for, relative to the largest peak seen: the next run's allocator may be less lucky."""
COMPILE_GB = 0.5
"""Memory of a process that compiles kernels for a GPU, one a core: torch loaded is 0.3 GB (measured), the rest is for
Triton and ptxas at work (estimated). What a finished run recorded is the memory of its worker alone."""
GB = 1e9

Unit = list[tuple[PlannedRun, Estimate]]
"""Runs that one worker computes in one go, with their costs."""


@dataclass(frozen=True)
class PlannedPack:
    """The runs of one job, with the time and memory that it will need."""

    runs: tuple[PlannedRun, ...]
    kind: str
    """Kind of device: cpu or cuda."""
    seconds: float | None
    """Duration of the job from its start; None: unknown."""
    memory: float | None
    """GB of the job; None: unknown."""

    @property
    def weight(self) -> float:
        """For comparisons: seconds, or the number of runs if the time is unknown."""
        return float(len(self.runs)) if self.seconds is None else self.seconds


def pack(
    runs: Sequence[tuple[PlannedRun, Estimate]],
    kind: str,
    workers: int,
    wanted_seconds: float,
    most: int | None = None,
    room: float = 0.0,
) -> list[PlannedPack]:
    """Divide runs for devices of one kind into packs of one shape each, in order; ladders of one curve count as one.

    Args:
        runs: each with its cost.
        kind: cpu or cuda.
        workers: runs that a job computes at a time (cores); on a GPU a pack trains together in one process.
        wanted_seconds: time that a job should take.
        most: most runs of a pack; None: as many as fill the time. A run of unknown time counts as a share of the job:
            1 in `most`, else one a worker on CPUs and 1 in 16 on a GPU. A job that turns out too long goes on where
            its time limit stopped it. A ladder (fits in closed form that differ only in P) counts as one run and is
            never divided, unless this is given.
        room: GB of a job beside the memory of its workers.
    """
    shapes: dict[str, list[Unit]] = {}
    for unit in _units(runs, whole=most is None):
        planned = unit[0][0]
        shapes.setdefault(planned.model_id if is_ladder(planned.shape_id) else planned.shape_id, []).append(unit)
    packs = []
    for members in shapes.values():
        known = [seconds for unit in members if (seconds := _seconds(unit)) is not None]
        unknown_seconds = None if not known else sum(known) / len(known)
        per_job = most or (workers if kind == "cpu" else UNKNOWN_ON_GPU)
        share = wanted_seconds * workers / per_job  # of the time of a job, for a unit whose time is unknown
        chosen: list[Unit] = []
        used = 0.0
        for unit in members:
            needs = next(s for s in (_seconds(unit), unknown_seconds, share) if s is not None)
            full = used + needs > wanted_seconds * workers * (1 + 1e-9) or (most is not None and len(chosen) >= most)
            if chosen and full:
                packs.append(_planned_pack(chosen, kind, workers, room))
                chosen, used = [], 0.0
            chosen.append(unit)
            used += needs
        packs.append(_planned_pack(chosen, kind, workers, room))
    return packs


def _units(runs: Sequence[tuple[PlannedRun, Estimate]], whole: bool) -> list[Unit]:
    """Return what one worker computes in one go: single runs, and ladders if they stay `whole`."""
    units: dict[str, Unit] = {}
    for planned, cost in runs:
        together = whole and is_ladder(planned.shape_id)
        units.setdefault(planned.shape_id if together else planned.run.id, []).append((planned, cost))
    return list(units.values())


def _seconds(unit: Unit) -> float | None:
    """Return the time of a unit; a ladder's runs have shares of one pass, so that they add up. None: unknown."""
    known = [cost.seconds for _, cost in unit if cost.seconds is not None]
    return sum(known) if len(known) == len(unit) else None


def _planned_pack(units: Sequence[Unit], kind: str, workers: int, room: float) -> PlannedPack:
    seconds = [_seconds(unit) for unit in units]
    known = [s for s in seconds if s is not None]
    total = max(sum(known) / workers, max(known)) if len(known) == len(seconds) else None
    members = [member for unit in units for member in unit]
    sizes = [cost.memory for _, cost in members if cost.memory is not None]
    at_once = min(workers, len(units))
    memory = MEMORY_MARGIN * max(sizes) * at_once / GB + room if len(sizes) == len(members) else None
    return PlannedPack(tuple(planned for planned, _ in members), kind, total, memory)


def at_most(packs: Sequence[PlannedPack], limit: int) -> list[PlannedPack]:
    """Merge the lightest packs, kind by kind, until at most `limit` are left, or one of each kind.

    A merged pack may hold several shapes, which its job computes in turn.
    """
    if len(packs) <= limit:
        return list(packs)
    kinds: dict[str, list[PlannedPack]] = {}
    for each in packs:
        kinds.setdefault(each.kind, []).append(each)
    left = max(limit, len(kinds))
    merged: list[PlannedPack] = []
    for position, members in enumerate(kinds.values()):
        others = sum(len(m) for m in itertools.islice(kinds.values(), position + 1, None))
        share = max(1, round(left * len(members) / (len(members) + others)) if others else left)
        share = min(share, left - (len(kinds) - position - 1))
        merged += _merge(members, share)
        left -= share
    return merged


def _merge(packs: Sequence[PlannedPack], count: int) -> list[PlannedPack]:
    order: Callable[[], int] = itertools.count().__next__
    heap = [(each.weight, order(), each) for each in packs]
    heapq.heapify(heap)
    while len(heap) > count:
        first, second = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        both = None if first.seconds is None or second.seconds is None else first.seconds + second.seconds
        memory = None if first.memory is None or second.memory is None else max(first.memory, second.memory)
        merged = PlannedPack((*first.runs, *second.runs), first.kind, both, memory)
        heapq.heappush(heap, (merged.weight, order(), merged))
    return [each for _, _, each in sorted(heap, key=lambda entry: entry[1])]
