"""Files of the BOTNet repository, where copies of them are at hand: what is in them, and that their units are said."""

from __future__ import annotations

from pathlib import Path

import ase.units
import numpy as np
import pytest
from ase.data import atomic_masses
from scipy.spatial import cKDTree

from experiments.core.arrays import Floats
from experiments.data.dataset import Frames
from experiments.data.load import load
from experiments.data.sources.extxyz import read_frames
from tests.experiments.data.published_copies import COPIES, laid_out, needed

pytestmark = needed
CM = 1e-2 * ase.units.m  # Å
LIGHT = 299792458 * ase.units.m / ase.units.s  # Å in ASE's unit of time


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUILAW_DATA", str(laid_out(tmp_path / "data")))


@pytest.mark.parametrize(
    ("test", "frames", "forces"),
    [("MD", 1000, True), ("H_removal", 60, False), ("norm_mode_874", 37, False), ("norm_mode_3005", 18, False)],
)
def test_ethanol(test: str, frames: int, forces: bool) -> None:
    dataset = load({"source": "ethanol_pbe", "test": test})
    assert (dataset.name, dataset.test_set, len(dataset.test)) == ("ethanol_pbe", test, frames)
    assert (len(dataset.pool), len(dataset.holdout)) == (950, 50)
    assert (dataset.pool.has_forces, dataset.test.has_forces) == (True, forces)
    assert dataset.isolated_energies is not None
    assert dataset.isolated_energies[6] == -1025.2770951782686


@pytest.mark.parametrize(
    ("train", "test", "frames", "forces"),
    [
        ("300K", "MD_300K", 650, True),
        ("300K", "MD_600K", 650, True),
        ("600K", "dihedral", 45, False),
        ("300K", "H_transfer", 15, False),
    ],
)
def test_acetylacetone(train: str, test: str, frames: int, forces: bool) -> None:
    """The two scans have energies alone."""
    dataset = load({"source": "acac", "train": train, "test": test})
    assert (dataset.name, dataset.test_set, len(dataset.test)) == (f"acac_{train}", test, frames)
    assert (len(dataset.pool), dataset.pool.numbers.shape[1]) == (450, 15)
    assert (dataset.pool.has_forces, dataset.test.has_forces) == (True, forces)


@pytest.mark.parametrize("holdout", [0, 50])
def test_3bpa_is_split_where_its_test_files_are_not_wanted(holdout: int) -> None:
    """The test frames are in no other part, and the same whatever is held out."""
    dataset = load({"source": "3bpa", "test": "split", "holdout": holdout})
    assert (dataset.test_set, len(dataset.pool), len(dataset.holdout), len(dataset.test)) == (
        "split", 400 - holdout, holdout, 100,
    )  # fmt: skip
    kept = load({"source": "3bpa", "test": "split", "holdout": 50})
    np.testing.assert_array_equal(dataset.test.positions, kept.test.positions)
    parts = [frames.positions for frames in (dataset.pool, dataset.holdout, dataset.test)]
    assert len(np.unique(np.concatenate(parts).reshape(500, -1), axis=0)) == 500


@pytest.mark.parametrize("wavenumber", [874, 3005])
def test_ethanol_vibrates_at_the_wavenumber_that_its_file_is_named_by(wavenumber: int) -> None:
    """So energies are in eV and lengths in Å: in kcal/mol or Hartree it would be off by factors of 4.8 and 5.2, in Bohr
    by 1.9. The steps of 0.1 are in Å √u, as the masses say."""
    path = COPIES / "rmd17_ethanol" / f"test_norm_mode_{wavenumber}.xyz"
    frames = read_frames(path, forces_key=None)
    lowest = int(frames.energies.argmin())
    way = (frames.positions[lowest + 1] - frames.positions[lowest - 1]) / 0.2
    mass = float((atomic_masses[frames.numbers[0]][:, None] * way**2).sum())
    assert mass == pytest.approx(1, abs=1e-6)  # positions have eight decimals
    e = frames.energies[lowest - 2 : lowest + 3]
    curvature = (-e[0] + 16 * e[1] - 30 * e[2] + 16 * e[3] - e[4]) / (12 * 0.1**2)
    found = np.sqrt(curvature / mass) / (2 * np.pi * LIGHT) * CM
    assert found == pytest.approx(wavenumber, rel=1e-3)  # 874.5 and 3006.5; two more steps change them by less


@pytest.mark.parametrize("name", ["train", "test"])
def test_forces_of_ethanol_are_those_of_its_energies(name: str) -> None:
    """Between similar frames, laid on each other, E₂ − E₁ is −(F₁ + F₂)/2 · (x₂ − x₁) but for third derivatives; forces
    in another unit would be off by a factor of 23 (kcal/mol), 27 (Hartree) or 1.9 (Bohr)."""
    found = differences(read_frames(COPIES / "rmd17_ethanol" / f"{name}.xyz"))
    slope = (found[:, 0] * found[:, 1]).sum() / (found[:, 1] ** 2).sum()
    assert slope == pytest.approx(1, abs=0.1)  # 0.96 and 0.99 with pairs up to 0.28 Å apart


def differences(frames: Frames, pairs: int = 100) -> Floats:
    """Of the most similar pairs the differences of their energies and what their forces say of these. [pairs, 2]"""
    x = frames.positions - frames.positions.mean(axis=1, keepdims=True)
    distances = np.linalg.norm(x[:, :, None] - x[:, None], axis=-1).reshape(len(x), -1)
    found = []
    nearest = np.asarray(cKDTree(distances).query(distances, k=2)[1])[:, 1]
    for i, j in enumerate(nearest):
        left, _, right = np.linalg.svd(x[i].T @ x[j])
        handed = np.diag([1, 1, np.sign(np.linalg.det(left @ right))])
        turn = left @ handed @ right  # x[i] @ turn lies on x[j] as well as a rotation can make it
        step = x[j] - x[i] @ turn
        work = -0.5 * float(((frames.forces[i] @ turn + frames.forces[j]) * step).sum())
        found.append((float(np.linalg.norm(step)), frames.energies[j] - frames.energies[i], work))
    return np.array(sorted(found)[:pairs])[:, 1:]
