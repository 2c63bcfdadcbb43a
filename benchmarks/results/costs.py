"""What a run of a section will cost, told from the processor times of committed tables; None where none is like it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from benchmarks.results.sections import DATA, SECTIONS
from experiments.config.run import RunConfig

Key = tuple[str | float | None, ...]
"""Architecture, L, ν and edge order."""
ATOMS = {name: data.atoms for data in DATA.values() for name in data.tables}
"""Atoms of a frame by the dataset's name in tables."""


class Costs:
    """Processor seconds by model.

    One pass of a linearised network over P frames of N atoms takes time in proportion to P·N² (derivatives of 3N rows,
    and their products with those of all others) and to its layers; of a trained one an update takes N and its layers.
    Across two datasets this is right within a factor of two (`tests/benchmarks/test_results.py` compares), across
    depths it is a guess.
    """

    def __init__(self, tables: Iterable[Path]) -> None:
        self._rates: dict[Key, list[float]] = defaultdict(list)
        for path in tables:
            frame = pd.read_csv(path, low_memory=False).drop_duplicates("run_id")
            for row in frame[frame["cpu_seconds"] > 0].to_dict("records"):
                work = _work(
                    ATOMS.get(str(row["dataset"])),
                    float(row["P"]), _number(row.get("n_layers")), _number(row.get("training.max_steps")),
                )  # fmt: skip
                if work is not None:
                    key = (str(row["architecture"]), *(_number(row.get(name)) for name in ("L", "nu", "edge_lmax")))
                    self._rates[key].append(float(row["cpu_seconds"]) / work)

    def seconds(self, config: RunConfig, data: str) -> float | None:
        """Return the processor seconds of a run, about; None: no table has a run of its model.

        Args:
            config: of the run.
            data: its dataset, by its name in `DATA`.
        """
        orders = (config.L, config.nu, getattr(config.model, "edge_lmax", None))
        key = (config.architecture, *map(_number, orders))
        steps = None if config.training is None else float(config.training.max_steps)
        atoms = DATA[data].atoms if data in DATA else None
        work = _work(atoms, float(config.P), _number(getattr(config.model, "n_layers", None)), steps)
        rates = self._rates.get(key)
        return statistics.median(rates) * work if rates and work is not None else None

    def hours(self, configs: Iterable[RunConfig], data: str) -> tuple[float, int]:
        """Return the core hours of runs whose cost is known, and the number of the others."""
        seconds = [self.seconds(config, data) for config in configs]
        known = [one for one in seconds if one is not None]
        return sum(known) / 3600, len(seconds) - len(known)


def told(hours: float, unknown: int) -> str:
    """Return core hours in words: `about 1.2 core hours`, `hours unknown`, or the first and for how many not."""
    if not hours:
        return "core hours unknown"
    return f"about {hours:.2g} core hours" + (f", unknown for {unknown} runs" if unknown else "")


def of_all(folder: Path) -> Costs:
    """Return what the tables in a folder tell."""
    return Costs(path for name in SECTIONS if (path := folder / name / "runs.csv").exists())


def _number(value: object) -> float | None:
    return None if value is None or pd.isna(value) else float(str(value))  # type: ignore[call-overload]


def _work(atoms: float | None, frames: float, layers: float | None, steps: float | None) -> float | None:
    if atoms is None:
        return None
    return (layers or 1.0) * (frames * atoms**2 if steps is None else steps * atoms)
