"""Units that do not belong together are found by near pairs of frames, and named; sound data give no finding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.units import Bohr, Hartree, Rydberg, kcal, kJ, mol
from scipy.spatial.transform import Rotation

from experiments.data.checks import inspect
from experiments.data.dataset import Frames
from experiments.data.sources.extxyz import read_frames
from experiments.data.units import doubt, slope_of
from tests.experiments.data.springs import tied

SHARED = Path(__file__).parents[4] / "shared" / "data"
CORNERS = np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.0], [0.0, 1.2, 0.0], [0.0, 0.0, 1.3]])


def tetrahedra(seed: int, count: int = 80, turned: bool = True) -> Frames:
    """Four atoms with a spring between any two, in thermal motion, each frame turned and moved at random."""
    rng = np.random.default_rng(seed)
    x = CORNERS + 0.05 * rng.standard_normal((count, 4, 3))
    energies, forces = tied(x, CORNERS)
    if turned:
        for f, turn in enumerate(Rotation.random(count, rng=rng).as_matrix()):
            x[f], forces[f] = x[f] @ turn.T + rng.standard_normal(3), forces[f] @ turn.T
    return Frames(
        numbers=np.tile([6, 1, 1, 1], (count, 1)),
        positions=x,
        energies=energies - 900,
        forces=forces,
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


def findings(frames: Frames) -> list[str]:
    return [f.message for f in inspect({"TRAIN": frames}, "TRAIN") if f.check == "units"]


def test_energies_follow_forces_whatever_way_molecules_are_turned() -> None:
    for seed in range(5):
        slope = slope_of(tetrahedra(seed))
        assert slope is not None
        # springs between moving atoms are harmonic but for their turning, a few percent at 0.05 Å
        assert slope.factor == pytest.approx(1, abs=0.05)
        assert slope.correlation > 0.97
        assert findings(tetrahedra(seed)) == []


@pytest.mark.parametrize(
    ("energy", "force", "length", "named"),
    [
        (1.0, 1.0, Bohr, "forces in Hartree/Bohr or Rydberg/Bohr with energies of the same unit"),
        (Hartree, Hartree / Bohr, 1.0, "forces in Hartree/Bohr or Rydberg/Bohr with energies of the same unit"),
        (Hartree, 1.0, 1.0, "energies in Hartree, forces in eV/Å"),
        (Rydberg, 1.0, 1.0, "energies in Rydberg, forces in eV/Å"),
        (kcal / mol, 1.0, 1.0, "energies in kcal/mol, forces in eV/Å"),
        (1.0, kJ / mol, 1.0, "energies in eV, forces in kJ/mol/Å"),
        (1.0, Hartree / Bohr, 1.0, "energies in eV, forces in Hartree/Bohr"),
        (1.0, -1.0, 1.0, "gradients in place of forces"),
        (4.0, 1.0, 1.0, "energies per atom"),
    ],
)
def test_a_mistake_is_named_with_its_factor(energy: float, force: float, length: float, named: str) -> None:
    sound = tetrahedra(1)
    if (energy, force) == (1.0, 1.0):  # atomic units with positions in Å
        energy, force = Hartree, Hartree / Bohr
    wrong = replace(sound, energies=sound.energies / energy, forces=sound.forces / force)
    (message,) = findings(wrong)
    assert named in message
    slope = slope_of(wrong)
    assert slope is not None
    assert f"{slope.factor:.3g} times" in message


def test_units_that_belong_together_give_no_finding_here() -> None:
    sound = tetrahedra(2)
    for unit in (kcal / mol, Hartree):
        assert findings(replace(sound, energies=sound.energies / unit, forces=sound.forces / unit)) == []


@pytest.mark.parametrize("what", ["energies of other frames", "forces of other atoms", "exchanged axes"])
def test_labels_without_relation_are_named_and_far_frames_are_not(what: str) -> None:
    rng, sound = np.random.default_rng(0), tetrahedra(3)
    unrelated = {
        "energies of other frames": replace(sound, energies=rng.permutation(sound.energies)),
        "forces of other atoms": replace(sound, forces=sound.forces[:, ::-1]),
        "exchanged axes": replace(sound, forces=sound.forces[..., [1, 0, 2]]),
    }[what]
    (said,) = findings(unrelated)
    assert "do not follow −force·step" in said
    assert "labels of other frames or other atoms?" in said
    slope = slope_of(unrelated)
    assert slope is not None
    assert doubt(replace(slope, step=1.0), 4) is None  # too far apart to say anything
    assert slope_of(tetrahedra(3, count=5)) is None
    assert slope_of(replace(tetrahedra(3), forces=np.zeros((80, 4, 3)))) is None


def test_periodic_frames_step_to_nearest_images() -> None:
    frames = tetrahedra(4, turned=False)
    cell = np.array([[4.0, 0.0, 0.0], [2.0, 3.5, 0.0], [0.0, 1.0, 4.0]])
    moved = frames.positions + np.random.default_rng(0).integers(-2, 3, (80, 4, 3)) @ cell
    periodic = replace(frames, positions=moved, cells=np.tile(cell, (80, 1, 1)), pbc=np.ones((80, 3), bool))
    slope = slope_of(periodic)
    assert slope is not None
    assert slope.factor == pytest.approx(slope_of(frames).factor, rel=0.05)  # type: ignore[union-attr]
    # near pairs are chosen with and without turning: not the same ones
    assert doubt(slope, 4) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"reference data are not at {SHARED}")
@pytest.mark.parametrize(
    "file",
    ["rmd17_ethanol/train.xyz", "3bpa/train_300K.xyz", "3bpa/train_mixedT.xyz", "acac/train_300K.xyz",
     "acac/train_600K.xyz", "mlearn/Si_train.xyz", "mlearn/Li_train.xyz"],
)  # fmt: skip
def test_published_data_give_no_false_alarm_and_their_mistakes_are_found(file: str) -> None:
    frames = read_frames(SHARED / file)
    assert findings(frames) == []
    assert any("gradients" in message for message in findings(replace(frames, forces=-frames.forces)))
    atomic = replace(frames, energies=frames.energies / Hartree, forces=frames.forces / (Hartree / Bohr))
    assert any("Hartree/Bohr" in message for message in findings(atomic))
