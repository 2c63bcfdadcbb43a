"""Periodic frames as people have them: every model learns from them, or refuses them in a line that says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.config.parse import parse
from experiments.config.suits import check_run
from experiments.core.errors import InputError
from experiments.data.dataset import Dataset, Frames
from experiments.data.load import dataset_of
from experiments.data.neighbours import distances
from experiments.data.sources.extxyz import read_frames, write_frames
from experiments.runs.trained import load
from tests.experiments.finished import configuration, finished

CUTOFF = 3.5
CELLS: dict[str, tuple[list[list[float]], tuple[bool, bool, bool]]] = {
    # a tilted primitive cell, in which atoms are neighbours of their own images
    "triclinic": ([[2.5, 0.0, 0.0], [1.1, 2.4, 0.0], [0.7, 0.9, 2.6]], (True, True, True)),
    # a slab: the third vector is the box of the program that wrote it, and no period
    "slab": ([[2.6, 0.0, 0.0], [1.3, 2.3, 0.0], [0.0, 0.0, 25.0]], (True, True, False)),
    # a molecule in a box: no image is near
    "box": ([[20.0, 0.0, 0.0], [0.0, 20.0, 0.0], [0.0, 0.0, 20.0]], (True, True, True)),
}
MODELS: dict[str, dict[str, Any]] = {
    "mace": {"channels": 2}, "nequip": {"channels": 2}, "mpnn": {"channels": 2}, "tfn": {"channels": 2},
    "polynomial": {}, "ace": {"n_radial": 2, "edge_lmax": 1}, "ntk": {"of": "mpnn", "channels": 2},
}  # fmt: skip
TRAINING = {"max_steps": 8, "warmup_steps": 2, "precision": "float64", "compile": False, "learning_rate": 0.003}


def cells_of(kind: str, count: int, seed: int) -> Frames:
    """Frames of two atoms with strained cells, labelled by E = ½ Σ exp(1 − r/Å) eV over pairs and images to 5 Å."""
    rng = np.random.default_rng(seed)
    vectors, pbc = CELLS[kind]
    cells = np.array(vectors) @ (np.eye(3) + 0.01 * rng.standard_normal((count, 3, 3)))
    x = np.array([[0.0, 0, 0], [1.2, 0.9, 1.1]]) + 0.05 * rng.standard_normal((count, 2, 3))
    periods = np.tile(pbc, (count, 1))
    frames = Frames(
        np.full((count, 2), 29),
        x,
        np.zeros(count),
        np.zeros((count, 2, 3)),
        np.where(periods[..., None], cells, 0),
        periods,
    )
    return labelled(frames)


def labelled(frames: Frames) -> Frames:
    energies, forces = np.zeros(len(frames)), np.zeros_like(frames.positions)
    step = 1e-4
    for sign in (0, 1, -1):
        for atom in range(frames.positions.shape[1]) if sign else (0,):
            for axis in range(3) if sign else (0,):
                moved = frames.positions.copy()
                moved[:, atom, axis] += sign * step
                found = np.zeros(len(frames))
                shifted = Frames(frames.numbers, moved, energies, forces, frames.cells, frames.pbc)
                for frame, _, _, r in distances(shifted, 5.0):
                    np.add.at(found, frame, 0.5 * np.exp(1 - r))
                if sign:
                    forces[:, atom, axis] -= sign * found / (2 * step)
                else:
                    energies = found
    return Frames(frames.numbers, frames.positions, energies, forces, frames.cells, frames.pbc)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("periodic")
    for kind in CELLS:
        (where / kind).mkdir()
        write_frames(where / kind / "train.xyz", cells_of(kind, 12, 0))
        write_frames(where / kind / "test.xyz", cells_of(kind, 4, 1))
    return where


def config_of(folder: Path, kind: str, model: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    section = {"architecture": model, "cutoff": CUTOFF, **MODELS.get(model, {})}
    if model in ("krr", "nearest"):
        section = {"architecture": model}
    order = {"L": 1 if model in ("mace", "nequip", "tfn", "polynomial") else None}
    order["nu"] = {"mace": 2, "ace": 2, "polynomial": 2}.get(model)
    return configuration(
        folder / kind, "ace", {"model": section, "training": TRAINING, "P": 6, **order, **(changes or {})}
    )


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_with_a_cutoff_learns_from_them(folder: Path, kind: str, model: str) -> None:
    """A doubled cell has the same forces and twice the energy, whatever the weights: no image is lost or doubled."""
    run = finished(config_of(folder, kind, model))
    frames = read_frames(folder / kind / "test.xyz")
    twice = Frames(
        np.tile(frames.numbers, 2),
        np.concatenate([frames.positions, frames.positions + frames.cells[:, :1]], axis=1),
        2 * frames.energies, np.tile(frames.forces, (1, 2, 1)),
        frames.cells * np.array([2.0, 1.0, 1.0])[:, None], frames.pbc,
    )  # fmt: skip
    trained = load(run, torch.device("cpu"))
    one, two = trained.predict(frames), trained.predict(twice)
    # sums of float64 in another order
    np.testing.assert_allclose(two.energies, 2 * one.energies, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(two.forces[:, :2], one.forces, rtol=1e-7, atol=1e-9)
    assert np.abs(one.forces).max() > 1e-4


@pytest.mark.parametrize("model", ["krr", "nearest"])
@pytest.mark.parametrize("kind", CELLS)
def test_methods_of_one_molecule_say_what_to_write(folder: Path, kind: str, model: str) -> None:
    config = parse(config_of(folder, kind, model))
    dataset = dataset_of(config.data)
    assert isinstance(dataset, Dataset)
    with pytest.raises(InputError, match=rf'frame 0 is periodic: model={model} .*in a box: pbc="F F F" in place of'):
        check_run(config, dataset)


def test_a_molecule_in_a_box_is_the_molecule(folder: Path, tmp_path: Path) -> None:
    """With the box's period or without it a model with a cutoff sees the same frames; without it krr learns as well."""
    for name in ("train", "test"):
        text = (folder / "box" / f"{name}.xyz").read_text().replace('pbc="T T T"', 'pbc="F F F"')
        (tmp_path / f"{name}.xyz").write_text(text)
    plain = config_of(tmp_path, ".", "ace")
    errors = [
        (run.result() or pytest.fail("no result")).metrics["force_mae"]
        for run in (finished(config_of(folder, "box", "ace")), finished(plain))
    ]
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)
    finished(config_of(tmp_path, ".", "krr"))


def test_a_cell_without_pbc_is_periodic_in_all_directions(folder: Path, tmp_path: Path) -> None:
    """As the format says; ASE writes both, others the cell alone."""
    text = (folder / "triclinic" / "test.xyz").read_text()
    (tmp_path / "some.xyz").write_text(text.replace(' pbc="T T T"', ""))
    assert read_frames(tmp_path / "some.xyz").sha256() == read_frames(folder / "triclinic" / "test.xyz").sha256()
