"""Finished runs on a user's own frames: small molecules of three compositions, labelled by a pair potential."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.config.parse import parse
from experiments.data.dataset import Frames
from experiments.data.load import dataset_of
from experiments.data.sources.extxyz import write_frames
from experiments.runs.execute import execute
from experiments.runs.store import Run, RunStore
from tests.conftest import ACE, MACE, TRAINING

COMPOSITIONS = ((6, 8, 1, 1), (6, 1, 1), (8, 1, 1))
"""As many as elements: the energy of every other composition follows."""
ENERGIES = {1: -13.0, 6: -1000.0, 7: -1500.0, 8: -2000.0}


def molecules(count: int, compositions: tuple[tuple[int, ...], ...] = COMPOSITIONS, seed: int = 0) -> Frames:
    """`count` frames of each composition, scattered by 0.1 Å; E = Σ_pairs exp(1 − r/Å) eV + free atoms."""
    rng = np.random.default_rng(seed)
    size = max(len(c) for c in compositions)
    numbers = np.array([[*c, *[0] * (size - len(c))] for c in compositions for _ in range(count)], dtype=np.int64)
    corners = np.array([[0.0, 0, 0], [1.3, 0, 0], [-0.5, 1.0, 0], [-0.5, -0.6, 0.9]])  # Å
    x = corners[:size] + 0.1 * rng.normal(size=(len(numbers), size, 3))
    real = numbers > 0
    vectors = x[:, :, None] - x[:, None, :]
    r = np.linalg.norm(vectors, axis=-1) + np.eye(size)
    pair = np.exp(1 - r) * real[:, :, None] * real[:, None, :] * (1 - np.eye(size))
    forces = (pair[..., None] * vectors / r[..., None]).sum(2)
    free = np.array([sum(ENERGIES[z] for z in row if z) for row in numbers.tolist()])
    x = np.where(real[..., None], x, 0.0)
    cells = np.zeros((len(numbers), 3, 3))
    return Frames(numbers, x, pair.sum((1, 2)) / 2 + free, forces, cells, cells[..., 0] > 1)


def configuration(path: Path, model: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Of a run on `path/train.xyz` and `path/test.xyz`, written there where they are missing."""
    for name, frames in (("train.xyz", molecules(20)), ("test.xyz", molecules(5, seed=1))):
        if not (path / name).exists():
            write_frames(path / name, frames)
    config: dict[str, Any] = {
        "P": 30, "L": 1 if model == "mace" else None, "nu": 2, "seed": 0,
        "data": {"source": "extxyz", "train": str(path / "train.xyz"), "test": str(path / "test.xyz")},
        "model": dict(MACE if model == "mace" else ACE, cutoff=4.0), "training": dict(TRAINING),
        "store": str(path / "store"), "device": "cpu",
    }  # fmt: skip
    for key, value in (changes or {}).items():
        section, _, name = key.rpartition(".")
        (config[section] if section else config)[name] = value
    return config


def queued(config: Mapping[str, Any]) -> Run:
    """The run of a configuration, in its store and not computed."""
    settings = parse(config)
    run = RunStore(settings.store).run(settings.run_id(dataset_of(settings.data).sha256()))
    run.create(settings.as_dict())
    return run


def finished(config: Mapping[str, Any]) -> Run:
    """The run of a configuration, computed."""
    run = queued(config)
    assert execute([run], lambda: False, lambda event: None) == {run.id: "done"}
    return run
