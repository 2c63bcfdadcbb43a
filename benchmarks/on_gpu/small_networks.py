"""Every network that is trained, small, with a task of made data that takes milliseconds to load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from experiments.core.schema import build
from experiments.data.examples import Examples, ExampleSet
from experiments.data.sources.star import StarConfig, star
from experiments.models.networks import example_network, network
from experiments.models.registry import MODELS
from experiments.tasks.classification import ExampleTask
from experiments.tasks.molecules import MoleculeTask

SHAPES = {
    "images": (1, 8, 8), "series": (1, 12), "voxels": (1, 5, 5, 5), "clouds": (4, 3), "momenta": (4, 4)
}  # fmt: skip
"""Of one example, by kind."""
CUTOFF = 2.0
POOL = 16


@dataclass(frozen=True)
class Case:
    """A network's settings, and what it learns from: `molecules` or one of `SHAPES`."""

    architecture: str
    kind: str
    settings: dict[str, Any]

    def task(self, dtype: torch.dtype, device: torch.device) -> Any:
        """Make the task, its data on `device`."""
        if self.kind == "molecules":
            made = star(StarConfig(n_neighbours=3, coefficients=(1.0, 0.5), pool=POOL, holdout=2, test=4))
            return MoleculeTask(made, CUTOFF, dtype, device)
        return ExampleTask(_examples(self.kind), 1, dtype, device)

    def network(self, task: Any) -> Any:
        """Make the network for that task."""
        settings = {**self.settings, "cutoff": CUTOFF} if self.kind == "molecules" else self.settings
        config: Any = build(MODELS[self.architecture], settings, "model.")
        if self.kind == "molecules":
            return network(config, len(task.elements))
        return example_network(config, SHAPES[self.kind], 3)


def _examples(kind: str) -> ExampleSet:
    rng = np.random.default_rng(0)

    def some(count: int) -> Examples:
        inputs = rng.normal(size=(count, *SHAPES[kind])).astype(np.float32)
        if kind == "momenta":
            inputs[..., 0] = np.sqrt((inputs[..., 1:] ** 2).sum(-1) + 1)  # mass 1
        return Examples(inputs, rng.integers(0, 3, count))

    return ExampleSet("made", kind, some(POOL), some(2), some(4), 3)


MACE = {"n_layers": 2, "channels": 3, "n_bessel": 3, "radial_hidden": (4,), "readout_hidden": 3}
NEQUIP = {"n_layers": 2, "channels": 3, "n_bessel": 3, "radial_hidden": (4,), "readout_hidden": 3}
GRID = {"n_layers": 2, "channels": 2}
CASES = {
    "mace L=0": Case("mace", "molecules", {**MACE, "L": 0, "nu": 3, "edge_lmax": 1}),
    "mace L=1": Case("mace", "molecules", {**MACE, "L": 1, "nu": 3, "edge_lmax": 2}),
    "mace nu=1": Case("mace", "molecules", {**MACE, "L": 1, "nu": 1, "edge_lmax": 1, "first_residual": True}),
    "nequip": Case("nequip", "molecules", {**NEQUIP, "L": 1}),
    "nequip published": Case(
        "nequip",
        "molecules",
        {**NEQUIP, "L": 1, "prune": "none", "self_connection": "embedding", "species_scales": True},
    ),
    "tfn": Case("tfn", "molecules", {"L": 1, "n_layers": 2, "channels": 3, "n_radial": 4, "radial_width": 4}),
    "polynomial": Case("polynomial", "molecules", {"L": 1, "nu": 3, "edge_lmax": 2, "channels": 3, "n_bessel": 3}),
    "mpnn": Case("mpnn", "molecules", {"n_layers": 2, "channels": 5, "n_bessel": 3}),
    "mlp": Case("mlp", "images", {"channels": 4}),
    "cnn": Case("cnn", "images", {**GRID, "kernel": 3, "instance_norm": True}),
    "cnn of series": Case("cnn", "series", {**GRID, "kernel": 3}),
    "gcnn": Case("gcnn", "images", {**GRID, "kernel": 3, "symmetry": "p4m"}),
    "harmonic": Case("harmonic", "images", {**GRID, "kernel": 3}),
    "scale_space": Case("scale_space", "images", {**GRID, "instance_norm": True}),
    "steerable3d": Case("steerable3d", "voxels", {**GRID, "kernel": 3}),
    "tfn of clouds": Case("tfn", "clouds", {**GRID, "n_radial": 3, "radial_width": 3}),
    "mpnn of clouds": Case("mpnn", "clouds", {**GRID, "channels": 4}),
    "lorentz": Case("lorentz", "momenta", {**GRID, "L": 2, "width": 3}),
    "momenta": Case("momenta", "momenta", {"channels": 4}),
}
"""By a name for the test; tests/experiments/training/test_pretend.py sees that no network is missing."""
