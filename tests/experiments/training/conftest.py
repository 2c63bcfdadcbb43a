"""A laboratory for the training engine: a tiny star, a tiny MACE, and members of packs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.config.training import TrainingConfig
from experiments.data.dataset import Dataset
from experiments.data.sources.star import StarConfig, star
from experiments.data.splits import subset
from experiments.models.mace import MaceConfig
from experiments.models.networks.mace import Mace
from experiments.tasks.molecules import MoleculeTask
from experiments.training.member import Member
from experiments.training.pack import Pack
from experiments.training.schedule import Schedule


@dataclass
class Laboratory:
    """Makes tasks, members and packs of one kind; `path` is where attempts lie."""

    path: Path
    dataset: Dataset
    model: Mace
    settings: TrainingConfig

    def task(self, settings: TrainingConfig | None = None) -> MoleculeTask:
        dtype = getattr(torch, (settings or self.settings).precision)
        return MoleculeTask(self.dataset, self.model.config.cutoff, dtype, torch.device("cpu"))

    def member(self, task: MoleculeTask, name: str, attempt: int = 1, **changes: Any) -> Member:
        """A member `name` whose attempts lie in `path/name/attempt-n`; `P`, seeds, `stable_phase` and settings may be
        changed."""
        own = {f.name for f in dataclasses.fields(TrainingConfig)} & changes.keys()
        settings = dataclasses.replace(self.settings, **{key: changes.pop(key) for key in own})
        wanted = {"P": 8, "seed": 0, "init_seed": changes.get("seed", 0), "settings": settings} | changes
        earlier = [self.path / name / f"attempt-{n}" for n in range(attempt, 0, -1)]
        earlier[0].mkdir(parents=True, exist_ok=True)
        chosen = subset(len(self.dataset.pool), wanted.pop("P"), wanted["seed"], self.dataset.disjoint_seeds)
        return Member(name=name, path=earlier[0], earlier=earlier, prepared=task.prepare(chosen), **wanted)

    def pack(self, members: list[Member], task: MoleculeTask, **changes: Any) -> Pack:
        """A pack; `changes` to the settings are those of every member."""
        for member in members:
            member.settings = dataclasses.replace(member.settings, **changes)
            member.schedule = Schedule(
                member.settings.max_steps, member.settings.warmup_steps, member.settings.cooldown
            )
        return Pack(members, task, self.model, compile=members[0].settings.compiles)

    def trained(self, name: str, changes: dict[str, Any] | None = None, **member: Any) -> Member:
        """A pack of one, trained to its end."""
        task = self.task(dataclasses.replace(self.settings, **(changes or {})))
        made = self.member(task, name, **member)
        self.pack([made], task, **(changes or {})).train(lambda: False, lambda event: None)
        return made


def _laboratory(path: Path) -> Laboratory:
    dataset = star(StarConfig(n_neighbours=3, coefficients=(1.0, 0.5), pool=60, holdout=4, test=12))
    config = MaceConfig(
        L=1, nu=2, edge_lmax=1, n_layers=2, channels=3, cutoff=2.0, n_bessel=3, radial_hidden=(5,), readout_hidden=4
    )
    settings = TrainingConfig(
        max_steps=24,
        batch_size=3,
        learning_rate=3e-3,
        warmup_steps=4,
        ema_decay=0.9,
        precision="float64",
        compile=False,
    )
    return Laboratory(path / "runs", dataset, Mace(config, 2), settings)


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """Three neighbours, three channels, float64, eager: some ten milliseconds an update."""
    return _laboratory(tmp_path)


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Member]:
    """Uninterrupted runs of the laboratory's member `seed=0`, trained once a module for each change of settings."""
    made: dict[str, Member] = {}

    def whole(**changes: Any) -> Member:
        key = repr(sorted(changes.items()))
        if key not in made:
            made[key] = _laboratory(tmp_path_factory.mktemp("whole")).trained("whole", changes)
        return made[key]

    return whole
