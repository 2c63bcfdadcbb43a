"""What a sweep comes to before anything starts: runs, packs, and the hours they will take as far as that is known."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.config import RunConfig
from experiments.runs import RunStore
from experiments.training.schedule import Schedule
from slurm.plan import PlannedRun, Unnamed

SHAPE = ("L", "nu", "edge_lmax", "n_layers", "channels", "cutoff")
"""What a network's time depends on besides its data and batch."""
HOURS = {"cuda": "GPU hours", "cpu": "core hours"}
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
    """Hours by kind of device (cuda, cpu, auto) of those runs whose time is known."""
    unknown: int
    """Runs left whose time nothing tells."""
    learned: int
    """Finished runs that the hours were learned from."""

    def text(self) -> str:
        """Two lines for people."""
        left = self.runs - self.done
        head = f"{self.runs} runs, {self.done} done, {left} left in {self.packs} packs"
        if self.unnamed:
            head += f"; the data of {self.unnamed} are not on this machine, so they have no name yet"
        hours = [f"{value:.3g} {HOURS.get(kind, f'hours on device={kind}')}" for kind, value in self.hours.items()]
        if not left:
            return head
        if not hours:
            return f"{head}\nhours: unknown; no run like these has finished in the store"
        known = f"estimated {' and '.join(hours)}, by the time per update of {self.learned} finished runs in the store"
        return f"{head}\n{known}" + (f"; unknown for {self.unknown} runs" if self.unknown else "")


def outline(runs: Sequence[PlannedRun], unnamed: Sequence[Unnamed], pack: int | None = None) -> Outline:
    """Count runs and packs, and learn hours from the finished runs of the stores."""
    left = [planned for planned in runs if planned.run.state() != "done"]
    stores = dict.fromkeys(str(planned.run.path.parent) for planned in runs)
    results = [result for store in stores for _, result in RunStore(store).results()]
    shapes: Counter[tuple[str, str]] = Counter((p.shape_id, p.config.device) for p in left)
    shapes.update((one.config.shape_id(""), one.config.device) for one in unnamed)
    hours: dict[str, float] = {}
    unknown = len(unnamed)
    learned: set[str] = set()
    for planned in left:
        seconds, basis = seconds_of(planned.config, results)
        if seconds is None:
            unknown += 1
        else:
            kind = planned.config.device
            hours[kind] = hours.get(kind, 0.0) + seconds / 3600
            learned |= basis
    return Outline(
        runs=len(runs) + len(unnamed),
        unnamed=len(unnamed),
        done=len(runs) - len(left),
        packs=sum(math.ceil(count / (pack or _most(device))) for (_, device), count in shapes.items()),
        hours=hours,
        unknown=unknown,
        learned=len(learned),
    )


def _most(device: str) -> int:
    return CPU_PACK if device == "cpu" else GPU_PACK


def seconds_of(config: RunConfig, results: Iterable[Mapping[str, Any]]) -> tuple[float | None, set[str]]:
    """Time of a run on its kind of device by finished runs of its shape and batch, and which runs these are.

    A network's time is the median of their seconds per update times its updates; that of a fit in closed form is the
    median of the runs at the nearest P, in proportion to P above it. None, and nothing, where there are none.
    """
    alike = [result for result in results if _alike(config, result)]
    settings = config.training
    if settings is not None:
        rates = {str(r["run_id"]): r["seconds"] / r["n_updates"] for r in alike if r.get("n_updates")}
        updates = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown).total
        return (statistics.median(rates.values()) * updates, set(rates)) if rates else (None, set())
    if not alike:
        return None, set()
    nearest = min((int(r["P"]) for r in alike), key=lambda P: abs(math.log(P / config.P)))
    times = {str(r["run_id"]): float(r["seconds"]) for r in alike if r["P"] == nearest}
    return statistics.median(times.values()) * max(1.0, config.P / nearest), set(times)


def _alike(config: RunConfig, result: Mapping[str, Any]) -> bool:
    seconds = result.get("seconds")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        return False
    if config.device != "auto" and str(result.get("device")).partition(":")[0] != config.device:
        return False
    if result.get("architecture") != config.model.architecture:
        return False
    shape = {name: getattr(config.model, name, getattr(config, name, None)) for name in SHAPE}
    batch = None if config.training is None else config.training.batch_size
    return all(result.get(name) == value for name, value in shape.items()) and (
        batch is None or result.get("training.batch_size") == batch
    )
