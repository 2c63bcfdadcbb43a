"""The size of a sweep before anything starts: its runs, its packs, and the hours they will take if these are known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.config.run import RunConfig
from experiments.core.gpu import models_here
from slurm.estimate import UNKNOWN, Estimates
from slurm.local import most_together
from slurm.plan import PlannedRun, UnnamedRun

HOURS = {"cuda": "GPU hours", "cpu": "core hours"}


@dataclass(frozen=True)
class Outline:
    """The size of a sweep."""

    runs: int
    """Distinct runs."""
    unnamed: int
    """Those of them whose data are not on this machine, so that they have no id yet."""
    done: int
    """Those of them that are done."""
    packs: int
    """Packs of the runs that are left."""
    hours: Mapping[str, float]
    """Hours by kind of device (cuda, cpu) of the runs left whose time can be estimated."""
    unknown: int
    """Number of runs left whose time cannot be estimated."""
    basis: tuple[str, ...]
    """The finished runs that the hours were learned from, in words. If no hours are known, the reasons; none if the
    reason is that no run like these has finished."""

    def text(self) -> str:
        """Describe the sweep in one line or two."""
        left = self.runs - self.done
        head = f"{self.runs} runs, {self.done} done, {left} left in {self.packs} packs"
        if self.unnamed:
            head += f"; the data of {self.unnamed} are not on this machine, so they have no id yet"
        if not left:
            return head
        if not self.hours:
            reasons = "; ".join(self.basis) or "no run like these has finished in the store"
            return f"{head}\nhours: unknown; {reasons}"
        hours = " and ".join(f"{value:.3g} {HOURS.get(kind, kind)}" for kind, value in self.hours.items())
        known = f"estimated {hours}, by the time per update of {'; '.join(self.basis)} in the store"
        return f"{head}\n{known}" + (f"; unknown for {self.unknown} runs" if self.unknown else "")


def outline(runs: Sequence[PlannedRun], unnamed: Sequence[UnnamedRun], pack: int | None = None) -> Outline:
    """Count runs and packs, and estimate their hours from the finished runs of the stores (`slurm.estimate`).

    Hours on a GPU are those of this machine's GPU model.

    Args:
        runs: distinct runs of the sweep.
        unnamed: runs whose data are not on this machine.
        pack: most runs of a pack; None: `most_together`.
    """
    left = [planned for planned in runs if planned.run.state() != "done"]
    shapes: Counter[tuple[str, str]] = Counter((p.shape_id, p.config.device) for p in left)
    shapes.update((_shape(one.config), one.config.device) for one in unnamed)
    stores = {path: Estimates.of_store(path) for path in {planned.run.path.parent for planned in left}}
    gpus = models_here()
    hours: dict[str, float] = {}
    basis: dict[str, None] = {}
    reasons: dict[str, None] = {}
    unknown = len(unnamed)
    for planned in left:
        kind = "cuda" if planned.config.device == "auto" else planned.config.device
        cost = stores[planned.run.path.parent].of(planned.config, planned.data_sha256, kind, gpus)
        if cost.seconds is None:
            unknown += 1
            reasons |= {} if cost == UNKNOWN else {cost.basis: None}
        else:
            hours[kind] = hours.get(kind, 0.0) + cost.seconds / 3600
            basis[cost.basis] = None
    return Outline(
        runs=len(runs) + len(unnamed),
        unnamed=len(unnamed),
        done=len(runs) - len(left),
        packs=sum(
            math.ceil(count / (pack or most_together(shape, device))) for (shape, device), count in shapes.items()
        ),
        hours=hours,
        unknown=unknown,
        basis=tuple(basis or reasons),
    )


def _shape(config: RunConfig) -> str:
    """Return a stand-in for the shape id of a run without data, whose matched channels are not known yet either."""
    return f"{replace(config, match=None).shape_id('')} {config.match}"
