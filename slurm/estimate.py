"""What a run will cost, learned from the finished runs of the store; nothing is guessed where nothing is known.

Runs on one GPU model teach nothing of another.
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
    """On a device of its own (in a pack: its share of the pack's time); null: nothing like it has finished."""
    memory: float | None
    """Bytes of the process that computes it (peak of the resident set); null: nothing like it has finished."""
    basis: str
    """What it was learned from, in words."""


UNKNOWN = Estimate(None, None, "nothing like it has finished")


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
            self._learn(result)

    @staticmethod
    def of_store(store: Path) -> Estimates:
        """From the finished runs of a store."""
        results = (result for _, result in RunStore(store).results())
        return Estimates(itertools.islice(results, LOOKED_AT))

    def _learn(self, result: Mapping[str, Any]) -> None:
        try:
            kind = str(result["device"]).partition(":")[0]
            shape = tuple(result[name] for name in SHAPE)
            model = result.get("gpu") if kind == "cuda" else None
            place = (kind, model if isinstance(model, str) else None)
            exact = (result["architecture"], place, result["dataset_sha256"], shape, result["training.batch_size"])
            seconds, updates, P = float(result["seconds"]), result.get("n_updates"), int(result["P"])
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
        """The cost of a run on a device of `kind` (cpu, cuda).

        Args:
            gpus: names of the GPU model that the run will have, as clusters write them (`slurm.gpu_models`). Where
                they, or finished runs of one single model, do not tell the model, nothing is known.
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
            found = self._seconds(key, config)
            if found is not None:
                seconds, count = found
                return Estimate(seconds, self._memory.get(key), f"{count} finished runs {like}{where}")
        return UNKNOWN

    def _model(self, gpus: Sequence[str]) -> tuple[str | None, str]:
        """Whose runs tell what a job costs that asks for `gpus`: a model's, or None for those that recorded none;
        and why nobody's do, in words, where it can't be said."""
        known = [model for model in self._models if model is not None]
        return chosen(gpus, known) if known or (gpus and self._models) else (None, "")

    def _seconds(self, key: Key, config: RunConfig) -> tuple[float, int] | None:
        settings = config.training
        if settings is not None and (rates := self._rates.get(key)):
            updates = Schedule(settings.max_steps, settings.warmup_steps, settings.cooldown).total
            return statistics.median(rates) * updates, len(rates)
        if settings is None and (solved := self._solved.get(key)):
            nearest = min(solved, key=lambda P: abs(math.log(P / config.P)))
            seconds = statistics.median(solved[nearest]) * max(1.0, config.P / nearest)
            return seconds, sum(map(len, solved.values()))
        return None
