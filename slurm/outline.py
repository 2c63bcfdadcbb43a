"""The size of a sweep before anything starts: its runs, its packs, and the hours they will take if these are known."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from experiments.config.compiling import of_a_sweep
from experiments.config.run import RunConfig
from experiments.core.gpu import models_here, visible
from experiments.core.states import RunState
from experiments.core.wording import counted
from slurm.estimate import PROBE, UNKNOWN, Estimate, Estimates
from slurm.local import most_together
from slurm.plan import PlannedRun, UnnamedRun

HOURS = {"cuda": "GPU hours", "cpu": "core hours"}


@dataclass(frozen=True)
class Shape:
    """Runs of a sweep that are left and have one shape."""

    name: str
    """The model in words."""
    kind: str
    """Kind of device, cuda or cpu."""
    runs: int
    """Number of runs."""
    hours: float
    """Hours of those whose time can be estimated."""
    unknown: int
    """Number of the others."""
    basis: str
    """What the time was learned from, or why it is unknown."""

    def text(self) -> str:
        """Describe the shape in one line."""
        left = f"{self.hours:.2g} {HOURS.get(self.kind, self.kind)}" if self.unknown < self.runs else "unknown"
        also = f", unknown for {self.unknown}" if 0 < self.unknown < self.runs else ""
        return f"  {self.name}: {counted(self.runs, 'run')}, {left}{also} ({self.basis})"


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
    shapes: tuple[Shape, ...] = ()
    """The same by shape."""
    compiling: str = ""
    """What is compiled for the runs that are left, and what that costs, in one line; empty if none of them trains."""

    def over(self, most: float | None) -> str:
        """Return why the sweep takes more than so many hours, in one line; empty if it does not, as far as is known."""
        total = sum(self.hours.values())
        if most is None or total <= most:
            return ""
        return (
            f"hydra.launcher.max_hours={most:g}: the {self.runs - self.done} runs that are left take about {total:.3g} "
            f"hours, by {'; '.join(self.basis)}; give more hours, or a smaller sweep"
        )

    def text(self) -> str:
        """Describe the sweep: its size, its hours, and those of each shape if there are several."""
        left = self.runs - self.done
        head = f"{self.runs} runs, {self.done} done, {left} left in {self.packs} packs"
        if self.unnamed:
            head += f"; the data of {self.unnamed} are not on this machine, so they have no id yet"
        if not left:
            return head
        head = "\n".join(filter(None, [head, self.compiling]))
        if not self.hours:
            reasons = "; ".join(self.basis) or "no run like these has finished in the store"
            return f"{head}\nhours: unknown; {reasons}"
        hours = " and ".join(f"{value:.3g} {HOURS.get(kind, kind)}" for kind, value in self.hours.items())
        told = "; ".join(one for one in self.basis if not one.startswith(PROBE))
        sources = [f"the time per update of {told} in the store"] if told else []
        known = f"estimated {hours}, by {'; '.join([*sources, *(one for one in self.basis if one.startswith(PROBE))])}"
        each = [shape.text() for shape in self.shapes] if len(self.shapes) > 1 else []
        return "\n".join([head, *each, known + (f"; unknown for {self.unknown} runs" if self.unknown else "")])


def outline(
    runs: Sequence[PlannedRun],
    unnamed: Sequence[UnnamedRun],
    pack: int | None = None,
    auto: str | None = None,
    gpus: Sequence[str] | None = None,
    probe: Callable[[RunConfig, str], Estimate] | None = None,
) -> Outline:
    """Count runs and packs, and estimate their hours from the finished runs of the stores (`slurm.estimate`).

    Args:
        runs: distinct runs of the sweep.
        unnamed: runs whose data are not on this machine.
        pack: most runs of a pack; None: `most_together`.
        auto: kind of device, cuda or cpu, that `device=auto` will be; None: the one that this machine has.
        gpus: names of the GPU model on which the runs will be computed; None: this machine's.
        probe: measures what a run costs, of a configuration and the digest of its data; asked once for each shape whose
            cost no finished run tells, about its largest P.
    """
    auto = auto or ("cuda" if visible() else "cpu")
    gpus = models_here() if gpus is None else gpus

    def kind_of(config: RunConfig) -> str:
        return auto if config.device == "auto" else config.device

    left = [planned for planned in runs if planned.run.state() != RunState.DONE]
    shapes: Counter[tuple[str, str]] = Counter((p.shape_id, kind_of(p.config)) for p in left)
    shapes.update((_shape(one.config), kind_of(one.config)) for one in unnamed)
    stores = {path: Estimates.of_store(path) for path in {planned.run.path.parent for planned in left}}
    hours: dict[str, float] = {}
    basis: dict[str, None] = {}
    reasons: dict[str, None] = {}
    each: dict[tuple[str, str], list[tuple[PlannedRun, Estimate]]] = defaultdict(list)
    probed: dict[str, tuple[int, Estimate]] = {}
    unknown = len(unnamed)
    for planned in left:
        kind = kind_of(planned.config)
        cost = stores[planned.run.path.parent].of(planned.config, planned.data_sha256, kind, gpus)
        if cost.seconds is None and probe is not None:
            if planned.shape_id not in probed:
                largest = max((p for p in left if p.shape_id == planned.shape_id), key=lambda p: p.config.P)
                probed[planned.shape_id] = largest.config.P, probe(largest.config, largest.data_sha256)
            size, cost = probed[planned.shape_id]
            if planned.config.training is None and cost.seconds is not None:  # a fit costs at least in proportion to P
                cost = replace(cost, seconds=cost.seconds * planned.config.P / size)
        each[planned.shape_id, kind].append((planned, cost))
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
        shapes=tuple(_of_shape(kind, costs) for (_, kind), costs in each.items()),
        compiling=compiling(left, unnamed),
    )


def compiling(runs: Sequence[PlannedRun], unnamed: Sequence[UnnamedRun] = ()) -> str:
    """Return in one line what is compiled for these runs, and what that costs; empty if none of them is trained.

    Data sets of `unnamed` count by their settings, those of `runs` by their content.
    """
    named = [(p.config, p.shape_id, p.data_sha256) for p in runs]
    others = [(one.config, _shape(one.config), str(one.config.data)) for one in unnamed]
    trained = [(one[0].training, *one[1:]) for one in (*named, *others) if one[0].training is not None]
    compiled = [(shape, data) for settings, shape, data in trained if settings.compiles]
    shapes, datasets = ({one[i] for one in compiled} for i in (0, 1))
    short = sum(settings.compile == "auto" and not settings.compiles for settings, _, _ in trained)
    return of_a_sweep(len(shapes), len(datasets), short)


def _of_shape(kind: str, costs: Sequence[tuple[PlannedRun, Estimate]]) -> Shape:
    config = costs[0][0].config
    orders = "".join(f" {sign}={value}" for sign, value in (("L", config.L), ("ν", config.nu)) if value is not None)
    channels = getattr(config.model, "channels", None)
    known = [cost for _, cost in costs if cost.seconds is not None]
    return Shape(
        name=f"{config.architecture}{orders}" + (f", {channels} channels" if channels else ""),
        kind=kind,
        runs=len(costs),
        hours=sum(cost.seconds or 0.0 for cost in known) / 3600,
        unknown=len(costs) - len(known),
        basis=(known or [costs[0][1]])[0].basis,
    )


def _shape(config: RunConfig) -> str:
    """Return a stand-in for the shape id of a run without data, whose matched channels are not known yet either."""
    return f"{replace(config, match=None).shape_id('')} {config.match} {config.data}"
