"""Time and memory of a run, learned from the finished runs of the store; unknown if none is like it, never guessed.

Runs on one GPU model say nothing about another model.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.run import RunConfig
from experiments.runs.store import RunStore
from experiments.training.schedule import Schedule
from slurm.gpu_models import chosen

LOOKED_AT = 2000
"""Most finished runs of a store that are read; reading one takes a tenth of a millisecond."""
SHAPE = ("L", "nu", "edge_lmax", "n_layers", "channels", "cutoff")

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Estimate:
    """Cost of a run."""

    seconds: float | None
    """On a device of its own (in a pack: its share of the pack's time); None: no run like it has finished."""
    memory: float | None
    """Bytes of the process that computes it (peak of the resident set); None: no run like it has finished."""
    basis: str
    """The finished runs that it was learned from, in words; if it is unknown, why."""


UNKNOWN = Estimate(None, None, "nothing like it has finished")


PROBE = "a probe"
"""Beginning of the basis of an estimate that no finished run, but a short computation tells (`slurm.probe`)."""


class Estimates:
    """Costs of runs by architecture, shape, batch, kind of device and GPU model.

    A network's time is the median of seconds per update of finished runs of its shape (else of its architecture) times
    its updates; a closed-form fit's that of the nearest P, in proportion to P above it. Memory is the largest seen.

    Args:
        results: of finished runs.
    """

    def __init__(self, results: Iterable[Mapping[str, Any]]) -> None:
        self._rates: dict[Key, list[float]] = defaultdict(list)
        self._solved: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._memory: dict[Key, float] = {}
        self._models: dict[str | None, None] = {}
        """GPU models of the runs learned from, None for those that did not record theirs."""
        for result in results:
            self.learn(result)

    @staticmethod
    def of_store(store: Path) -> Estimates:
        """Learn from the finished runs of a store."""
        results = (result for _, result in RunStore(store).results())
        return Estimates(itertools.islice(results, LOOKED_AT))

    def learn(self, result: Mapping[str, Any]) -> None:
        """Learn from one more finished run; a record of an earlier version's that lacks the settings tells nothing."""
        try:
            kind = str(result["device"]).partition(":")[0]
            shape = tuple(result[name] for name in SHAPE)
            model = result.get("gpu") if kind == "cuda" else None
            place = (kind, model if isinstance(model, str) else None)
            seconds, updates, P = float(result["seconds"]), result.get("n_updates"), int(result["P"])
            batch = result["training.batch_size"] if updates else None  # a fit in closed form has none
            exact = (result["architecture"], place, result["dataset_sha256"], shape, batch)
        except (KeyError, TypeError, ValueError):
            return  # an earlier version's, or another program's
        if not (math.isfinite(seconds) and seconds > 0):
            return
        if kind == "cuda":
            self._models[place[1]] = None
        memory = result.get("peak_memory")
        for key in (exact, exact[:2]):
            if updates:
                self._rates[key].append(seconds / updates)
            elif result.get("n_steps") is None:
                self._solved[key][P].append(seconds)
            if isinstance(memory, (int, float)) and memory > 0:
                self._memory[key] = max(self._memory.get(key, 0.0), float(memory))

    def of(self, config: RunConfig, data_sha256: str, kind: str, gpus: Sequence[str] = ()) -> Estimate:
        """Return the cost of a run.

        Args:
            config: of the run.
            data_sha256: digest of its dataset.
            kind: of its device, cpu or cuda.
            gpus: names of the GPU model that the run will have, as clusters write them (`slurm.gpu_models`). If
                neither they nor finished runs of one single model tell the model, the cost is unknown.
        """
        model, unknown = self._model(gpus) if kind == "cuda" else (None, "")
        if unknown:
            return Estimate(None, None, unknown)
        where = f" on {model or 'GPUs whose model is not recorded'}" if kind == "cuda" else ""
        settings = config.training
        shape = tuple(getattr(config.model, name, getattr(config, name, None)) for name in SHAPE)
        batch = None if settings is None else settings.batch_size
        exact = (config.architecture, (kind, model), data_sha256, shape, batch)
        for key, like in ((exact, "of this shape"), (exact[:2], f"of {config.architecture}")):
            timing = self._seconds(key, config)
            if timing is not None:
                seconds, count = timing
                return Estimate(seconds, self._memory.get(key), f"{count} finished runs {like}{where}")
        return UNKNOWN

    def _model(self, gpus: Sequence[str]) -> tuple[str | None, str]:
        """Return the GPU model whose runs tell the cost of a job that asks for `gpus` (None: runs that recorded no
        model), and "" or, if the model can't be told, the reason in words."""
        known = [model for model in self._models if model is not None]
        return chosen(gpus, known) if known or (gpus and self._models) else (None, "")

    def _seconds(self, key: Key, config: RunConfig) -> tuple[float, int] | None:
        """Return a run's seconds and the number of finished runs that tell them; None if there are none."""
        settings = config.training
        if settings is not None and (rates := self._rates.get(key)):
            updates = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown).total
            return statistics.median(rates) * updates, len(rates)
        if settings is None and (solved := self._solved.get(key)):
            nearest = min(solved, key=lambda P: abs(math.log(P / config.P)))
            seconds = statistics.median(solved[nearest]) * max(1.0, config.P / nearest)
            return seconds, sum(map(len, solved.values()))
        return None
