"""`data.tests` of every source of molecules: what its values mean, and which frames they give."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest
from ase.io import write

from experiments.config.parse import located
from experiments.core.errors import InputError
from experiments.core.kinds import is_test_file, varied_by_tests
from experiments.data.dataset import Dataset
from experiments.data.load import further_sections, load, parse, read_test
from experiments.data.sources import botnet
from experiments.data.sources.md17 import FORMULAS

FILES_ALONE = {
    "rmd17": {"molecule": "ethanol"}, "md17": {"molecule": "ethanol"}, "water": {}, "qm9": {},
    "mlearn": {"element": "Si"},
}  # fmt: skip
"""Sources whose own test frames have no names."""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EQUILAW_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(botnet, "_SHA256", {})
    return tmp_path / "data"


@pytest.mark.parametrize("source", FILES_ALONE)
def test_a_file_is_a_test_set_beside_published_frames(source: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    section = located({"source": source, **FILES_ALONE[source], "test_frames": 3, "tests": {"scan": "scan.xyz"}})
    parse(section)
    further = further_sections(section)["scan"]
    assert (further["source"], further["test"]) == ("extxyz", str(tmp_path / "scan.xyz"))
    assert further["test_frames"] == 3
    parse(further)


def test_numbers_are_temperatures_where_frames_are_generated() -> None:
    section = {"source": "xtb", "molecule": "water", "test": 7, "tests": {"hot": 900, "cool": 250.5, "scan": "s.xyz"}}
    parse(section)
    further = further_sections(section)
    assert [further[name]["temperature"] for name in ("hot", "cool")] == [900, 250.5]
    assert (further["hot"]["test"], further["hot"]["pool"], further["hot"]["molecule"]) == (7, 1, "water")
    assert further["scan"]["source"] == "extxyz"
    warm = further_sections({**section, "tests": {"x": "warm"}})["x"]
    with pytest.raises(InputError, match=r"^data.tests.x='warm': accepted: a number > 0, or a file of extended XYZ"):
        read_test(warm, "data.tests.x")
    with pytest.raises(InputError, match=r"^data.tests=\[1, 2\]: accepted: names with values, {NAME: FILE, …}$"):
        further_sections({**section, "tests": [1, 2]})


@pytest.mark.parametrize(
    ("source", "value", "is_file"),
    [("rmd17", 3, True), ("extxyz", "2024", True), ("xtb", 300, False), ("xtb", "300.5", False),
     ("xtb", "a.xyz", True), ("3bpa", "dih_beta120", False), ("3bpa", "a.extxyz", True), ("acac", "MD_600K", False)],
)  # fmt: skip
def test_what_is_a_file(source: str, value: object, is_file: bool) -> None:
    assert is_test_file({"source": source}, value) is is_file
    assert (varied_by_tests({"source": source}) is None) == (source in ("rmd17", "extxyz"))


def md17_ethanol(root: Path) -> ase.Atoms:
    """Write a trajectory of ethanol as MD17 has it and return its last frame, in eV."""
    rng = np.random.default_rng(0)
    base = 1.5 * np.arange(27.0).reshape(9, 3) % 4.1
    x = base + 0.003 * np.cumsum(rng.standard_normal((3000, 9, 3)), axis=0)
    z, energies = np.array([6, 6, 8, *6 * [1]]), -97000 + rng.standard_normal(3000)
    (root / "md17").mkdir(parents=True)
    np.savez(root / "md17/md17_ethanol.npz", z=z, R=x, E=energies, F=20 * rng.standard_normal(x.shape))
    assert FORMULAS["ethanol"] == "C2H6O"
    return ase.Atoms(z, x[-1] + 0.01, info={"energy": energies[-1] / 23.060548})


def test_a_scan_beside_md17_has_energy_errors_alone(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    scan = root.parent / "scan.xyz"
    write(scan, md17_ethanol(root), format="extxyz")
    section = {"source": "md17", "molecule": "ethanol", "split": "random", "pool": 50, "test": 20, "holdout": 5}
    plain = load(section)
    with caplog.at_level(logging.WARNING):
        dataset = load({**section, "tests": {"scan": str(scan)}})
    assert dataset.sha256() == plain.sha256()
    assert len(dataset.further["scan"]) == 1
    assert not dataset.further["scan"].has_forces
    assert dataset.test.has_forces
    assert f"data.tests.scan={scan}: no forces 'forces' in it (it has: energy)" in caplog.text
    with pytest.raises(InputError, match=r"data\.tests\.hot=/no\.xyz: no such file"):
        load({**section, "tests": {"hot": "/no.xyz"}})


def bpa(beta: float, seed: int) -> ase.Atoms:
    """Return 15 atoms of which those that define β (`dataset_3BPA/README.md`) have this dihedral angle, in degrees."""
    rng = np.random.default_rng(seed)
    atoms = ase.Atoms(15 * "C", 2.0 * np.arange(45.0).reshape(15, 3) % 17 + 0.1 * rng.standard_normal((15, 3)))
    atoms.set_dihedral(1, 5, 13, 14, beta, indices=[14])
    atoms.info["energy"] = 15 * -1030.0 + 0.1 * rng.standard_normal()
    atoms.arrays["forces"] = rng.standard_normal((15, 3))
    return atoms


def scans(root: Path, betas: list[float]) -> Dataset:
    folder = root / "dataset_3BPA"
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train_300K.xyz", [bpa(60 + n, n) for n in range(8)], format="extxyz")
    write(folder / "test_300K.xyz", [bpa(90, 8)], format="extxyz")
    write(folder / "test_dih.xyz", [bpa(beta, 9 + n) for n, beta in enumerate(betas)], format="extxyz")
    write(folder / "iso_atoms.xyz", ase.Atoms("C", info={"energy": -1029.0}), format="extxyz")
    tests = {"all": "dih", "slice 120": "dih_beta120", "slice 150": "dih_beta150"}
    return load({"source": "3bpa", "holdout": 2, "tests": tests})


def test_slices_of_3bpas_scans_are_sets_of_their_own(root: Path) -> None:
    dataset = scans(root, [120, 150, 210, 180, 240, 119, 180])  # 210 and 240 are mirror images
    assert {name: len(frames) for name, frames in dataset.further.items()} == {
        "all": 7, "slice 120": 3, "slice 150": 2,
    }  # fmt: skip
    every = dataset.further["all"].energies
    assert dataset.further["slice 120"].energies.tolist() == every[[0, 4, 5]].tolist()
    assert dataset.test_set == "300K"


def test_a_frame_of_no_slice_is_named(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"test_dih\.xyz, frame 1: β is 40\.0°, of none of the slices at 120, 150, 180"
    ):
        scans(root, [120, 40])
