"""Checks find faulty frames and name part, frame and atom; correct frames give no finding."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ase.data import covalent_radii
from ase.units import Bohr, Hartree, kcal, mol

from experiments.core.arrays import Floats
from experiments.core.errors import InputError
from experiments.data.checks import BOHR, ISOLATED, _nearest, check_frames, inspect
from experiments.data.dataset import Frames
from experiments.data.sources.star import StarConfig, star
from tests.experiments.data.springs import tied

WATER = np.array([[0.0, 0.0, 0.12], [0.0, 0.76, -0.47], [0.0, -0.76, -0.47]])
ATOMS = {1: -13.587, 8: -2041.98}
"""eV."""


def water(seed: int, count: int = 40) -> Frames:
    """Water in thermal motion, bound by 10 eV."""
    positions = WATER + 0.03 * np.random.default_rng(seed).standard_normal((count, 3, 3))
    energies, forces = tied(positions, WATER, 40.0)
    return Frames(
        numbers=np.tile([8, 1, 1], (count, 1)),
        positions=positions,
        energies=2 * ATOMS[1] + ATOMS[8] - 10 + energies,
        forces=forces,
        cells=np.zeros((count, 3, 3)),
        pbc=np.zeros((count, 3), bool),
    )


def found(train: Frames, test: Frames, isolated: dict[int, float] | None = None) -> list[tuple[str, bool, str]]:
    return [(f.check, f.refused, f.message) for f in inspect({"TRAIN": train, "TEST": test}, "TRAIN", isolated)]


def test_sound_frames_pass_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    assert found(water(0), water(1), ATOMS) == []
    assert found(water(0), replace(water(1), forces=np.full((40, 3, 3), np.nan))) == []
    made = star(StarConfig(pool=50, holdout=4, test=10))
    assert [message for check, _, message in found(made.pool, made.test) if check != "distances"] == []
    with caplog.at_level(logging.WARNING):
        check_frames({"TRAIN": water(0), "nothing": water(0, 0)}, "TRAIN")
    assert caplog.text == ""


def test_duplicates_are_named() -> None:
    test = water(1)
    test.positions[7] = water(0).positions[12] + 1e-8
    assert found(water(0), test) == [
        ("duplicates", False, "1 frames of TEST are also in TRAIN: frame 7 is frame 12 there")
    ]
    train = water(0)
    train.positions[5] = train.positions[4]
    assert found(train, water(1))[0][2] == "TRAIN: 1 of 40 frames repeat others of it"


def test_new_elements_are_refused() -> None:
    test = water(1)
    test.numbers[3, 0] = 16
    with pytest.raises(InputError, match="TEST, frame 3: atom 0 is S, an element that no frame of TRAIN has"):
        check_frames({"TRAIN": water(0), "TEST": test}, "TRAIN")


def test_outlier_forces_are_named() -> None:
    test = water(1)
    test.forces[9, 2] = (0.0, 80.0, 0.0)
    ((check, refused, message),) = found(water(0), test)
    assert (check, refused) == ("forces", False)
    assert "in 1 frames: frame 9 (atom 2, 80 eV/Å)" in message


@pytest.mark.parametrize(
    ("change", "check", "refused", "message"),
    [
        (lambda f: replace(f, energies=f.energies / Hartree), "energies", True, "in Hartree by all signs"),
        (lambda f: replace(f, energies=f.energies / (kcal / mol)), "energies", True, "in kcal/mol by all signs"),
        (lambda f: replace(f, forces=f.forces / (kcal / mol)), "forces", False, "no thermal force"),
        (lambda f: replace(f, forces=f.forces * 0.01), "forces", False, "no thermal force"),
        (lambda f: replace(f, positions=f.positions / Bohr), "distances", False, "lengths in Bohr"),
    ],
)
def test_wrong_units(change: Callable[[Frames], Frames], check: str, refused: bool, message: str) -> None:
    results = [one for one in found(change(water(0)), change(water(1))) if one[0] != "units"]  # see test_units.py
    assert results
    assert all((c, r) == (check, refused) and message in m for c, r, m in results)


def test_energies_on_another_scale_than_the_free_atoms() -> None:
    wrong = {z: energy / Hartree for z, energy in ATOMS.items()}
    with pytest.raises(
        InputError, match=r"TRAIN, frame \d+: its energy is -66\d eV an atom from that of its free atoms"
    ):
        check_frames({"TRAIN": water(0), "TEST": water(1)}, "TRAIN", wrong)


def test_lone_and_overlapping_atoms_are_named() -> None:
    lone, close = water(1), water(2)
    lone.positions[4, 1] = (9.0, 9.0, 9.0)
    close.positions[6, 2] = close.positions[6, 1] + 0.1
    assert (
        "in 1 frames an atom has no neighbour within two bond lengths: frame 4, atom 1" in found(water(0), lone)[0][2]
    )
    assert "in 1 frames an atom overlaps another: frame 6, atom 1, frame 6, atom 2" in found(water(0), close)[0][2]


def test_periodic_images_are_neighbours() -> None:
    """A molecule cut in two by the wall of its box is whole."""
    whole = water(0)
    cut = replace(
        whole,
        positions=(whole.positions + 0.3) % 6.0,
        cells=np.tile(6.0 * np.eye(3), (40, 1, 1)),
        pbc=np.ones((40, 3), bool),
    )
    assert [c for c, _, _ in found(cut, cut) if c != "duplicates"] == []
    assert [c for c, _, _ in found(replace(cut, pbc=whole.pbc), whole) if c != "duplicates"] == ["distances"]


def crystal(cell: Floats, pbc: tuple[bool, bool, bool] = (True, True, True), count: int = 20) -> Frames:
    """Three atoms each (C, H, O), anywhere in the cell and around it."""
    inside = np.random.default_rng(0).uniform(-1, 2, (count, 3, 3))
    return Frames(
        numbers=np.tile([6, 1, 8], (count, 1)),
        positions=inside @ cell,
        energies=np.zeros(count),
        forces=np.zeros((count, 3, 3)),
        cells=np.tile(cell, (count, 1, 1)),
        pbc=np.tile(pbc, (count, 1)),
    )


HEXAGONAL = np.array([[3.0, 0.0, 0.0], [-1.5, 1.5 * np.sqrt(3), 0.0], [0.0, 0.0, 4.0]])


@pytest.mark.parametrize(
    ("cell", "pbc"),
    [
        (np.diag([3.0, 3.5, 4.0]), (True, True, True)),
        (HEXAGONAL, (True, True, True)),
        (np.array([[3.0, 0.0, 0.0], [2.6, 2.8, 0.0], [-2.2, 1.9, 3.1]]), (True, True, True)),  # triclinic
        (HEXAGONAL, (True, True, False)),  # a layer: the third vector is no period
    ],
)
def test_nearest_image_is_that_of_brute_force(cell: Floats, pbc: tuple[bool, bool, bool]) -> None:
    frames = crystal(cell, pbc)
    steps = np.stack(np.meshgrid(*(range(-9, 10) if p else [0] for p in pbc), indexing="ij"), axis=-1).reshape(-1, 3)
    away = frames.positions[:, None] - frames.positions[:, :, None]  # [F, 3, 3, 3]
    lengths = np.linalg.norm(away[:, :, :, None] + steps @ cell, axis=-1).min(axis=3)
    radii = covalent_radii[frames.numbers[0]]
    expected = np.where(np.eye(3, dtype=bool), np.inf, lengths / (radii + radii[:, None])).min(axis=2)
    (nearest,) = _nearest(frames)
    asked = expected < max(ISOLATED, BOHR[1])
    assert asked.mean() > 0.4  # much of what checks ask for is compared
    # coordinates of some 20 Å cancel to distances of an Å: round-off 1e-15 · 20
    np.testing.assert_allclose(nearest[asked], expected[asked], rtol=1e-12)
    assert (nearest[~asked] > max(ISOLATED, BOHR[1]) - 1e-9).all()


def test_neighbours_across_the_corner_of_a_hexagonal_cell_are_seen() -> None:
    """Half a lattice vector apart, 2 Å; the image of the rounded fractions (0.49, 0.49) is 3.4 Å away: alone."""
    cell = np.array([[4.0, 0.0, 0.0], [2.0, 2 * np.sqrt(3), 0.0], [0.0, 0.0, 15.0]])
    frames = replace(
        crystal(cell, count=1),
        numbers=np.array([[6, 6]]),
        positions=np.array([[[0.0, 0.0, 0.0], [0.49, 0.49, 0.0]]]) @ cell,
        forces=np.zeros((1, 2, 3)),
    )
    assert [c for c, _, _ in found(frames, frames) if c == "distances"] == []


def test_a_frame_is_known_in_another_order_of_atoms_but_not_in_another_cell() -> None:
    train, test = water(0), water(1)
    test.positions[7] = train.positions[12][[0, 2, 1]]
    assert found(train, test)[0][2].startswith("1 frames of TEST are also in TRAIN: frame 7 is frame 12")
    cells = np.eye(3) * np.linspace(4, 5, 40)[:, None, None]
    train = replace(train, positions=np.zeros((40, 3, 3)) + WATER, cells=cells, pbc=np.ones((40, 3), bool))
    assert [check for check, _, _ in found(train, replace(train, cells=cells + 0.01))] == []
    assert [check for check, _, _ in found(train, train)] == ["duplicates"]


def test_labels_that_were_never_written_are_named() -> None:
    flat = replace(water(0), forces=np.zeros((40, 3, 3)))
    (finding,) = found(flat, water(1))
    assert finding[0] == "forces"
    assert "TRAIN: all forces are zero" in finding[2]
    assert "data.forces_key=null" in finding[2]
    constant = replace(water(0), energies=np.full(40, -2078.0))
    (finding,) = found(constant, water(1))
    assert finding[0] == "energies"
    assert "all 40 energies of one composition are -2078 eV" in finding[2]


def test_two_zeros_of_energy_are_named_and_a_wide_spread_is_not() -> None:
    shifted = water(0)
    shifted.energies[[3, 5, 8, 20]] += 27.0
    (finding,) = found(shifted, water(1))
    assert finding[0] == "energies"
    assert "36 frames below" in finding[2]
    assert "4 above" in finding[2]
    wide = replace(water(0), energies=-2078 + np.random.default_rng(0).exponential(3.0, 40))
    assert [what for what, _, said in found(wide, water(1)) if "zeros" in said] == []


def test_two_zeros_of_energy_in_two_files_are_named() -> None:
    away = replace(water(1), energies=water(1).energies + 2078.0)
    (finding,) = found(water(0), away)
    assert finding[0] == "energies"
    assert "TEST: energies of one composition are 2078 eV from those of TRAIN" in finding[2]
    hot = replace(water(1), energies=water(1).energies + 3 * np.ptp(water(0).energies))  # hotter frames
    assert found(water(0), hot) == []


def test_noble_gases_have_no_covalent_bonds() -> None:
    argon = replace(water(0), numbers=np.full((40, 3), 18), positions=WATER / 0.76 * 1.87 + 0.0 * water(0).positions)
    argon = replace(argon, positions=argon.positions + 1e-3 * water(0).positions)
    assert [check for check, _, _ in found(argon, argon) if check == "distances"] == []
