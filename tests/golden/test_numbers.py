"""What the program computes stays what it was; where a change is meant, these numbers say what is to be raised.

A run's name holds its configuration and not the code, so other numbers from the same configuration need other names.
Raise in `experiments.config.run.NUMERICS_RAISED` the architecture, where its untrained network or its fit is another;
`training`, where that alone is; `data`, where frames reach every model otherwise. The same commit puts the new
numbers here and the new names in the lists (`python -m tests.golden.ids`).
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.training import TrainingConfig
from experiments.models.networks import example_network, network
from experiments.models.registry import MODELS
from tests.conftest import MACE, TRAINING
from tests.experiments.finished import finished
from tests.experiments.models.clusters import graph_of, positions, species
from tests.golden.ids import HERE

SHAPES: dict[str, tuple[int, ...]] = {"images": (1, 8, 8), "series": (1, 24), "voxels": (2, 6, 6, 6), "momenta": (5, 4)}
"""Of one example, by kind."""
OPTIMIZERS = {f.name: f.metadata["choices"] for f in fields(TrainingConfig)}["optimizer"]
FILES = {"source": "extxyz", "train": str(HERE / "train.xyz"), "test": str(HERE / "test.xyz")}
SPHERE = {"source": "sphere", "pool": 40, "holdout": 4, "test": 16}
UNTRAINED = {
    "mace": 0.0914775864882, "nequip": 0.0435875095303, "tfn": 1.59008069207, "polynomial": 1.447596243,
    "mpnn": 13.4164985263, "mlp": 0.551735814858, "cnn": 1.17016973096, "gcnn": 0.185577803335,
    "harmonic": 13.5554648785, "scale_space": 0.269031640979, "steerable3d": 4.86396875037,
    "lorentz": 0.0032832165604, "momenta": 0.025155291148,
}  # fmt: skip
"""Root mean square of a network's outputs: default settings, seed 0, float64."""
FITTED = {
    "ace": 0.232060700922, "krr": 0.358406998390, "nearest": 1.60758274828, "ntk": 0.107529653854,
    "point_kernel": 1.66951258745, "point_nearest": 1.49064566479,
}  # fmt: skip
WEIGHT: dict[str, object] = {"energy_weight": 1.0}
"""Of every frame's energy: the numbers of the first release, which had no other default."""
TRAINED = {
    "soap": 2.70945274689, "adam": 2.44840310242, "amsgrad": 2.44839876398, "muon": 3.21372539897,
    "schedule_free": 2.59335919331,
}  # fmt: skip
"""By optimiser, after 24 updates."""


def errors(path: Path, **sections: Any) -> float:
    """The sum of a run's test errors, one of each metric."""
    base: dict[str, Any] = {"P": 8, "L": None, "nu": None, "seed": 0, "training": dict(TRAINING), "device": "cpu"}
    result = finished({**base, "store": str(path), **sections}).result()
    assert result is not None
    return float(sum(result["metrics"].values()))


@pytest.mark.parametrize("name", [name for name, settings in MODELS.items() if not settings.closed_form])
def test_untrained_networks(name: str) -> None:
    settings = MODELS[name]()
    if MODELS.of_molecules(name):
        made = network(settings, 3)
        weights = {key: value[None] for key, value in made.init(0, torch.float64).items()}
        weights["constant.inverse_neighbours"] = torch.full((1,), 0.2, dtype=torch.float64)
        found = made.energies(weights, graph_of(positions(0, 1, 2, 6), species(0, 1, 2, 6), 5.0))
    else:
        kind = next(kind for kind in SHAPES if kind in settings.kinds)
        other = example_network(settings, SHAPES[kind], 3)
        weights = {key: value[None] for key, value in other.init(0, torch.float64).items()}
        found = other.outputs(weights, torch.as_tensor(np.random.default_rng(0).random((1, 4, *SHAPES[kind]))))
    # some layers of sums, which another machine may take in another order; other BLAS kernels moved no twelfth digit
    assert float(found.square().mean().sqrt()) == pytest.approx(UNTRAINED.get(name), rel=1e-9), __doc__


@pytest.mark.parametrize("name", [name for name, settings in MODELS.items() if settings.closed_form])
def test_fits(name: str, tmp_path: Path) -> None:
    data = FILES if "molecules" in MODELS[name].kinds else SPHERE
    own: dict[str, dict[str, object]] = {"ace": WEIGHT, "krr": WEIGHT, "ntk": {**WEIGHT, "of": "mace"}}
    model = {"architecture": name, **own.get(name, {})}
    # least squares amplify round-off: with the BLAS kernels of AVX-512, krr differs by 2e-5 from AVX2's
    assert errors(tmp_path, data=data, model=model) == pytest.approx(FITTED.get(name), rel=1e-4), __doc__


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training(name: str, tmp_path: Path) -> None:
    found = errors(tmp_path, data=FILES, model=dict(MACE), training={**TRAINING, "optimizer": name})
    # 24 updates amplify round-off; other BLAS kernels moved no twelfth digit, and adam and amsgrad differ by 2e-6
    assert found == pytest.approx(TRAINED.get(name), rel=1e-8), __doc__


def test_linear_ace_of_earlier_releases(tmp_path: Path) -> None:
    """Its basis is still there, with the number that its defaults had."""
    model = {"architecture": "ace", "edge_lmax": 3, "n_radial": 8, "degree": None, "smoothness": 0.0, "stretch": None}
    assert errors(tmp_path, data=FILES, nu=2, model={**model, **WEIGHT}) == pytest.approx(0.0557146992745, rel=1e-5)
