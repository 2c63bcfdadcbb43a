"""Names of runs, written down: those of every shipped sweep, and of a few runs on data that are at hand.

`python -m tests.golden.ids` writes the lists again; `tests.golden.test_ids` says when that is right.

Nothing is downloaded or generated for a sweep: a stand-in takes the place of its data, whose digest is made of the
settings that decide their content. Two lists have digests of real data: a star of three neighbours and
dipoles, computed in a moment (with more of either its labels differ in the last bit between kinds of processors, and so
do its names), and `train.xyz` with `test.xyz`, sixteen triangles of atoms on springs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.formula
import numpy as np
from ase.data import atomic_numbers

from experiments.data.dataset import Dataset, Frames
from experiments.data.load import dataset_of, identity
from experiments.data.sources import md17
from experiments.models.registry import MODELS
from slurm.from_words import plan_of
from slurm.plan import PlannedRun

HERE = Path(__file__).parent
CONF = HERE.parents[1] / "conf"
SWEEPS = tuple(sorted(path.stem for path in (CONF / "sweep").glob("*.yaml")))
COLUMNS = ("run_id", "model_id", "architecture", "L", "nu", "P", "seed", "channels")
FORMULAS = {**md17.FORMULAS, "ethanol_small": md17.FORMULAS["ethanol"]}
"""Elements of sets whose name, molecule or source it is."""
POOL = 2048
"""Frames of a stand-in, more than any shipped sweep trains on; a name does not depend on it."""
FIRST = ("mace", "nequip", "tfn", "polynomial", "mpnn", "ace", "krr", "nearest", "ntk")
"""Architectures in the order of the lists; later ones follow by name."""
MOLECULAR = ",".join(
    sorted(
        (name for name, settings in MODELS.items() if "molecules" in settings.kinds),
        key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name),
    )
)
REAL: Mapping[str, list[str]] = {
    "data_star": [f"model={MOLECULAR}", "data=star", "data.n_neighbours=3", "data.coefficients=[1.0]", "data.pool=40"],
    "data_files": [
        f"model={MOLECULAR}", "data=extxyz", f"data.train='{HERE / 'train.xyz'}'", f"data.test='{HERE / 'test.xyz'}'"
    ],
}  # fmt: skip
"""Command lines by the name of their list: every architecture that learns from molecules, as it is by default."""
LISTS = (*SWEEPS, *REAL)


@dataclass(frozen=True)
class StandIn(Dataset):
    """In place of data that are not here; `formula`, where it is known, has the elements that networks are sized by
    (`match=weights`)."""

    digest: str = ""
    formula: str | None = None

    @staticmethod
    def of(section: Mapping[str, Any]) -> StandIn:
        """For a data section."""
        content = json.dumps(identity(section), sort_keys=True)
        nothing = Frames(*(np.zeros((POOL, 0)) for _ in range(6)))  # type: ignore[arg-type]
        return StandIn(
            str(section["source"]), nothing, nothing, nothing,
            digest=hashlib.sha256(content.encode()).hexdigest(),
            formula=FORMULAS.get(str(section.get("molecule", section["source"]))),
        )  # fmt: skip

    def elements(self) -> list[int]:
        """Ascending atomic numbers."""
        assert self.formula is not None, f"{self.name}: a sweep that matches channels needs a formula here"
        return sorted(atomic_numbers[symbol] for symbol in ase.formula.Formula(self.formula).count())

    def sha256(self) -> str:
        """Of the settings."""
        return self.digest


def planned(name: str) -> list[PlannedRun]:
    """The runs of a list (of `LISTS`), in the order of the plan."""
    if name in REAL:
        return plan_of([*REAL[name], "P=4,8", "seed=0,1"], dataset_of).runs
    return plan_of([f"+sweep={name}"], StandIn.of).runs


def line(run: PlannedRun) -> str:
    """A run in a list: its names, and what people know it by."""
    config = run.config
    channels = getattr(config.model, "channels", None)
    known = (config.architecture, config.L, config.nu, config.P, config.seed, channels)
    return ",".join([run.run.id, run.model_id, *("" if value is None else str(value) for value in known)])


def path_of(name: str) -> Path:
    """The file of a list."""
    return HERE / f"{name}.csv"


def main() -> None:
    """Write all lists, and say of each whether it changed."""
    for name in LISTS:
        path = path_of(name)
        text = "\n".join([",".join(COLUMNS), *map(line, planned(name)), ""])
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        path.write_text(text, encoding="utf-8")
        changed = len(set(text.splitlines()) - set(before.splitlines()))
        print(f"{name}: {len(text.splitlines()) - 1} runs, {changed} lines new")
    for path in set(HERE.glob("*.csv")) - {path_of(name) for name in LISTS}:
        path.unlink()
        print(f"{path.stem}: no sweep of that name any more, removed")


if __name__ == "__main__":
    main()
